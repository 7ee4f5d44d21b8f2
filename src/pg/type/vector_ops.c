/*
 * vector_ops.c
 *	  SQL functions that look into one vector or make a new one.
 *
 * Separate from the distances because nothing here is on a search's path:
 * plain loops that a compiler can vectorise, no kernels.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_dims);
PG_FUNCTION_INFO_V1(chs_vector_norm);
PG_FUNCTION_INFO_V1(chs_l2_normalize);
PG_FUNCTION_INFO_V1(chs_vector_add);
PG_FUNCTION_INFO_V1(chs_vector_sub);
PG_FUNCTION_INFO_V1(chs_vector_mul);
PG_FUNCTION_INFO_V1(chs_vector_concat);
PG_FUNCTION_INFO_V1(chs_subvector);
PG_FUNCTION_INFO_V1(chs_binary_quantize);

/*
 * The vector of which only the first dim elements will be read.  Out of line
 * values are fetched no farther than that: the type is stored uncompressed,
 * so TOAST can find the chunks.  v->dim tells the whole length, VARSIZE what
 * was fetched.
 */
static ChsVector *
fetch_prefix(Datum datum, int dim)
{
	ChsVector *vector;
	Size data_bytes = CHS_VECTOR_BYTES(dim) - VARHDRSZ;

	if (!VARATT_IS_EXTERNAL(DatumGetPointer(datum)))
		return chs_vector_from_datum(datum);

	vector = (ChsVector *) PG_DETOAST_DATUM_SLICE(datum, 0, data_bytes);
	if (VARSIZE(vector) < offsetof(ChsVector, x) ||
		VARSIZE(vector) < CHS_VECTOR_BYTES(Min(dim, vector->dim)))
		chs_vector_report_corrupted(vector);
	return vector;
}

/* Raises an error if an operation on finite vectors left the float range. */
static void
check_overflow(const ChsVector *result)
{
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(isinf(result->x[i])))
			float_overflow_error();
	}
}

/* Raises an error if a product of two non-zero floats became zero. */
static void
check_underflow(const ChsVector *a, const ChsVector *b, const ChsVector *result)
{
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(result->x[i] == 0.0f) && a->x[i] != 0.0f && b->x[i] != 0.0f)
			float_underflow_error();
	}
}

/*
 * The Euclidean norm.  In double: the square of the largest float is far
 * from a double's limit.  Four sums, so that an addition need not wait for
 * the one before.
 */
static double
compute_norm(const ChsVector *vector)
{
	const float *x = vector->x;
	double sum[4] = {0.0, 0.0, 0.0, 0.0};
	int i = 0;

	for (; i + 4 <= vector->dim; i += 4)
	{
		for (int j = 0; j < 4; j++)
			sum[j] += (double) x[i + j] * (double) x[i + j];
	}
	for (; i < vector->dim; i++)
		sum[0] += (double) x[i] * (double) x[i];

	return sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

Datum
chs_vector_dims(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_vector_dim_from_datum(PG_GETARG_DATUM(0)));
}

Datum
chs_vector_norm(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_norm(PG_GETARG_CHS_VECTOR(0)));
}

/* The vector scaled to norm 1; the zero vector stays as it is. */
Datum
chs_l2_normalize(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	ChsVector *result = chs_vector_alloc(vector->dim);
	double norm = compute_norm(vector);

	if (norm > 0.0)
	{
		for (int i = 0; i < vector->dim; i++)
			result->x[i] = (float) (vector->x[i] / norm);
		check_overflow(result);
	}
	else
		memset(result->x, 0, sizeof(float) * vector->dim);

	PG_RETURN_CHS_VECTOR(result);
}

Datum
chs_vector_add(PG_FUNCTION_ARGS)
{
	ChsVector *a = PG_GETARG_CHS_VECTOR(0);
	ChsVector *b = PG_GETARG_CHS_VECTOR(1);
	ChsVector *result;

	chs_vector_check_same(a, b);
	result = chs_vector_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = a->x[i] + b->x[i];
	check_overflow(result);

	PG_RETURN_CHS_VECTOR(result);
}

Datum
chs_vector_sub(PG_FUNCTION_ARGS)
{
	ChsVector *a = PG_GETARG_CHS_VECTOR(0);
	ChsVector *b = PG_GETARG_CHS_VECTOR(1);
	ChsVector *result;

	chs_vector_check_same(a, b);
	result = chs_vector_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = a->x[i] - b->x[i];
	check_overflow(result);

	PG_RETURN_CHS_VECTOR(result);
}

/* Element by element; like SQL's real it reports underflow to zero too. */
Datum
chs_vector_mul(PG_FUNCTION_ARGS)
{
	ChsVector *a = PG_GETARG_CHS_VECTOR(0);
	ChsVector *b = PG_GETARG_CHS_VECTOR(1);
	ChsVector *result;

	chs_vector_check_same(a, b);
	result = chs_vector_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = a->x[i] * b->x[i];
	check_overflow(result);
	check_underflow(a, b, result);

	PG_RETURN_CHS_VECTOR(result);
}

Datum
chs_vector_concat(PG_FUNCTION_ARGS)
{
	ChsVector *a = PG_GETARG_CHS_VECTOR(0);
	ChsVector *b = PG_GETARG_CHS_VECTOR(1);
	int dim = a->dim + b->dim;
	ChsVector *result;

	(void) chs_vector_check_dim(dim, NULL);
	result = chs_vector_alloc(dim);
	memcpy(result->x, a->x, sizeof(float) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(float) * b->dim);

	PG_RETURN_CHS_VECTOR(result);
}

/*
 * subvector(v, start, count): elements start .. start + count - 1, counted
 * from 1 as in substring(), as far as v has them.  Raises an error if it has
 * none of them.
 */
Datum
chs_subvector(PG_FUNCTION_ARGS)
{
	Datum datum = PG_GETARG_DATUM(0);
	int64 start = PG_GETARG_INT32(1);
	int64 count = PG_GETARG_INT32(2);
	int64 end = start + count; /* in 64 bits: both may be extreme */
	ChsVector *vector;
	ChsVector *result;
	int dim;

	if (count < 1)
		(void) chs_vector_check_dim(0, NULL);

	start = Max(start, 1);
	end = Min(end, CHS_VECTOR_MAX_DIM + 1);
	vector = fetch_prefix(datum, (int) Max(end - 1, 0));
	end = Min(end, vector->dim + 1);
	dim = (int) Max(end - start, 0);
	(void) chs_vector_check_dim(dim, NULL);

	result = chs_vector_alloc(dim);
	memcpy(result->x, vector->x + (start - 1), sizeof(float) * dim);

	PG_RETURN_CHS_VECTOR(result);
}

/* One bit per element, the first element's leftmost: is it greater than 0? */
Datum
chs_binary_quantize(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	Size bytes = VARBITTOTALLEN(vector->dim);
	VarBit *result = (VarBit *) palloc0(bytes);
	bits8 *bits = VARBITS(result);

	SET_VARSIZE(result, bytes);
	VARBITLEN(result) = vector->dim;
	for (int i = 0; i < vector->dim; i++)
		bits[i / 8] |= (bits8) ((vector->x[i] > 0.0f) << (7 - i % 8));

	PG_RETURN_VARBIT_P(result);
}
