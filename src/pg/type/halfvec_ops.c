/*
 * halfvec_ops.c
 *	  SQL functions that look into one halfvec or make a new one.
 *
 * Separate from the distances because nothing here is on a search's path:
 * plain loops, no kernels.  Results are computed in float and rounded once; of
 * a sum or product of two halves that gives what arithmetic on halves would.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "pg/type/halfvec.h"

PG_FUNCTION_INFO_V1(chs_halfvec_vector_dims);
PG_FUNCTION_INFO_V1(chs_halfvec_l2_norm);
PG_FUNCTION_INFO_V1(chs_halfvec_l2_normalize);
PG_FUNCTION_INFO_V1(chs_halfvec_add);
PG_FUNCTION_INFO_V1(chs_halfvec_sub);
PG_FUNCTION_INFO_V1(chs_halfvec_mul);
PG_FUNCTION_INFO_V1(chs_halfvec_concat);
PG_FUNCTION_INFO_V1(chs_halfvec_subvector);
PG_FUNCTION_INFO_V1(chs_halfvec_binary_quantize);

/*
 * The halfvec of which only the first dim elements will be read.  Out of line
 * values are fetched no farther than that: the type is stored uncompressed,
 * so TOAST can find the chunks.  v->dim tells the whole length, VARSIZE what
 * was fetched.
 */
static ChsHalfvec *
fetch_prefix(Datum datum, int dim)
{
	ChsHalfvec *vector;
	Size data_bytes = CHS_HALFVEC_BYTES(dim) - VARHDRSZ;

	if (!VARATT_IS_EXTERNAL(DatumGetPointer(datum)))
		return chs_halfvec_from_datum(datum);

	vector = (ChsHalfvec *) PG_DETOAST_DATUM_SLICE(datum, 0, data_bytes);
	if (VARSIZE(vector) < offsetof(ChsHalfvec, x) ||
		VARSIZE(vector) < CHS_HALFVEC_BYTES(Min(dim, vector->dim)))
		chs_halfvec_report_corrupted(vector);
	return vector;
}

/* Raises an error if an operation on finite halves left their range. */
static void
check_overflow(const ChsHalfvec *result)
{
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(!chs_half_is_finite(result->x[i])))
			float_overflow_error();
	}
}

/*
 * Raises an error at the first product that left the range of halves, or that
 * became zero although neither factor is.
 */
static void
check_products(const ChsHalfvec *a, const ChsHalfvec *b, const ChsHalfvec *result)
{
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(!chs_half_is_finite(result->x[i])))
			float_overflow_error();
		if (unlikely(chs_half_is_zero(result->x[i])) &&
			!chs_half_is_zero(a->x[i]) && !chs_half_is_zero(b->x[i]))
			float_underflow_error();
	}
}

/*
 * The Euclidean norm, in double.  The square of a half takes 22 bits between
 * 2^-48 and 2^32, so that few sums are rounded at all.
 */
static double
compute_norm(const ChsHalfvec *vector)
{
	double sum = 0.0;

	for (int i = 0; i < vector->dim; i++)
	{
		double x = (double) chs_half_to_float(vector->x[i]);

		sum += x * x;
	}
	return sqrt(sum);
}

Datum
chs_halfvec_vector_dims(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_halfvec_dim_from_datum(PG_GETARG_DATUM(0)));
}

Datum
chs_halfvec_l2_norm(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_norm(PG_GETARG_CHS_HALFVEC(0)));
}

/* The halfvec scaled to norm 1; the zero vector stays as it is. */
Datum
chs_halfvec_l2_normalize(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *result = chs_halfvec_alloc(vector->dim);
	double norm = compute_norm(vector);

	if (norm > 0.0)
	{
		/* no element is larger than the norm, so none overflows */
		for (int i = 0; i < vector->dim; i++)
		{
			double x = (double) chs_half_to_float(vector->x[i]);

			result->x[i] = chs_half_from_float((float) (x / norm));
		}
	}
	else
		memset(result->x, 0, sizeof(ChsHalf) * vector->dim);

	PG_RETURN_CHS_HALFVEC(result);
}

