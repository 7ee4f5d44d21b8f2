/*
 * test_distance.c
 *	  The distance kernels of every set this machine runs, and their choice.
 *
 * What is proved, for each available set:
 *	- small integers: the sums are exact, so every set must return the same
 *	  bits, for each length 0..200 and unaligned inputs, with NaN around the
 *	  vectors so that one element too many would show;
 *	- real numbers: within the documented bound of the exact sum, and within
 *	  twice the bound of the scalar set, up to 16,000 dimensions;
 *	- nothing outside the vectors is read (they lie against a page without
 *	  access, before and behind);
 *	- extreme values, overflow, NaN and infinity end as in the scalar set;
 *	- the keys follow the operators' definition; the choice takes the best set
 *	  and refuses a broken one.
 *
 * The summary names the sets that ran.  An argument names a set that must be
 * among them, so that a job which exists to run it cannot pass without.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/distance/distance.h"
#include "oracle.h"
#include "unit.h"

#define MAX_LENGTH 200
#define MAX_OFFSET 17 /* floats: past one 64-byte line */

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The six sums of two vectors, as one set computes them. */
typedef struct Sums
{
	float l2sq;
	float dot;
	float l1;
	float cosine[3];
} Sums;

/* The same in double, with the magnitudes the error bound refers to. */
typedef struct ExactSums
{
	double l2sq;
	double dot;
	double l1;
	double norms[2];
	double dot_magnitude;
} ExactSums;

static ChsRng rng = {.state = 20240607};

static Sums
run_kernels(const ChsDistanceKernels *kernels, const float *a, const float *b,
			size_t n)
{
	Sums sums;

	sums.l2sq = kernels->l2sq_f32(a, b, n);
	sums.dot = kernels->dot_f32(a, b, n);
	sums.l1 = kernels->l1_f32(a, b, n);
	kernels->cosine_f32(a, b, n, sums.cosine);
	return sums;
}

static ExactSums
compute_exact(const float *a, const float *b, size_t n)
{
	ExactSums sums = {0};

	for (size_t i = 0; i < n; i++)
	{
		double x = (double) a[i];
		double y = (double) b[i];

		sums.l2sq += (x - y) * (x - y);
		sums.dot += x * y;
		sums.dot_magnitude += fabs(x * y);
		sums.l1 += fabs(x - y);
		sums.norms[0] += x * x;
		sums.norms[1] += y * y;
	}
	return sums;
}

/* Equal bits but for the sign of zero, or both NaN. */
static bool
is_same(float x, float y)
{
	return x == y || (isnan(x) && isnan(y));
}

static void
check_same(const Sums *got, const Sums *want)
{
	CHECK(is_same(got->l2sq, want->l2sq));
	CHECK(is_same(got->dot, want->dot));
	CHECK(is_same(got->l1, want->l1));
	for (size_t i = 0; i < 3; i++)
		CHECK(is_same(got->cosine[i], want->cosine[i]));
}

/* `factor` is 1 against the exact sums and 2 against another set. */
static void
check_near(const Sums *got, const Sums *want, const ExactSums *exact, size_t n,
		   double factor)
{
	double dot_bound = factor * chs_distance_bound(n, exact->dot_magnitude);

	CHECK_NEAR(got->l2sq, want->l2sq,
			   factor * chs_distance_bound(n, exact->l2sq));
	CHECK_NEAR(got->dot, want->dot, dot_bound);
	CHECK_NEAR(got->l1, want->l1, factor * chs_distance_bound(n, exact->l1));
	CHECK_NEAR(got->cosine[0], want->cosine[0], dot_bound);
	for (size_t i = 0; i < 2; i++)
		CHECK_NEAR(got->cosine[i + 1], want->cosine[i + 1],
				   factor * chs_distance_bound(n, exact->norms[i]));
}

/* Uniform in (-1, 1], times a power of two from 2^-range to 2^range. */
static float
draw_real(int range)
{
	double unit = 2.0 * chs_unit_from_bits(chs_rng_next(&rng)) - 1.0;
	int spread = (int) (chs_rng_next(&rng) % (uint64_t) (2 * range + 1));

	return (float) ldexp(unit, spread - range);
}

/* -8 .. 8: 200 products stay far below 2^24, where floats stop being exact. */
static float
draw_integer(void)
{
	return (float) ((int) (chs_rng_next(&rng) % 17) - 8);
}

/*
 * Fills a buffer with NaN and places n drawn values at the offset; what lies
 * around a vector must not reach the sums.
 */
