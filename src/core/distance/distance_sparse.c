/*
 * distance_sparse.c
 *	  Sums over two sparse vectors, by merging their ascending indices.
 *
 * One set for every processor: what costs is finding equal indices, one step
 * after the other, and the arithmetic hides behind that.  A step is written
 * without branches, because which side comes next is as unpredictable as the
 * data: an element that the other vector lacks meets a 0, and the term that
 * makes is exactly the one that the definition asks for.
 *
 * Each sum is float, in the order of the indices.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/distance.h"

#include <math.h>

/* Two vectors that are being merged; i and j: how far. */
typedef struct Merge
{
	const ChsSparse *a;
	const ChsSparse *b;
	size_t i;
	size_t j;
} Merge;

/* The values at the next index that either has.  Both must have one left. */
static inline void
take_next(Merge *merge, float *x, float *y)
{
	int32_t ai = merge->a->index[merge->i];
	int32_t bi = merge->b->index[merge->j];
	float ax = merge->a->value[merge->i];
	float bx = merge->b->value[merge->j];

	*x = ai <= bi ? ax : 0.0f;
	*y = bi <= ai ? bx : 0.0f;
	merge->i += ai <= bi;
	merge->j += bi <= ai;
}

static inline bool
both_left(const Merge *merge)
{
	return merge->i < merge->a->n && merge->j < merge->b->n;
}

float
chs_l2sq_sparse(const ChsSparse *a, const ChsSparse *b)
{
	Merge merge = {.a = a, .b = b};
	float sum = 0.0f;

	while (both_left(&merge))
	{
		float x;
		float y;

		take_next(&merge, &x, &y);
		sum += (x - y) * (x - y);
	}
	for (size_t i = merge.i; i < a->n; i++)
		sum += a->value[i] * a->value[i];
	for (size_t j = merge.j; j < b->n; j++)
		sum += b->value[j] * b->value[j];
	return sum;
}

float
chs_dot_sparse(const ChsSparse *a, const ChsSparse *b)
{
	Merge merge = {.a = a, .b = b};
	float sum = 0.0f;

	while (both_left(&merge))
	{
		float x;
		float y;

		take_next(&merge, &x, &y);
		sum += x * y;
	}
	return sum;
}

float
chs_l1_sparse(const ChsSparse *a, const ChsSparse *b)
{
	Merge merge = {.a = a, .b = b};
	float sum = 0.0f;

	while (both_left(&merge))
	{
		float x;
		float y;

		take_next(&merge, &x, &y);
		sum += fabsf(x - y);
	}
	for (size_t i = merge.i; i < a->n; i++)
		sum += fabsf(a->value[i]);
	for (size_t j = merge.j; j < b->n; j++)
		sum += fabsf(b->value[j]);
	return sum;
}

/*
 * The norms are summed as the product is, in index order by one accumulator:
 * so the cosine of a vector with itself is exactly 1.
 */
void
chs_cosine_sparse(const ChsSparse *a, const ChsSparse *b, float out[3])
{
	float norm_a = 0.0f;
	float norm_b = 0.0f;

	for (size_t i = 0; i < a->n; i++)
		norm_a += a->value[i] * a->value[i];
	for (size_t j = 0; j < b->n; j++)
		norm_b += b->value[j] * b->value[j];
	out[0] = chs_dot_sparse(a, b);
	out[1] = norm_a;
	out[2] = norm_b;
}