Datum
chs_halfvec_add(PG_FUNCTION_ARGS)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);
	ChsHalfvec *result;

	chs_halfvec_check_same(a, b);
	result = chs_halfvec_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = chs_half_from_float(chs_half_to_float(a->x[i]) +
										   chs_half_to_float(b->x[i]));
	check_overflow(result);

	PG_RETURN_CHS_HALFVEC(result);
}

Datum
chs_halfvec_sub(PG_FUNCTION_ARGS)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);
	ChsHalfvec *result;

	chs_halfvec_check_same(a, b);
	result = chs_halfvec_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = chs_half_from_float(chs_half_to_float(a->x[i]) -
										   chs_half_to_float(b->x[i]));
	check_overflow(result);

	PG_RETURN_CHS_HALFVEC(result);
}

/* Element by element; like SQL's real it reports underflow to zero too. */
Datum
chs_halfvec_mul(PG_FUNCTION_ARGS)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);
	ChsHalfvec *result;

	chs_halfvec_check_same(a, b);
	result = chs_halfvec_alloc(a->dim);
	for (int i = 0, dim = a->dim; i < dim; i++)
		result->x[i] = chs_half_from_float(chs_half_to_float(a->x[i]) *
										   chs_half_to_float(b->x[i]));
	check_products(a, b, result);

	PG_RETURN_CHS_HALFVEC(result);
}

Datum
chs_halfvec_concat(PG_FUNCTION_ARGS)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);
	int dim = a->dim + b->dim;
	ChsHalfvec *result;

	(void) chs_halfvec_check_dim(dim, NULL);
	result = chs_halfvec_alloc(dim);
	memcpy(result->x, a->x, sizeof(ChsHalf) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(ChsHalf) * b->dim);

	PG_RETURN_CHS_HALFVEC(result);
}

/*
 * subvector(v, start, count): elements start .. start + count - 1, counted
 * from 1 as in substring(), as far as v has them.  Raises an error if it has
 * none of them.
 */
Datum
chs_halfvec_subvector(PG_FUNCTION_ARGS)
{
	Datum datum = PG_GETARG_DATUM(0);
	int64 start = PG_GETARG_INT32(1);
	int64 count = PG_GETARG_INT32(2);
	int64 end = start + count; /* in 64 bits: both may be extreme */
	ChsHalfvec *vector;
	ChsHalfvec *result;
	int dim;

	if (count < 1)
		(void) chs_halfvec_check_dim(0, NULL);

	start = Max(start, 1);
	end = Min(end, CHS_HALFVEC_MAX_DIM + 1);
	vector = fetch_prefix(datum, (int) Max(end - 1, 0));
	end = Min(end, vector->dim + 1);
	dim = (int) Max(end - start, 0);
	(void) chs_halfvec_check_dim(dim, NULL);

	result = chs_halfvec_alloc(dim);
	memcpy(result->x, vector->x + (start - 1), sizeof(ChsHalf) * dim);

	PG_RETURN_CHS_HALFVEC(result);
}

/* One bit per element, the first element's leftmost: is it greater than 0? */
Datum
chs_halfvec_binary_quantize(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	Size bytes = VARBITTOTALLEN(vector->dim);
	VarBit *result = (VarBit *) palloc0(bytes);
	bits8 *bits = VARBITS(result);

	SET_VARSIZE(result, bytes);
	VARBITLEN(result) = vector->dim;
	/* the bits of a half, taken as a signed number, have its sign */
	for (int i = 0; i < vector->dim; i++)
		bits[i / 8] |= (bits8) (((int16) vector->x[i] > 0) << (7 - i % 8));

	PG_RETURN_VARBIT_P(result);
}
