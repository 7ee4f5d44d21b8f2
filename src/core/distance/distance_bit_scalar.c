/*
 * distance_bit_scalar.c
 *	  Counts over bit strings in plain C: the definition.
 *
 * Counts are integers, so that every instruction set must return the same.
 * Bytes need no order and strings no alignment: a count does not depend on
 * where a bit stands.  Bits behind the end of a string are the caller's to
 * keep zero, as PostgreSQL does.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#include <string.h>

/*
 * How many bits are set, by adding neighbouring fields of 1, 2, 4 bits and
 * then all bytes at once.  The compiler's own function is a call here.
 */
static inline uint64_t
count_ones(uint64_t word)
{
	word -= (word >> 1) & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) +
		   ((word >> 2) & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (word * UINT64_C(0x0101010101010101)) >> 56;
}

/* `count` (1 to 8) bytes, the others 0. */
static inline uint64_t
load_word(const uint8_t *p, size_t count)
{
	uint64_t word = 0;

	memcpy(&word, p, count);
	return word;
}

static uint64_t
chs_hamming_bit_scalar(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	uint64_t sum = 0;
	size_t i = 0;

	for (; i + 8 <= bytes; i += 8)
		sum += count_ones(load_word(a + i, 8) ^ load_word(b + i, 8));
	if (i < bytes)
		sum += count_ones(load_word(a + i, bytes - i) ^
						  load_word(b + i, bytes - i));
	return sum;
}

static void
chs_overlap_bit_scalar(const uint8_t *a, const uint8_t *b, size_t bytes,
					   uint64_t out[2])
{
	size_t i = 0;

	out[0] = 0;
	out[1] = 0;
	while (i < bytes)
	{
		size_t count = bytes - i < 8 ? bytes - i : 8;
		uint64_t x = load_word(a + i, count);
		uint64_t y = load_word(b + i, count);

		out[0] += count_ones(x & y);
		out[1] += count_ones(x | y);
		i += count;
	}
}

const ChsBitKernels chs_bit_scalar = {
	.hamming_bit = chs_hamming_bit_scalar,
	.overlap_bit = chs_overlap_bit_scalar,
};
