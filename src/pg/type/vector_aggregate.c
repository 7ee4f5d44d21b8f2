/*
 * vector_aggregate.c
 *	  Transition, combine and final functions of avg(vector) and sum(vector).
 *
 * Separate because of the state they share; sum_state.h describes it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "utils/float.h"

#include "pg/type/sum_state.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_accum);
PG_FUNCTION_INFO_V1(chs_vector_combine);
PG_FUNCTION_INFO_V1(chs_vector_avg);
PG_FUNCTION_INFO_V1(chs_vector_sum);

/* vector_accum(double precision[], vector): adds one row. */
Datum
chs_vector_accum(PG_FUNCTION_ARGS)
{
	ChsSumState old = chs_sum_state_get(fcinfo, 0);
	ChsVector *vector = PG_GETARG_CHS_VECTOR(1);
	ChsSumState result;

	if (old.dim == 0)
	{
		result = chs_sum_state_create(vector->dim);
		for (int i = 0; i < vector->dim; i++)
			result.sums[i] = vector->x[i];
	}
	else
	{
		(void) chs_vector_check_expected(old.dim, vector->dim, NULL);
		result = chs_sum_state_reuse(fcinfo, old);
		for (int i = 0; i < vector->dim; i++)
			result.sums[i] = old.sums[i] + vector->x[i];
		chs_sum_state_check(result);
	}
	*result.count = *old.count + 1.0;

	PG_RETURN_ARRAYTYPE_P(result.array);
}

/*
 * vector_combine(double precision[], double precision[]): merges the states
 * of two sets of rows.  Either may be empty: a parallel worker that got no
 * row sends {0}.
 */
Datum
chs_vector_combine(PG_FUNCTION_ARGS)
{
	ChsSumState a = chs_sum_state_get(fcinfo, 0);
	ChsSumState b = chs_sum_state_get(fcinfo, 1);
	ChsSumState result;

	if (a.dim > 0)
		(void) chs_vector_check_dim(a.dim, NULL);
	if (b.dim > 0)
		(void) chs_vector_check_dim(b.dim, NULL);

	if (a.dim > 0 && b.dim > 0)
	{
		(void) chs_vector_check_expected(a.dim, b.dim, NULL);
		result = chs_sum_state_reuse(fcinfo, a);
		for (int i = 0; i < a.dim; i++)
			result.sums[i] = a.sums[i] + b.sums[i];
		chs_sum_state_check(result);
	}
	else
	{
		ChsSumState filled = a.dim > 0 ? a : b;

		result = chs_sum_state_create(filled.dim);
		memcpy(result.sums, filled.sums, sizeof(float8) * filled.dim);
	}
	*result.count = *a.count + *b.count;

	PG_RETURN_ARRAYTYPE_P(result.array);
}

/*
 * The sums of a state with at least one row, divided, as a vector.  Raises
 * the error that suits a vector if the state is no possible one.
 */
static ChsVector *
divide_sums(ChsSumState state, float8 divisor)
{
	ChsVector *result;

	(void) chs_vector_check_dim(state.dim, NULL);
	result = chs_vector_alloc(state.dim);
	for (int i = 0; i < state.dim; i++)
		result->x[i] = (float) (state.sums[i] / divisor);
	return result;
}

/* vector_avg(double precision[]): the mean; NULL of no rows, as SQL wants. */
Datum
chs_vector_avg(PG_FUNCTION_ARGS)
{
	ChsSumState state = chs_sum_state_get(fcinfo, 0);
	ChsVector *result;

	if (*state.count == 0.0)
		PG_RETURN_NULL();

	/* the mean of finite floats is one, so only a made-up state fails */
	result = divide_sums(state, *state.count);
	(void) chs_vector_check_finite(result->x, result->dim, NULL);
	PG_RETURN_CHS_VECTOR(result);
}

/* vector_sum(double precision[]): the sum; NULL of no rows. */
Datum
chs_vector_sum(PG_FUNCTION_ARGS)
{
	ChsSumState state = chs_sum_state_get(fcinfo, 0);
	ChsVector *result;

	if (*state.count == 0.0)
		PG_RETURN_NULL();

	result = divide_sums(state, 1.0);
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(isinf(result->x[i])))
			float_overflow_error();
	}
	(void) chs_vector_check_finite(result->x, result->dim, NULL);
	PG_RETURN_CHS_VECTOR(result);
}