static const float *
place_integers(float *buffer, size_t offset, size_t n)
{
	for (size_t i = 0; i < MAX_LENGTH + 2 * MAX_OFFSET; i++)
		buffer[i] = NAN;
	for (size_t i = 0; i < n; i++)
		buffer[offset + i] = draw_integer();
	return buffer + offset;
}

static void
test_integers(const ChsDistanceKernels *kernels)
{
	float a_buffer[MAX_LENGTH + 2 * MAX_OFFSET];
	float b_buffer[MAX_LENGTH + 2 * MAX_OFFSET];

	for (size_t n = 0; n <= MAX_LENGTH; n++)
		for (size_t offset = 0; offset < MAX_OFFSET; offset++)
		{
			/* 7 is prime to 17: b runs through all offsets, in other steps */
			const float *a = place_integers(a_buffer, offset, n);
			const float *b = place_integers(b_buffer, offset * 7 % MAX_OFFSET,
											n);
			Sums got = run_kernels(kernels, a, b, n);
			ExactSums exact = compute_exact(a, b, n);

			CHECK(got.l2sq == (float) exact.l2sq);
			CHECK(got.dot == (float) exact.dot);
			CHECK(got.l1 == (float) exact.l1);
			CHECK(got.cosine[0] == (float) exact.dot);
			CHECK(got.cosine[1] == (float) exact.norms[0]);
			CHECK(got.cosine[2] == (float) exact.norms[1]);
		}
}

static void
check_reals(const ChsDistanceKernels *kernels, const float *a, const float *b,
			size_t n)
{
	ExactSums exact = compute_exact(a, b, n);
	Sums rounded = {
		.l2sq = (float) exact.l2sq,
		.dot = (float) exact.dot,
		.l1 = (float) exact.l1,
		.cosine = {(float) exact.dot, (float) exact.norms[0],
				   (float) exact.norms[1]},
	};
	Sums scalar = run_kernels(&chs_distance_scalar, a, b, n);
	Sums got = run_kernels(kernels, a, b, n);

	check_near(&got, &rounded, &exact, n, 1.0);
	check_near(&got, &scalar, &exact, n, 2.0);
}

static void
test_reals(const ChsDistanceKernels *kernels)
{
	static const size_t lengths[] = {384, 768, 1000, 1536, 2000, 4096, 16000};
	float *a = malloc((16000 + MAX_OFFSET) * sizeof(float));
	float *b = malloc((16000 + MAX_OFFSET) * sizeof(float));

	/* magnitudes 2^-12 to 2^12, so that rounding errors differ by order */
	for (size_t i = 0; i < 16000 + MAX_OFFSET; i++)
	{
		a[i] = draw_real(12);
		b[i] = draw_real(12);
	}
	for (size_t n = 0; n <= MAX_LENGTH; n++)
		check_reals(kernels, a + n % 5, b + n % 7, n);
	for (size_t i = 0; i < LENGTH_OF(lengths); i++)
		check_reals(kernels, a + i + 1, b + 3, lengths[i]);
	free(a);
	free(b);
}

/* A readable page between two that end the program when touched. */
static float *
map_guarded_page(size_t page_bytes)
{
	char *pages = mmap(NULL, 3 * page_bytes, PROT_NONE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED ||
		mprotect(pages + page_bytes, page_bytes, PROT_READ | PROT_WRITE) != 0)
	{
		perror("mmap");
		exit(2);
	}
	return (float *) (void *) (pages + page_bytes);
}

/*
 * Vectors that begin or end exactly at a page without access.  Lengths that
 * are no multiple of 16 also make the start of the latter unaligned.
 */
static void
test_bounds(const ChsDistanceKernels *kernels)
{
	size_t page_bytes = (size_t) sysconf(_SC_PAGESIZE);
	size_t page_floats = page_bytes / sizeof(float);
	float *page = map_guarded_page(page_bytes);

	for (size_t i = 0; i < page_floats; i++)
		page[i] = draw_integer();
	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		const float *first = page;
		const float *last = page + page_floats - n;
		Sums got = run_kernels(kernels, first, last, n);
		Sums want = run_kernels(&chs_distance_scalar, first, last, n);

		check_same(&got, &want);
		got = run_kernels(kernels, last, first, n);
		want = run_kernels(&chs_distance_scalar, last, first, n);
		check_same(&got, &want);
	}
	munmap((char *) page - page_bytes, 3 * page_bytes);
}

/*
 * One element pair of special values among zeros (`rest` 0) or ordinary
 * numbers.  With a single term there is nothing to round differently, so the
 * sets must return the same bits; with special values infinite or NaN in
 * company too, because the outcome depends on no order.
 */
