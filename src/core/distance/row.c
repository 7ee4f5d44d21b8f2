/*
 * row.c
 *	  Size, hash and exact key of the four kinds of rows.
 *
 * A switch and not a table of functions: the kind is a number on disk, and
 * a call costs no more than the one behind it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/distance/row.h"

#include <math.h>
#include <string.h>

#include "core/base/rng.h"

/* Odd, with random-looking bits: the fractions of the roots of 2, 3, 5, 7. */
#define HASH_MULTIPLIER UINT64_C(0x6a09e667f3bcc909)
#define HASH_LANE_0 UINT64_C(0xbb67ae8584caa73b)
#define HASH_LANE_1 UINT64_C(0x3c6ef372fe94f82b)
#define HASH_LANE_2 UINT64_C(0xa54ff53a5f1d36f1)

bool
chs_row_allows(ChsRowKind kind, ChsMetric metric)
{
	bool of_bits = metric == CHS_METRIC_HAMMING || metric == CHS_METRIC_JACCARD;

	return of_bits == (kind == CHS_ROW_BIT);
}

size_t
chs_row_fixed_bytes(ChsRowKind kind, uint32_t dim)
{
	switch (kind)
	{
		case CHS_ROW_FLOAT:
			return (size_t) dim * sizeof(float);
		case CHS_ROW_HALF:
			return (size_t) dim * sizeof(ChsHalf);
		case CHS_ROW_BIT:
			return ((size_t) dim + 7) / 8;
		case CHS_ROW_SPARSE:
			break;
	}
	return 0;
}

size_t
chs_row_bytes(ChsRowKind kind, const void *row, uint32_t dim)
{
	if (kind != CHS_ROW_SPARSE)
		return chs_row_fixed_bytes(kind, dim);
	return sizeof(ChsSparseRow) + (size_t) ((const ChsSparseRow *) row)->n *
									  (sizeof(int32_t) + sizeof(float));
}

bool
chs_row_equal(ChsRowKind kind, const void *a, const void *b, uint32_t dim)
{
	size_t bytes = chs_row_bytes(kind, a, dim);

	return chs_row_bytes(kind, b, dim) == bytes && memcmp(a, b, bytes) == 0;
}

static bool
are_finite(const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

bool
chs_row_is_finite(ChsRowKind kind, const void *row, uint32_t dim)
{
	ChsSparse sparse;

	switch (kind)
	{
		case CHS_ROW_FLOAT:
			return are_finite(row, dim);
		case CHS_ROW_HALF:
			for (uint32_t i = 0; i < dim; i++)
				if (!chs_half_is_finite(((const ChsHalf *) row)[i]))
					return false;
			return true;
		case CHS_ROW_BIT:
			return true;
		case CHS_ROW_SPARSE:
			sparse = chs_sparse_row(row);
			return are_finite(sparse.value, sparse.n);
	}
	return false;
}

double
chs_row_key(ChsRowKind kind, ChsMetric metric, const void *a, const void *b,
			uint32_t dim)
{
	ChsSparse sparse_a;
	ChsSparse sparse_b;
	size_t bytes;

	switch (kind)
	{
		case CHS_ROW_FLOAT:
			return chs_distance_key(metric, a, b, dim);
		case CHS_ROW_HALF:
			return chs_distance_key_f16(metric, a, b, dim);
		case CHS_ROW_BIT:
			bytes = chs_row_fixed_bytes(kind, dim);
			if (metric == CHS_METRIC_HAMMING)
				return chs_distance_hamming(a, b, bytes);
			if (metric == CHS_METRIC_JACCARD)
				return chs_distance_jaccard(a, b, bytes);
			break;
		case CHS_ROW_SPARSE:
			sparse_a = chs_sparse_row(a);
			sparse_b = chs_sparse_row(b);
			return chs_distance_key_sparse(metric, &sparse_a, &sparse_b);
	}
	return (double) NAN;
}

/* For a fixed word this is a bijection of the lane, and the reverse. */
static inline uint64_t
hash_word(uint64_t lane, const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	lane = (lane ^ word) * HASH_MULTIPLIER;
	return lane ^ (lane >> 32);
}

/* Four lanes, because one chain of multiplications would take as long as four. */
uint64_t
chs_row_hash(const void *row, size_t bytes)
{
	uint64_t lane[4] = {bytes, HASH_LANE_0, HASH_LANE_1, HASH_LANE_2};
	const uint8_t *at = row;
	const uint8_t *end = at + bytes;

	for (; end - at >= 32; at += 32)
		for (int i = 0; i < 4; i++)
			lane[i] = hash_word(lane[i], at + 8 * i);
	for (; end - at >= 8; at += 8)
		lane[0] = hash_word(lane[0], at);
	if (at < end)
	{
		uint8_t last[8] = {0};

		memcpy(last, at, (size_t) (end - at));
		lane[1] = hash_word(lane[1], last);
	}
	return chs_mix64(
		lane[0] ^ chs_mix64(lane[1] ^ chs_mix64(lane[2] ^ chs_mix64(lane[3]))));
}
