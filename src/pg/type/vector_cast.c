/*
 * vector_cast.c
 *	  Conversions between vector and arrays, and to vector(n).
 *
 * Separate because this is where vectors meet PostgreSQL's array layout.
 * Fixed-width element types are read and written as the blocks they are;
 * numeric alone is taken apart element by element.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "catalog/pg_type.h"
#include "utils/fmgrprotos.h"

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

/* numeric elements: a variable-length type, so each is converted by itself */
static void
fill_from_numeric(ChsVector *result, ArrayType *array)
{
	Datum *elements;
	int count;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &elements,
					  NULL, &count);
	Assert(count == result->dim);
	for (int i = 0; i < result->dim; i++)
		result->x[i] = DatumGetFloat4(
			DirectFunctionCall1(numeric_float4, elements[i]));
	pfree(elements);
}

/*
 * Converts the elements of an array without nulls into result->x, which has
 * room for them.  A double beyond the range of float becomes infinite; the
 * caller checks.
 */
static void
fill_from_array(ChsVector *result, ArrayType *array)
{
	float *x = result->x;
	int dim = result->dim;

	switch (ARR_ELEMTYPE(array))
	{
		case FLOAT4OID:
			memcpy(x, chs_array_data(array), sizeof(float4) * dim);
			break;
		case FLOAT8OID:
			for (int i = 0; i < dim; i++)
				x[i] = (float) ((float8 *) chs_array_data(array))[i];
			break;
		case INT4OID:
			for (int i = 0; i < dim; i++)
				x[i] = (float) ((int32 *) chs_array_data(array))[i];
			break;
		case NUMERICOID:
			fill_from_numeric(result, array);
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
							errmsg("unsupported array type")));
	}
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
	ChsVector *result;
	int dim;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("array must be 1-D")));

	if (array_contains_nulls(array))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("array must not contain nulls")));

	dim = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	(void) chs_vector_check_dim(dim, NULL);
	(void) chs_vector_check_expected(typmod, dim, NULL);

	result = chs_vector_alloc(dim);
	fill_from_array(result, array);
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
