/*
 * sparsevec_ops.c
 *	  SQL functions that look into one sparsevec or make a new one.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "pg/type/sparsevec.h"

PG_FUNCTION_INFO_V1(chs_sparsevec_l2_norm);
PG_FUNCTION_INFO_V1(chs_sparsevec_l2_normalize);

/*
 * The Euclidean norm.  In double: the square of the largest float is far
 * from a double's limit.
 */
static double
compute_norm(ChsSparsevec *vector)
{
	const float *value = chs_sparsevec_values(vector);
	double sum = 0.0;

	for (int i = 0; i < vector->nnz; i++)
		sum += (double) value[i] * (double) value[i];
	return sqrt(sum);
}

Datum
chs_sparsevec_l2_norm(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_norm(PG_GETARG_CHS_SPARSEVEC(0)));
}

/*
 * The sparsevec scaled to norm 1; one without elements stays as it is.  An
 * element that becomes 0 is no element any more.  None overflows: no element is
 * larger than the norm.
 */
Datum
chs_sparsevec_l2_normalize(PG_FUNCTION_ARGS)
{
	ChsSparsevec *vector = PG_GETARG_CHS_SPARSEVEC(0);
	const float *value = chs_sparsevec_values(vector);
	double norm = compute_norm(vector);
	ChsSparsevec *result;
	float *scaled;
	int nnz = 0;
	int j = 0;

	for (int i = 0; i < vector->nnz; i++)
		nnz += (float) (value[i] / norm) != 0.0f;

	result = chs_sparsevec_alloc(vector->dim, nnz);
	scaled = chs_sparsevec_values(result);
	for (int i = 0; i < vector->nnz && j < nnz; i++)
	{
		float x = (float) (value[i] / norm);

		if (x == 0.0f)
			continue;
		result->index[j] = vector->index[i];
		scaled[j] = x;
		j++;
	}

	PG_RETURN_CHS_SPARSEVEC(result);
}
