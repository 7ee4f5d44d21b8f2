/*
 * quant_neon.c
 *	  Scores of codes with AArch64 Advanced SIMD, its baseline only.
 *
 * The dot-product instructions are not assumed.  Levels of up to 4 bits are
 * signed bytes too, so smull and smlal multiply them by the query in 16 bits;
 * eight products of 15 * 127 a lane and block fit.  Levels of 8 bits are
 * moved by 128 to fit a signed byte, and 128 times the query's sum is given
 * back at the end; two products of 128 * 127 fit in 16 bits.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "core/quant/quant_pack.h"

#define INLINE static inline __attribute__((always_inline))

/* Codes that share a load of the query. */
#define GROUP 4

/* The 64 query values of one block. */
typedef struct QueryBlock
{
	int8x16_t part[4];
} QueryBlock;

/* Adds 16 products to 8 sums of 16 bits. */
INLINE int16x8_t
add_products(int16x8_t sums, uint8x16_t u, int8x16_t q)
{
	int8x16_t s = vreinterpretq_s8_u8(u);

	sums = vmlal_s8(sums, vget_low_s8(s), vget_low_s8(q));
	return vmlal_high_s8(sums, s, q);
}

/* The 16 levels number part (0 .. 3) of a block of 1, 2 or 4 bits. */
INLINE uint8x16_t
unpack_part(const uint8_t *code, int bits, int part)
{
	uint8x16_t mask = vdupq_n_u8((uint8_t) ((1 << bits) - 1));
	uint8x16_t u;

	if (bits == 4)
	{
		u = vld1q_u8(code + 16 * (part % 2));
		u = part < 2 ? u : vshrq_n_u8(u, 4);
	}
	else if (bits == 2)
		u = vshlq_u8(vld1q_u8(code), vdupq_n_s8((int8_t) (-2 * part)));
	else
		u = vshlq_u8(vcombine_u8(vld1_u8(code), vld1_u8(code)),
					 vcombine_s8(vdup_n_s8((int8_t) (-2 * part)),
								 vdup_n_s8((int8_t) (-2 * part - 1))));
	return vandq_u8(u, mask);
}

/* One block of one code, added to 32-bit sums. */
INLINE void
add_block(int32x4_t *total, const uint8_t *code, int bits, const QueryBlock *q)
{
	int16x8_t sums = vdupq_n_s16(0);

	if (bits == 8)
	{
		uint8x16_t flip = vdupq_n_u8(0x80);

		for (int part = 0; part < 4; part++)
		{
			uint8x16_t u = veorq_u8(vld1q_u8(code + 16 * part), flip);

			sums = add_products(vdupq_n_s16(0), u, q->part[part]);
			*total = vpadalq_s16(*total, sums);
		}
		return;
	}
	sums = add_products(sums, unpack_part(code, bits, 0), q->part[0]);
	sums = add_products(sums, unpack_part(code, bits, 1), q->part[1]);
	sums = add_products(sums, unpack_part(code, bits, 2), q->part[2]);
	sums = add_products(sums, unpack_part(code, bits, 3), q->part[3]);
	*total = vpadalq_s16(*total, sums);
}

/* Sum of the query, which levels moved by 128 need; else 0. */
INLINE int32_t
offset_sum(const int8_t *q, uint32_t code_dim, int bits)
{
	int32x4_t total = vdupq_n_s32(0);

	if (bits != 8)
		return 0;
	for (uint32_t i = 0; i < code_dim; i += 16)
		total = vpadalq_s16(total, vpaddlq_s8(vld1q_s8(q + i)));
	return 128 * vaddvq_s32(total);
}

