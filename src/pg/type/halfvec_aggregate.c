/*
 * halfvec_aggregate.c
 *	  Transition and final functions of avg(halfvec) and sum(halfvec).
 *
 * The state is sum_state.h's, so that states are combined by the function of
 * vector.  A sum is rounded to halves once, at the end: kept in halves, a sum
 * of ones would stop at 2048.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "utils/float.h"

#include "core/distance/distance.h"
#include "pg/type/dimension.h"
#include "pg/type/halfvec.h"
#include "pg/type/sum_state.h"

PG_FUNCTION_INFO_V1(chs_halfvec_accum);
PG_FUNCTION_INFO_V1(chs_halfvec_avg);
PG_FUNCTION_INFO_V1(chs_halfvec_sum);

/* Elements converted at a time: 2 kB of stack. */
#define CHUNK 512

/*
 * sums[i] = old[i] + x[i]; old may be sums, or NULL for zeroes.  A row's
 * elements are converted by the kernel, a chunk at a time.
 */
static void
add_row(float8 *sums, const float8 *old, const ChsHalfvec *vector)
{
	void (*widen)(const ChsHalf *a, size_t n,
				  float *out) = chs_distance()->half->widen_f16;
	float x[CHUNK];

	for (int start = 0; start < vector->dim; start += CHUNK)
	{
		int n = Min(CHUNK, vector->dim - start);

		widen(vector->x + start, (size_t) n, x);
		for (int i = 0; i < n; i++)
			sums[start + i] = (old ? old[start + i] : 0.0) + x[i];
	}
}

/* halfvec_accum(double precision[], halfvec): adds one row. */
Datum
chs_halfvec_accum(PG_FUNCTION_ARGS)
{
	ChsSumState old = chs_sum_state_get(fcinfo, 0);
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(1);
	ChsSumState result;

	if (old.dim == 0)
	{
		result = chs_sum_state_create(vector->dim);
		add_row(result.sums, NULL, vector);
	}
	else
	{
		(void) chs_dimension_check(old.dim, vector->dim, NULL);
		result = chs_sum_state_reuse(fcinfo, old);
		add_row(result.sums, old.sums, vector);
		chs_sum_state_check(result);
	}
	*result.count = *old.count + 1.0;

	PG_RETURN_ARRAYTYPE_P(result.array);
}

/*
 * The sums of a state with at least one row, divided, as floats in the current
 * memory context.  Raises the error that suits a halfvec if the state is no
 * possible one.
 */
static float *
divide_sums(ChsSumState state, float8 divisor)
{
	float *x;

	(void) chs_halfvec_check_dim(state.dim, NULL);
	x = (float *) palloc(sizeof(float) * (Size) state.dim);
	for (int i = 0; i < state.dim; i++)
		x[i] = (float) (state.sums[i] / divisor);
	return x;
}

/* halfvec_avg(double precision[]): the mean; NULL of no rows, as SQL wants. */
Datum
chs_halfvec_avg(PG_FUNCTION_ARGS)
{
	ChsSumState state = chs_sum_state_get(fcinfo, 0);
	ChsHalfvec *result;
	float *x;

	if (*state.count == 0.0)
		PG_RETURN_NULL();

	/* the mean of halves is in their range, so only a made-up state fails */
	x = divide_sums(state, *state.count);
	result = chs_halfvec_alloc(state.dim);
	chs_halfvec_narrow(x, state.dim, result->x);
	(void) chs_halfvec_check_finite(result->x, state.dim, NULL);
	pfree(x);
	PG_RETURN_CHS_HALFVEC(result);
}

/* halfvec_sum(double precision[]): the sum; NULL of no rows. */
Datum
chs_halfvec_sum(PG_FUNCTION_ARGS)
{
	ChsSumState state = chs_sum_state_get(fcinfo, 0);
	ChsHalfvec *result;
	float *x;

	if (*state.count == 0.0)
		PG_RETURN_NULL();

	x = divide_sums(state, 1.0);
	result = chs_halfvec_alloc(state.dim);
	for (int i = 0; i < state.dim; i++)
	{
		result->x[i] = chs_half_from_float(x[i]);
		if (unlikely(!chs_half_is_finite(result->x[i])) && !isnan(x[i]))
			float_overflow_error();
	}
	(void) chs_halfvec_check_finite(result->x, state.dim, NULL);
	pfree(x);
	PG_RETURN_CHS_HALFVEC(result);
}
