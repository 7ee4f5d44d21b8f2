/*
 * number_array.h
 *	  One-dimensional PostgreSQL arrays of fixed-width numbers, as blocks.
 *
 * Separate because casts and aggregates both need it: the server's own
 * construct_array() and deconstruct_array() go through one Datum per element.
 * It knows nothing of vectors.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_NUMBER_ARRAY_H
#define CHS_NUMBER_ARRAY_H

#include "utils/array.h"

#include "pg/compat.h"

/*
 * The first element of an array.  The server's ARR_DATA_PTR mixes signed and
 * unsigned, which -Wextra reports wherever it is used.
 */
static inline void *
chs_array_data(ArrayType *array)
{
	Size offset = ARR_HASNULL(array) ? (Size) array->dataoffset
									 : ARR_OVERHEAD_NONULLS(ARR_NDIM(array));

	return (char *) array + offset;
}

/*
 * A new array of count >= 1 elements numbered from 1, without nulls, in the
 * current memory context.  The elements are not filled in.  The caller vouches
 * that element_bytes is the type's width and that the size is within limits.
 */
static inline ArrayType *
chs_array_create(Oid element_type, Size element_bytes, int count)
{
	Size header = ARR_OVERHEAD_NONULLS(1);
	Size bytes = header + element_bytes * (Size) count;
	ArrayType *array = (ArrayType *) palloc(bytes);

	memset(array, 0, header);
	SET_VARSIZE(array, bytes);
	array->ndim = 1;
	array->dataoffset = 0; /* no null bitmap */
	array->elemtype = element_type;
	ARR_DIMS(array)[0] = count;
	ARR_LBOUND(array)[0] = 1;
	return array;
}

/* number_array.c */

/*
 * How many elements an array has; raises an error unless it has one dimension
 * (or none, then that is 0) and no nulls.
 */
extern int chs_array_length(ArrayType *array);

/*
 * The elements of an array without nulls, of int4, float4, float8 or numeric,
 * as floats; any other type raises an error.  count must be the array's
 * length, x have room for as many.  A float8 beyond the range of float becomes
 * infinite; a numeric raises an error.
 */
extern void chs_array_to_floats(ArrayType *array, float *x, int count);

#endif /* CHS_NUMBER_ARRAY_H */
