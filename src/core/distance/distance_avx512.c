/*
 * distance_avx512.c
 *	  The float32 distance kernels for AVX-512.
 *
 * The same functions in the same order as distance_scalar.c, with the same
 * reasoning about accumulators as distance_avx2.c.  The kernels here need no
 * more than AVX512F; the set as a whole asks for more because the quantizer's
 * kernels of the same set do (see README.md).
 *
 * Nothing outside a[0..n) and b[0..n) is read: the last 1 to 15 elements come
 * through a masked load, which neither faults on nor reads the masked ones.
 * Whether this processor may run the file is distance_choose.c's business.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define CHS_AVX512 \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define CHS_AVX512_INLINE \
	CHS_AVX512 __attribute__((always_inline)) static inline

/* Which sum is taken.  Always a constant, so the switch is compiled away. */
typedef enum Term
{
	TERM_L2SQ,
	TERM_DOT,
	TERM_L1
} Term;

/* The last `count` (0 to 15) elements, the other lanes 0. */
CHS_AVX512_INLINE __m512
load_tail(const float *p, size_t count)
{
	return _mm512_maskz_loadu_ps((__mmask16) ((1u << count) - 1u), p);
}

CHS_AVX512_INLINE __m512
add_term(Term term, __m512 sum, __m512 a, __m512 b)
{
	__m512 diff;

	switch (term)
	{
		case TERM_L2SQ:
			diff = _mm512_sub_ps(a, b);
			return _mm512_fmadd_ps(diff, diff, sum);
		case TERM_DOT:
			return _mm512_fmadd_ps(a, b, sum);
		case TERM_L1:
			return _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)));
	}
	return sum;
}

CHS_AVX512_INLINE float
sum_terms(Term term, const float *a, const float *b, size_t n)
{
	__m512 sum0 = _mm512_setzero_ps();
	__m512 sum1 = _mm512_setzero_ps();
	__m512 sum2 = _mm512_setzero_ps();
	__m512 sum3 = _mm512_setzero_ps();
	size_t i = 0;

	for (; i + 64 <= n; i += 64)
	{
		sum0 = add_term(term, sum0, _mm512_loadu_ps(a + i),
						_mm512_loadu_ps(b + i));
		sum1 = add_term(term, sum1, _mm512_loadu_ps(a + i + 16),
						_mm512_loadu_ps(b + i + 16));
		sum2 = add_term(term, sum2, _mm512_loadu_ps(a + i + 32),
						_mm512_loadu_ps(b + i + 32));
		sum3 = add_term(term, sum3, _mm512_loadu_ps(a + i + 48),
						_mm512_loadu_ps(b + i + 48));
	}
	for (; i + 16 <= n; i += 16)
		sum0 = add_term(term, sum0, _mm512_loadu_ps(a + i),
						_mm512_loadu_ps(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return _mm512_reduce_add_ps(
		_mm512_add_ps(_mm512_add_ps(sum0, sum1), _mm512_add_ps(sum2, sum3)));
}

CHS_AVX512 static float
chs_l2sq_f32_avx512(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

CHS_AVX512 static float
chs_dot_f32_avx512(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

CHS_AVX512 static float
chs_l1_f32_avx512(const float *a, const float *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/*
 * One vector of each input for the three sums of cosine_f32.  The squares come
 * first because gcc 12 loads b twice when the product does, which costs a
 * quarter on unaligned rows.
 */
CHS_AVX512_INLINE void
add_triple(__m512 sum[3], __m512 a, __m512 b)
{
	sum[1] = _mm512_fmadd_ps(a, a, sum[1]);
	sum[2] = _mm512_fmadd_ps(b, b, sum[2]);
	sum[0] = _mm512_fmadd_ps(a, b, sum[0]);
}

CHS_AVX512 static void
chs_cosine_f32_avx512(const float *a, const float *b, size_t n, float out[3])
{
	__m512 zero = _mm512_setzero_ps();
	__m512 even[3] = {zero, zero, zero};
	__m512 odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 32 <= n; i += 32)
	{
		add_triple(even, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
		add_triple(odd, _mm512_loadu_ps(a + i + 16),
				   _mm512_loadu_ps(b + i + 16));
	}
	if (i + 16 <= n)
	{
		add_triple(even, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
		i += 16;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = _mm512_reduce_add_ps(_mm512_add_ps(even[0], odd[0]));
	out[1] = _mm512_reduce_add_ps(_mm512_add_ps(even[1], odd[1]));
	out[2] = _mm512_reduce_add_ps(_mm512_add_ps(even[2], odd[2]));
}

const ChsDistanceKernels chs_distance_avx512 = {
	.isa = CHS_ISA_AVX512,
	.l2sq_f32 = chs_l2sq_f32_avx512,
	.dot_f32 = chs_dot_f32_avx512,
	.l1_f32 = chs_l1_f32_avx512,
	.cosine_f32 = chs_cosine_f32_avx512,
	.half = &chs_half_avx512,
	.bit = &chs_bit_avx512,
};

#endif /* __x86_64__ */
