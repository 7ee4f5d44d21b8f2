/*
 * distance_half_avx2.c
 *	  The float16 distance kernels for AVX2 with FMA and F16C.
 *
 * The same functions in the same order as distance_half_scalar.c, and the
 * same loops as distance_avx2.c with a conversion behind each load.  That
 * conversion takes two operations on the port that shuffles, so that one pair
 * of vectors in two to four cycles is the ceiling and four accumulators are
 * more than enough; they are kept for the error bound they share.
 *
 * Nothing outside a[0..n) and b[0..n) is read: AVX2 has no masked load of 16
 * bits, so the last 1 to 7 elements go through a buffer.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define CHS_AVX2 __attribute__((target("avx2,fma,f16c")))
#define CHS_AVX2_INLINE CHS_AVX2 __attribute__((always_inline)) static inline

/* Which sum is taken.  Always a constant, so the switch is compiled away. */
typedef enum Term
{
	TERM_L2SQ,
	TERM_DOT,
	TERM_L1
} Term;

CHS_AVX2_INLINE __m256
load_halves(const ChsHalf *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}

/* The last `count` (0 to 7) elements, the other lanes 0. */
CHS_AVX2_INLINE __m256
load_tail(const ChsHalf *p, size_t count)
{
	ChsHalf buffer[8] = {0};

	for (size_t i = 0; i < count; i++)
		buffer[i] = p[i];
	return load_halves(buffer);
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
sum_terms(Term term, const ChsHalf *a, const ChsHalf *b, size_t n)
{
	__m256 sum0 = _mm256_setzero_ps();
	__m256 sum1 = _mm256_setzero_ps();
	__m256 sum2 = _mm256_setzero_ps();
	__m256 sum3 = _mm256_setzero_ps();
	size_t i = 0;

	for (; i + 32 <= n; i += 32)
	{
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
		sum1 = add_term(term, sum1, load_halves(a + i + 8),
						load_halves(b + i + 8));
		sum2 = add_term(term, sum2, load_halves(a + i + 16),
						load_halves(b + i + 16));
		sum3 = add_term(term, sum3, load_halves(a + i + 24),
						load_halves(b + i + 24));
	}
	for (; i + 8 <= n; i += 8)
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return sum_lanes(
		_mm256_add_ps(_mm256_add_ps(sum0, sum1), _mm256_add_ps(sum2, sum3)));
}

CHS_AVX2 static float
chs_l2sq_f16_avx2(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

CHS_AVX2 static float
chs_dot_f16_avx2(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

CHS_AVX2 static float
chs_l1_f16_avx2(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/* One vector of each input for the three sums of cosine_f16. */
CHS_AVX2_INLINE void
add_triple(__m256 sum[3], __m256 a, __m256 b)
{
	sum[0] = _mm256_fmadd_ps(a, b, sum[0]);
	sum[1] = _mm256_fmadd_ps(a, a, sum[1]);
	sum[2] = _mm256_fmadd_ps(b, b, sum[2]);
}

CHS_AVX2 static void
chs_cosine_f16_avx2(const ChsHalf *a, const ChsHalf *b, size_t n, float out[3])
{
	__m256 zero = _mm256_setzero_ps();
	__m256 even[3] = {zero, zero, zero};
	__m256 odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		add_triple(odd, load_halves(a + i + 8), load_halves(b + i + 8));
	}
	if (i + 8 <= n)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		i += 8;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = sum_lanes(_mm256_add_ps(even[0], odd[0]));
	out[1] = sum_lanes(_mm256_add_ps(even[1], odd[1]));
	out[2] = sum_lanes(_mm256_add_ps(even[2], odd[2]));
}

CHS_AVX2 static void
chs_widen_f16_avx2(const ChsHalf *a, size_t n, float *out)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(out + i, load_halves(a + i));
	for (; i < n; i++)
		out[i] = chs_half_to_float(a[i]);
}

CHS_AVX2 static void
chs_narrow_f32_avx2(const float *a, size_t n, ChsHalf *out)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *) (out + i),
						 _mm256_cvtps_ph(_mm256_loadu_ps(a + i),
										 _MM_FROUND_TO_NEAREST_INT));
	for (; i < n; i++)
		out[i] = chs_half_from_float(a[i]);
}

const ChsHalfKernels chs_half_avx2 = {
	.l2sq_f16 = chs_l2sq_f16_avx2,
	.dot_f16 = chs_dot_f16_avx2,
	.l1_f16 = chs_l1_f16_avx2,
	.cosine_f16 = chs_cosine_f16_avx2,
	.widen_f16 = chs_widen_f16_avx2,
	.narrow_f32 = chs_narrow_f32_avx2,
};

#endif /* __x86_64__ */
