/*
 * distance_half_scalar.c
 *	  The float16 distance kernels in plain C: the definition.
 *
 * Each element becomes a float, which loses nothing; from there on this is
 * distance_scalar.c, with its four accumulators and its reasons for them, so
 * that the same error bound holds.
 *
 * Separate from that file because few machines run this one: where there is a
 * vector set at all, it converts eight halves in one instruction, and here the
 * conversion is most of the work.
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
chs_l2sq_f16_scalar(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
		{
			float diff = chs_half_to_float(a[i + j]) -
						 chs_half_to_float(b[i + j]);

			sum[j] += diff * diff;
		}
	for (size_t j = 0; i + j < n; j++)
	{
		float diff = chs_half_to_float(a[i + j]) - chs_half_to_float(b[i + j]);

		sum[j] += diff * diff;
	}
	return sum_lanes(sum);
}

/* Not inlined, for the reason given at chs_dot_f32_scalar(). */
__attribute__((noinline)) static float
chs_dot_f16_scalar(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
			sum[j] += chs_half_to_float(a[i + j]) * chs_half_to_float(b[i + j]);
	for (size_t j = 0; i + j < n; j++)
		sum[j] += chs_half_to_float(a[i + j]) * chs_half_to_float(b[i + j]);
	return sum_lanes(sum);
}

static float
chs_l1_f16_scalar(const ChsHalf *a, const ChsHalf *b, size_t n)
{
	float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
			sum[j] += fabsf(chs_half_to_float(a[i + j]) -
							chs_half_to_float(b[i + j]));
	for (size_t j = 0; i + j < n; j++)
		sum[j] += fabsf(chs_half_to_float(a[i + j]) -
						chs_half_to_float(b[i + j]));
	return sum_lanes(sum);
}

/* Each of the three sums is the dot kernel's, bit for bit. */
static void
chs_cosine_f16_scalar(const ChsHalf *a, const ChsHalf *b, size_t n, float out[3])
{
	out[0] = chs_dot_f16_scalar(a, b, n);
	out[1] = chs_dot_f16_scalar(a, a, n);
	out[2] = chs_dot_f16_scalar(b, b, n);
}

static void
chs_widen_f16_scalar(const ChsHalf *a, size_t n, float *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = chs_half_to_float(a[i]);
}

static void
chs_narrow_f32_scalar(const float *a, size_t n, ChsHalf *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = chs_half_from_float(a[i]);
}

const ChsHalfKernels chs_half_scalar = {
	.l2sq_f16 = chs_l2sq_f16_scalar,
	.dot_f16 = chs_dot_f16_scalar,
	.l1_f16 = chs_l1_f16_scalar,
	.cosine_f16 = chs_cosine_f16_scalar,
	.widen_f16 = chs_widen_f16_scalar,
	.narrow_f32 = chs_narrow_f32_scalar,
};
