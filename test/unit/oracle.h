/*
 * oracle.h
 *	  Exact nearest neighbours, recall, and readers of benchmark files.
 *
 * The yardstick of everything approximate.  It computes in double with loops
 * of its own and shares nothing with src/core but the names of the metrics, so
 * that a fault in a kernel cannot hide by being made on both sides.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ORACLE_H
#define CHS_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/distance/distance.h"

/* `count` vectors of `dim` floats, one after the other. */
typedef struct OracleRows
{
	const float *values;
	size_t count;
	size_t dim;
} OracleRows;

/* What is looked for, and how near is measured. */
typedef struct OracleQuery
{
	const OracleRows *rows;
	ChsMetric metric;
	const float *vector; /* rows->dim floats */
} OracleQuery;

/* One row of an answer; the key is that of ChsMetric, exact in double. */
typedef struct OracleHit
{
	double key;
	uint32_t row;
} OracleHit;

/* The key of two vectors, see ChsMetric; NaN for a zero norm under cosine. */
extern double oracle_key(ChsMetric metric, const float *a, const float *b,
						 size_t dim);

/*
 * Writes the k nearest rows to hits, nearest first, equal keys by row number
 * and NaN keys last, and returns how many there are: min(k, rows->count).
 */
extern size_t oracle_search(const OracleQuery *query, size_t k, OracleHit *hits);

/*
 * The share of the true k nearest that an approximate answer contains.
 * `exact` is oracle_search()'s answer of `k` hits; of `found` the first k rows
 * count, each row once.  A row as near as the last exact hit is right even when
 * it is another one (within a relative 1e-6 for float32 keys): with equal
 * vectors there is no single true answer.  k = 0 gives 1.
 */
extern double oracle_recall(const OracleQuery *query, const OracleHit *exact,
							size_t k, const uint32_t *found, size_t found_count);

/*
 * Read a file of the TEXMEX formats: per row an int32 dimension, then as many
 * float32 (.fvecs) or int32 (.ivecs), little-endian.  At most max_rows rows
 * (0: all).  The result belongs to the caller, to be freed with free(); NULL
 * when the file is missing, empty or malformed, which the caller reports.
 */
extern float *oracle_read_fvecs(const char *path, size_t max_rows,
								size_t *count, size_t *dim);
extern int32_t *oracle_read_ivecs(const char *path, size_t max_rows,
								  size_t *count, size_t *dim);

#endif /* CHS_ORACLE_H */
