/*
 * row.h
 *	  A row as an index sees it: bytes of one of four kinds.
 *
 * Graph, scan, VACUUM and WAL move rows without knowing what is in them.  What
 * they need of a kind is here: how many bytes, a hash of them, and the exact
 * key of two rows.  Everything else that a kind is (its SQL type, its text,
 * its limits) is the caller's.
 *
 * Nothing here knows codes; how a row becomes floats is core/quant's.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ROW_H
#define CHS_ROW_H

#include "core/distance/distance.h"

/* The number is stored on disk: never renumber. */
typedef enum ChsRowKind
{
	CHS_ROW_FLOAT = 0, /* dim floats */
	CHS_ROW_HALF = 1,  /* dim float16 numbers */
	CHS_ROW_BIT = 2,   /* dim bits; those behind the last one are 0 */
	CHS_ROW_SPARSE = 3 /* a ChsSparseRow, whose size depends on the row */
} ChsRowKind;

#define CHS_ROW_KINDS 4

/* n indices, ascending, below the number of dimensions; then n floats. */
typedef struct ChsSparseRow
{
	int32_t n;
	int32_t unused; /* 0 */
	int32_t index[];
} ChsSparseRow;

static inline ChsSparse
chs_sparse_row(const void *row)
{
	const ChsSparseRow *sparse = row;
	ChsSparse view;

	view.index = sparse->index;
	view.value = (const float *) (sparse->index + sparse->n);
	view.n = (size_t) sparse->n;
	return view;
}

/* Can rows of this kind be ordered by this metric? */
extern bool chs_row_allows(ChsRowKind kind, ChsMetric metric);

/* Bytes of every row of dim dimensions; 0 if they differ. */
extern size_t chs_row_fixed_bytes(ChsRowKind kind, uint32_t dim);

/* Bytes of this row. */
extern size_t chs_row_bytes(ChsRowKind kind, const void *row, uint32_t dim);

/* Are these two the same, byte for byte? */
extern bool chs_row_equal(ChsRowKind kind, const void *a, const void *b,
						  uint32_t dim);

/* Are all its numbers finite? */
extern bool chs_row_is_finite(ChsRowKind kind, const void *row, uint32_t dim);

/*
 * The exact key of two rows, in double as the operator returns it (see
 * ChsMetric); NaN where the operator says so, or for a metric that the kind
 * does not allow.
 */
extern double chs_row_key(ChsRowKind kind, ChsMetric metric, const void *a,
						  const void *b, uint32_t dim);

/*
 * 64 bits that depend on every bit of a row, on disk as long as the index
 * lives.  Two rows that differ by -0 and 0 differ, because equality of nodes
 * is equality of bytes.
 */
extern uint64_t chs_row_hash(const void *row, size_t bytes);

#endif /* CHS_ROW_H */
