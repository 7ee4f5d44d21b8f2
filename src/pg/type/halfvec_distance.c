/*
 * halfvec_distance.c
 *	  SQL distance functions: unpack two halfvecs, ask core, return float8.
 *
 * Separate because these few lines are the only way from SQL into the
 * kernels.  No formula stands here: the operators and an index must rank by
 * the same numbers, so both take them from core/distance.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "core/distance/distance.h"
#include "pg/type/halfvec.h"

PG_FUNCTION_INFO_V1(chs_halfvec_l2_distance);
PG_FUNCTION_INFO_V1(chs_halfvec_inner_product);
PG_FUNCTION_INFO_V1(chs_halfvec_cosine_distance);
PG_FUNCTION_INFO_V1(chs_halfvec_l1_distance);
PG_FUNCTION_INFO_V1(chs_halfvec_l2_squared_distance);
PG_FUNCTION_INFO_V1(chs_halfvec_negative_inner_product);
PG_FUNCTION_INFO_V1(chs_halfvec_spherical_distance);

/*
 * The key of the two halfvec arguments under a metric; raises an error if they
 * differ in length.  Detoasted copies are left to the caller's context, which
 * the executor resets for every row.
 */
static inline double
compute_key(FunctionCallInfo fcinfo, ChsMetric metric)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);

	chs_halfvec_check_same(a, b);
	return chs_distance_key_f16(metric, a->x, b->x, (size_t) a->dim);
}

/* <->: the Euclidean distance. */
Datum
chs_halfvec_l2_distance(PG_FUNCTION_ARGS)
{
	double key = compute_key(fcinfo, CHS_METRIC_L2);

	PG_RETURN_FLOAT8(chs_distance_value(CHS_METRIC_L2, key));
}

Datum
chs_halfvec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_L2));
}

/* <#>: negative, because an index scan returns the smallest first. */
Datum
chs_halfvec_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_IP));
}

Datum
chs_halfvec_inner_product(PG_FUNCTION_ARGS)
{
	/* exact: the key is the negated sum, and negating loses nothing */
	PG_RETURN_FLOAT8(-compute_key(fcinfo, CHS_METRIC_IP));
}

/* <=>: 1 - cosine, in 0 .. 2; NaN if either vector is zero. */
Datum
chs_halfvec_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_COSINE));
}

/* <+>: the taxicab distance. */
Datum
chs_halfvec_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_key(fcinfo, CHS_METRIC_L1));
}

/*
 * The angle between two unit vectors as a part of a half turn, 0 .. 1.  That
 * they are unit vectors is the caller's promise: no norm is computed.
 */
Datum
chs_halfvec_spherical_distance(PG_FUNCTION_ARGS)
{
	double cosine = -compute_key(fcinfo, CHS_METRIC_IP);

	/* a unit vector of halves is one only nearly */
	if (cosine > 1.0)
		cosine = 1.0;
	else if (cosine < -1.0)
		cosine = -1.0;

	PG_RETURN_FLOAT8(acos(cosine) / M_PI);
}
