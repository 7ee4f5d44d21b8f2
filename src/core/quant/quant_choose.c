/*
 * quant_choose.c
 *	  Picks the scoring kernels, and distrusts them until they agree.
 *
 * Which instruction set is used was decided by the distance module, which
 * asks the processor.  Before its first use a set here must give the same
 * integers as the scalar code: a wrong score is not an error anybody would
 * see, only a worse answer.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/quant/quant_internal.h"

/*
 * The self-test's size: more blocks than the kernels sum in 16 bits, and more
 * codes than they take at a time, with a rest.
 */
#define TEST_DIMS 1344
#define TEST_CODES 7

/* 0 not tried, 1 agreed, 2 rejected */
static uint8_t verdicts[CHS_ISA_COUNT];
static const char *rejected_name = NULL;

typedef void (*DotKernel)(const int8_t *q, const uint8_t *const *codes, int n,
						  uint32_t code_dim, int32_t *out);

static const ChsQuantKernels *
find_kernels(ChsIsa isa)
{
	switch (isa)
	{
#if defined(__x86_64__)
		case CHS_ISA_AVX2:
			return &chs_quant_avx2;
		case CHS_ISA_AVX512:
			return &chs_quant_avx512;
#endif
#if defined(__aarch64__)
		case CHS_ISA_NEON:
			return &chs_quant_neon;
#endif
		default:
			return &chs_quant_scalar;
	}
}

/* Do two kernels give the same sums for these codes? */
static bool
dots_agree(DotKernel tried, DotKernel scalar, const int8_t *q,
		   const uint8_t *const *codes)
{
	int32_t got[TEST_CODES];
	int32_t want[TEST_CODES];

	tried(q, codes, TEST_CODES, TEST_DIMS, got);
	scalar(q, codes, TEST_CODES, TEST_DIMS, want);
	return memcmp(got, want, sizeof(got)) == 0;
}

/* The same for the L1 sums, to within rounding. */
static bool
l1_agrees(const ChsQuantKernels *tried, const uint8_t *code)
{
	static const int bits[] = {1, 2, 4, 8};
	float levels[TEST_DIMS];
	float step[TEST_DIMS];
	ChsL1Query query = {levels, step, TEST_DIMS};

	for (int b = 0; b < 4; b++)
	{
		float got[CHS_L1_SUMS];
		float want[CHS_L1_SUMS];

		for (uint32_t i = 0; i < TEST_DIMS; i++)
		{
			uint64_t random = chs_mix64(i * 4 + (uint64_t) b);

			levels[i] = (float) (random & 0xffff) / 65536.0f *
						(float) (1 << bits[b]);
			step[i] = (float) ((random >> 16) & 0xff);
		}
		tried->l1_levels(&query, code, bits[b], got);
		chs_quant_scalar.l1_levels(&query, code, bits[b], want);
		for (int i = 0; i < CHS_L1_SUMS; i++)
			if (!(fabsf(got[i] - want[i]) <= 1e-4f * want[i]))
				return false;
	}
	return true;
}

/*
 * Random bytes for query and codes, then the largest of both, which is where a
 * sum in 16 bits would overflow.
 */
bool
chs_quant_self_test(const ChsQuantKernels *tried)
{
	const ChsQuantKernels *scalar = &chs_quant_scalar;
	int8_t q[TEST_DIMS];
	uint8_t bytes[TEST_CODES][TEST_DIMS];
	const uint8_t *codes[TEST_CODES];

	for (int i = 0; i < TEST_CODES; i++)
		codes[i] = bytes[i];
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < TEST_DIMS; i++)
			q[i] = round == 0
					   ? (int8_t) ((int) (chs_mix64((uint64_t) i) % 255) - 127)
					   : (int8_t) (round == 1 ? 127 : -127);
		for (int c = 0; c < TEST_CODES; c++)
			for (int i = 0; i < TEST_DIMS; i++)
				bytes[c][i] = round == 0
								  ? (uint8_t) chs_mix64(
										(uint64_t) ((c + 1) * TEST_DIMS + i))
								  : 0xff;
		if (!dots_agree(tried->dot_u1, scalar->dot_u1, q, codes) ||
			!dots_agree(tried->dot_u2, scalar->dot_u2, q, codes) ||
			!dots_agree(tried->dot_u4, scalar->dot_u4, q, codes) ||
			!dots_agree(tried->dot_u8, scalar->dot_u8, q, codes) ||
			!l1_agrees(tried, codes[0]))
			return false;
	}
	return true;
}

const ChsQuantKernels *
chs_quant(void)
{
	ChsIsa isa = chs_isa_current();
	const ChsQuantKernels *kernels = find_kernels(isa);

	if (verdicts[isa] == 0)
	{
		verdicts[isa] = chs_quant_self_test(kernels) ? 1 : 2;
		if (verdicts[isa] == 2)
			rejected_name = chs_isa_name(isa);
	}
	return verdicts[isa] == 1 ? kernels : &chs_quant_scalar;
}

const char *
chs_quant_rejected(void)
{
	return rejected_name;
}
