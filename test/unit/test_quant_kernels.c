/*
 * test_quant_kernels.c
 *	  The scoring kernels of every set this machine runs, against scalar.
 *
 * Scalar itself is checked against the layout of a code as README.md promises
 * it, spelt out here once more.  Codes are copied to allocations of exactly
 * their size at every misalignment, so that a kernel that reads past the end
 * is seen by AddressSanitizer.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/quant/quant.h"
#include "core/quant/quant_internal.h"
#include "core/quant/quant_pack.h"

#include "unit.h"

/* More than a kernel takes at a time, with every rest from 1 to 3. */
#define MAX_CODES 11
#define MAX_DIMS 16000

static const int all_bits[] = {1, 2, 4, 8};

/* What fills query and codes. */
typedef enum Fill
{
	FILL_RANDOM,
	FILL_LARGEST,
	FILL_SMALLEST,
	FILL_COUNT
} Fill;

static int8_t query[MAX_DIMS];
static uint8_t *codes[MAX_CODES];
static uint8_t *allocations[MAX_CODES];

/* The level of one dimension, from the layout alone. */
static int
read_level(const uint8_t *code, int bits, uint32_t dim)
{
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint32_t within = dim % 64;
	uint8_t byte = code[dim / 64 * block_bytes + within % block_bytes];

	return byte >> (within / block_bytes * (uint32_t) bits) & ((1 << bits) - 1);
}

/* A block whose levels are known, byte by byte. */
static void
test_layout(void)
{
	uint8_t values[64];
	uint8_t unpacked[64];
	uint8_t code[64];

	for (int i = 0; i < 64; i++)
		values[i] = (uint8_t) (i % 16);
	chs_pack_values(values, 64, 4, code);
	/* dimension 3 low, dimension 35 high */
	CHECK_EQ(code[3], 0x33);
	values[35] = 9;
	chs_pack_values(values, 64, 4, code);
	CHECK_EQ(code[3], 0x93);

	for (int i = 0; i < 64; i++)
		values[i] = (uint8_t) (i == 8 || i == 3);
	chs_pack_values(values, 64, 1, code);
	CHECK_EQ(code[0], 0x02);
	CHECK_EQ(code[3], 0x01);

	for (int b = 0; b < 4; b++)
	{
		int bits = all_bits[b];

		for (int i = 0; i < 64; i++)
			values[i] = (uint8_t) (chs_mix64((uint64_t) i) % (1u << bits));
		memset(code, 0, sizeof(code));
		chs_pack_values(values, 64, bits, code);
		chs_unpack_values(code, 64, bits, unpacked);
		CHECK(memcmp(values, unpacked, 64) == 0);
		for (uint32_t i = 0; i < 64; i++)
			CHECK_EQ(read_level(code, bits, i), values[i]);
	}
}

static void
fill_inputs(Fill fill, size_t code_bytes, size_t shift)
{
	for (int i = 0; i < MAX_DIMS; i++)
		query[i] = fill == FILL_RANDOM
					   ? (int8_t) ((int) (chs_mix64((uint64_t) i) % 255) - 127)
					   : (int8_t) (fill == FILL_LARGEST ? 127 : -127);
	for (int c = 0; c < MAX_CODES; c++)
	{
		allocations[c] = malloc(code_bytes + shift);
		codes[c] = allocations[c] + shift;
		for (size_t i = 0; i < code_bytes; i++)
			codes[c][i] = fill == FILL_RANDOM
							  ? (uint8_t) chs_mix64((uint64_t) c << 32 | i)
							  : 0xff;
	}
}

static void
free_inputs(void)
{
	for (int c = 0; c < MAX_CODES; c++)
		free(allocations[c]);
}

static void
run_dot(const ChsQuantKernels *kernels, int bits, int n, uint32_t code_dim,
		int32_t *out)
{
	const uint8_t *const *pointers = (const uint8_t *const *) codes;

	if (bits == 1)
		kernels->dot_u1(query, pointers, n, code_dim, out);
	else if (bits == 2)
		kernels->dot_u2(query, pointers, n, code_dim, out);
	else if (bits == 4)
		kernels->dot_u4(query, pointers, n, code_dim, out);
	else
		kernels->dot_u8(query, pointers, n, code_dim, out);
}

/* Every count of codes from 0 to MAX_CODES; one beyond must stay untouched. */
static void
compare_dots(const ChsQuantKernels *kernels, int bits, uint32_t code_dim)
{
	int32_t want[MAX_CODES];

	for (int c = 0; c < MAX_CODES; c++)
	{
		int64_t sum = 0;

		for (uint32_t i = 0; i < code_dim; i++)
			sum += (int64_t) read_level(codes[c], bits, i) * query[i];
		want[c] = (int32_t) sum;
		CHECK(sum == want[c]);
	}
	for (int n = 0; n <= MAX_CODES; n++)
	{
		int32_t got[MAX_CODES + 1];

		memset(got, 0x5a, sizeof(got));
		run_dot(kernels, bits, n, code_dim, got);
		CHECK(memcmp(got, want, (size_t) n * sizeof(int32_t)) == 0);
		CHECK_EQ(got[n], 0x5a5a5a5a);
	}
}

