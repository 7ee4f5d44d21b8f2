/*
 * halfvec_check.c
 *	  The rules a value of type halfvec obeys, and the error each breach raises.
 *
 * Separate so that every way into the type (text, binary, array, other vector
 * types, operator result) states the same rule in the same words and SQLSTATE.
 * The primary messages are those applications already know from pgvector.
 *
 * The chs_halfvec_check_*() functions return true, or report the breach: into
 * escontext if the caller accepts soft errors, then they return false; with
 * escontext NULL they raise it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <math.h>

#include "common/shortest_dec.h"

#include "core/distance/distance.h"
#include "pg/type/halfvec.h"

/*
 * A new halfvec of dim elements in the current memory context: the header is
 * filled, the elements are not.  dim must have passed chs_halfvec_check_dim().
 */
ChsHalfvec *
chs_halfvec_alloc(int dim)
{
	Size bytes = CHS_HALFVEC_BYTES(dim);
	ChsHalfvec *result = (ChsHalfvec *) palloc(bytes);

	Assert(dim >= 1 && dim <= CHS_HALFVEC_MAX_DIM);
	SET_VARSIZE(result, bytes);
	result->dim = (int16) dim;
	result->unused = 0;
	return result;
}

/* The stored length does not fit the stored element count: raises an error. */
void
chs_halfvec_report_corrupted(const ChsHalfvec *vector)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("halfvec value is corrupted"),
					errdetail("A value of %zu bytes cannot be a halfvec.",
							  (size_t) VARSIZE(vector))));
}

/* Raises the error for an operation on two halfvecs of different length. */
void
chs_halfvec_report_different(int dim_a, int dim_b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different halfvec dimensions %d and %d", dim_a, dim_b)));
}

/* Can a halfvec have this many elements? */
bool
chs_halfvec_check_dim(int dim, Node *escontext)
{
	if (dim < 1)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("halfvec must have at least 1 dimension")));

	if (dim > CHS_HALFVEC_MAX_DIM)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("halfvec cannot have more than %d dimensions",
							CHS_HALFVEC_MAX_DIM)));
	return true;
}

/* Reports the first element that is not finite, which must exist. */
static bool
report_not_finite(const ChsHalf *x, int dim, Node *escontext)
{
	int i = 0;

	while (i < dim - 1 && chs_half_is_finite(x[i]))
		i++;

	if (chs_half_is_nan(x[i]))
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in halfvec")));

	chs_ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("infinite value not allowed in halfvec")));
}

/*
 * Are all elements finite?  The loop has no exit so that a compiler can turn
 * it into vector code; finding the culprit is left to the error path.
 */
bool
chs_halfvec_check_finite(const ChsHalf *x, int dim, Node *escontext)
{
	unsigned found = 0;

	for (int i = 0; i < dim; i++)
		found |= !chs_half_is_finite(x[i]);

	if (unlikely(found))
		return report_not_finite(x, dim, escontext);
	return true;
}

void
chs_halfvec_narrow(const float *x, int n, ChsHalf *out)
{
	unsigned found = 0;

	chs_distance()->half->narrow_f32(x, (size_t) n, out);
	for (int i = 0; i < n; i++)
		found |= !chs_half_is_finite(out[i]);
	if (likely(!found))
		return;

	for (int i = 0; i < n; i++)
	{
		char text[FLOAT_SHORTEST_DECIMAL_LEN];

		if (chs_half_is_finite(out[i]) || !isfinite(x[i]))
			continue;
		float_to_shortest_decimal_buf(x[i], text);
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%s\" is out of range for type halfvec", text)));
	}
}
