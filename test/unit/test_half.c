/*
 * test_half.c
 *	  float16: the conversions, and the kernels of every set this machine runs.
 *
 * What is proved:
 *	- to float: all 65,536 halves against the number computed from sign,
 *	  exponent and fraction; the two kinds of NaN stay NaN;
 *	- from float: the nearest half, the even one of two, against a search
 *	  through the numbers themselves, at every half, every midpoint between
 *	  two, their neighbours among the floats, and random floats;
 *	- for each available set, the conversions of arrays give the definition's
 *	  bits, for lengths around every loop boundary, and the sums behave as
 *	  those of float32 do: exact on small integers at every length and
 *	  alignment, within the documented bound on others, reading nothing beside
 *	  the vectors, NaN and infinity as in the scalar set, symmetric, 0 from a
 *	  vector to itself;
 *	- a broken set is refused.
 *
 * The summary names the sets that ran.  An argument names a set that must be
 * among them.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/distance/distance.h"
#include "guard.h"
#include "unit.h"

#define MAX_LENGTH 200
#define MAX_OFFSET 33 /* halves: past one 64-byte line */

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Float bits per draw of the sweep over random floats. */
#define RANDOM_FLOATS 2000000

static ChsRng rng = {.state = 20240608};

typedef struct Sums
{
	float l2sq;
	float dot;
	float l1;
	float cosine[3];
} Sums;

static uint32_t
bits_of(float number)
{
	uint32_t bits;

	memcpy(&bits, &number, sizeof(bits));
	return bits;
}

static float
float_of(uint32_t bits)
{
	float number;

	memcpy(&number, &bits, sizeof(number));
	return number;
}

/* The number a finite half stands for, by the format's definition. */
static double
value_of(ChsHalf half)
{
	int exponent = (half >> 10) & 31;
	int fraction = half & 1023;
	double magnitude = exponent == 0 ? ldexp(fraction, -24)
									 : ldexp(1024 + fraction, exponent - 25);

	return half & CHS_HALF_SIGN ? -magnitude : magnitude;
}

static void
test_widening(void)
{
	for (uint32_t h = 0; h <= UINT16_MAX; h++)
	{
		ChsHalf half = (ChsHalf) h;
		float number = chs_half_to_float(half);

		if ((half & 0x7c00) != 0x7c00)
		{
			CHECK(chs_half_is_finite(half));
			CHECK((double) number == value_of(half));
			CHECK_EQ(signbit(number) != 0, half >> 15);
			CHECK_EQ(chs_half_is_zero(half), number == 0.0f);
		}
		else if ((half & 0x3ff) == 0)
			CHECK(isinf(number) && (signbit(number) != 0) == (half >> 15) &&
				  !chs_half_is_finite(half) && !chs_half_is_nan(half));
		else
			CHECK(isnan(number) && chs_half_is_nan(half) &&
				  bits_of(number) ==
					  (((uint32_t) half & 0x8000) << 16 | 0x7fc00000u |
					   ((uint32_t) half & 0x3ff) << 13));

		/* and back, with a quiet NaN for a signalling one */
		CHECK_EQ(chs_half_from_float(number),
				 chs_half_is_nan(half) ? half | 0x200 : half);
	}
}

/*
 * The nearest half to a positive finite number, found by bisection: halves of
 * one sign ascend with their bits.  Infinity is the half behind 65504, as if
 * it were 65536.
 */
static ChsHalf
round_by_search(double number)
{
	uint32_t low = 0;
	uint32_t high = CHS_HALF_INFINITY;
	double below;
	double above;

	while (high - low > 1)
	{
		uint32_t middle = (low + high) / 2;

		if (value_of((ChsHalf) middle) <= number)
			low = middle;
		else
			high = middle;
	}
	if (number >= 65536.0)
		return CHS_HALF_INFINITY;
	below = number - value_of((ChsHalf) low);
	above = (high == CHS_HALF_INFINITY ? 65536.0 : value_of((ChsHalf) high)) -
			number;
	if (below != above)
		return (ChsHalf) (below < above ? low : high);
	return (ChsHalf) (low % 2 == 0 ? low : high);
}

static void
check_narrowing(float number)
{
	ChsHalf want = round_by_search(fabs((double) number));

	CHECK_EQ(chs_half_from_float(fabsf(number)), want);
	CHECK_EQ(chs_half_from_float(-fabsf(number)), want | CHS_HALF_SIGN);
}

