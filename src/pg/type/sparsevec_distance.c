/*
 * sparsevec_distance.c
 *	  SQL distance functions: unpack two sparsevecs, ask core, return float8.
 *
 * No formula stands here: the operators and an index must rank by the same
 * numbers, so both take them from core/distance.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "pg/type/sparsevec.h"

PG_FUNCTION_INFO_V1(chs_sparsevec_l2_distance);
PG_FUNCTION_INFO_V1(chs_sparsevec_inner_product);
PG_FUNCTION_INFO_V1(chs_sparsevec_cosine_distance);
PG_FUNCTION_INFO_V1(chs_sparsevec_l1_distance);
PG_FUNCTION_INFO_V1(chs_sparsevec_l2_squared_distance);
PG_FUNCTION_INFO_V1(chs_sparsevec_negative_inner_product);

/*
 * The key of the two sparsevec arguments under a metric; raises an error if
 * they differ in length.  Detoasted copies are left to the caller's context,
 * which the executor resets for every row.
 */
static inline double
compute_key(FunctionCallInfo fcinfo, ChsMetric metric)
{
	ChsSparsevec *a = PG_GETARG_CHS_SPARSEVEC(0);
	ChsSparsevec *b = PG_GETARG_CHS_SPARSEVEC(1);
	ChsSparse view_a = chs_sparsevec_view(a);
	ChsSparse view_b = chs_sparsevec_view(b);

	chs_sparsevec_check_same(a, b);
	return chs_distance_key_sparse(metric, &view_a, &view_b);
}

/* <->: the Euclidean distance; infinite if its square exceeds a float. */
Datum
chs_sparsevec_l2_distance(PG_FUNCTION_ARGS)
{
	double key = compute_key(fcinfo, CHS_METRIC_L2);

	PG_RETURN_FLOAT8(chs_distance_value(CHS_METRIC_L2, key));
}

Datum
chs_sparsevec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_L2));
}

/* <#>: negative, because an index scan returns the smallest first. */
Datum
chs_sparsevec_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_IP));
}

Datum
chs_sparsevec_inner_product(PG_FUNCTION_ARGS)
{
	/* exact: the key is the negated sum, and negating loses nothing */
	PG_RETURN_FLOAT8(-compute_key(fcinfo, CHS_METRIC_IP));
}

/* <=>: 1 - cosine, in 0 .. 2; NaN if either vector is zero. */
Datum
chs_sparsevec_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_COSINE));
}

/* <+>: the taxicab distance. */
Datum
chs_sparsevec_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_L1));
}
