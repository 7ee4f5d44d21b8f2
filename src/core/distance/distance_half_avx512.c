/*
 * distance_half_avx512.c
 *	  The float16 distance kernels for AVX-512.
 *
 * The same functions in the same order as distance_half_scalar.c, and the
 * same loops as distance_avx512.c with a conversion behind each load.  Sums
 * are float, not float16 as AVX512-FP16 would offer: they would overflow at
 * 65504 and keep three digits.
 *
 * Nothing outside a[0..n) and b[0..n) is read: the last 1 to 15 elements come
 * through a masked load, which neither faults on nor reads the masked ones.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define CHS_AVX512 \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))
#define CHS_AVX512_INLINE \
	CHS_AVX512 __attribute__((always_inline)) static inline

/* To nearest even, whatever the processor's mode.  Clang wants a constant. */
#define CHS_NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

/* Which sum is taken.  Always a constant, so the switch is compiled away. */
typedef enum Term
{
	TERM_L2SQ,
	TERM_DOT,
	TERM_L1
} Term;

CHS_AVX512_INLINE __m512
load_halves(const ChsHalf *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}

CHS_AVX512_INLINE __mmask16
mask_tail(size_t count)
{
	return (__mmask16) ((1u << count) - 1u);
}

/* The last `count` (0 to 15) elements, the other lanes 0. */
CHS_AVX512_INLINE __m512
load_tail(const ChsHalf *p, size_t count)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask_tail(count), p));
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
sum_terms(Term term, const ChsHalf *a, const ChsHalf *b, size_t n)
{
	__m512 sum0 = _mm512_setzero_ps();
	__m512 sum1 = _mm512_setzero_ps();
	__m512 sum2 = _mm512_setzero_ps();
	__m512 sum3 = _mm512_setzero_ps();
	size_t i = 0;

	for (; i + 64 <= n; i += 64)
	{
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
		sum1 = add_term(term, sum1, load_halves(a + i + 16),
						load_halves(b + i + 16));
		sum2 = add_term(term, sum2, load_halves(a + i + 32),
						load_halves(b + i + 32));
		sum3 = add_term(term, sum3, load_halves(a + i + 48),
						load_halves(b + i + 48));
	}
	for (; i + 16 <= n; i += 16)
		sum0 = add_term(term, sum0, load_halves(a + i), load_halves(b + i));
	if (i < n)
		sum1 = add_term(term, sum1, load_tail(a + i, n - i),
						load_tail(b + i, n - i));
	return _mm512_reduce_add_ps(
		_mm512_add_ps(_mm512_add_ps(sum0, sum1), _mm512_add_ps(sum2, sum3)));
}

CHS_AVX512 static float
chs_l2sq_f16_avx512(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L2SQ, a, b, n);
}

CHS_AVX512 static float
chs_dot_f16_avx512(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_DOT, a, b, n);
}

CHS_AVX512 static float
chs_l1_f16_avx512(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	return sum_terms(TERM_L1, a, b, n);
}

/* One vector of each input for the three sums of cosine_f16. */
CHS_AVX512_INLINE void
add_triple(__m512 sum[3], __m512 a, __m512 b)
{
	sum[1] = _mm512_fmadd_ps(a, a, sum[1]);
	sum[2] = _mm512_fmadd_ps(b, b, sum[2]);
	sum[0] = _mm512_fmadd_ps(a, b, sum[0]);
}

CHS_AVX512 static void
chs_cosine_f16_avx512(const ChsHalf *a, const ChsHalf *b, size_t n, float out[3])
{
	__m512 zero = _mm512_setzero_ps();
	__m512 even[3] = {zero, zero, zero};
	__m512 odd[3] = {zero, zero, zero};
	size_t i = 0;

	for (; i + 32 <= n; i += 32)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		add_triple(odd, load_halves(a + i + 16), load_halves(b + i + 16));
	}
	if (i + 16 <= n)
	{
		add_triple(even, load_halves(a + i), load_halves(b + i));
		i += 16;
	}
	if (i < n)
		add_triple(odd, load_tail(a + i, n - i), load_tail(b + i, n - i));
	out[0] = _mm512_reduce_add_ps(_mm512_add_ps(even[0], odd[0]));
	out[1] = _mm512_reduce_add_ps(_mm512_add_ps(even[1], odd[1]));
	out[2] = _mm512_reduce_add_ps(_mm512_add_ps(even[2], odd[2]));
}

CHS_AVX512 static void
chs_widen_f16_avx512(const ChsHalf *a, size_t n, float *out)
{
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
		_mm512_storeu_ps(out + i, load_halves(a + i));
	_mm512_mask_storeu_ps(out + i, mask_tail(n - i), load_tail(a + i, n - i));
}

CHS_AVX512 static void
chs_narrow_f32_avx512(const float *a, size_t n, ChsHalf *out)
{
	size_t i = 0;
	__mmask16 tail;

	for (; i + 16 <= n; i += 16)
		_mm256_storeu_si256((__m256i *) (out + i),
							_mm512_cvtps_ph(_mm512_loadu_ps(a + i), CHS_NEAREST));
	tail = mask_tail(n - i);
	_mm256_mask_storeu_epi16(
		out + i, tail,
		_mm512_cvtps_ph(_mm512_maskz_loadu_ps(tail, a + i), CHS_NEAREST));
}

const ChsHalfKernels chs_half_avx512 = {
	.l2sq_f16 = chs_l2sq_f16_avx512,
	.dot_f16 = chs_dot_f16_avx512,
	.l1_f16 = chs_l1_f16_avx512,
	.cosine_f16 = chs_cosine_f16_avx512,
	.widen_f16 = chs_widen_f16_avx512,
	.narrow_f32 = chs_narrow_f32_avx512,
};

#endif /* __x86_64__ */
