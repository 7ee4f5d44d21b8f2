/*
 * vector_aggregate.c
 *	  Transition, combine and final functions of avg(vector) and sum(vector).
 *
 * Separate because of the state they share: a float8 array {n, s1 .. sd} of
 * the row count and the element sums, {0} before the first row.  Sums in
 * double make the result independent of the row order in all digits a float
 * shows, or nearly, which a parallel plan would otherwise not be.
 *
 * The functions are visible in SQL and can be called with any array, so each
 * checks the state it is given.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/float.h"

#include "pg/type/number_array.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_accum);
PG_FUNCTION_INFO_V1(chs_vector_combine);
PG_FUNCTION_INFO_V1(chs_vector_avg);
PG_FUNCTION_INFO_V1(chs_vector_sum);

/* A state taken apart; count and sums point into the array. */
typedef struct AggregateState
{
	ArrayType *array;
	float8 *count;
	float8 *sums;
	int dim; /* 0: no row yet, so no length yet */
} AggregateState;

/* The state in an argument; raises an error if it has not the form of one. */
static AggregateState
get_state(FunctionCallInfo fcinfo, int argument)
{
	AggregateState state;

	state.array = PG_GETARG_ARRAYTYPE_P(argument);
	if (ARR_NDIM(state.array) != 1 || ARR_DIMS(state.array)[0] < 1 ||
		ARR_HASNULL(state.array) || ARR_ELEMTYPE(state.array) != FLOAT8OID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("aggregate state must be a one-dimensional array of "
							   "numbers without nulls")));

	state.count = (float8 *) chs_array_data(state.array);
	state.sums = state.count + 1;
	state.dim = ARR_DIMS(state.array)[0] - 1;
	return state;
}

/* A new state with room for dim sums, nothing filled in. */
static AggregateState
create_state(int dim)
{
	AggregateState state;

	state.array = chs_array_create(FLOAT8OID, sizeof(float8), dim + 1);
	state.count = (float8 *) chs_array_data(state.array);
	state.sums = state.count + 1;
	state.dim = dim;
	return state;
}

/*
 * The state that the result goes into: old itself where the executor says
 * that we may overwrite it, which saves an allocation and two copies of the
 * state per row; else a new one of the same length.
 */
static AggregateState
reuse_state(FunctionCallInfo fcinfo, AggregateState old)
{
	if (AggCheckCallContext(fcinfo, NULL))
		return old;
	return create_state(old.dim);
}

/* Raises an error if a sum left the range of double. */
static void
check_sums(AggregateState state)
{
	for (int i = 0; i < state.dim; i++)
	{
		if (unlikely(isinf(state.sums[i])))
			float_overflow_error();
	}
}

/* vector_accum(double precision[], vector): adds one row. */
Datum
chs_vector_accum(PG_FUNCTION_ARGS)
{
	AggregateState old = get_state(fcinfo, 0);
	ChsVector *vector = PG_GETARG_CHS_VECTOR(1);
	AggregateState result;

	if (old.dim == 0)
	{
		result = create_state(vector->dim);
		for (int i = 0; i < vector->dim; i++)
			result.sums[i] = vector->x[i];
	}
	else
	{
		(void) chs_vector_check_expected(old.dim, vector->dim, NULL);
		result = reuse_state(fcinfo, old);
		for (int i = 0; i < vector->dim; i++)
			result.sums[i] = old.sums[i] + vector->x[i];
		check_sums(result);
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
	AggregateState a = get_state(fcinfo, 0);
	AggregateState b = get_state(fcinfo, 1);
	AggregateState result;

	if (a.dim > 0)
		(void) chs_vector_check_dim(a.dim, NULL);
	if (b.dim > 0)
		(void) chs_vector_check_dim(b.dim, NULL);

	if (a.dim > 0 && b.dim > 0)
	{
		(void) chs_vector_check_expected(a.dim, b.dim, NULL);
		result = reuse_state(fcinfo, a);
		for (int i = 0; i < a.dim; i++)
			result.sums[i] = a.sums[i] + b.sums[i];
		check_sums(result);
	}
	else
	{
		AggregateState filled = a.dim > 0 ? a : b;

		result = create_state(filled.dim);
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
divide_sums(AggregateState state, float8 divisor)
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
	AggregateState state = get_state(fcinfo, 0);
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
	AggregateState state = get_state(fcinfo, 0);
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
