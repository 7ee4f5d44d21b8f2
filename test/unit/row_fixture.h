/*
 * row_fixture.h
 *	  Seeded rows of every kind, their keys by definition, and their models.
 *
 * For the tests of what is not a row of floats; those of floats have
 * mem_fixture.h and graph_fixture.h.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ROW_FIXTURE_H
#define CHS_ROW_FIXTURE_H

#include "core/base/arena.h"
#include "core/quant/quant.h"

/* `count` rows of one kind; the arena keeps them. */
typedef struct Rows
{
	ChsRowKind kind;
	uint32_t dim;
	uint32_t count;
	const void **row;
	float *dense; /* the same as floats, count x dim; NULL if too large */
} Rows;

typedef struct RowsParams
{
	ChsRowKind kind;
	uint32_t dim;
	uint32_t count;
	uint32_t nnz; /* sparse: elements of a row */
	uint64_t seed;
} RowsParams;

/*
 * Rows some of which are near each other: around 20 directions, or, sparse
 * ones, every 40th with about half of their elements in common.
 */
extern Rows rows_make(ChsArena *arena, const RowsParams *params);

/* A zeroed sparse row of n elements. */
extern ChsSparseRow *rows_allocate_sparse(ChsArena *arena, uint32_t n);

/* The key of rows a and b by its definition; rows->dense is there. */
extern double rows_key(const Rows *rows, ChsMetric metric, uint32_t a,
					   uint32_t b);

/* A model of these rows, trained on at most 500 of them. */
extern ChsModel rows_train(ChsArena *arena, const Rows *rows, ChsMetric metric,
						   int bits);

#endif /* CHS_ROW_FIXTURE_H */