static void
test_narrowing(void)
{
	for (uint32_t h = 0; h < CHS_HALF_INFINITY; h++)
	{
		double this = value_of((ChsHalf) h);
		double next = h + 1 == CHS_HALF_INFINITY ? 65536.0
												 : value_of((ChsHalf) (h + 1));
		/* a float holds a midpoint exactly: it takes one bit more */
		float middle = (float) ((this + next) / 2);

		check_narrowing((float) this);
		check_narrowing(middle);
		check_narrowing(nextafterf(middle, 0.0f));
		check_narrowing(nextafterf(middle, INFINITY));
		check_narrowing(nextafterf((float) this, INFINITY));
	}
	for (int i = 0; i < RANDOM_FLOATS; i++)
	{
		float number = float_of((uint32_t) chs_rng_next(&rng));

		if (isfinite(number))
			check_narrowing(number);
		else
			CHECK(isinf(number) ? (chs_half_from_float(number) & 0x7fff) ==
									  CHS_HALF_INFINITY
								: chs_half_is_nan(chs_half_from_float(number)));
	}
	CHECK_EQ(chs_half_from_float(INFINITY), 0x7c00);
	CHECK_EQ(chs_half_from_float(-INFINITY), 0xfc00);
	CHECK_EQ(chs_half_from_float(65519.996f), 0x7bff);
	CHECK_EQ(chs_half_from_float(65520.0f), 0x7c00);
	CHECK_EQ(chs_half_from_float(0x1p-25f), 0);
	CHECK_EQ(chs_half_from_float(0x1.000002p-25f), 1);
	CHECK_EQ(chs_half_from_float(-0x1p-149f), 0x8000);
	CHECK_EQ(chs_half_from_float(0x1.ffep-15f), 0x400);
}

/* Arrays of every half and of random floats give the definition's bits. */
static void
test_arrays(const ChsHalfKernels *kernels)
{
	ChsHalf *halves = malloc((UINT16_MAX + 1) * sizeof(ChsHalf));
	float *wide = malloc((UINT16_MAX + 1) * sizeof(float));

	for (uint32_t h = 0; h <= UINT16_MAX; h++)
		halves[h] = (ChsHalf) h;
	kernels->widen_f16(halves, UINT16_MAX + 1, wide);
	for (uint32_t h = 0; h <= UINT16_MAX; h++)
		CHECK(bits_of(wide[h]) == bits_of(chs_half_to_float((ChsHalf) h)));

	for (int round = 0; round < 20; round++)
	{
		/* most random floats are no halves: also some that nearly are */
		for (uint32_t i = 0; i <= UINT16_MAX; i++)
			wide[i] = i % 2 == 0
						  ? float_of((uint32_t) chs_rng_next(&rng))
						  : float_of(bits_of(chs_half_to_float((ChsHalf) i)) +
									 (uint32_t) (chs_rng_next(&rng) % 0x4000));
		kernels->narrow_f32(wide, UINT16_MAX + 1, halves);
		for (uint32_t i = 0; i <= UINT16_MAX; i++)
			CHECK_EQ(halves[i], chs_half_from_float(wide[i]));
	}

	/* exactly n elements, wherever they lie */
	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		float out[MAX_LENGTH + 1];
		ChsHalf back[MAX_LENGTH + 1];

		out[n] = 42.0f;
		back[n] = 42;
		kernels->widen_f16(halves + n % 7, n, out);
		kernels->narrow_f32(wide + n % 5, n, back);
		for (size_t i = 0; i < n; i++)
		{
			CHECK(bits_of(out[i]) ==
				  bits_of(chs_half_to_float(halves[i + n % 7])));
			CHECK_EQ(back[i], chs_half_from_float(wide[i + n % 5]));
		}
		CHECK(out[n] == 42.0f && back[n] == 42);
	}
	free(halves);
	free(wide);
}

