/*
 * quant_avx2.c
 *	  Scores of codes with AVX2.
 *
 * Four codes share every load of the query.  Levels of up to 4 bits are
 * multiplied by maddubs (unsigned times signed bytes, pairs added in 16 bits);
 * how many blocks fit into 16 bits before they must be widened is worked out
 * at SUM_BLOCKS.  Levels of 8 bits would saturate there and are widened first.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "core/quant/quant_pack.h"

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* Codes that share a load of the query. */
#define GROUP 4

/*
 * Blocks that may be added up in 16 bits: a block gives each lane two pairs of
 * products, at most 4 (2^bits - 1) 127, so that 64, 21 and 4 blocks stay below
 * 2^15.
 */
#define SUM_BLOCKS(bits) ((bits) == 1 ? 64u : (bits) == 2 ? 21u : 4u)

INLINE __m256i
load256(const void *p)
{
	return _mm256_loadu_si256((const __m256i *) p);
}

/* One block of one code: 64 levels times q0 and q1, added to 16-bit sums. */
INLINE void
add_block(__m256i *sums, const uint8_t *code, int bits, const __m256i *q0,
		  const __m256i *q1)
{
	__m256i mask = _mm256_set1_epi8((char) ((1 << bits) - 1));
	__m256i low;
	__m256i high;

	if (bits == 4)
		low = load256(code);
	else if (bits == 2)
		low = _mm256_srlv_epi32(_mm256_broadcastsi128_si256(
									_mm_loadu_si128((const __m128i *) code)),
								_mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
	else
		low = _mm256_srlv_epi64(
			_mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *) code)),
			_mm256_setr_epi64x(0, 1, 2, 3));
	high = _mm256_and_si256(_mm256_srli_epi16(low, 4), mask);
	low = _mm256_and_si256(low, mask);
	*sums = _mm256_add_epi16(*sums, _mm256_maddubs_epi16(low, *q0));
	*sums = _mm256_add_epi16(*sums, _mm256_maddubs_epi16(high, *q1));
}

/* Adds pairs of 16-bit sums to 32-bit sums. */
INLINE void
widen_sums(__m256i *total, const __m256i *sums)
{
	*total = _mm256_add_epi32(*total,
							  _mm256_madd_epi16(*sums, _mm256_set1_epi16(1)));
}

INLINE int32_t
add_lanes(const __m256i *v)
{
	__m128i sum = _mm_add_epi32(_mm256_castsi256_si128(*v),
								_mm256_extracti128_si256(*v, 1));

	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
	return _mm_cvtsi128_si32(sum);
}

/* 1, 2 or 4 bits; bits and count (GROUP or 1) are constants where inlined. */
INLINE void
dot_group(const int8_t *q, const uint8_t *const *codes, uint32_t code_dim,
		  int bits, int count, int32_t *out)
{
	const uint32_t block_bytes = 8 * (uint32_t) bits;
	__m256i t0 = _mm256_setzero_si256();
	__m256i t1 = t0;
	__m256i t2 = t0;
	__m256i t3 = t0;
	uint32_t blocks = code_dim / CHS_BLOCK_DIMS;

	for (uint32_t block = 0; block < blocks;)
	{
		uint32_t stop = block + SUM_BLOCKS(bits);
		__m256i s0 = _mm256_setzero_si256();
		__m256i s1 = s0;
		__m256i s2 = s0;
		__m256i s3 = s0;

		for (stop = stop < blocks ? stop : blocks; block < stop; block++)
		{
			size_t at = (size_t) block * block_bytes;
			__m256i q0 = load256(q + block * CHS_BLOCK_DIMS);
			__m256i q1 = load256(q + block * CHS_BLOCK_DIMS + 32);

			add_block(&s0, codes[0] + at, bits, &q0, &q1);
			if (count == 1)
				continue;
			add_block(&s1, codes[1] + at, bits, &q0, &q1);
			add_block(&s2, codes[2] + at, bits, &q0, &q1);
			add_block(&s3, codes[3] + at, bits, &q0, &q1);
		}
		widen_sums(&t0, &s0);
		widen_sums(&t1, &s1);
		widen_sums(&t2, &s2);
		widen_sums(&t3, &s3);
	}
	out[0] = add_lanes(&t0);
	if (count == 1)
		return;
	out[1] = add_lanes(&t1);
	out[2] = add_lanes(&t2);
	out[3] = add_lanes(&t3);
}

