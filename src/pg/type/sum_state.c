/*
 * sum_state.c
 *	  The state of avg() and sum(), taken apart, made and checked.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/float.h"

#include "pg/type/number_array.h"
#include "pg/type/sum_state.h"

ChsSumState
chs_sum_state_get(FunctionCallInfo fcinfo, int argument)
{
	ChsSumState state;

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

ChsSumState
chs_sum_state_create(int dim)
{
	ChsSumState state;

	state.array = chs_array_create(FLOAT8OID, sizeof(float8), dim + 1);
	state.count = (float8 *) chs_array_data(state.array);
	state.sums = state.count + 1;
	state.dim = dim;
	return state;
}

ChsSumState
chs_sum_state_reuse(FunctionCallInfo fcinfo, ChsSumState old)
{
	if (AggCheckCallContext(fcinfo, NULL))
		return old;
	return chs_sum_state_create(old.dim);
}

void
chs_sum_state_check(ChsSumState state)
{
	for (int i = 0; i < state.dim; i++)
	{
		if (unlikely(isinf(state.sums[i])))
			float_overflow_error();
	}
}