static Sums
run_kernels(const ChsHalfKernels *kernels, const ChsHalf *a, const ChsHalf *b,
			size_t n)
{
	Sums sums;

	sums.l2sq = kernels->l2sq_f16(a, b, n);
	sums.dot = kernels->dot_f16(a, b, n);
	sums.l1 = kernels->l1_f16(a, b, n);
	kernels->cosine_f16(a, b, n, sums.cosine);
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

/* Against the exact sums, within the bound of the float32 kernels. */
static void
check_near_exact(const Sums *got, const ChsHalf *a, const ChsHalf *b, size_t n)
{
	double l2sq = 0.0;
	double dot = 0.0;
	double l1 = 0.0;
	double magnitude = 0.0;
	double norms[2] = {0.0, 0.0};

	for (size_t i = 0; i < n; i++)
	{
		double x = value_of(a[i]);
		double y = value_of(b[i]);

		l2sq += (x - y) * (x - y);
		dot += x * y;
		l1 += fabs(x - y);
		magnitude += fabs(x * y);
		norms[0] += x * x;
		norms[1] += y * y;
	}
	CHECK_NEAR(got->l2sq, l2sq, chs_distance_bound(n, l2sq));
	CHECK_NEAR(got->dot, dot, chs_distance_bound(n, magnitude));
	CHECK_NEAR(got->l1, l1, chs_distance_bound(n, l1));
	CHECK_NEAR(got->cosine[0], dot, chs_distance_bound(n, magnitude));
	for (size_t i = 0; i < 2; i++)
		CHECK_NEAR(got->cosine[i + 1], norms[i],
				   chs_distance_bound(n, norms[i]));
}

/* -8 .. 8: 200 products stay far below 2^24, where floats stop being exact. */
static ChsHalf
draw_integer(void)
{
	return chs_half_from_float((float) ((int) (chs_rng_next(&rng) % 17) - 8));
}

/* Any finite half, denormals as often as any other exponent. */
static ChsHalf
draw_half(void)
{
	for (;;)
	{
		ChsHalf half = (ChsHalf) chs_rng_next(&rng);

		if (chs_half_is_finite(half))
			return half;
	}
}

/* n drawn values at the offset of a buffer that is NaN elsewhere. */
static const ChsHalf *
place_integers(ChsHalf *buffer, size_t offset, size_t n)
{
	for (size_t i = 0; i < MAX_LENGTH + 2 * MAX_OFFSET; i++)
		buffer[i] = 0x7e00;
	for (size_t i = 0; i < n; i++)
		buffer[offset + i] = draw_integer();
	return buffer + offset;
}

/* Exact sums: every set must return the same bits as the exact value. */
static void
test_integers(const ChsHalfKernels *kernels)
{
	ChsHalf a_buffer[MAX_LENGTH + 2 * MAX_OFFSET];
	ChsHalf b_buffer[MAX_LENGTH + 2 * MAX_OFFSET];

	for (size_t n = 0; n <= MAX_LENGTH; n++)
		for (size_t offset = 0; offset < MAX_OFFSET; offset += 3)
		{
			const ChsHalf *a = place_integers(a_buffer, offset, n);
			const ChsHalf *b = place_integers(b_buffer,
											  offset * 7 % MAX_OFFSET, n);
			Sums got = run_kernels(kernels, a, b, n);
			Sums want = {0};

			for (size_t i = 0; i < n; i++)
			{
				float x = chs_half_to_float(a[i]);
				float y = chs_half_to_float(b[i]);

				want.l2sq += (x - y) * (x - y);
				want.dot += x * y;
				want.l1 += fabsf(x - y);
				want.cosine[1] += x * x;
				want.cosine[2] += y * y;
			}
			want.cosine[0] = want.dot;
			check_same(&got, &want);
		}
}

static void
test_any_halves(const ChsHalfKernels *kernels)
{
	static const size_t lengths[] = {384, 768, 1000, 1536, 4096, 16000};
	ChsHalf *a = malloc((16000 + MAX_OFFSET) * sizeof(ChsHalf));
	ChsHalf *b = malloc((16000 + MAX_OFFSET) * sizeof(ChsHalf));
	Sums got;

	for (size_t i = 0; i < 16000 + MAX_OFFSET; i++)
	{
		a[i] = draw_half();
		b[i] = draw_half();
	}
	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		got = run_kernels(kernels, a + n % 5, b + n % 7, n);
		check_near_exact(&got, a + n % 5, b + n % 7, n);
	}
	for (size_t i = 0; i < LENGTH_OF(lengths); i++)
	{
		got = run_kernels(kernels, a + i + 1, b + 3, lengths[i]);
		check_near_exact(&got, a + i + 1, b + 3, lengths[i]);
	}

	/* the largest squares, 16,000 of them, are far from a float's limit */
	for (size_t i = 0; i < 16000; i++)
	{
		a[i] = 0x7bff;
		b[i] = 0xfbff;
	}
	got = run_kernels(kernels, a, b, 16000);
	check_near_exact(&got, a, b, 16000);
	free(a);
	free(b);
}

/* Vectors that begin or end exactly at a page without access. */
static void
test_bounds(const ChsHalfKernels *kernels)
{
	size_t bytes;
	ChsHalf *page = guard_map(&bytes);
	size_t page_halves = bytes / sizeof(ChsHalf);
	float wide[MAX_LENGTH];

	for (size_t i = 0; i < page_halves; i++)
		page[i] = draw_integer();
	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		const ChsHalf *last = page + page_halves - n;
		Sums got = run_kernels(kernels, page, last, n);
		Sums want = run_kernels(&chs_half_scalar, page, last, n);

		check_same(&got, &want);
		got = run_kernels(kernels, last, page, n);
		want = run_kernels(&chs_half_scalar, last, page, n);
		check_same(&got, &want);
		kernels->widen_f16(last, n, wide);
		kernels->narrow_f32(wide, n, page + page_halves - n);
		for (size_t i = 0; i < n; i++)
			CHECK(wide[i] == chs_half_to_float(last[i]));
	}
	guard_unmap(page, bytes);
}

