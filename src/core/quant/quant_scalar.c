/*
 * quant_scalar.c
 *	  Scores of codes in plain C: the definition of what a kernel computes.
 *
 * Every other instruction set must give the same integers; the L1 sums may
 * differ by rounding.  Written to be read, not to be fast.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <math.h>

#include "core/quant/quant_pack.h"

/*
 * The sum of value times query for one code.  It fits: at most 16,384
 * dimensions of 255 * 127.
 */
static int32_t
sum_products(const int8_t *q, const uint8_t *code, int bits, uint32_t code_dim)
{
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint8_t values[CHS_BLOCK_DIMS];
	int32_t sum = 0;

	for (uint32_t block = 0; block < code_dim; block += CHS_BLOCK_DIMS)
	{
		chs_unpack_values(code, CHS_BLOCK_DIMS, bits, values);
		for (int i = 0; i < CHS_BLOCK_DIMS; i++)
			sum += (int32_t) values[i] * q[block + (uint32_t) i];
		code += block_bytes;
	}
	return sum;
}

static void
chs_dot_u1_scalar(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = sum_products(q, codes[i], 1, code_dim);
}

static void
chs_dot_u2_scalar(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = sum_products(q, codes[i], 2, code_dim);
}

static void
chs_dot_u4_scalar(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = sum_products(q, codes[i], 4, code_dim);
}

static void
chs_dot_u8_scalar(const int8_t *q, const uint8_t *const *codes, int n,
				  uint32_t code_dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = sum_products(q, codes[i], 8, code_dim);
}

static void
chs_l1_levels_scalar(const ChsL1Query *query, const uint8_t *code, int bits,
					 float out[CHS_L1_SUMS])
{
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint8_t values[CHS_BLOCK_DIMS];
	float sum = 0;
	float near = 0;
	float levels = 0;

	for (uint32_t block = 0; block < query->code_dim; block += CHS_BLOCK_DIMS)
	{
		chs_unpack_values(code, CHS_BLOCK_DIMS, bits, values);
		for (int i = 0; i < CHS_BLOCK_DIMS; i++)
		{
			float step = query->step[block + (uint32_t) i];
			float apart = fabsf(query->levels[block + (uint32_t) i] -
								(float) values[i]);
			float within = apart < 0.5f ? 0.5f - apart : 0.0f;
			float term = step * (apart + within * within);

			sum += term;
			if (apart <= 0.5f)
				near += term;
			levels += step * apart;
		}
		code += block_bytes;
	}
	out[CHS_L1_KEY] = sum;
	out[CHS_L1_NEAR] = near;
	out[CHS_L1_LEVELS] = levels;
}

const ChsQuantKernels chs_quant_scalar = {
	CHS_ISA_SCALAR,    chs_dot_u1_scalar, chs_dot_u2_scalar,
	chs_dot_u4_scalar, chs_dot_u8_scalar, chs_l1_levels_scalar,
};
