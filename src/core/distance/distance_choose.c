/*
 * distance_choose.c
 *	  Asks the processor, once, and picks the table of distance kernels.
 *
 * The only file that asks the CPU.  On x86-64 the processor's word (CPUID) is
 * half of the answer: the operating system must also save the wide registers
 * when it switches tasks (XGETBV), or they would be silently corrupted.  A set
 * that both allow is still tried against the scalar kernels before it is used:
 * a wrong distance is not an error anybody would see, only a worse answer, so
 * a miscompiled kernel or a faulty emulator must not get past this point.
 *
 * It must not know what the kernels compute beyond their contract.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

#include "core/base/rng.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Best first; the scalar set ends the list and runs everywhere. */
static const ChsDistanceKernels *const kernel_sets[] = {
#if defined(__x86_64__)
	&chs_distance_avx512,
	&chs_distance_avx2,
#elif defined(__aarch64__)
	&chs_distance_neon,
#endif
	&chs_distance_scalar,
};

#define KERNEL_SETS (sizeof(kernel_sets) / sizeof(kernel_sets[0]))

/* Elements of the self-test's vectors: its longest length, and any offset. */
#define MAX_TEST_LENGTH 200

/* The dispatch state: the table in use, and what the self-test threw out. */
static const ChsDistanceKernels *chosen_kernels = NULL;
static const char *rejected_name = NULL;

#if defined(__x86_64__)

/* XCR0: the register files that the operating system saves and restores. */
#define XCR0_AVX 0x06u    /* xmm, ymm */
#define XCR0_AVX512 0xe6u /* xmm, ymm, mask registers, zmm 0-15, zmm 16-31 */

/*
 * Reads XCR0.  On entry: CPUID must have reported OSXSAVE, or this faults.
 * Assembler, because the intrinsic would need a target attribute for XSAVE.
 */
static uint32_t
read_xcr0(void)
{
	uint32_t low;
	uint32_t high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

/* Are all bits of `wanted` set? */
static inline bool
has_bits(uint32_t value, uint32_t wanted)
{
	return (value & wanted) == wanted;
}

/*
 * Does the processor have the instructions of `isa`, and does the operating
 * system keep their registers?  The bits follow Intel's Software Developer's
 * Manual, volume 2, "CPUID".
 */
static bool
probe_cpu(ChsIsa isa)
{
	const uint32_t leaf1_ecx = UINT32_C(1) << 12 |  /* FMA */
							   UINT32_C(1) << 23 |  /* POPCNT */
							   UINT32_C(1) << 27 |  /* OSXSAVE */
							   UINT32_C(1) << 28 |  /* AVX */
							   UINT32_C(1) << 29;   /* F16C */
	const uint32_t avx2_ebx = UINT32_C(1) << 5;     /* AVX2 */
	const uint32_t avx512_ebx = UINT32_C(1) << 16 | /* AVX512F */
								UINT32_C(1) << 17 | /* AVX512DQ */
								UINT32_C(1) << 30 | /* AVX512BW */
								UINT32_C(1) << 31;  /* AVX512VL */
	const uint32_t avx512_ecx = UINT32_C(1) << 11 | /* AVX512_VNNI */
								UINT32_C(1) << 14;  /* AVX512_VPOPCNTDQ */
	uint32_t eax;
	uint32_t ebx;
	uint32_t ecx;
	uint32_t edx;
	uint32_t xcr0;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_bits(ecx, leaf1_ecx))
		return false;
	xcr0 = read_xcr0();
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return false;
	if (!has_bits(xcr0, XCR0_AVX) || !has_bits(ebx, avx2_ebx))
		return false;
	if (isa == CHS_ISA_AVX2)
		return true;
	return isa == CHS_ISA_AVX512 && has_bits(xcr0, XCR0_AVX512) &&
		   has_bits(ebx, avx512_ebx) && has_bits(ecx, avx512_ecx);
}

#else

