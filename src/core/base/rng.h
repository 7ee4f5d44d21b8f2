/*
 * rng.h
 *	  Seeded pseudo-random numbers, so that a build can be repeated bit for bit.
 *
 * splitmix64 (Steele, Lea, Flood 2014): one multiply-xorshift chain, good
 * enough for level draws and rotation signs, and usable as a hash of a key.
 * Not for anything an attacker may want to predict.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_RNG_H
#define CHS_RNG_H

#include <stdint.h>

typedef struct ChsRng
{
	uint64_t state;
} ChsRng;

/* Mixes a 64-bit key into a 64-bit value whose bits all depend on all of it. */
static inline uint64_t
chs_mix64(uint64_t z)
{
	z += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t
chs_rng_next(ChsRng *rng)
{
	uint64_t value = chs_mix64(rng->state);

	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	return value;
}

/* Uniform in (0, 1]: never 0, so that its logarithm is finite. */
static inline double
chs_unit_from_bits(uint64_t bits)
{
	return ((double) (bits >> 11) + 1.0) * (1.0 / 9007199254740992.0);
}

#endif /* CHS_RNG_H */
