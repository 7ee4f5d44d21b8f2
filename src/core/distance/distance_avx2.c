/*
 * distance_avx2.c
 *	  The float32 distance kernels for AVX2 with FMA.
 *
 * The same functions in the same order as distance_scalar.c.  Two loads feed
 * each multiply-add and the processor does two loads a cycle, so one vector a
 * cycle is the ceiling; an addition takes four cycles, hence four accumulators.
 *
 * Nothing outside a[0..n) and b[0..n) is read: the last 1 to 7 elements come
 * through a masked load, which neither faults on nor reads the masked ones.
 * Whether this processor may run the file is distance_choose.c's business.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

#define CHS_AVX2 __attribute__((target("avx2,fma")))
#define CHS_AVX2_INLINE CHS_AVX2 __attribute__((always_inline)) static inline

/* Which sum is taken.  Always a constant, so the switch is compiled away. */
typedef enum Term
{
	TERM_L2SQ,
	TERM_DOT,
	TERM_L1
} Term;

/* The last `count` (0 to 7) elements, the other lanes 0. */
CHS_AVX2_INLINE __m256
load_tail(const float *p, size_t count)
{
	/* read from 8 - count on: `count` times all ones, then zeros */
	static const int32_t masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
	const int32_t *mask = masks + 8 - count;

	return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *) mask));
}

CHS_AVX2_INLINE float
sum_lanes(__m256 v)
{
	__m128 half = _mm_add_ps(_mm256_castps256_ps128(v),
							 _mm256_extractf128_ps(v, 1));
	__m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));

	return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

CHS_AVX2_INLINE __m256
add_term(Term term, __m256 sum, __m256 a, __m256 b)
{
	__m256 diff;

	switch (term)
	{
		case TERM_L2SQ:
			diff = _mm256_sub_ps(a, b);
			return _mm256_fmadd_ps(diff, diff, sum);
		case TERM_DOT:
			return _mm256_fmadd_ps(a, b, sum);
		case TERM_L1:
			diff = _mm256_sub_ps(a, b);
			/* clearing the sign bit is the absolute value, also of NaN */
			return _mm256_add_ps(sum,
								 _mm256_andnot_ps(_mm256_set1_ps(-0.0f), diff));
	}
	return sum;
}

CHS_AVX2_INLINE float
sum_terms(Term term, const float *a, const float *b, size_t n)
{
	__m256 sum0 = _mm256_setzero_ps();
	__m256 sum1 = _mm256_setzero_ps();
	__m256 sum2 = _mm256_setzero_ps();
	__m256 sum3 = _mm256_setzero_ps();
	size_t i = 0;

	for (; i + 32 <= n; i += 32)
	{
		sum0 = add_term(term, sum0, _mm256_loadu_ps(a + i),
						_mm256_loadu_ps(b + i));
		sum1 = add_term(term, sum1, _mm256_loadu_ps(a + i + 8),
						_mm256_loadu_ps(b + i + 8));
		sum2 = add_term(term, sum2, _mm256_loadu_ps(a + i + 16),
						_mm256_loadu_ps(b + i + 16));
		sum3 = add_term(term, sum3, _mm256_loadu_ps(a + i + 24),
						_mm256_loadu_ps(b + i + 24));
	}
	for (; i + 8 <= n; i += 8)
		sum0 = add_term(term, sum0, _mm256_loadu_ps(a + i),
						_mm256_loadu_ps(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return sum_lanes(
		_mm256_add_ps(_mm256_add_ps(sum0, sum1), _mm256_add_ps(sum2, sum3)));
}

CHS_AVX2 static float
chs_l2sq_f32_avx2(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

CHS_AVX2 static float
chs_dot_f32_avx2(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

CHS_AVX2 static float
chs_l1_f32_avx2(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/* One vector of each input for the three sums of cosine_f32. */
CHS_AVX2_INLINE void
add_triple(__m256 sum[3], __m256 a, __m256 b)
{
	sum[0] = _mm256_fmadd_ps(a, b, sum[0]);
	sum[1] = _mm256_fmadd_ps(a, a, sum[1]);
	sum[2] = _mm256_fmadd_ps(b, b, sum[2]);
}

CHS_AVX2 static void
chs_cosine_f32_avx2(const float *a, const float *b, size_t n, float out[3])
{
	__m256 zero = _mm256_setzero_ps();
	__m256 even[3] = {zero, zero, zero};
	__m256 odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
	{
		add_triple(even, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		add_triple(odd, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
	}
	if (i + 8 <= n)
	{
		add_triple(even, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		i += 8;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = sum_lanes(_mm256_add_ps(even[0], odd[0]));
	out[1] = sum_lanes(_mm256_add_ps(even[1], odd[1]));
	out[2] = sum_lanes(_mm256_add_ps(even[2], odd[2]));
}

const ChsDistanceKernels chs_distance_avx2 = {
	.isa = CHS_ISA_AVX2,
	.l2sq_f32 = chs_l2sq_f32_avx2,
	.dot_f32 = chs_dot_f32_avx2,
	.l1_f32 = chs_l1_f32_avx2,
	.cosine_f32 = chs_cosine_f32_avx2,
	.half = &chs_half_avx2,
	.bit = &chs_bit_avx2,
};

#endif /* __x86_64__ */