/* Nothing to ask: Advanced SIMD is part of AArch64, others run scalar. */
static bool
probe_cpu(ChsIsa isa)
{
	return isa == CHS_ISA_NEON;
}

#endif /* __x86_64__ */

/* The table of a set, or NULL when the build does not contain it. */
static const ChsDistanceKernels *
find_kernels(ChsIsa isa)
{
	for (size_t i = 0; i < KERNEL_SETS; i++)
		if (kernel_sets[i]->isa == isa)
			return kernel_sets[i];
	return NULL;
}

bool
chs_isa_available(ChsIsa isa)
{
	if (isa == CHS_ISA_SCALAR)
		return true;
	return find_kernels(isa) != NULL && probe_cpu(isa);
}

const char *
chs_isa_name(ChsIsa isa)
{
	switch (isa)
	{
		case CHS_ISA_SCALAR:
			return "scalar";
		case CHS_ISA_AVX2:
			return "avx2";
		case CHS_ISA_AVX512:
			return "avx512";
		case CHS_ISA_NEON:
			return "neon";
		case CHS_ISA_COUNT:
			break;
	}
	return "none";
}

double
chs_distance_bound(size_t n, double magnitude)
{
	double steps = ((double) n / 4.0 + 8.0) * (FLT_EPSILON / 2.0);

	/* steps / (1 - steps) is above the compounded error of all roundings */
	return steps / (1.0 - steps) * magnitude + (double) n * FLT_TRUE_MIN;
}

/* Do two sums of n terms differ by no more than two evaluations may? */
static bool
is_near(float x, float y, size_t n, float magnitude)
{
	/* written so that a NaN is not near anything */
	return fabs((double) x - (double) y) <=
		   2.0 * chs_distance_bound(n, magnitude);
}

/*
 * The self-test of one length and place: the float32 kernels against scalar.
 * The terms of a dot product have both signs, so its error is measured
 * against the sum of their magnitudes, at most (a.a + b.b) / 2.
 */
static bool
agrees_at(const ChsDistanceKernels *kernels, const float *a, const float *b,
		  size_t n)
{
	const ChsDistanceKernels *scalar = &chs_distance_scalar;
	float want[3];
	float got[3];
	float l2sq = scalar->l2sq_f32(a, b, n);
	float l1 = scalar->l1_f32(a, b, n);
	float size;

	scalar->cosine_f32(a, b, n, want);
	kernels->cosine_f32(a, b, n, got);
	size = (want[1] + want[2]) * 0.5f;
	return is_near(kernels->l2sq_f32(a, b, n), l2sq, n, l2sq) &&
		   is_near(kernels->l1_f32(a, b, n), l1, n, l1) &&
		   is_near(kernels->dot_f32(a, b, n), want[0], n, size) &&
		   is_near(got[0], want[0], n, size) &&
		   is_near(got[1], want[1], n, want[1]) &&
		   is_near(got[2], want[2], n, want[2]);
}

/*
 * The same for the float16 kernels: the conversions bit for bit, the sums
 * against the scalar set's within the bound of the float ones.
 */
static bool
half_agrees_at(const ChsHalfKernels *kernels, const ChsHalf *a,
			   const ChsHalf *b, size_t n)
{
	const ChsHalfKernels *scalar = &chs_half_scalar;
	float wide[MAX_TEST_LENGTH];
	ChsHalf narrow[MAX_TEST_LENGTH];
	float want[3];
	float got[3];
	float l2sq = scalar->l2sq_f16(a, b, n);
	float l1 = scalar->l1_f16(a, b, n);
	float size;

	kernels->widen_f16(a, n, wide);
	kernels->narrow_f32(wide, n, narrow);
	for (size_t i = 0; i < n; i++)
		if (wide[i] != chs_half_to_float(a[i]) || narrow[i] != a[i])
			return false;
	scalar->cosine_f16(a, b, n, want);
	kernels->cosine_f16(a, b, n, got);
	size = (want[1] + want[2]) * 0.5f;
	return is_near(kernels->l2sq_f16(a, b, n), l2sq, n, l2sq) &&
		   is_near(kernels->l1_f16(a, b, n), l1, n, l1) &&
		   is_near(kernels->dot_f16(a, b, n), want[0], n, size) &&
		   is_near(got[0], want[0], n, size) &&
		   is_near(got[1], want[1], n, want[1]) &&
		   is_near(got[2], want[2], n, want[2]);
}

