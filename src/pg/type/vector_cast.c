/*
 * vector_cast.c
 *	  Conversions between vector and arrays, and to vector(n).
 *
 * Separate because this is where vectors meet PostgreSQL's arrays.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "catalog/pg_type.h"

#include "pg/type/number_array.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_cast);
PG_FUNCTION_INFO_V1(chs_array_to_vector);
PG_FUNCTION_INFO_V1(chs_vector_to_float4);

/*
 * vector(vector, integer, boolean): the cast that enforces a type modifier.
 * The value is passed on as it came: one stored out of line is not fetched.
 */
Datum
chs_vector_cast(PG_FUNCTION_ARGS)
{
	Datum datum = PG_GETARG_DATUM(0);
	int32 typmod = PG_GETARG_INT32(1);

	(void) chs_vector_check_expected(typmod, chs_vector_dim_from_datum(datum),
									 NULL);
	PG_RETURN_DATUM(datum);
}

/*
 * array_to_vector(anyarray of a number type, integer, boolean): raises an
 * error unless the array is one row of finite numbers of the right length.
 */
Datum
chs_array_to_vector(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int32 typmod = PG_GETARG_INT32(1);
	int dim = chs_array_length(array);
	ChsVector *result;

	(void) chs_vector_check_dim(dim, NULL);
	(void) chs_vector_check_expected(typmod, dim, NULL);

	result = chs_vector_alloc(dim);
	chs_array_to_floats(array, result->x, dim);
	(void) chs_vector_check_finite(result->x, dim, NULL);

	PG_RETURN_CHS_VECTOR(result);
}

/* vector_to_float4(vector, integer, boolean): the elements as real[]. */
Datum
chs_vector_to_float4(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	ArrayType *result = chs_array_create(FLOAT4OID, sizeof(float4), vector->dim);

	memcpy(chs_array_data(result), vector->x, sizeof(float4) * vector->dim);

	PG_RETURN_ARRAYTYPE_P(result);
}
