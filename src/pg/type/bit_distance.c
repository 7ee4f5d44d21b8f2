/*
 * bit_distance.c
 *	  SQL distance functions over PostgreSQL's own type bit.
 *
 * The type is the server's, with its text, casts and order; only these two
 * functions are ours.  varbit, which has the same bytes, is accepted through
 * the server's cast.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "utils/varbit.h"

#include "core/distance/distance.h"

PG_FUNCTION_INFO_V1(chs_hamming_distance);
PG_FUNCTION_INFO_V1(chs_jaccard_distance);

/*
 * The distance of the two arguments as `distance` computes it from their
 * bytes; raises an error if they differ in length.  The bits behind the end in
 * the last byte are zero: the server sees to that.
 */
static double
compute_distance(FunctionCallInfo fcinfo,
				 double (*distance)(const uint8_t *a, const uint8_t *b,
									size_t bytes))
{
	VarBit *a = PG_GETARG_VARBIT_P(0);
	VarBit *b = PG_GETARG_VARBIT_P(1);

	if (VARBITLEN(a) != VARBITLEN(b))
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("different bit lengths %u and %u", VARBITLEN(a),
							   VARBITLEN(b))));
	/* equal lengths have equal sizes, unless the table is damaged */
	return distance(VARBITS(a), VARBITS(b), Min(VARBITBYTES(a), VARBITBYTES(b)));
}

/* <~>: how many bits differ. */
Datum
chs_hamming_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_distance(fcinfo, chs_distance_hamming));
}

/* <%>: 1 - bits set in both / bits set in either; 1 if none is set in both. */
Datum
chs_jaccard_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(compute_distance(fcinfo, chs_distance_jaccard));
}
