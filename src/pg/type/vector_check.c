/*
 * vector_check.c
 *	  The rules a value of type vector obeys, and the error each breach raises.
 *
 * Separate so that every way into the type (text, binary, array, operator
 * result) states the same rule in the same words and SQLSTATE.  The primary
 * messages are those applications already know from pgvector.
 *
 * The chs_vector_check_*() functions return true, or report the breach: into
 * escontext if the caller accepts soft errors, then they return false; with
 * escontext NULL they raise it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "pg/type/vector.h"

/*
 * A new vector of dim elements in the current memory context: the header is
 * filled, the elements are not.  dim must have passed chs_vector_check_dim().
 */
ChsVector *
chs_vector_alloc(int dim)
{
	Size bytes = CHS_VECTOR_BYTES(dim);
	ChsVector *result = (ChsVector *) palloc(bytes);

	Assert(dim >= 1 && dim <= CHS_VECTOR_MAX_DIM);
	SET_VARSIZE(result, bytes);
	result->dim = (int16) dim;
	result->unused = 0;
	return result;
}

/* The stored length does not fit the stored element count: raises an error. */
void
chs_vector_report_corrupted(const ChsVector *vector)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("vector value is corrupted"),
					errdetail("A value of %zu bytes cannot be a vector.",
							  (size_t) VARSIZE(vector))));
}

/* Raises the error for an operation on two vectors of different length. */
void
chs_vector_report_different(int dim_a, int dim_b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different vector dimensions %d and %d", dim_a, dim_b)));
}

/* Can a vector have this many elements? */
bool
chs_vector_check_dim(int dim, Node *escontext)
{
	if (dim < 1)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("vector must have at least 1 dimension")));

	if (dim > CHS_VECTOR_MAX_DIM)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("vector cannot have more than %d dimensions",
							CHS_VECTOR_MAX_DIM)));
	return true;
}

/* Reports the first element that is not finite, which must exist. */
static bool
report_not_finite(const float *x, int dim, Node *escontext)
{
	int i = 0;

	while (i < dim - 1 && isfinite(x[i]))
		i++;

	if (isnan(x[i]))
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in vector")));

	chs_ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("infinite value not allowed in vector")));
}

/*
 * Are all elements finite?
 *
 * An exponent of all ones is NaN or infinity.  The loop has no exit so that a
 * compiler can turn it into vector code; finding the culprit is left to the
 * error path.
 */
bool
chs_vector_check_finite(const float *x, int dim, Node *escontext)
{
	uint32 found = 0;

	for (int i = 0; i < dim; i++)
	{
		uint32 bits;

		memcpy(&bits, &x[i], sizeof(bits));
		found |= (bits & 0x7f800000) == 0x7f800000;
	}

	if (unlikely(found))
		return report_not_finite(x, dim, escontext);
	return true;
}