/* 16 levels of 8 bits times the query in 16 bits. */
INLINE void
add_levels8(__m256i *total, const uint8_t *code, const __m256i *q)
{
	__m256i u = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) code));

	*total = _mm256_add_epi32(*total, _mm256_madd_epi16(u, *q));
}

INLINE void
dot_group8(const int8_t *q, const uint8_t *const *codes, uint32_t code_dim,
		   int count, int32_t *out)
{
	__m256i t0 = _mm256_setzero_si256();
	__m256i t1 = t0;
	__m256i t2 = t0;
	__m256i t3 = t0;

	for (uint32_t i = 0; i < code_dim; i += 16)
	{
		__m256i q16 = _mm256_cvtepi8_epi16(
			_mm_loadu_si128((const __m128i *) (q + i)));

		add_levels8(&t0, codes[0] + i, &q16);
		if (count == 1)
			continue;
		add_levels8(&t1, codes[1] + i, &q16);
		add_levels8(&t2, codes[2] + i, &q16);
		add_levels8(&t3, codes[3] + i, &q16);
	}
	out[0] = add_lanes(&t0);
	if (count == 1)
		return;
	out[1] = add_lanes(&t1);
	out[2] = add_lanes(&t2);
	out[3] = add_lanes(&t3);
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
chs_dot_u1_avx2(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 1, out);
}

TARGET static void
chs_dot_u2_avx2(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 2, out);
}

TARGET static void
chs_dot_u4_avx2(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 4, out);
}

TARGET static void
chs_dot_u8_avx2(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	int i = 0;

	for (; i + GROUP <= n; i += GROUP)
		dot_group8(q, codes + i, code_dim, GROUP, out + i);
	for (; i < n; i++)
		dot_group8(q, codes + i, code_dim, 1, out + i);
}

INLINE float
add_lanes_f32(const __m256 *v)
{
	__m128 sum = _mm_add_ps(_mm256_castps256_ps128(*v),
							_mm256_extractf128_ps(*v, 1));

	sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
	sum = _mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1));
	return _mm_cvtss_f32(sum);
}

TARGET static void
chs_l1_levels_avx2(const ChsL1Query *query, const uint8_t *code, int bits,
				   float out[CHS_L1_SUMS])
{
	const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
	const __m256 half = _mm256_set1_ps(0.5f);
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint8_t values[CHS_BLOCK_DIMS];
	__m256 sum = _mm256_setzero_ps();
	__m256 near = sum;
	__m256 levels = sum;

	for (uint32_t block = 0; block < query->code_dim; block += CHS_BLOCK_DIMS)
	{
		chs_unpack_values(code, CHS_BLOCK_DIMS, bits, values);
		for (int i = 0; i < CHS_BLOCK_DIMS; i += 8)
		{
			__m256 u = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(
				_mm_loadl_epi64((const __m128i *) (values + i))));
			__m256 step = _mm256_loadu_ps(query->step + block + i);
			__m256 apart = _mm256_and_ps(
				_mm256_sub_ps(_mm256_loadu_ps(query->levels + block + i), u),
				magnitude);
			__m256 within = _mm256_max_ps(_mm256_sub_ps(half, apart),
										  _mm256_setzero_ps());
			__m256 term = _mm256_mul_ps(step,
										_mm256_fmadd_ps(within, within, apart));

			sum = _mm256_add_ps(sum, term);
			near = _mm256_add_ps(
				near,
				_mm256_and_ps(term, _mm256_cmp_ps(apart, half, _CMP_LE_OQ)));
			levels = _mm256_fmadd_ps(step, apart, levels);
		}
		code += block_bytes;
	}
	out[CHS_L1_KEY] = add_lanes_f32(&sum);
	out[CHS_L1_NEAR] = add_lanes_f32(&near);
	out[CHS_L1_LEVELS] = add_lanes_f32(&levels);
}

const ChsQuantKernels chs_quant_avx2 = {
	CHS_ISA_AVX2,    chs_dot_u1_avx2, chs_dot_u2_avx2,
	chs_dot_u4_avx2, chs_dot_u8_avx2, chs_l1_levels_avx2,
};

#endif /* __x86_64__ */
