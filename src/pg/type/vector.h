/*
 * vector.h
 *	  The varlena layout of the SQL type "vector", its accessors and its rules.
 *
 * The layout is byte for byte pgvector's, so that a column can change hands
 * without being rewritten; README.md has the table.  Nothing here knows that
 * indexes exist.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_VECTOR_H
#define CHS_VECTOR_H

#include "access/detoast.h"
#include "fmgr.h"
#include "nodes/nodes.h"

#include "pg/compat.h"
#include "pg/type/dimension.h"

/*
 * Interface constant: a vector of 16,000 floats is 64 kB.  Clients and other
 * extensions rely on the figure, hence not larger although it could be.
 */
#define CHS_VECTOR_MAX_DIM 16000

typedef struct ChsVector
{
	int32 vl_len_; /* varlena header, only through VARSIZE/SET_VARSIZE */
	int16 dim;     /* number of elements, 1 .. CHS_VECTOR_MAX_DIM */
	int16 unused;  /* zero */
	float x[FLEXIBLE_ARRAY_MEMBER]; /* finite */
} ChsVector;

StaticAssertDecl(offsetof(ChsVector, dim) == 4, "vector layout changed");
StaticAssertDecl(offsetof(ChsVector, unused) == 6, "vector layout changed");
StaticAssertDecl(offsetof(ChsVector, x) == 8, "vector layout changed");

#define CHS_VECTOR_BYTES(dim) \
	(offsetof(ChsVector, x) + sizeof(float) * (Size) (dim))

#define PG_GETARG_CHS_VECTOR(n) chs_vector_from_datum(PG_GETARG_DATUM(n))
#define PG_RETURN_CHS_VECTOR(v) PG_RETURN_POINTER(v)

/* vector_check.c */

extern ChsVector *chs_vector_alloc(int dim);
extern void chs_vector_report_corrupted(const ChsVector *vector)
	pg_attribute_noreturn();
extern void chs_vector_report_different(int dim_a, int dim_b)
	pg_attribute_noreturn();
extern bool chs_vector_check_dim(int dim, Node *escontext);
extern bool chs_vector_check_finite(const float *x, int dim, Node *escontext);

/* vector_float.c */

extern float chs_vector_parse_float(char *text, char **end);

/* vector_compare.c */

extern int chs_vector_compare(const ChsVector *a, const ChsVector *b);

/*
 * A detoasted vector whose length agrees with its element count.  One compare
 * per call keeps a damaged table from becoming a read past the end.
 * The result is the datum itself when that needed no detoasting.
 */
static inline ChsVector *
chs_vector_from_datum(Datum datum)
{
	ChsVector *vector = (ChsVector *) PG_DETOAST_DATUM(datum);

	if (unlikely(VARSIZE(vector) < offsetof(ChsVector, x) ||
				 VARSIZE(vector) != CHS_VECTOR_BYTES(vector->dim)))
		chs_vector_report_corrupted(vector);
	return vector;
}

/* The element count, told from the stored size alone: nothing is fetched. */
static inline int
chs_vector_dim_from_datum(Datum datum)
{
	Size bytes = toast_raw_datum_size(datum);

	return (int) ((bytes - offsetof(ChsVector, x)) / sizeof(float));
}

/* Is this the element count that vector(n) demands?  typmod -1: any is. */
static inline bool
chs_vector_check_expected(int32 typmod, int dim, Node *escontext)
{
	return chs_dimension_check(typmod, dim, escontext);
}

/* Raises an error unless both have the same number of elements. */
static inline void
chs_vector_check_same(const ChsVector *a, const ChsVector *b)
{
	if (unlikely(a->dim != b->dim))
		chs_vector_report_different(a->dim, b->dim);
}

#endif /* CHS_VECTOR_H */
