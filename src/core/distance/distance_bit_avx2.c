/*
 * distance_bit_avx2.c
 *	  Counts over bit strings for the AVX2 set: with its POPCNT, not with AVX2.
 *
 * The same functions in the same order as distance_bit_scalar.c.  POPCNT
 * counts eight bytes a cycle.  Counting 32 bytes by two shuffles and their
 * additions takes about as long on these processors, and more for strings
 * that fill few registers.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__x86_64__)

#include <string.h>

#define CHS_POPCNT __attribute__((target("popcnt")))
#define CHS_POPCNT_INLINE \
	CHS_POPCNT __attribute__((always_inline)) static inline

CHS_POPCNT_INLINE uint64_t
count_ones(uint64_t word)
{
	return (uint64_t) __builtin_popcountll(word);
}

/* `count` (1 to 8) bytes, the others 0. */
CHS_POPCNT_INLINE uint64_t
load_word(const uint8_t *p, size_t count)
{
	uint64_t word = 0;

	memcpy(&word, p, count);
	return word;
}

/* Four sums, so that an addition need not wait for the one before. */
CHS_POPCNT static uint64_t
chs_hamming_bit_avx2(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	uint64_t sum[4] = {0, 0, 0, 0};
	size_t i = 0;

	for (; i + 32 <= bytes; i += 32)
	{
		sum[0] += count_ones(load_word(a + i, 8) ^ load_word(b + i, 8));
		sum[1] += count_ones(load_word(a + i + 8, 8) ^ load_word(b + i + 8, 8));
		sum[2] += count_ones(load_word(a + i + 16, 8) ^ load_word(b + i + 16, 8));
		sum[3] += count_ones(load_word(a + i + 24, 8) ^ load_word(b + i + 24, 8));
	}
	for (; i + 8 <= bytes; i += 8)
		sum[0] += count_ones(load_word(a + i, 8) ^ load_word(b + i, 8));
	if (i < bytes)
		sum[1] += count_ones(load_word(a + i, bytes - i) ^
							 load_word(b + i, bytes - i));
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

CHS_POPCNT static void
chs_overlap_bit_avx2(const uint8_t *a, const uint8_t *b, size_t bytes,
					 uint64_t out[2])
{
	uint64_t both[2] = {0, 0};
	uint64_t either[2] = {0, 0};
	uint64_t x;
	uint64_t y;
	size_t i = 0;

	for (; i + 16 <= bytes; i += 16)
	{
		x = load_word(a + i, 8);
		y = load_word(b + i, 8);
		both[0] += count_ones(x & y);
		either[0] += count_ones(x | y);
		x = load_word(a + i + 8, 8);
		y = load_word(b + i + 8, 8);
		both[1] += count_ones(x & y);
		either[1] += count_ones(x | y);
	}
	while (i < bytes)
	{
		size_t count = bytes - i < 8 ? bytes - i : 8;

		x = load_word(a + i, count);
		y = load_word(b + i, count);
		both[0] += count_ones(x & y);
		either[0] += count_ones(x | y);
		i += count;
	}
	out[0] = both[0] + both[1];
	out[1] = either[0] + either[1];
}

const ChsBitKernels chs_bit_avx2 = {
	.hamming_bit = chs_hamming_bit_avx2,
	.overlap_bit = chs_overlap_bit_avx2,
};

#endif /* __x86_64__ */