static void
check_special(const ChsDistanceKernels *kernels, float x, float y, float rest)
{
	static const size_t lengths[] = {1, 5, 8, 15, 16, 33, 71, 150};
	float a[150];
	float b[150];

	for (size_t l = 0; l < LENGTH_OF(lengths); l++)
	{
		size_t n = lengths[l];

		for (size_t i = 0; i < n; i++)
		{
			a[i] = rest;
			b[i] = -2.0f * rest;
		}
		for (size_t place = 0; place < n; place++)
		{
			Sums got;
			Sums want;

			a[place] = x;
			b[place] = y;
			got = run_kernels(kernels, a, b, n);
			want = run_kernels(&chs_distance_scalar, a, b, n);
			check_same(&got, &want);
			a[place] = rest;
			b[place] = -2.0f * rest;
		}
	}
}

static void
test_special_values(const ChsDistanceKernels *kernels)
{
	static const float finite[] = {0.0f,    -0.0f,   FLT_TRUE_MIN, -FLT_MIN,
								   1e-23f,  1e-19f,  1.5f,         -3e18f,
								   1.9e19f, FLT_MAX, -FLT_MAX};
	static const float other[] = {NAN, INFINITY, -INFINITY};

	for (size_t i = 0; i < LENGTH_OF(finite); i++)
		for (size_t j = 0; j < LENGTH_OF(finite); j++)
			check_special(kernels, finite[i], finite[j], 0.0f);
	for (size_t i = 0; i < LENGTH_OF(other); i++)
	{
		for (size_t j = 0; j < LENGTH_OF(other); j++)
			check_special(kernels, other[i], other[j], 1.25f);
		check_special(kernels, other[i], 1.0f, 1.25f);
		check_special(kernels, 0.0f, other[i], 1.25f);
	}
}

/* Finite terms whose sum is infinite, and infinities that meet in one sum. */
static void
test_overflow(const ChsDistanceKernels *kernels)
{
	float a[MAX_LENGTH];
	float b[MAX_LENGTH];
	float sums[3];

	for (size_t n = 16; n <= MAX_LENGTH; n++)
	{
		for (size_t i = 0; i < n; i++)
		{
			a[i] = 1.5e19f;
			b[i] = -1.5e19f;
		}
		CHECK(kernels->l2sq_f32(a, b, n) == INFINITY);
		CHECK(kernels->dot_f32(a, a, n) == INFINITY);
		CHECK(kernels->dot_f32(a, b, n) == -INFINITY);
		kernels->cosine_f32(a, b, n, sums);
		CHECK(sums[0] == -INFINITY && sums[1] == INFINITY && sums[2] == INFINITY);
		for (size_t i = 0; i < n; i++)
			b[i] = 1.0f;
		a[0] = INFINITY;
		CHECK(kernels->dot_f32(a, b, n) == INFINITY);
		a[n - 1] = -INFINITY;
		CHECK(isnan(kernels->dot_f32(a, b, n)));
		CHECK(kernels->l1_f32(a, b, n) == INFINITY);
	}
}

/* What the index leans on: symmetry, and 0 from a vector to itself. */
static void
test_symmetry(const ChsDistanceKernels *kernels)
{
	float a[MAX_LENGTH];
	float b[MAX_LENGTH];

	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		Sums ab;
		Sums ba;
		Sums aa;

		for (size_t i = 0; i < n; i++)
		{
			a[i] = draw_real(4);
			b[i] = draw_real(4);
		}
		ab = run_kernels(kernels, a, b, n);
		ba = run_kernels(kernels, b, a, n);
		aa = run_kernels(kernels, a, a, n);
		CHECK(ab.l2sq == ba.l2sq && ab.l1 == ba.l1 && ab.dot == ba.dot);
		CHECK(ab.cosine[0] == ba.cosine[0] && ab.cosine[1] == ba.cosine[2] &&
			  ab.cosine[2] == ba.cosine[1]);
		CHECK(aa.l2sq == 0.0f && aa.l1 == 0.0f);
		CHECK(aa.cosine[0] == aa.cosine[1] && aa.cosine[1] == aa.cosine[2]);
	}
}

