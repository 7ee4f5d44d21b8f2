/*
 * sparsevec_cast.c
 *	  Conversions between sparsevec, the dense types and arrays, and to
 *	  sparsevec(n).
 *
 * Separate because this is where zeroes appear and disappear: every way in
 * leaves them out, every way out puts them back.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "access/detoast.h"

#include "pg/type/dimension.h"
#include "pg/type/halfvec.h"
#include "pg/type/number_array.h"
#include "pg/type/sparsevec.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_sparsevec_cast);
PG_FUNCTION_INFO_V1(chs_array_to_sparsevec);
PG_FUNCTION_INFO_V1(chs_vector_to_sparsevec);
PG_FUNCTION_INFO_V1(chs_sparsevec_to_vector);
PG_FUNCTION_INFO_V1(chs_halfvec_to_sparsevec);
PG_FUNCTION_INFO_V1(chs_sparsevec_to_halfvec);

/*
 * sparsevec(sparsevec, integer, boolean): the cast that enforces a type
 * modifier.  The value is passed on as it came: of one stored out of line only
 * the header is fetched.
 */
Datum
chs_sparsevec_cast(PG_FUNCTION_ARGS)
{
	Datum datum = PG_GETARG_DATUM(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsSparsevec *head = (ChsSparsevec *) PG_DETOAST_DATUM_SLICE(
		datum, 0, offsetof(ChsSparsevec, index) - VARHDRSZ);

	if (VARSIZE(head) < offsetof(ChsSparsevec, index))
		chs_sparsevec_report_corrupted(head);
	(void) chs_dimension_check(typmod, head->dim, NULL);
	PG_RETURN_DATUM(datum);
}

/*
 * A sparsevec of the elements of x that are not 0, whatever else they are;
 * raises an error if these are too many.  dim is the length of x and must have
 * passed its check.
 */
static ChsSparsevec *
build_from_floats(const float *x, int dim)
{
	ChsSparsevec *result;
	float *value;
	int nnz = 0;
	int j = 0;

	/* a NaN is not 0 */
	for (int i = 0; i < dim; i++)
		nnz += x[i] != 0.0f;
	(void) chs_sparsevec_check_nnz(nnz, dim, NULL);

	result = chs_sparsevec_alloc(dim, nnz);
	value = chs_sparsevec_values(result);
	for (int i = 0; i < dim && j < nnz; i++)
	{
		if (x[i] == 0.0f)
			continue;
		result->index[j] = i;
		value[j] = x[i];
		j++;
	}
	return result;
}

/*
 * array_to_sparsevec(anyarray of a number type, integer, boolean): raises an
 * error unless the array is one row of finite numbers of the right length, not
 * too many of which differ from 0.
 */
Datum
chs_array_to_sparsevec(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int32 typmod = PG_GETARG_INT32(1);
	int dim = chs_array_length(array);
	ChsSparsevec *result;
	float *x;

	(void) chs_sparsevec_check_dim(dim, NULL);
	(void) chs_dimension_check(typmod, dim, NULL);

	/* an array is at most 1 GB, and so are as many floats */
	x = (float *) palloc(sizeof(float) * (Size) dim);
	chs_array_to_floats(array, x, dim);
	result = build_from_floats(x, dim);
	pfree(x);
	(void) chs_sparsevec_check_finite(chs_sparsevec_values(result),
									  result->nnz, NULL);

	PG_RETURN_CHS_SPARSEVEC(result);
}

/* vector_to_sparsevec(vector, integer, boolean): exact, but -0 becomes 0. */
Datum
chs_vector_to_sparsevec(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	int32 typmod = PG_GETARG_INT32(1);

	(void) chs_sparsevec_check_dim(vector->dim, NULL);
	(void) chs_dimension_check(typmod, vector->dim, NULL);
	PG_RETURN_CHS_SPARSEVEC(build_from_floats(vector->x, vector->dim));
}

/* halfvec_to_sparsevec(halfvec, integer, boolean): exact, but -0 becomes 0. */
Datum
chs_halfvec_to_sparsevec(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsSparsevec *result;
	float *x;

	(void) chs_sparsevec_check_dim(vector->dim, NULL);
	(void) chs_dimension_check(typmod, vector->dim, NULL);

	x = (float *) palloc(sizeof(float) * (Size) vector->dim);
	chs_distance()->half->widen_f16(vector->x, (size_t) vector->dim, x);
	result = build_from_floats(x, vector->dim);
	pfree(x);
	PG_RETURN_CHS_SPARSEVEC(result);
}

/*
 * Writes the elements of a sparsevec to their places among dim floats, 0
 * elsewhere.  dim is the sparsevec's.
 */
static void
spread_elements(ChsSparsevec *vector, float *x, int dim)
{
	const float *value = chs_sparsevec_values(vector);

	memset(x, 0, sizeof(float) * (Size) dim);
	for (int i = 0; i < vector->nnz; i++)
	{
		/* only in a damaged table; here it would be a write out of bounds */
		if (vector->index[i] < 0 || vector->index[i] >= dim)
			chs_sparsevec_report_corrupted(vector);
		x[vector->index[i]] = value[i];
	}
}

/* sparsevec_to_vector(sparsevec, integer, boolean): up to 16,000 dimensions. */
Datum
chs_sparsevec_to_vector(PG_FUNCTION_ARGS)
{
	ChsSparsevec *sparse = PG_GETARG_CHS_SPARSEVEC(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsVector *result;

	(void) chs_vector_check_dim(sparse->dim, NULL);
	(void) chs_dimension_check(typmod, sparse->dim, NULL);

	result = chs_vector_alloc(sparse->dim);
	spread_elements(sparse, result->x, sparse->dim);

	PG_RETURN_CHS_VECTOR(result);
}

/* sparsevec_to_halfvec(sparsevec, integer, boolean): the same, and rounds. */
Datum
chs_sparsevec_to_halfvec(PG_FUNCTION_ARGS)
{
	ChsSparsevec *sparse = PG_GETARG_CHS_SPARSEVEC(0);
	int32 typmod = PG_GETARG_INT32(1);
	ChsHalfvec *result;
	float *x;

	(void) chs_halfvec_check_dim(sparse->dim, NULL);
	(void) chs_dimension_check(typmod, sparse->dim, NULL);

	result = chs_halfvec_alloc(sparse->dim);
	x = (float *) palloc(sizeof(float) * (Size) sparse->dim);
	spread_elements(sparse, x, sparse->dim);
	chs_halfvec_narrow(x, sparse->dim, result->x);
	pfree(x);

	PG_RETURN_CHS_HALFVEC(result);
}
