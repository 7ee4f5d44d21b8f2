/*
 * distance_bit_neon.c
 *	  Counts over bit strings for AArch64 Advanced SIMD (NEON).
 *
 * The same functions in the same order as distance_bit_scalar.c.  The
 * instruction counts within bytes; three pairwise additions bring that to two
 * sums of 64 bits, which no length overflows.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#define CHS_NEON_INLINE __attribute__((always_inline)) static inline

/* The last `count` (1 to 15) bytes, the others 0. */
CHS_NEON_INLINE uint8x16_t
load_tail(const uint8_t *p, size_t count)
{
	uint8_t buffer[16] = {0};

	memcpy(buffer, p, count);
	return vld1q_u8(buffer);
}

/* Adds the number of ones in each half of `bits` to that half of sum. */
CHS_NEON_INLINE uint64x2_t
add_ones(uint64x2_t sum, uint8x16_t bits)
{
	return vpadalq_u32(sum, vpaddlq_u16(vpaddlq_u8(vcntq_u8(bits))));
}

static uint64_t
chs_hamming_bit_neon(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	uint64x2_t even = vdupq_n_u64(0);
	uint64x2_t odd = vdupq_n_u64(0);
	size_t i = 0;

	for (; i + 32 <= bytes; i += 32)
	{
		even = add_ones(even, veorq_u8(vld1q_u8(a + i), vld1q_u8(b + i)));
		odd = add_ones(odd,
					   veorq_u8(vld1q_u8(a + i + 16), vld1q_u8(b + i + 16)));
	}
	if (i + 16 <= bytes)
	{
		even = add_ones(even, veorq_u8(vld1q_u8(a + i), vld1q_u8(b + i)));
		i += 16;
	}
	if (i < bytes)
		odd = add_ones(odd, veorq_u8(load_tail(a + i, bytes - i),
									 load_tail(b + i, bytes - i)));
	return vaddvq_u64(vaddq_u64(even, odd));
}

static void
chs_overlap_bit_neon(const uint8_t *a, const uint8_t *b, size_t bytes,
					 uint64_t out[2])
{
	uint64x2_t both = vdupq_n_u64(0);
	uint64x2_t either = vdupq_n_u64(0);
	uint8x16_t x;
	uint8x16_t y;
	size_t i = 0;

	for (; i + 16 <= bytes; i += 16)
	{
		x = vld1q_u8(a + i);
		y = vld1q_u8(b + i);
		both = add_ones(both, vandq_u8(x, y));
		either = add_ones(either, vorrq_u8(x, y));
	}
	if (i < bytes)
	{
		x = load_tail(a + i, bytes - i);
		y = load_tail(b + i, bytes - i);
		both = add_ones(both, vandq_u8(x, y));
		either = add_ones(either, vorrq_u8(x, y));
	}
	out[0] = vaddvq_u64(both);
	out[1] = vaddvq_u64(either);
}

const ChsBitKernels chs_bit_neon = {
	.hamming_bit = chs_hamming_bit_neon,
	.overlap_bit = chs_overlap_bit_neon,
};

#endif /* __aarch64__ */