/* The keys of random vectors against the oracle's, in float's precision. */
static void
test_keys_near_oracle(void)
{
	float a[MAX_LENGTH];
	float b[MAX_LENGTH];

	for (size_t n = 1; n <= MAX_LENGTH; n++)
	{
		double size;

		for (size_t i = 0; i < n; i++)
		{
			a[i] = draw_real(2);
			b[i] = draw_real(2);
		}
		size = (double) n * 32.0;
		for (ChsMetric metric = CHS_METRIC_L2; metric <= CHS_METRIC_L1; metric++)
			CHECK_NEAR(chs_distance_key(metric, a, b, n),
					   oracle_key(metric, a, b, n),
					   chs_distance_bound(
						   n, metric == CHS_METRIC_COSINE ? 4.0 : 2.0 * size));
	}
}

/* Exact values of small cases, and the edges of the definition. */
static void
test_key_values(void)
{
	const float a[3] = {1.0f, 2.0f, 2.0f};
	const float b[3] = {-1.0f, -2.0f, -2.0f};
	const float c[3] = {2.0f, -2.0f, 1.0f};
	const float zero[3] = {0.0f, 0.0f, 0.0f};
	const float tiny[3] = {1e-30f, 1e-30f, 0.0f};
	const float nan3[3] = {1.0f, NAN, 2.0f};

	CHECK(chs_distance_key(CHS_METRIC_L2, a, b, 3) == 36.0);
	CHECK(chs_distance_value(CHS_METRIC_L2, 36.0) == 6.0);
	CHECK(chs_distance_key(CHS_METRIC_IP, a, b, 3) == 9.0);
	CHECK(chs_distance_value(CHS_METRIC_IP, 9.0) == 9.0);
	CHECK(chs_distance_key(CHS_METRIC_L1, a, b, 3) == 10.0);
	CHECK(chs_distance_value(CHS_METRIC_L1, 10.0) == 10.0);
	CHECK(chs_distance_key(CHS_METRIC_COSINE, a, a, 3) == 0.0);
	CHECK(chs_distance_key(CHS_METRIC_COSINE, a, b, 3) == 2.0);
	CHECK(chs_distance_key(CHS_METRIC_COSINE, a, c, 3) == 1.0);
	CHECK(chs_distance_value(CHS_METRIC_COSINE, 2.0) == 2.0);
	CHECK(isnan(chs_distance_key(CHS_METRIC_COSINE, a, zero, 3)));
	CHECK(isnan(chs_distance_key(CHS_METRIC_COSINE, zero, zero, 3)));
	CHECK(isnan(chs_distance_key(CHS_METRIC_COSINE, tiny, tiny, 3)));
	CHECK(chs_distance_key(CHS_METRIC_L2, a, b, 0) == 0.0);
	CHECK(isnan(chs_distance_key(CHS_METRIC_COSINE, a, b, 0)));
	for (ChsMetric metric = CHS_METRIC_L2; metric <= CHS_METRIC_L1; metric++)
		CHECK(isnan(chs_distance_key(metric, a, nan3, 3)));
}

/* A vector and its multiples: the rounded cosine must not leave [-1, 1]. */
static void
test_cosine_clamp(void)
{
	float a[64];
	float b[64];
	float c[64];

	for (int round = 0; round < 200; round++)
	{
		double key;

		for (size_t i = 0; i < 64; i++)
		{
			a[i] = draw_real(0);
			b[i] = a[i] * 0.3f;
			c[i] = a[i] * -7.7f;
		}
		key = chs_distance_key(CHS_METRIC_COSINE, a, b, 64);
		CHECK(key >= 0.0 && key < 1e-6);
		key = chs_distance_key(CHS_METRIC_COSINE, a, c, 64);
		CHECK(key <= 2.0 && key > 2.0 - 1e-6);
	}
}

/* Kernels with the faults a self-test is there to find. */
static float
l2sq_without_tail(const float *a, const float *b, size_t n)
{
	return chs_distance_scalar.l2sq_f32(a, b, n - n % 8);
}

static float
dot_without_last(const float *a, const float *b, size_t n)
{
	return chs_distance_scalar.dot_f32(a, b, n == 0 ? 0 : n - 1);
}

static float
l1_not_a_number(const float *a, const float *b, size_t n)
{
	return n < 100 ? chs_distance_scalar.l1_f32(a, b, n) : NAN;
}

static void
cosine_swapped(const float *a, const float *b, size_t n, float out[3])
{
	chs_distance_scalar.cosine_f32(b, a, n, out);
}

/* A broken best set is refused by name, and the next one is taken. */
static void
check_refused(const ChsDistanceKernels *broken)
{
	const ChsDistanceKernels *sets[] = {broken, &chs_distance_scalar};
	const char *rejected = NULL;

	CHECK(!chs_distance_agrees(broken));
	CHECK(chs_distance_pick(sets, 2, &rejected) == &chs_distance_scalar);
	CHECK(rejected != NULL && strcmp(rejected, chs_isa_name(broken->isa)) == 0);
	/* and with nothing left, still scalar */
	CHECK(chs_distance_pick(sets, 1, &rejected) == &chs_distance_scalar);
}

