/*
 * distance_scalar.c
 *	  The float32 distance kernels in plain C: the definition.
 *
 * Every other instruction set is tested against this file.  Each sum is kept
 * in four interleaved accumulators: one alone would wait for its own addition
 * at every step (856 against 197 ns at 768 dimensions, see README.md), and
 * four quarter the growth of the rounding error.  The order of additions is
 * fixed, but a compiler whose target has a fused multiply-add may use it, so
 * the last bits can differ between builds; README.md's bound covers both.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#include <math.h>

/* What the four accumulators amount to; pairwise, as the vector sets do. */
static inline float
sum_lanes(const float sum[4])
{
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static float
chs_l2sq_f32_scalar(const float *a, const float *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
		{
			float diff = a[i + j] - b[i + j];

			sum[j] += diff * diff;
		}
	for (size_t j = 0; i + j < n; j++)
	{
		float diff = a[i + j] - b[i + j];

		sum[j] += diff * diff;
	}
	return sum_lanes(sum);
}

/*
 * Not inlined: the copies in the cosine kernel could be fused differently
 * (clang 14 does so on AArch64), and then the cosine of a vector with itself
 * would not be exactly 1.
 */
__attribute__((noinline)) static float
chs_dot_f32_scalar(const float *a, const float *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
			sum[j] += a[i + j] * b[i + j];
	for (size_t j = 0; i + j < n; j++)
		sum[j] += a[i + j] * b[i + j];
	return sum_lanes(sum);
}

static float
chs_l1_f32_scalar(const float *a, const float *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
			sum[j] += fabsf(a[i + j] - b[i + j]);
	for (size_t j = 0; i + j < n; j++)
		sum[j] += fabsf(a[i + j] - b[i + j]);
	return sum_lanes(sum);
}

/* Each of the three sums is the dot kernel's, bit for bit. */
static void
chs_cosine_f32_scalar(const float *a, const float *b, size_t n, float out[3])
{
	out[0] = chs_dot_f32_scalar(a, b, n);
	out[1] = chs_dot_f32_scalar(a, a, n);
	out[2] = chs_dot_f32_scalar(b, b, n);
}

const ChsDistanceKernels chs_distance_scalar = {
	.isa = CHS_ISA_SCALAR,
	.l2sq_f32 = chs_l2sq_f32_scalar,
	.dot_f32 = chs_dot_f32_scalar,
	.l1_f32 = chs_l1_f32_scalar,
	.cosine_f32 = chs_cosine_f32_scalar,
	.half = &chs_half_scalar,
	.bit = &chs_bit_scalar,
};
