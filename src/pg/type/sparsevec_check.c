/*
 * sparsevec_check.c
 *	  The rules a value of type sparsevec obeys, and the error each breach
 *	  raises.
 *
 * Separate so that every way into the type (text, binary, array, other vector
 * types) states the same rule in the same words and SQLSTATE.  The primary
 * messages are those applications already know from pgvector.
 *
 * The chs_sparsevec_check_*() functions return true, or report the breach:
 * into escontext if the caller accepts soft errors, then they return false;
 * with escontext NULL they raise it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "pg/type/sparsevec.h"

/*
 * A new sparsevec in the current memory context: the header is filled, indices
 * and values are not.  dim and nnz must have passed their checks.
 */
ChsSparsevec *
chs_sparsevec_alloc(int dim, int nnz)
{
	Size bytes = CHS_SPARSEVEC_BYTES(nnz);
	ChsSparsevec *result = (ChsSparsevec *) palloc(bytes);

	Assert(dim >= 1 && dim <= CHS_SPARSEVEC_MAX_DIM);
	Assert(nnz >= 0 && nnz <= CHS_SPARSEVEC_MAX_NNZ);
	SET_VARSIZE(result, bytes);
	result->dim = dim;
	result->nnz = nnz;
	result->unused = 0;
	return result;
}

/* The stored length does not fit the stored element count: raises an error. */
void
chs_sparsevec_report_corrupted(const ChsSparsevec *vector)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("sparsevec value is corrupted"),
					errdetail("A value of %zu bytes cannot be this sparsevec.",
							  (size_t) VARSIZE(vector))));
}

/* Raises the error for an operation on two sparsevecs of different length. */
void
chs_sparsevec_report_different(int dim_a, int dim_b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different sparsevec dimensions %d and %d", dim_a, dim_b)));
}

/* Can a sparsevec have this many dimensions? */
bool
chs_sparsevec_check_dim(int dim, Node *escontext)
{
	if (dim < 1)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("sparsevec must have at least 1 dimension")));

	if (dim > CHS_SPARSEVEC_MAX_DIM)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("sparsevec cannot have more than %d dimensions",
							CHS_SPARSEVEC_MAX_DIM)));
	return true;
}

/* Can a sparsevec of so many dimensions have this many elements? */
bool
chs_sparsevec_check_nnz(int nnz, int dim, Node *escontext)
{
	if (nnz < 0)
		chs_ereturn(
			escontext, false,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("sparsevec cannot have negative number of elements")));

	if (nnz > CHS_SPARSEVEC_MAX_NNZ)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("sparsevec cannot have more than %d non-zero elements",
							CHS_SPARSEVEC_MAX_NNZ)));

	if (nnz > dim)
		chs_ereturn(
			escontext, false,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("sparsevec cannot have more elements than dimensions")));
	return true;
}

/*
 * Can index[i] follow index[i - 1], which passed this check, in a sparsevec of
 * so many dimensions?
 */
bool
chs_sparsevec_check_index(const int32 *index, int i, int dim, Node *escontext)
{
	if (index[i] < 0 || index[i] >= dim)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("sparsevec index out of bounds")));

	if (i > 0 && index[i] < index[i - 1])
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("sparsevec indices must be in ascending order")));

	if (i > 0 && index[i] == index[i - 1])
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("sparsevec indices must not contain duplicates")));
	return true;
}

/* Are all of n values finite? */
bool
chs_sparsevec_check_finite(const float *value, int n, Node *escontext)
{
	for (int i = 0; i < n; i++)
	{
		if (likely(isfinite(value[i])))
			continue;

		if (isnan(value[i]))
			chs_ereturn(escontext, false,
						(errcode(ERRCODE_DATA_EXCEPTION),
						 errmsg("NaN not allowed in sparsevec")));

		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in sparsevec")));
	}
	return true;
}