/* The same for the counts, which are exact. */
static bool
bit_agrees_at(const ChsBitKernels *kernels, const uint8_t *a, const uint8_t *b,
			  size_t bytes)
{
	uint64_t want[2];
	uint64_t got[2];

	chs_bit_scalar.overlap_bit(a, b, bytes, want);
	kernels->overlap_bit(a, b, bytes, got);
	return got[0] == want[0] && got[1] == want[1] &&
		   kernels->hamming_bit(a, b, bytes) ==
			   chs_bit_scalar.hamming_bit(a, b, bytes);
}

bool
chs_distance_agrees(const ChsDistanceKernels *kernels)
{
	/*
	 * Around every boundary of the loops: empty, a tail alone, one vector,
	 * one round of four 512-bit vectors, and a round with rest and tail.
	 */
	static const size_t lengths[] = {0,  1,  3,  4,  7,  8,  9,   15,  16,
									 17, 31, 32, 33, 63, 64, 101, 128, 195};
	float a[MAX_TEST_LENGTH];
	float b[MAX_TEST_LENGTH];
	ChsHalf half_a[MAX_TEST_LENGTH];
	ChsHalf half_b[MAX_TEST_LENGTH];
	ChsRng rng = {.state = 1};

	/* uniform in (-1, 1]: no length agrees with another by chance */
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
	{
		a[i] = (float) (2.0 * chs_unit_from_bits(chs_rng_next(&rng)) - 1.0);
		b[i] = (float) (2.0 * chs_unit_from_bits(chs_rng_next(&rng)) - 1.0);
		half_a[i] = chs_half_from_float(a[i]);
		half_b[i] = chs_half_from_float(b[i]);
	}
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		/* two different offsets, so that one input at least is unaligned */
		if (!agrees_at(kernels, a + i % 5, b + (i + 1) % 5, lengths[i]) ||
			!half_agrees_at(kernels->half, half_a + i % 5,
							half_b + (i + 1) % 5, lengths[i]) ||
			!bit_agrees_at(kernels->bit, (const uint8_t *) a + i % 5,
						   (const uint8_t *) b + (i + 1) % 5, lengths[i]))
			return false;
	}
	return true;
}

const ChsDistanceKernels *
chs_distance_pick(const ChsDistanceKernels *const *sets, size_t count,
				  const char **rejected)
{
	*rejected = NULL;
	for (size_t i = 0; i < count; i++)
	{
		if (!chs_isa_available(sets[i]->isa))
			continue;
		if (chs_distance_agrees(sets[i]))
			return sets[i];
		if (*rejected == NULL)
			*rejected = chs_isa_name(sets[i]->isa);
	}
	return &chs_distance_scalar;
}

const ChsDistanceKernels *
chs_distance(void)
{
	if (chosen_kernels == NULL)
		chosen_kernels = chs_distance_pick(kernel_sets, KERNEL_SETS,
										   &rejected_name);
	return chosen_kernels;
}

ChsIsa
chs_isa_current(void)
{
	return chs_distance()->isa;
}

bool
chs_isa_force(ChsIsa isa)
{
	if (!chs_isa_available(isa))
		return false;
	/* choose first, so that chs_isa_rejected() tells the truth afterwards */
	(void) chs_distance();
	chosen_kernels = find_kernels(isa);
	return true;
}

const char *
chs_isa_rejected(void)
{
	(void) chs_distance();
	return rejected_name;
}
