/*
 * halfvec_compare.c
 *	  Order and hash of halfvecs, for btree, sort, hash join and grouping.
 *
 * Separate because the two must agree: what compares equal must hash equal.
 * Here that means one thing, that 0 and -0 are the same element.
 *
 * All functions free what they detoasted: sorts and index builds call them
 * many times in one memory context.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "common/hashfn.h"

#include "pg/type/halfvec.h"

PG_FUNCTION_INFO_V1(chs_halfvec_lt);
PG_FUNCTION_INFO_V1(chs_halfvec_le);
PG_FUNCTION_INFO_V1(chs_halfvec_eq);
PG_FUNCTION_INFO_V1(chs_halfvec_ne);
PG_FUNCTION_INFO_V1(chs_halfvec_ge);
PG_FUNCTION_INFO_V1(chs_halfvec_gt);
PG_FUNCTION_INFO_V1(chs_halfvec_cmp);
PG_FUNCTION_INFO_V1(chs_halfvec_hash);
PG_FUNCTION_INFO_V1(chs_halfvec_hash_extended);

/*
 * A number that orders finite halves: the magnitude's bits ascend with the
 * magnitude, and the sign turns them round.  Both zeroes become 0.
 */
static inline int
order_half(ChsHalf half)
{
	int magnitude = half & ~CHS_HALF_SIGN & 0xffff;

	return half & CHS_HALF_SIGN ? -magnitude : magnitude;
}

/*
 * Negative, zero or positive: lexicographic as for arrays, a prefix before
 * the longer vector.  Elements are finite, so this is a total order.
 */
int
chs_halfvec_compare(const ChsHalfvec *a, const ChsHalfvec *b)
{
	int common = Min(a->dim, b->dim);

	for (int i = 0; i < common; i++)
	{
		int x = order_half(a->x[i]);
		int y = order_half(b->x[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return (a->dim > b->dim) - (a->dim < b->dim);
}

/* Compares the two arguments. */
static inline int
compare_arguments(FunctionCallInfo fcinfo)
{
	ChsHalfvec *a = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *b = PG_GETARG_CHS_HALFVEC(1);
	int result = chs_halfvec_compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

/*
 * Are the two arguments equal?  Halfvecs of different length are told apart
 * without fetching them.
 */
static bool
equal_arguments(FunctionCallInfo fcinfo)
{
	if (chs_halfvec_dim_from_datum(PG_GETARG_DATUM(0)) !=
		chs_halfvec_dim_from_datum(PG_GETARG_DATUM(1)))
		return false;
	return compare_arguments(fcinfo) == 0;
}

Datum
chs_halfvec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) < 0);
}

Datum
chs_halfvec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) <= 0);
}

Datum
chs_halfvec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(equal_arguments(fcinfo));
}

Datum
chs_halfvec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!equal_arguments(fcinfo));
}

Datum
chs_halfvec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) >= 0);
}

Datum
chs_halfvec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) > 0);
}

Datum
chs_halfvec_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_arguments(fcinfo));
}

/*
 * Makes every -0 in the halfvec 0.  Returns the halfvec itself, or a copy if
 * it had one: the argument is not ours to write to.
 */
static ChsHalfvec *
unify_zeroes(ChsHalfvec *vector)
{
	ChsHalfvec *result = vector;
	unsigned found = 0;

	for (int i = 0; i < vector->dim; i++)
		found |= vector->x[i] == CHS_HALF_SIGN;
	if (likely(!found))
		return vector;

	result = chs_halfvec_alloc(vector->dim);
	for (int i = 0; i < vector->dim; i++)
		result->x[i] = chs_half_is_zero(vector->x[i]) ? 0 : vector->x[i];
	return result;
}

/*
 * Hashes the elements of the first argument with a seed; seed 0 gives the
 * plain hash in the low half.  Like all of PostgreSQL's hashes it differs
 * between byte orders.
 */
static uint64
hash_argument(FunctionCallInfo fcinfo, uint64 seed)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	ChsHalfvec *unified = unify_zeroes(vector);
	uint64 hash;

	hash = hash_bytes_extended((const unsigned char *) unified->x,
							   (int) sizeof(ChsHalf) * unified->dim, seed);
	if (unified != vector)
		pfree(unified);
	PG_FREE_IF_COPY(vector, 0);
	return hash;
}

/* hash support function 1 */
Datum
chs_halfvec_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) (uint32) hash_argument(fcinfo, 0));
}

/*
 * hash support function 2: PostgreSQL asks that its low half equal function 1
 * when the seed is 0.
 */
Datum
chs_halfvec_hash_extended(PG_FUNCTION_ARGS)
{
	uint64 seed = (uint64) PG_GETARG_INT64(1);

	PG_RETURN_INT64((int64) hash_argument(fcinfo, seed));
}
