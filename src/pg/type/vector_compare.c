/*
 * vector_compare.c
 *	  Order and hash of vectors, for btree, sort, hash join and grouping.
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

#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_lt);
PG_FUNCTION_INFO_V1(chs_vector_le);
PG_FUNCTION_INFO_V1(chs_vector_eq);
PG_FUNCTION_INFO_V1(chs_vector_ne);
PG_FUNCTION_INFO_V1(chs_vector_ge);
PG_FUNCTION_INFO_V1(chs_vector_gt);
PG_FUNCTION_INFO_V1(chs_vector_cmp);
PG_FUNCTION_INFO_V1(chs_vector_hash);
PG_FUNCTION_INFO_V1(chs_vector_hash_extended);

/*
 * Negative, zero or positive: lexicographic as for arrays, a prefix before
 * the longer vector.  Elements are finite, so this is a total order.
 */
int
chs_vector_compare(const ChsVector *a, const ChsVector *b)
{
	int common = Min(a->dim, b->dim);

	for (int i = 0; i < common; i++)
	{
		if (a->x[i] != b->x[i])
			return a->x[i] < b->x[i] ? -1 : 1;
	}
	return (a->dim > b->dim) - (a->dim < b->dim);
}

/* Compares the two arguments. */
static inline int
compare_arguments(FunctionCallInfo fcinfo)
{
	ChsVector *a = PG_GETARG_CHS_VECTOR(0);
	ChsVector *b = PG_GETARG_CHS_VECTOR(1);
	int result = chs_vector_compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

/*
 * Are the two arguments equal?  Vectors of different length are told apart
 * without fetching them.
 */
static bool
equal_arguments(FunctionCallInfo fcinfo)
{
	if (chs_vector_dim_from_datum(PG_GETARG_DATUM(0)) !=
		chs_vector_dim_from_datum(PG_GETARG_DATUM(1)))
		return false;
	return compare_arguments(fcinfo) == 0;
}

Datum
chs_vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) < 0);
}

Datum
chs_vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) <= 0);
}

Datum
chs_vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(equal_arguments(fcinfo));
}

Datum
chs_vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!equal_arguments(fcinfo));
}

Datum
chs_vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) >= 0);
}

Datum
chs_vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) > 0);
}

Datum
chs_vector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_arguments(fcinfo));
}

/*
 * Makes every -0 in the vector 0.  Returns the vector itself, or a copy if it
 * had one: the argument is not ours to write to.
 */
static ChsVector *
unify_zeroes(ChsVector *vector)
{
	ChsVector *result = vector;
	uint32 found = 0;

	for (int i = 0; i < vector->dim; i++)
	{
		uint32 bits;

		memcpy(&bits, &vector->x[i], sizeof(bits));
		found |= bits == 0x80000000;
	}
	if (likely(!found))
		return vector;

	result = chs_vector_alloc(vector->dim);
	for (int i = 0; i < vector->dim; i++)
		result->x[i] = vector->x[i] == 0.0f ? 0.0f : vector->x[i];
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
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	ChsVector *unified = unify_zeroes(vector);
	uint64 hash;

	hash = hash_bytes_extended((const unsigned char *) unified->x,
							   (int) sizeof(float) * unified->dim, seed);
	if (unified != vector)
		pfree(unified);
	PG_FREE_IF_COPY(vector, 0);
	return hash;
}

/* hash support function 1 */
Datum
chs_vector_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) (uint32) hash_argument(fcinfo, 0));
}

/*
 * hash support function 2: PostgreSQL asks that its low half equal function 1
 * when the seed is 0.
 */
Datum
chs_vector_hash_extended(PG_FUNCTION_ARGS)
{
	uint64 seed = (uint64) PG_GETARG_INT64(1);

	PG_RETURN_INT64((int64) hash_argument(fcinfo, seed));
}