static void
compare_l1(const ChsQuantKernels *kernels, int bits, uint32_t code_dim)
{
	static float levels[MAX_DIMS];
	static float step[MAX_DIMS];
	ChsL1Query l1 = {levels, step, code_dim};
	double want[CHS_L1_SUMS] = {0, 0, 0};
	float got[CHS_L1_SUMS];

	for (uint32_t i = 0; i < code_dim; i++)
	{
		uint64_t random = chs_mix64(i + code_dim);
		double apart;
		double within;

		/* one in eight stands exactly between two levels */
		levels[i] = (float) (random & 0xffff) / 65536.0f * (float) (2 << bits) -
					(float) (1 << (bits - 1));
		if (random >> 61 == 0)
			levels[i] = (float) (i % 5) + 0.5f;
		step[i] = (float) (random >> 16 & 0xff) / 16.0f;
		apart = fabs((double) levels[i] - read_level(codes[0], bits, i));
		within = apart < 0.5 ? 0.5 - apart : 0;
		want[CHS_L1_KEY] += step[i] * (apart + within * within);
		if (apart <= 0.5)
			want[CHS_L1_NEAR] += step[i] * (apart + within * within);
		want[CHS_L1_LEVELS] += step[i] * apart;
	}
	kernels->l1_levels(&l1, codes[0], bits, got);
	/* scalar adds 16,000 terms one by one, hence no tighter */
	for (int i = 0; i < CHS_L1_SUMS; i++)
		CHECK_NEAR(got[i], want[i], 2e-5 * want[CHS_L1_KEY]);
}

/* One set of kernels: all bits, sizes, alignments and extremes. */
static void
test_set(const ChsQuantKernels *kernels)
{
	static const uint32_t dims[] = {64,  128, 192,  256,  320,  448,
									832, 960, 1344, 1408, 4160, MAX_DIMS};

	for (int b = 0; b < 4; b++)
		for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
			for (int fill = 0; fill < FILL_COUNT; fill++)
			{
				size_t bytes = dims[d] * (size_t) all_bits[b] / 8;

				fill_inputs((Fill) fill, bytes, d % 5);
				compare_dots(kernels, all_bits[b], dims[d]);
				compare_l1(kernels, all_bits[b], dims[d]);
				free_inputs();
			}
	CHECK(chs_quant_self_test(kernels));
}

static void
dot_wrong(const int8_t *q, const uint8_t *const *codes_, int n,
		  uint32_t code_dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = 1;
}

static void
l1_wrong(const ChsL1Query *query_, const uint8_t *code, int bits,
		 float out[CHS_L1_SUMS])
{
	for (int i = 0; i < CHS_L1_SUMS; i++)
		out[i] = 1;
}

/* One kernel of a set that does not agree is enough to lose the set. */
static void
test_self_test(void)
{
	ChsQuantKernels broken;

	broken = chs_quant_scalar;
	CHECK(chs_quant_self_test(&broken));
	broken.dot_u1 = dot_wrong;
	CHECK(!chs_quant_self_test(&broken));
	broken = chs_quant_scalar;
	broken.dot_u2 = dot_wrong;
	CHECK(!chs_quant_self_test(&broken));
	broken = chs_quant_scalar;
	broken.dot_u4 = dot_wrong;
	CHECK(!chs_quant_self_test(&broken));
	broken = chs_quant_scalar;
	broken.dot_u8 = dot_wrong;
	CHECK(!chs_quant_self_test(&broken));
	broken = chs_quant_scalar;
	broken.l1_levels = l1_wrong;
	CHECK(!chs_quant_self_test(&broken));
}

/* Did the kernels of this set run? */
static bool
has_run(const bool *ran, const char *name)
{
	for (int isa = 0; isa < CHS_ISA_COUNT; isa++)
		if (ran[isa] && strcmp(chs_isa_name((ChsIsa) isa), name) == 0)
			return true;
	return false;
}

/* Arguments name sets that must be among those that ran. */
int
main(int argc, char **argv)
{
	bool ran[CHS_ISA_COUNT] = {false};

	test_layout();
	test_self_test();
	for (int isa = 0; isa < CHS_ISA_COUNT; isa++)
	{
		if (!chs_isa_force((ChsIsa) isa))
			continue;
		/* the self-test let it through, so this is the set itself */
		CHECK_EQ(chs_quant()->isa, isa);
		test_set(chs_quant());
		ran[isa] = true;
	}
	CHECK(chs_quant_rejected() == NULL);
	for (int i = 1; i < argc; i++)
		if (!CHECK(has_run(ran, argv[i])))
			fprintf(stderr, "set %s did not run\n", argv[i]);
	return unit_summary("quant_kernels");
}