static void
test_refusal(void)
{
	ChsDistanceKernels broken = *chs_distance();

	broken.l2sq_f32 = l2sq_without_tail;
	check_refused(&broken);
	broken = *chs_distance();
	broken.dot_f32 = dot_without_last;
	check_refused(&broken);
	broken = *chs_distance();
	broken.l1_f32 = l1_not_a_number;
	check_refused(&broken);
	broken = *chs_distance();
	broken.cosine_f32 = cosine_swapped;
	check_refused(&broken);
}

/* A set that this machine cannot run is passed over in silence. */
static void
test_unavailable(ChsIsa isa)
{
	ChsDistanceKernels absent = chs_distance_scalar;
	const ChsDistanceKernels *sets[] = {&absent, &chs_distance_scalar};
	const char *rejected = "";
	ChsIsa before = chs_isa_current();

	absent.isa = isa;
	CHECK(!chs_isa_force(isa));
	CHECK_EQ(chs_isa_current(), before);
	CHECK(chs_distance_pick(sets, 2, &rejected) == &chs_distance_scalar);
	CHECK(rejected == NULL);
}

/* The probe against the compiler's own, which also asks the system. */
static void
test_probe(void)
{
#if defined(__x86_64__)
	bool avx2;
	bool avx512;

	__builtin_cpu_init();
	avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		   __builtin_cpu_supports("popcnt");
	avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
			 __builtin_cpu_supports("avx512bw") &&
			 __builtin_cpu_supports("avx512dq") &&
			 __builtin_cpu_supports("avx512vl") &&
			 __builtin_cpu_supports("avx512vnni") &&
			 __builtin_cpu_supports("avx512vpopcntdq");
	CHECK_EQ(chs_isa_available(CHS_ISA_AVX2), avx2);
	CHECK_EQ(chs_isa_available(CHS_ISA_AVX512), avx512);
	CHECK(!chs_isa_available(CHS_ISA_NEON));
	CHECK_EQ(chs_isa_current(), avx512 ? CHS_ISA_AVX512
								: avx2 ? CHS_ISA_AVX2
									   : CHS_ISA_SCALAR);
#elif defined(__aarch64__)
	CHECK(chs_isa_available(CHS_ISA_NEON));
	CHECK_EQ(chs_isa_current(), CHS_ISA_NEON);
#else
	CHECK_EQ(chs_isa_current(), CHS_ISA_SCALAR);
#endif
	CHECK(chs_isa_available(CHS_ISA_SCALAR));
	CHECK(!chs_isa_available(CHS_ISA_COUNT));
	CHECK(chs_isa_rejected() == NULL);
	CHECK(chs_distance() == chs_distance());
	CHECK(strcmp(chs_isa_name(CHS_ISA_COUNT), "none") == 0);
}

/* Everything about one set; on return it is still the forced one. */
static void
test_set(ChsIsa isa)
{
	const ChsDistanceKernels *kernels;

	CHECK(chs_isa_force(isa));
	CHECK_EQ(chs_isa_current(), isa);
	kernels = chs_distance();
	CHECK_EQ(kernels->isa, isa);
	CHECK(chs_distance_agrees(kernels));
	test_integers(kernels);
	test_reals(kernels);
	test_bounds(kernels);
	test_special_values(kernels);
	test_overflow(kernels);
	test_symmetry(kernels);
	test_keys_near_oracle();
	test_key_values();
	test_cosine_clamp();
}

int
main(int argc, char **argv)
{
	char name[64] = "distance (";
	size_t length = strlen(name);

	test_probe();
	test_refusal();
	for (ChsIsa isa = CHS_ISA_SCALAR; isa < CHS_ISA_COUNT; isa++)
	{
		if (!chs_isa_available(isa))
		{
			test_unavailable(isa);
			continue;
		}
		test_set(isa);
		length += (size_t) snprintf(name + length, sizeof(name) - length,
									"%s%s", isa == CHS_ISA_SCALAR ? "" : " ",
									chs_isa_name(isa));
	}
	for (int i = 1; i < argc; i++)
		if (!CHECK(strstr(name, argv[i]) != NULL))
			fprintf(stderr, "the %s kernels did not run here\n", argv[i]);
	snprintf(name + length, sizeof(name) - length, ")");
	return unit_summary(name);
}
