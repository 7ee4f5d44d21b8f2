/*
 * distance_half_neon.c
 *	  The float16 distance kernels for AArch64 Advanced SIMD (NEON).
 *
 * The same functions in the same order as distance_half_scalar.c, and the
 * same loops as distance_neon.c with a conversion behind each load.  The
 * conversions are part of every AArch64; arithmetic on float16 itself is not
 * (FEAT_FP16), and float sums need none.
 *
 * Nothing outside a[0..n) and b[0..n) is read: the last 1 to 3 elements are
 * loaded lane by lane.
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

CHS_NEON_INLINE float32x4_t
load_halves(const ChsHalf *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

/* The last `count` (1 to 3) elements, the other lanes 0. */
CHS_NEON_INLINE float32x4_t
load_tail(const ChsHalf *p, size_t count)
{
	uint16x4_t v = vld1_lane_u16(p, vdup_n_u16(0), 0);

	if (count > 1)
		v = vld1_lane_u16(p + 1, v, 1);
	if (count > 2)
		v = vld1_lane_u16(p + 2, v, 2);
	return vcvt_f32_f16(vreinterpret_f16_u16(v));
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
sum_terms(Term term, const ChsHalf *a, const ChsHalf *b, size_t n)
{
	float32x4_t sum0 = vdupq_n_f32(0.0f);
	float32x4_t sum1 = vdupq_n_f32(0.0f);
	float32x4_t sum2 = vdupq_n_f32(0.0f);
	float32x4_t sum3 = vdupq_n_f32(0.0f);
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
	{
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
		sum1 = add_term(term, sum1, load_halves(a + i + 4),
						load_halves(b + i + 4));
		sum2 = add_term(term, sum2, load_halves(a + i + 8),
						load_halves(b + i + 8));
		sum3 = add_term(term, sum3, load_halves(a + i + 12),
						load_halves(b + i + 12));
	}
	for (; i + 4 <= n; i += 4)
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return vaddvq_f32(vaddq_f32(vaddq_f32(sum0, sum1), vaddq_f32(sum2, sum3)));
}

static float
chs_l2sq_f16_neon(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

static float
chs_dot_f16_neon(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

static float
chs_l1_f16_neon(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/* One vector of each input for the three sums of cosine_f16. */
CHS_NEON_INLINE void
add_triple(float32x4_t sum[3], float32x4_t a, float32x4_t b)
{
	sum[0] = vfmaq_f32(sum[0], a, b);
	sum[1] = vfmaq_f32(sum[1], a, a);
	sum[2] = vfmaq_f32(sum[2], b, b);
}

static void
chs_cosine_f16_neon(const ChsHalf *a, const ChsHalf *b, size_t n, float out[3])
{
	float32x4_t zero = vdupq_n_f32(0.0f);
	float32x4_t even[3] = {zero, zero, zero};
	float32x4_t odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		add_triple(odd, load_halves(a + i + 4), load_halves(b + i + 4));
	}
	if (i + 4 <= n)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		i += 4;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = vaddvq_f32(vaddq_f32(even[0], odd[0]));
	out[1] = vaddvq_f32(vaddq_f32(even[1], odd[1]));
	out[2] = vaddvq_f32(vaddq_f32(even[2], odd[2]));
}

static void
chs_widen_f16_neon(const ChsHalf *a, size_t n, float *out)
{
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		vst1q_f32(out + i, load_halves(a + i));
	for (; i < n; i++)
		out[i] = chs_half_to_float(a[i]);
}

static void
chs_narrow_f32_neon(const float *a, size_t n, ChsHalf *out)
{
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(a + i))));
	for (; i < n; i++)
		out[i] = chs_half_from_float(a[i]);
}

const ChsHalfKernels chs_half_neon = {
	.l2sq_f16 = chs_l2sq_f16_neon,
	.dot_f16 = chs_dot_f16_neon,
	.l1_f16 = chs_l1_f16_neon,
	.cosine_f16 = chs_cosine_f16_neon,
	.widen_f16 = chs_widen_f16_neon,
	.narrow_f32 = chs_narrow_f32_neon,
};

#endif /* __aarch64__ */
