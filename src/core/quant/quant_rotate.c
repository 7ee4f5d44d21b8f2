/*
 * quant_rotate.c
 *	  A seeded random rotation in O(n log n) for any multiple of 64.
 *
 * A dense random rotation would cost n^2; a Hadamard transform alone needs a
 * power of two, and padding 768 dimensions to 1024 would make every code a
 * third longer.  So each round flips random signs, applies the Hadamard
 * transform to the largest power of two that fits, at the front in even
 * rounds and at the back in odd ones, and then mixes the two halves with one
 * butterfly (one sweep of a Kac walk).  Four rounds spread every coordinate over all
 * others; a power of two needs no butterfly and three rounds.
 *
 * Products and sums stand in different loops, so that there is nothing a
 * compiler could fuse and the result does not depend on the instruction set.
 *
 * Papers: Ailon & Chazelle 2009 (fast Johnson-Lindenstrauss transform), Kac
 * 1956 (the walk), Gao et al. 2025 (their combination before RaBitQ codes).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant_rotate.h"

#include <math.h>

#include "core/base/rng.h"
#include "core/quant/quant_vec.h"

/* Rounds of signs and transform; three are the usual choice for H D H D H D. */
#define ROUNDS_POWER_OF_TWO 3
#define ROUNDS_OTHER 4

/*
 * Flips the sign of x[i] where bit i of the round's random bits is set, and
 * multiplies by factor.  The bits come from a hash of the position, not from
 * a stream: there is nothing to store.  from and to are multiples of 64.
 */
CHS_ALWAYS_INLINE void
flip_and_scale(float *x, uint32_t from, uint32_t to, uint64_t round_seed,
			   float factor)
{
	const ChsV8i select = {1, 2, 4, 8, 16, 32, 64, 128};

	for (uint32_t i = from; i < to; i += 64)
	{
		uint64_t bits = chs_mix64(round_seed + i);

		for (uint32_t j = i; j < i + 64; j += 8, bits >>= 8)
		{
			int32_t b = (int32_t) (bits & 0xff);
			ChsV8i byte = {b, b, b, b, b, b, b, b};
			ChsV8i flip = ((byte & select) == select) & INT32_MIN;
			ChsV8 value = CHS_LOAD8(x + j) * CHS_SPLAT8(factor);

			CHS_STORE8(x + j, (ChsV8) ((ChsV8i) value ^ flip));
		}
	}
}

/* Strides 1, 2 and 4 within eight lanes; multiplying by +-1 is exact. */
#define LANE_STAGES(v) \
	do \
	{ \
		(v) = CHS_SHUFFLE8(v, 1, 0, 3, 2, 5, 4, 7, 6) + (v) *sign1; \
		(v) = CHS_SHUFFLE8(v, 2, 3, 0, 1, 6, 7, 4, 5) + (v) *sign2; \
		(v) = CHS_SHUFFLE8(v, 4, 5, 6, 7, 0, 1, 2, 3) + (v) *sign4; \
	} while (0)

/*
 * Strides 1, 2 and 4 inside four registers, then 8 and 16 across them.  Not a
 * loop over an array: that would live on the stack.
 */
CHS_ALWAYS_INLINE void
transform_32(float *x)
{
	const ChsV8 sign1 = {1, -1, 1, -1, 1, -1, 1, -1};
	const ChsV8 sign2 = {1, 1, -1, -1, 1, 1, -1, -1};
	const ChsV8 sign4 = {1, 1, 1, 1, -1, -1, -1, -1};
	ChsV8 a = CHS_LOAD8(x);
	ChsV8 b = CHS_LOAD8(x + 8);
	ChsV8 c = CHS_LOAD8(x + 16);
	ChsV8 d = CHS_LOAD8(x + 24);
	ChsV8 s0;
	ChsV8 d0;
	ChsV8 s1;
	ChsV8 d1;

	LANE_STAGES(a);
	LANE_STAGES(b);
	LANE_STAGES(c);
	LANE_STAGES(d);
	s0 = a + b;
	d0 = a - b;
	s1 = c + d;
	d1 = c - d;
	CHS_STORE8(x, s0 + s1);
	CHS_STORE8(x + 8, d0 + d1);
	CHS_STORE8(x + 16, s0 - s1);
	CHS_STORE8(x + 24, d0 - d1);
}

