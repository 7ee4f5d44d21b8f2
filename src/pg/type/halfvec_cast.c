/*
 * halfvec_cast.c
 *	  Conversions between halfvec, vector and arrays, and to halfvec(n).
 *
 * Separate because this is where halves meet floats: every way in rounds to
 * the nearest half and refuses what no half is near to.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "catalog/pg_type.h"

#include "core/distance/distance.h"
#include "pg/type/halfvec.h"
#include "pg/type/number_array.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_halfvec_cast);
PG_FUNCTION_INFO_V1(chs_array_to_halfvec);
PG_FUNCTION_INFO_V1(chs_halfvec_to_float4);
PG_FUNCTION_INFO_V1(chs_vector_to_halfvec);
PG_FUNCTION_INFO_V1(chs_halfvec_to_vector);

/*
 * halfvec(halfvec, integer, boolean): the cast that enforces a type modifier.
 * The value is passed on as it came: one stored out of line is not fetched.
 */
Datum
chs_halfvec_cast(PG_FUNCTION_ARGS)
{
	Datum datum = PG_GETARG_DATUM(0);
	int32 typmod = PG_GETARG_INT32(1);

	(void) chs_dimension_check(typmod, chs_halfvec_dim_from_datum(datum), NULL);
	PG_RETURN_DATUM(datum);
}

/*
 * array_to_halfvec(anyarray of a number type, integer, boolean): raises an
 * error unless the array is one row of numbers within the range of halves, and
 * of the right length.
 */
Datum
chs_array_to_halfvec(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int32 typmod = PG_GETARG_INT32(1);
	int dim = chs_array_length(array);
	ChsHalfvec *result;
	float *x;

	(void) chs_halfvec_check_dim(dim, NULL);
	(void) chs_dimension_check(typmod, dim, NULL);

	result = chs_halfvec_alloc(dim);
	x = (float *) palloc(sizeof(float) * (Size) dim);
	chs_array_to_floats(array, x, dim);
	chs_halfvec_narrow(x, dim, result->x);
	(void) chs_halfvec_check_finite(result->x, dim, NULL);
	pfree(x);

	PG_RETURN_CHS_HALFVEC(result);
}

/* halfvec_to_float4(halfvec, integer, boolean): the elements as real[]. */
Datum
chs_halfvec_to_float4(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	ArrayType *result = chs_array_create(FLOAT4OID, sizeof(float4), vector->dim);

	chs_distance()->half->widen_f16(vector->x, (size_t) vector->dim,
									chs_array_data(result));

	PG_RETURN_ARRAYTYPE_P(result);
}

/* vector_to_halfvec(vector, integer, boolean): rounds. */
Datum
chs_vector_to_halfvec(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsHalfvec *result;

	(void) chs_halfvec_check_dim(vector->dim, NULL);
	(void) chs_dimension_check(typmod, vector->dim, NULL);

	result = chs_halfvec_alloc(vector->dim);
	chs_halfvec_narrow(vector->x, vector->dim, result->x);

	PG_RETURN_CHS_HALFVEC(result);
}

/* halfvec_to_vector(halfvec, integer, boolean): exact. */
Datum
chs_halfvec_to_vector(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsVector *result;

	(void) chs_vector_check_dim(vector->dim, NULL);
	(void) chs_dimension_check(typmod, vector->dim, NULL);

	result = chs_vector_alloc(vector->dim);
	chs_distance()->half->widen_f16(vector->x, (size_t) vector->dim, result->x);

	PG_RETURN_CHS_VECTOR(result);
}
