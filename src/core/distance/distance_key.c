/*
 * distance_key.c
 *	  From the float32 sums of a kernel to the number an operator returns.
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
	}
	/* not a metric: a value that no comparison can mistake for a distance */
	return (double) NAN;
}

double
chs_distance_value(ChsMetric metric, double key)
{
	return metric == CHS_METRIC_L2 ? sqrt(key) : key;
}