/* Two stages at once, strides h and 2h, over the 4h floats at x. */
CHS_ALWAYS_INLINE void
transform_two_stages(float *x, uint32_t h)
{
	for (uint32_t i = 0; i < h; i += 8)
	{
		ChsV8 a = CHS_LOAD8(x + i);
		ChsV8 b = CHS_LOAD8(x + i + h);
		ChsV8 c = CHS_LOAD8(x + i + 2 * h);
		ChsV8 d = CHS_LOAD8(x + i + 3 * h);
		ChsV8 s0 = a + b;
		ChsV8 d0 = a - b;
		ChsV8 s1 = c + d;
		ChsV8 d1 = c - d;

		CHS_STORE8(x + i, s0 + s1);
		CHS_STORE8(x + i + h, d0 + d1);
		CHS_STORE8(x + i + 2 * h, s0 - s1);
		CHS_STORE8(x + i + 3 * h, d0 - d1);
	}
}

/* x[i] + x[i + h] and x[i] - x[i + h] for i below h, a multiple of 8. */
CHS_ALWAYS_INLINE void
mix_halves(float *x, uint32_t h)
{
	for (uint32_t i = 0; i < h; i += 8)
	{
		ChsV8 a = CHS_LOAD8(x + i);
		ChsV8 b = CHS_LOAD8(x + i + h);

		CHS_STORE8(x + i, a + b);
		CHS_STORE8(x + i + h, a - b);
	}
}

/* Hadamard transform of n floats, unscaled; n a power of two, at least 64. */
CHS_ALWAYS_INLINE void
transform(float *x, uint32_t n)
{
	uint32_t h = 32;

	for (uint32_t i = 0; i < n; i += 32)
		transform_32(x + i);
	for (; 4 * h <= n; h *= 4)
		for (uint32_t i = 0; i < n; i += 4 * h)
			transform_two_stages(x + i, h);
	if (h < n)
		mix_halves(x, h);
}

/*
 * The transform is scaled before it is applied, so that values stay of the
 * size of the input; the butterflies' root of two per round, four times, is
 * the exact factor 1/4 of the last pass.
 */
CHS_ALWAYS_INLINE void
rotate_body(float *x, uint32_t n, uint64_t seed)
{
	uint32_t power = 64;
	int rounds;
	float factor;

	while (2 * power <= n)
		power *= 2;
	rounds = power == n ? ROUNDS_POWER_OF_TWO : ROUNDS_OTHER;
	factor = (float) sqrt(1.0 / power);

	for (int round = 0; round < rounds; round++)
	{
		uint64_t round_seed = chs_mix64(seed + (uint64_t) round);
		uint32_t from = round % 2 == 0 ? 0 : n - power;

		flip_and_scale(x, 0, from, round_seed, 1.0f);
		flip_and_scale(x, from, from + power, round_seed, factor);
		flip_and_scale(x, from + power, n, round_seed, 1.0f);
		transform(x + from, power);
		if (power != n)
			mix_halves(x, n / 2);
	}
	if (power != n)
		for (uint32_t i = 0; i < n; i += 8)
			CHS_STORE8(x + i, CHS_LOAD8(x + i) * CHS_SPLAT8(0.25f));
}

static void
rotate_plain(float *x, uint32_t n, uint64_t seed)
{
	rotate_body(x, n, seed);
}

#if defined(CHS_QUANT_HAVE_AVX2_BODY)
CHS_TARGET_AVX2 static void
rotate_avx2(float *x, uint32_t n, uint64_t seed)
{
	rotate_body(x, n, seed);
}
#endif

void
chs_rotate(float *x, uint32_t n, uint64_t seed)
{
#if defined(CHS_QUANT_HAVE_AVX2_BODY)
	if (chs_use_avx2_body())
	{
		rotate_avx2(x, n, seed);
		return;
	}
#endif
	rotate_plain(x, n, seed);
}