/* bits and count (GROUP or 1) are constants where this is inlined. */
INLINE void
dot_group(const int8_t *q, const uint8_t *const *codes, uint32_t code_dim,
		  int bits, int count, int32_t *out)
{
	const uint32_t block_bytes = 8 * (uint32_t) bits;
	int32x4_t t0 = vdupq_n_s32(0);
	int32x4_t t1 = t0;
	int32x4_t t2 = t0;
	int32x4_t t3 = t0;
	size_t at = 0;

	for (uint32_t i = 0; i < code_dim; i += CHS_BLOCK_DIMS, at += block_bytes)
	{
		QueryBlock block = {{vld1q_s8(q + i), vld1q_s8(q + i + 16),
							 vld1q_s8(q + i + 32), vld1q_s8(q + i + 48)}};

		add_block(&t0, codes[0] + at, bits, &block);
		if (count == 1)
			continue;
		add_block(&t1, codes[1] + at, bits, &block);
		add_block(&t2, codes[2] + at, bits, &block);
		add_block(&t3, codes[3] + at, bits, &block);
	}
	out[0] = vaddvq_s32(t0);
	if (count == 1)
		return;
	out[1] = vaddvq_s32(t1);
	out[2] = vaddvq_s32(t2);
	out[3] = vaddvq_s32(t3);
}

INLINE void
dot_codes(const int8_t *q, const uint8_t *const *codes, int n,
		  uint32_t code_dim, int bits, int32_t *out)
{
	int32_t offset = offset_sum(q, code_dim, bits);
	int i = 0;

	for (; i + GROUP <= n; i += GROUP)
		dot_group(q, codes + i, code_dim, bits, GROUP, out + i);
	for (; i < n; i++)
		dot_group(q, codes + i, code_dim, bits, 1, out + i);
	for (i = 0; i < n; i++)
		out[i] += offset;
}

static void
chs_dot_u1_neon(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 1, out);
}

static void
chs_dot_u2_neon(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 2, out);
}

static void
chs_dot_u4_neon(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 4, out);
}

static void
chs_dot_u8_neon(const int8_t *q, const uint8_t *const *codes, int n,
				uint32_t code_dim, int32_t *out)
{
	dot_codes(q, codes, n, code_dim, 8, out);
}

/* Four dimensions of the L1 sums. */
INLINE void
add_levels(float32x4_t sums[CHS_L1_SUMS], const ChsL1Query *query, uint32_t at,
		   uint16x4_t values)
{
	float32x4_t u = vcvtq_f32_u32(vmovl_u16(values));
	float32x4_t step = vld1q_f32(query->step + at);
	float32x4_t apart = vabdq_f32(vld1q_f32(query->levels + at), u);
	float32x4_t within = vmaxq_f32(vsubq_f32(vdupq_n_f32(0.5f), apart),
								   vdupq_n_f32(0));
	float32x4_t term = vmulq_f32(step, vfmaq_f32(apart, within, within));
	uint32x4_t inside = vcleq_f32(apart, vdupq_n_f32(0.5f));
	float32x4_t near = vreinterpretq_f32_u32(
		vandq_u32(vreinterpretq_u32_f32(term), inside));

	sums[CHS_L1_KEY] = vaddq_f32(sums[CHS_L1_KEY], term);
	sums[CHS_L1_NEAR] = vaddq_f32(sums[CHS_L1_NEAR], near);
	sums[CHS_L1_LEVELS] = vfmaq_f32(sums[CHS_L1_LEVELS], step, apart);
}

static void
chs_l1_levels_neon(const ChsL1Query *query, const uint8_t *code, int bits,
				   float out[CHS_L1_SUMS])
{
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint8_t values[CHS_BLOCK_DIMS];
	float32x4_t sums[CHS_L1_SUMS] = {vdupq_n_f32(0), vdupq_n_f32(0),
									 vdupq_n_f32(0)};

	for (uint32_t block = 0; block < query->code_dim; block += CHS_BLOCK_DIMS)
	{
		chs_unpack_values(code, CHS_BLOCK_DIMS, bits, values);
		for (uint32_t i = 0; i < CHS_BLOCK_DIMS; i += 8)
		{
			uint16x8_t wide = vmovl_u8(vld1_u8(values + i));

			add_levels(sums, query, block + i, vget_low_u16(wide));
			add_levels(sums, query, block + i + 4, vget_high_u16(wide));
		}
		code += block_bytes;
	}
	for (int i = 0; i < CHS_L1_SUMS; i++)
		out[i] = vaddvq_f32(sums[i]);
}

const ChsQuantKernels chs_quant_neon = {
	CHS_ISA_NEON,    chs_dot_u1_neon, chs_dot_u2_neon,
	chs_dot_u4_neon, chs_dot_u8_neon, chs_l1_levels_neon,
};

#endif /* __aarch64__ */
