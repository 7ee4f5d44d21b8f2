/*
 * distance_key.c
 *	  From the sums of a kernel to the number an operator returns.
 *
 * Apart from the kernels, because the same few lines end every metric on
 * every instruction set: the sums are float, what is made of them is double.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#include <math.h>

/*
 * 1 - cosine from the three sums.  The product of the squared norms is taken
 * in double and rooted once: it cannot overflow there, and sqrt(x) * sqrt(y)
 * would round twice.  Rounding can carry the quotient past 1, hence the clamp;
 * it is written so that a NaN (a zero norm: 0/0) passes through.
 */
static double
finish_cosine(const float sums[3])
{
	double norms = sqrt((double) sums[1] * (double) sums[2]);
	double cosine = (double) sums[0] / norms;

	if (cosine > 1.0)
		cosine = 1.0;
	else if (cosine < -1.0)
		cosine = -1.0;
	return 1.0 - cosine;
}

double
chs_distance_key(ChsMetric metric, const float *a, const float *b, size_t n)
{
	const ChsDistanceKernels *kernels = chs_distance();
	float sums[3];

	switch (metric)
	{
		case CHS_METRIC_L2:
			return (double) kernels->l2sq_f32(a, b, n);
		case CHS_METRIC_IP:
			return -(double) kernels->dot_f32(a, b, n);
		case CHS_METRIC_COSINE:
			kernels->cosine_f32(a, b, n, sums);
			return finish_cosine(sums);
		case CHS_METRIC_L1:
			return (double) kernels->l1_f32(a, b, n);
		case CHS_METRIC_HAMMING:
		case CHS_METRIC_JACCARD:
			break;
	}
	/* not a metric of these: nothing that can be mistaken for a distance */
	return (double) NAN;
}

double
chs_distance_key_f16(ChsMetric metric, const ChsHalf *a, const ChsHalf *b,
					 size_t n)
{
	const ChsHalfKernels *kernels = chs_distance()->half;
	float sums[3];

	switch (metric)
	{
		case CHS_METRIC_L2:
			return (double) kernels->l2sq_f16(a, b, n);
		case CHS_METRIC_IP:
			return -(double) kernels->dot_f16(a, b, n);
		case CHS_METRIC_COSINE:
			kernels->cosine_f16(a, b, n, sums);
			return finish_cosine(sums);
		case CHS_METRIC_L1:
			return (double) kernels->l1_f16(a, b, n);
		case CHS_METRIC_HAMMING:
		case CHS_METRIC_JACCARD:
			break;
	}
	return (double) NAN;
}

double
chs_distance_key_sparse(ChsMetric metric, const ChsSparse *a, const ChsSparse *b)
{
	float sums[3];

	switch (metric)
	{
		case CHS_METRIC_L2:
			return (double) chs_l2sq_sparse(a, b);
		case CHS_METRIC_IP:
			return -(double) chs_dot_sparse(a, b);
		case CHS_METRIC_COSINE:
			chs_cosine_sparse(a, b, sums);
			return finish_cosine(sums);
		case CHS_METRIC_L1:
			return (double) chs_l1_sparse(a, b);
		case CHS_METRIC_HAMMING:
		case CHS_METRIC_JACCARD:
			break;
	}
	return (double) NAN;
}

double
chs_distance_hamming(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	return (double) chs_distance()->bit->hamming_bit(a, b, bytes);
}

double
chs_distance_jaccard(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	uint64_t counts[2];

	chs_distance()->bit->overlap_bit(a, b, bytes, counts);
	if (counts[0] == 0)
		return 1.0;
	return 1.0 - (double) counts[0] / (double) counts[1];
}

double
chs_distance_value(ChsMetric metric, double key)
{
	return metric == CHS_METRIC_L2 ? sqrt(key) : key;
}
