/*
 * quant_avx512.c
 *	  Scores of codes with AVX-512 and its byte products (VNNI).
 *
 * A block of 64 levels fills one register whatever their width: the bytes are
 * repeated and each copy is shifted to its own levels.  dpbusd multiplies
 * unsigned by signed bytes and adds fours of them in 32 bits, where nothing
 * can overflow or saturate.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "core/quant/quant_pack.h"

#define TARGET \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* Codes that share a load of the query; also hides dpbusd's latency of 5. */
#define GROUP 4

/* One block of one code: 64 levels times q, added to 32-bit sums. */
INLINE void
add_block(__m512i *sums, const uint8_t *code, int bits, const __m512i *q)
{
	__m512i u;

	if (bits == 8)
		u = _mm512_loadu_si512(code);
	else if (bits == 4)
		u = _mm512_srlv_epi64(
			_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *) code)),
			_mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
	else if (bits == 2)
		u = _mm512_srlv_epi64(
			_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) code)),
			_mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6));
	else
		u = _mm512_srlv_epi64(
			_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *) code)),
			_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
	if (bits != 8)
		u = _mm512_and_si512(u, _mm512_set1_epi8((char) ((1 << bits) - 1)));
	*sums = _mm512_dpbusd_epi32(*sums, u, *q);
}

/* bits and count (GROUP or 1) are constants where this is inlined. */
INLINE void
dot_group(const int8_t *q, const uint8_t *const *codes, uint32_t code_dim,
		  int bits, int count, int32_t *out)
{
	const uint32_t block_bytes = 8 * (uint32_t) bits;
	__m512i s0 = _mm512_setzero_si512();
	__m512i s1 = s0;
	__m512i s2 = s0;
	__m512i s3 = s0;
	size_t at = 0;

	for (uint32_t i = 0; i < code_dim; i += CHS_BLOCK_DIMS, at += block_bytes)
	{
		__m512i q64 = _mm512_loadu_si512(q + i);

		add_block(&s0, codes[0] + at, bits, &q64);
		if (count == 1)
			continue;
		add_block(&s1, codes[1] + at, bits, &q64);
		add_block(&s2, codes[2] + at, bits, &q64);
		add_block(&s3, codes[3] + at, bits, &q64);
	}
	out[0] = _mm512_reduce_add_epi32(s0);
	if (count == 1)
		return;
	out[1] = _mm512_reduce_add_epi32(s1);
	out[2] = _mm512_reduce_add_epi32(s2);
	out[3] = _mm512_reduce_add_epi32(s3);
}

INLINE void
dot_codes(const int8_t *q, const uint8_t *const *codes, int n,
		  uint32_t code_dim, int bits, int32_t *out)
{
	int i = 0;

	for (; i + GROUP <= n; i += GROUP)
		dot_group(q, codes + i, code_dim, bits, GROUP, out + i);
	for (; i < n; i++)
		dot_group(q, codes + i, code_dim, bits, 1, out + i);
}

TARGET static void
chs_dot_u1_avx512(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 1, out);
}

TARGET static void
chs_dot_u2_avx512(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 2, out);
}

TARGET static void
chs_dot_u4_avx512(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 4, out);
}

TARGET static void
chs_dot_u8_avx512(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 8, out);
}

TARGET static void
chs_l1_levels_avx512(const ChsL1Query *query, const uint8_t *code, int bits,
					 float out[CHS_L1_SUMS])
{
	const __m512 half = _mm512_set1_ps(0.5f);
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint8_t values[CHS_BLOCK_DIMS];
	__m512 sum = _mm512_setzero_ps();
	__m512 near = sum;
	__m512 levels = sum;

	for (uint32_t block = 0; block < query->code_dim; block += CHS_BLOCK_DIMS)
	{
		chs_unpack_values(code, CHS_BLOCK_DIMS, bits, values);
		for (int i = 0; i < CHS_BLOCK_DIMS; i += 16)
		{
			__m512 u = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
				_mm_loadu_si128((const __m128i *) (values + i))));
			__m512 step = _mm512_loadu_ps(query->step + block + i);
			__m512 apart = _mm512_abs_ps(
				_mm512_sub_ps(_mm512_loadu_ps(query->levels + block + i), u));
			__m512 within = _mm512_max_ps(_mm512_sub_ps(half, apart),
										  _mm512_setzero_ps());
			__m512 term = _mm512_mul_ps(step,
										_mm512_fmadd_ps(within, within, apart));
			__mmask16 inside = _mm512_cmp_ps_mask(apart, half, _CMP_LE_OQ);

			sum = _mm512_add_ps(sum, term);
			near = _mm512_mask_add_ps(near, inside, near, term);
			levels = _mm512_fmadd_ps(step, apart, levels);
		}
		code += block_bytes;
	}
	out[CHS_L1_KEY] = _mm512_reduce_add_ps(sum);
	out[CHS_L1_NEAR] = _mm512_reduce_add_ps(near);
	out[CHS_L1_LEVELS] = _mm512_reduce_add_ps(levels);
}

const ChsQuantKernels chs_quant_avx512 = {
	CHS_ISA_AVX512,    chs_dot_u1_avx512, chs_dot_u2_avx512,
	chs_dot_u4_avx512, chs_dot_u8_avx512, chs_l1_levels_avx512,
};

#endif /* __x86_64__ */
