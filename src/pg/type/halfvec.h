/*
 * halfvec.h
 *	  The varlena layout of the SQL type "halfvec", its accessors and its rules.
 *
 * A vector of float16 elements.  The layout is byte for byte pgvector's;
 * README.md has the table.  Nothing here knows that indexes exist.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_HALFVEC_H
#define CHS_HALFVEC_H

#include "access/detoast.h"
#include "fmgr.h"
#include "nodes/nodes.h"

#include "core/distance/half.h"
#include "pg/compat.h"

/* Interface constant, the same as for vector although the room is half. */
#define CHS_HALFVEC_MAX_DIM 16000

typedef struct ChsHalfvec
{
	int32 vl_len_; /* varlena header, only through VARSIZE/SET_VARSIZE */
	int16 dim;     /* number of elements, 1 .. CHS_HALFVEC_MAX_DIM */
	int16 unused;  /* zero */
	ChsHalf x[FLEXIBLE_ARRAY_MEMBER]; /* finite */
} ChsHalfvec;

StaticAssertDecl(offsetof(ChsHalfvec, dim) == 4, "halfvec layout changed");
StaticAssertDecl(offsetof(ChsHalfvec, unused) == 6, "halfvec layout changed");
StaticAssertDecl(offsetof(ChsHalfvec, x) == 8, "halfvec layout changed");

#define CHS_HALFVEC_BYTES(dim) \
	(offsetof(ChsHalfvec, x) + sizeof(ChsHalf) * (Size) (dim))

#define PG_GETARG_CHS_HALFVEC(n) chs_halfvec_from_datum(PG_GETARG_DATUM(n))
#define PG_RETURN_CHS_HALFVEC(v) PG_RETURN_POINTER(v)

/* halfvec_check.c */

extern ChsHalfvec *chs_halfvec_alloc(int dim);
extern void chs_halfvec_report_corrupted(const ChsHalfvec *vector)
	pg_attribute_noreturn();
extern void chs_halfvec_report_different(int dim_a, int dim_b)
	pg_attribute_noreturn();
extern bool chs_halfvec_check_dim(int dim, Node *escontext);
extern bool chs_halfvec_check_finite(const ChsHalf *x, int dim, Node *escontext);

/*
 * Rounds n floats into out; raises an error for a finite one that no half is
 * near enough to.  What was not finite stays so, for the caller to check.
 */
extern void chs_halfvec_narrow(const float *x, int n, ChsHalf *out);

/* halfvec_compare.c */

extern int chs_halfvec_compare(const ChsHalfvec *a, const ChsHalfvec *b);

/*
 * A detoasted halfvec whose length agrees with its element count.  One compare
 * per call keeps a damaged table from becoming a read past the end.
 * The result is the datum itself when that needed no detoasting.
 */
static inline ChsHalfvec *
chs_halfvec_from_datum(Datum datum)
{
	ChsHalfvec *vector = (ChsHalfvec *) PG_DETOAST_DATUM(datum);

	if (unlikely(VARSIZE(vector) < offsetof(ChsHalfvec, x) ||
				 VARSIZE(vector) != CHS_HALFVEC_BYTES(vector->dim)))
		chs_halfvec_report_corrupted(vector);
	return vector;
}

/* The element count, told from the stored size alone: nothing is fetched. */
static inline int
chs_halfvec_dim_from_datum(Datum datum)
{
	Size bytes = toast_raw_datum_size(datum);

	return (int) ((bytes - offsetof(ChsHalfvec, x)) / sizeof(ChsHalf));
}

/* Raises an error unless both have the same number of elements. */
static inline void
chs_halfvec_check_same(const ChsHalfvec *a, const ChsHalfvec *b)
{
	if (unlikely(a->dim != b->dim))
		chs_halfvec_report_different(a->dim, b->dim);
}

#endif /* CHS_HALFVEC_H */
