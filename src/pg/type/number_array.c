/*
 * number_array.c
 *	  One-dimensional arrays of the number types that our types are made from.
 *
 * Fixed-width element types are read as the blocks they are; numeric alone is
 * taken apart element by element.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "catalog/pg_type.h"
#include "utils/fmgrprotos.h"

#include "pg/type/number_array.h"

int
chs_array_length(ArrayType *array)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("array must be 1-D")));

	if (array_contains_nulls(array))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("array must not contain nulls")));

	return ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
}

/* numeric elements: a variable-length type, so each is converted by itself */
static void
numerics_to_floats(ArrayType *array, float *x, int count)
{
	Datum *elements;
	int found;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &elements,
					  NULL, &found);
	Assert(found == count);
	for (int i = 0; i < count; i++)
		x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, elements[i]));
	pfree(elements);
}

void
chs_array_to_floats(ArrayType *array, float *x, int count)
{
	switch (ARR_ELEMTYPE(array))
	{
		case FLOAT4OID:
			memcpy(x, chs_array_data(array), sizeof(float4) * (Size) count);
			break;
		case FLOAT8OID:
			for (int i = 0; i < count; i++)
				x[i] = (float) ((float8 *) chs_array_data(array))[i];
			break;
		case INT4OID:
			for (int i = 0; i < count; i++)
				x[i] = (float) ((int32 *) chs_array_data(array))[i];
			break;
		case NUMERICOID:
			numerics_to_floats(array, x, count);
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
							errmsg("unsupported array type")));
	}
}
