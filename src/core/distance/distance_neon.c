/*
 * distance_neon.c
 *	  The float32 distance kernels for AArch64 Advanced SIMD (NEON).
 *
 * The same functions in the same order as distance_scalar.c.  Four
 * accumulators hide the four cycles of a fused multiply-add on one vector
 * pipe pair, the common case of the cores in servers.
 *
 * Nothing outside a[0..n) and b[0..n) is read: the last 1 to 3 elements are
 * loaded lane by lane.  Advanced SIMD is part of every AArch64, so there is
 * nothing to ask the processor.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define CHS_NEON_INLINE __attribute__((always_inline)) static inline

/* Which sum is taken.  Always a constant, so the switch is compiled away. */
typedef enum Term
{
	TERM_L2SQ,
	TERM_DOT,
	TERM_L1
} Term;

/* The last `count` (1 to 3) elements, the other lanes 0. */
CHS_NEON_INLINE float32x4_t
load_tail(const float *p, size_t count)
{
	float32x4_t v = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);

	if (count > 1)
		v = vld1q_lane_f32(p + 1, v, 1);
	if (count > 2)
		v = vld1q_lane_f32(p + 2, v, 2);
	return v;
}

CHS_NEON_INLINE float32x4_t
add_term(Term term, float32x4_t sum, float32x4_t a, float32x4_t b)
{
	float32x4_t diff;

	switch (term)
	{
		case TERM_L2SQ:
			diff = vsubq_f32(a, b);
			return vfmaq_f32(sum, diff, diff);
		case TERM_DOT:
			return vfmaq_f32(sum, a, b);
		case TERM_L1:
			return vaddq_f32(sum, vabdq_f32(a, b));
	}
	return sum;
}

CHS_NEON_INLINE float
sum_terms(Term term, const float *a, const float *b, size_t n)
{
	float32x4_t sum0 = vdupq_n_f32(0.0f);
	float32x4_t sum1 = vdupq_n_f32(0.0f);
	float32x4_t sum2 = vdupq_n_f32(0.0f);
	float32x4_t sum3 = vdupq_n_f32(0.0f);
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
	{
		sum0 = add_term(term, sum0, vld1q_f32(a + i), vld1q_f32(b + i));
		sum1 = add_term(term, sum1, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
		sum2 = add_term(term, sum2, vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
		sum3 = add_term(term, sum3, vld1q_f32(a + i + 12),
						vld1q_f32(b + i + 12));
	}
	for (; i + 4 <= n; i += 4)
		sum0 = add_term(term, sum0, vld1q_f32(a + i), vld1q_f32(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return vaddvq_f32(vaddq_f32(vaddq_f32(sum0, sum1), vaddq_f32(sum2, sum3)));
}

static float
chs_l2sq_f32_neon(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

static float
chs_dot_f32_neon(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

static float
chs_l1_f32_neon(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/* One vector of each input for the three sums of cosine_f32. */
CHS_NEON_INLINE void
add_triple(float32x4_t sum[3], float32x4_t a, float32x4_t b)
{
	sum[0] = vfmaq_f32(sum[0], a, b);
	sum[1] = vfmaq_f32(sum[1], a, a);
	sum[2] = vfmaq_f32(sum[2], b, b);
}

static void
chs_cosine_f32_neon(const float *a, const float *b, size_t n, float out[3])
{
	float32x4_t zero = vdupq_n_f32(0.0f);
	float32x4_t even[3] = {zero, zero, zero};
	float32x4_t odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
	{
		add_triple(even, vld1q_f32(a + i), vld1q_f32(b + i));
		add_triple(odd, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
	}
	if (i + 4 <= n)
	{
		add_triple(even, vld1q_f32(a + i), vld1q_f32(b + i));
		i += 4;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = vaddvq_f32(vaddq_f32(even[0], odd[0]));
	out[1] = vaddvq_f32(vaddq_f32(even[1], odd[1]));
	out[2] = vaddvq_f32(vaddq_f32(even[2], odd[2]));
}

const ChsDistanceKernels chs_distance_neon = {
	.isa = CHS_ISA_NEON,
	.l2sq_f32 = chs_l2sq_f32_neon,
	.dot_f32 = chs_dot_f32_neon,
	.l1_f32 = chs_l1_f32_neon,
	.cosine_f32 = chs_cosine_f32_neon,
	.half = &chs_half_neon,
	.bit = &chs_bit_neon,
};

#endif /* __aarch64__ */
