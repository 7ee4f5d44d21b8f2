/*
 * distance_bit_avx512.c
 *	  Counts over bit strings for AVX-512 with VPOPCNTDQ.
 *
 * The same functions in the same order as distance_bit_scalar.c.  The last 1
 * to 63 bytes come through a masked load, which neither faults on nor reads
 * the masked ones.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define CHS_AVX512 \
	__attribute__(( \
		target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")))
#define CHS_AVX512_INLINE \
	CHS_AVX512 __attribute__((always_inline)) static inline

CHS_AVX512_INLINE __m512i
load_bytes(const uint8_t *p)
{
	return _mm512_loadu_si512((const void *) p);
}

/* The last `count` (1 to 63) bytes, the others 0. */
CHS_AVX512_INLINE __m512i
load_tail(const uint8_t *p, size_t count)
{
	return _mm512_maskz_loadu_epi8((UINT64_C(1) << count) - 1, p);
}

/* Adds the number of ones in each eighth of `bits` to that eighth of sum. */
CHS_AVX512_INLINE __m512i
add_ones(__m512i sum, __m512i bits)
{
	return _mm512_add_epi64(sum, _mm512_popcnt_epi64(bits));
}

CHS_AVX512 static uint64_t
chs_hamming_bit_avx512(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	__m512i even = _mm512_setzero_si512();
	__m512i odd = _mm512_setzero_si512();
	size_t i = 0;

	for (; i + 128 <= bytes; i += 128)
	{
		even = add_ones(even,
						_mm512_xor_si512(load_bytes(a + i), load_bytes(b + i)));
		odd = add_ones(odd, _mm512_xor_si512(load_bytes(a + i + 64),
											 load_bytes(b + i + 64)));
	}
	if (i + 64 <= bytes)
	{
		even = add_ones(even,
						_mm512_xor_si512(load_bytes(a + i), load_bytes(b + i)));
		i += 64;
	}
	if (i < bytes)
		odd = add_ones(odd, _mm512_xor_si512(load_tail(a + i, bytes - i),
											 load_tail(b + i, bytes - i)));
	return (uint64_t) _mm512_reduce_add_epi64(_mm512_add_epi64(even, odd));
}

CHS_AVX512 static void
chs_overlap_bit_avx512(const uint8_t *a, const uint8_t *b, size_t bytes,
					   uint64_t out[2])
{
	__m512i both = _mm512_setzero_si512();
	__m512i either = _mm512_setzero_si512();
	__m512i x;
	__m512i y;
	size_t i = 0;

	for (; i + 64 <= bytes; i += 64)
	{
		x = load_bytes(a + i);
		y = load_bytes(b + i);
		both = add_ones(both, _mm512_and_si512(x, y));
		either = add_ones(either, _mm512_or_si512(x, y));
	}
	if (i < bytes)
	{
		x = load_tail(a + i, bytes - i);
		y = load_tail(b + i, bytes - i);
		both = add_ones(both, _mm512_and_si512(x, y));
		either = add_ones(either, _mm512_or_si512(x, y));
	}
	out[0] = (uint64_t) _mm512_reduce_add_epi64(both);
	out[1] = (uint64_t) _mm512_reduce_add_epi64(either);
}

const ChsBitKernels chs_bit_avx512 = {
	.hamming_bit = chs_hamming_bit_avx512,
	.overlap_bit = chs_overlap_bit_avx512,
};

#endif /* __x86_64__ */
