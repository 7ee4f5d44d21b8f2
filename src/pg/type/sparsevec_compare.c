/*
 * sparsevec_compare.c
 *	  Order and hash of sparsevecs, for btree, sort, hash join and grouping.
 *
 * Separate because the two must agree: what compares equal must hash equal.
 * Here that is easy: a 0 is never stored, so that equal sparsevecs have equal
 * bytes.
 *
 * All functions free what they detoasted: sorts and index builds call them
 * many times in one memory context.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "common/hashfn.h"

#include "pg/type/sparsevec.h"

PG_FUNCTION_INFO_V1(chs_sparsevec_lt);
PG_FUNCTION_INFO_V1(chs_sparsevec_le);
PG_FUNCTION_INFO_V1(chs_sparsevec_eq);
PG_FUNCTION_INFO_V1(chs_sparsevec_ne);
PG_FUNCTION_INFO_V1(chs_sparsevec_ge);
PG_FUNCTION_INFO_V1(chs_sparsevec_gt);
PG_FUNCTION_INFO_V1(chs_sparsevec_cmp);
PG_FUNCTION_INFO_V1(chs_sparsevec_hash);
PG_FUNCTION_INFO_V1(chs_sparsevec_hash_extended);

/* How a value compares with the 0 that the other side has in its place. */
static inline int
sign_of(float value)
{
	return value < 0.0f ? -1 : 1;
}

/*
 * Negative, zero or positive: lexicographic over all dimensions, zeroes
 * included, as the dense vectors compare; a prefix before the longer vector.
 */
int
chs_sparsevec_compare(const ChsSparsevec *a, const ChsSparsevec *b)
{
	ChsSparse x = chs_sparsevec_view(a);
	ChsSparse y = chs_sparsevec_view(b);
	size_t common = Min(x.n, y.n);

	for (size_t i = 0; i < common; i++)
	{
		if (x.index[i] < y.index[i])
			return sign_of(x.value[i]);
		if (x.index[i] > y.index[i])
			return -sign_of(y.value[i]);
		if (x.value[i] != y.value[i])
			return x.value[i] < y.value[i] ? -1 : 1;
	}

	/* an element behind the other's end counts for nothing but length */
	if (x.n > common && x.index[common] < b->dim)
		return sign_of(x.value[common]);
	if (y.n > common && y.index[common] < a->dim)
		return -sign_of(y.value[common]);
	return (a->dim > b->dim) - (a->dim < b->dim);
}

/* Compares the two arguments. */
static inline int
compare_arguments(FunctionCallInfo fcinfo)
{
	ChsSparsevec *a = PG_GETARG_CHS_SPARSEVEC(0);
	ChsSparsevec *b = PG_GETARG_CHS_SPARSEVEC(1);
	int result = chs_sparsevec_compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
chs_sparsevec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) < 0);
}

Datum
chs_sparsevec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) <= 0);
}

Datum
chs_sparsevec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) == 0);
}

Datum
chs_sparsevec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) != 0);
}

Datum
chs_sparsevec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) >= 0);
}

Datum
chs_sparsevec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) > 0);
}

Datum
chs_sparsevec_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_arguments(fcinfo));
}

/*
 * Hashes all of the first argument behind its varlena header, dimensions
 * included, with a seed; seed 0 gives the plain hash in the low half.  Like
 * all of PostgreSQL's hashes it differs between byte orders.
 */
static uint64
hash_argument(FunctionCallInfo fcinfo, uint64 seed)
{
	ChsSparsevec *vector = PG_GETARG_CHS_SPARSEVEC(0);
	uint64 hash;

	hash = hash_bytes_extended((const unsigned char *) &vector->dim,
							   (int) (VARSIZE(vector) - VARHDRSZ), seed);
	PG_FREE_IF_COPY(vector, 0);
	return hash;
}

/* hash support function 1 */
Datum
chs_sparsevec_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) (uint32) hash_argument(fcinfo, 0));
}

/*
 * hash support function 2: PostgreSQL asks that its low half equal function 1
 * when the seed is 0.
 */
Datum
chs_sparsevec_hash_extended(PG_FUNCTION_ARGS)
{
	uint64 seed = (uint64) PG_GETARG_INT64(1);

	PG_RETURN_INT64((int64) hash_argument(fcinfo, seed));
}
