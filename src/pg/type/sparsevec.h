/*
 * sparsevec.h
 *	  The varlena layout of the SQL type "sparsevec", its accessors and its
 *	  rules.
 *
 * Only elements that are not 0 are stored.  The layout is byte for byte
 * pgvector's; README.md has the table.  Indices count from 0 in memory and on
 * the wire, and from 1 in text.  Nothing here knows that indexes exist.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_SPARSEVEC_H
#define CHS_SPARSEVEC_H

#include "fmgr.h"
#include "nodes/nodes.h"

#include "core/distance/distance.h"
#include "pg/compat.h"

/* Interface constants: clients and other extensions rely on them. */
#define CHS_SPARSEVEC_MAX_DIM 1000000000
#define CHS_SPARSEVEC_MAX_NNZ 16000

typedef struct ChsSparsevec
{
	int32 vl_len_; /* varlena header, only through VARSIZE/SET_VARSIZE */
	int32 dim;     /* number of dimensions, 1 .. CHS_SPARSEVEC_MAX_DIM */
	int32 nnz;     /* number of stored elements, 0 .. CHS_SPARSEVEC_MAX_NNZ */
	int32 unused;  /* zero */
	/* nnz of them, ascending, below dim; behind them nnz values, float4,
	 * finite and not 0 */
	int32 index[FLEXIBLE_ARRAY_MEMBER];
} ChsSparsevec;

StaticAssertDecl(offsetof(ChsSparsevec, dim) == 4, "sparsevec layout changed");
StaticAssertDecl(offsetof(ChsSparsevec, nnz) == 8, "sparsevec layout changed");
StaticAssertDecl(offsetof(ChsSparsevec, unused) == 12,
				 "sparsevec layout changed");
StaticAssertDecl(offsetof(ChsSparsevec, index) == 16,
				 "sparsevec layout changed");

#define CHS_SPARSEVEC_BYTES(nnz) \
	(offsetof(ChsSparsevec, index) + \
	 (sizeof(int32) + sizeof(float)) * (Size) (nnz))

#define PG_GETARG_CHS_SPARSEVEC(n) chs_sparsevec_from_datum(PG_GETARG_DATUM(n))
#define PG_RETURN_CHS_SPARSEVEC(v) PG_RETURN_POINTER(v)

/* sparsevec_check.c */

extern ChsSparsevec *chs_sparsevec_alloc(int dim, int nnz);
extern void chs_sparsevec_report_corrupted(const ChsSparsevec *vector)
	pg_attribute_noreturn();
extern void chs_sparsevec_report_different(int dim_a, int dim_b)
	pg_attribute_noreturn();
extern bool chs_sparsevec_check_dim(int dim, Node *escontext);
extern bool chs_sparsevec_check_nnz(int nnz, int dim, Node *escontext);
extern bool chs_sparsevec_check_index(const int32 *index, int i, int dim,
									  Node *escontext);
extern bool chs_sparsevec_check_finite(const float *value, int n,
									   Node *escontext);

/* sparsevec_compare.c */

extern int chs_sparsevec_compare(const ChsSparsevec *a, const ChsSparsevec *b);

/* The values, which follow the indices. */
static inline float *
chs_sparsevec_values(ChsSparsevec *vector)
{
	return (float *) (vector->index + vector->nnz);
}

/* The same vector as core takes it. */
static inline ChsSparse
chs_sparsevec_view(const ChsSparsevec *vector)
{
	ChsSparse view;

	view.index = vector->index;
	view.value = (const float *) (vector->index + vector->nnz);
	view.n = (size_t) vector->nnz;
	return view;
}

/*
 * A detoasted sparsevec whose length agrees with its element count.  One
 * compare per call keeps a damaged table from becoming a read past the end;
 * that indices are in order and below dim is not looked at.
 * The result is the datum itself when that needed no detoasting.
 */
static inline ChsSparsevec *
chs_sparsevec_from_datum(Datum datum)
{
	ChsSparsevec *vector = (ChsSparsevec *) PG_DETOAST_DATUM(datum);

	if (unlikely(VARSIZE(vector) < offsetof(ChsSparsevec, index) ||
				 vector->nnz < 0 || vector->nnz > CHS_SPARSEVEC_MAX_NNZ ||
				 VARSIZE(vector) != CHS_SPARSEVEC_BYTES(vector->nnz)))
		chs_sparsevec_report_corrupted(vector);
	return vector;
}

/* Raises an error unless both have the same number of dimensions. */
static inline void
chs_sparsevec_check_same(const ChsSparsevec *a, const ChsSparsevec *b)
{
	if (unlikely(a->dim != b->dim))
		chs_sparsevec_report_different(a->dim, b->dim);
}

#endif /* CHS_SPARSEVEC_H */