/* One pair of special values in company whose sums are exact. */
static void
test_special_values(const ChsHalfKernels *kernels)
{
	static const ChsHalf special[] = {0x0000, 0x8000, 0x0001, 0x8001,
									  0x03ff, 0x7bff, 0xfbff, 0x7c00,
									  0xfc00, 0x7e00, 0x7c01, 0xfe01};
	static const size_t lengths[] = {1, 5, 8, 15, 16, 33, 71, 150};
	ChsHalf a[150];
	ChsHalf b[150];

	for (size_t l = 0; l < LENGTH_OF(lengths); l++)
		for (size_t i = 0; i < LENGTH_OF(special); i++)
			for (size_t j = 0; j < LENGTH_OF(special); j++)
				for (size_t place = 0; place < lengths[l]; place++)
				{
					Sums got;
					Sums want;

					memset(a, 0, sizeof(a));
					memset(b, 0, sizeof(b));
					a[place] = special[i];
					b[place] = special[j];
					got = run_kernels(kernels, a, b, lengths[l]);
					want = run_kernels(&chs_half_scalar, a, b, lengths[l]);
					check_same(&got, &want);
				}
}

/* What the index leans on: symmetry, and 0 from a vector to itself. */
static void
test_symmetry(const ChsHalfKernels *kernels)
{
	ChsHalf a[MAX_LENGTH];
	ChsHalf b[MAX_LENGTH];

	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		Sums ab;
		Sums ba;
		Sums aa;

		for (size_t i = 0; i < n; i++)
		{
			a[i] = draw_half();
			b[i] = draw_half();
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

/* The keys are those of the same numbers as float32, for exact sums. */
static void
test_keys(void)
{
	ChsHalf a[64];
	ChsHalf b[64];
	float wide_a[64];
	float wide_b[64];
	const ChsHalf zero[2] = {0, CHS_HALF_SIGN};

	for (size_t i = 0; i < 64; i++)
	{
		a[i] = draw_integer();
		b[i] = draw_integer();
		wide_a[i] = chs_half_to_float(a[i]);
		wide_b[i] = chs_half_to_float(b[i]);
	}
	for (ChsMetric metric = CHS_METRIC_L2; metric <= CHS_METRIC_L1; metric++)
		CHECK(chs_distance_key_f16(metric, a, b, 64) ==
			  chs_distance_key(metric, wide_a, wide_b, 64));
	CHECK(chs_distance_key_f16(CHS_METRIC_COSINE, a, a, 64) == 0.0);
	CHECK(isnan(chs_distance_key_f16(CHS_METRIC_COSINE, a, zero, 2)));
	CHECK(chs_distance_key_f16(CHS_METRIC_L2, zero, zero + 1, 1) == 0.0);
}

static float
l1_without_tail(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return chs_half_scalar.l1_f16(a, b, n - n % 8);
}

static void
narrow_toward_zero(const float *a, size_t n, ChsHalf *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = chs_half_from_float(nextafterf(a[i], 0.0f));
	if (n > 8)
		out[8]--;
}

static void
widen_without_denormals(const ChsHalf *a, size_t n, float *out)
{
	chs_half_scalar.widen_f16(a, n, out);
	for (size_t i = 0; i + 1 < n; i++)
		if ((a[i] & 0x7c00) < 0x3000)
			out[i] = 0.0f;
}

static void
check_refused(const ChsHalfKernels *broken)
{
	ChsDistanceKernels kernels = *chs_distance();

	CHECK(chs_distance_agrees(&kernels));
	kernels.half = broken;
	CHECK(!chs_distance_agrees(&kernels));
}

static void
test_refusal(void)
{
	ChsHalfKernels broken = chs_half_scalar;

	broken.l1_f16 = l1_without_tail;
	check_refused(&broken);
	broken = chs_half_scalar;
	broken.narrow_f32 = narrow_toward_zero;
	check_refused(&broken);
	broken = chs_half_scalar;
	broken.widen_f16 = widen_without_denormals;
	check_refused(&broken);
}

static void
test_set(ChsIsa isa)
{
	const ChsHalfKernels *kernels;

	CHECK(chs_isa_force(isa));
	kernels = chs_distance()->half;
	test_arrays(kernels);
	test_integers(kernels);
	test_any_halves(kernels);
	test_bounds(kernels);
	test_special_values(kernels);
	test_symmetry(kernels);
	test_keys();
}

int
main(int argc, char **argv)
{
	char name[64] = "half (";
	size_t length = strlen(name);

	test_widening();
	test_narrowing();
	test_refusal();
	for (ChsIsa isa = CHS_ISA_SCALAR; isa < CHS_ISA_COUNT; isa++)
	{
		if (!chs_isa_available(isa))
			continue;
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
