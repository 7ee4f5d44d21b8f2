/*
 * oracle.c
 *	  Exact nearest neighbours, recall, and readers of benchmark files.
 *
 * See oracle.h.  Clarity over speed: a scan with insertion into a sorted
 * array, O(count * (dim + k)) a query.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "oracle.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No benchmark file has rows this long; more is a file of another format. */
#define MAX_FILE_DIM 100000

double
oracle_key(ChsMetric metric, const float *a, const float *b, size_t dim)
{
	double l2sq = 0.0;
	double l1 = 0.0;
	double ab = 0.0;
	double aa = 0.0;
	double bb = 0.0;

	for (size_t i = 0; i < dim; i++)
	{
		double x = (double) a[i];
		double y = (double) b[i];

		l2sq += (x - y) * (x - y);
		l1 += fabs(x - y);
		ab += x * y;
		aa += x * x;
		bb += y * y;
	}
	switch (metric)
	{
		case CHS_METRIC_L2:
			return l2sq;
		case CHS_METRIC_IP:
			return -ab;
		case CHS_METRIC_COSINE:
			/* fmin would turn a NaN into 1 */
			ab /= sqrt(aa * bb);
			return isnan(ab) ? ab : 1.0 - fmax(-1.0, fmin(1.0, ab));
		case CHS_METRIC_L1:
			return l1;
		case CHS_METRIC_HAMMING:
		case CHS_METRIC_JACCARD:
			break;
	}
	fprintf(stderr, "oracle: metric %d does not exist\n", (int) metric);
	exit(2);
}

/* The order of an answer: by key, NaN last, equal keys by row number. */
static bool
is_before(const OracleHit *x, const OracleHit *y)
{
	if (isnan(x->key) || isnan(y->key))
	{
		if (isnan(x->key) && isnan(y->key))
			return x->row < y->row;
		return isnan(y->key);
	}
	return x->key < y->key || (x->key == y->key && x->row < y->row);
}

size_t
oracle_search(const OracleQuery *query, size_t k, OracleHit *hits)
{
	const OracleRows *rows = query->rows;
	size_t count = 0;

	for (size_t row = 0; row < rows->count && k > 0; row++)
	{
		OracleHit hit = {
			.key = oracle_key(query->metric, query->vector,
							  rows->values + row * rows->dim, rows->dim),
			.row = (uint32_t) row,
		};
		size_t place;

		if (count == k && !is_before(&hit, &hits[k - 1]))
			continue;
		if (count < k)
			count++;
		for (place = count - 1; place > 0 && is_before(&hit, &hits[place - 1]);
			 place--)
			hits[place] = hits[place - 1];
		hits[place] = hit;
	}
	return count;
}

/* Is found[i] a row that occurs earlier in the answer? */
static bool
is_repeated(const uint32_t *found, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (found[j] == found[i])
			return true;
	return false;
}

/* Is the row among the exact hits, or as near as the last of them? */
static bool
is_right(const OracleQuery *query, const OracleHit *exact, size_t k, uint32_t row)
{
	const OracleRows *rows = query->rows;
	double worst = exact[k - 1].key;
	double key;

	for (size_t i = 0; i < k; i++)
		if (exact[i].row == row)
			return true;
	key = oracle_key(query->metric, query->vector,
					 rows->values + (size_t) row * rows->dim, rows->dim);
	return key <= worst + 1e-6 * fabs(worst);
}

double
oracle_recall(const OracleQuery *query, const OracleHit *exact, size_t k,
			  const uint32_t *found, size_t found_count)
{
	size_t right = 0;

	if (k == 0)
		return 1.0;
	for (size_t i = 0; i < found_count && i < k; i++)
		if (found[i] < query->rows->count && !is_repeated(found, i) &&
			is_right(query, exact, k, found[i]))
			right++;
	return (double) right / (double) k;
}

/*
 * The shape of an open file, from its length and first row.  False when the
 * length is not a whole number of rows of that dimension.
 */
static bool
measure_file(FILE *file, size_t *count, size_t *dim)
{
	int32_t head;
	long length;
	size_t row_bytes;

	if (fread(&head, sizeof(head), 1, file) != 1 || head < 1 ||
		head > MAX_FILE_DIM)
		return false;
	if (fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0 ||
		fseek(file, 0, SEEK_SET) != 0)
		return false;
	row_bytes = ((size_t) head + 1) * 4;
	*dim = (size_t) head;
	*count = (size_t) length / row_bytes;
	return (size_t) length % row_bytes == 0;
}

/* Reads count rows of dim 4-byte values; every row must say the same dim. */
static bool
read_rows(FILE *file, size_t count, size_t dim, char *values)
{
	for (size_t row = 0; row < count; row++)
	{
		int32_t head;

		if (fread(&head, sizeof(head), 1, file) != 1 || head < 0 ||
			(size_t) head != dim ||
			fread(values + row * dim * 4, 4, dim, file) != dim)
			return false;
	}
	return true;
}

/* Both formats hold 4-byte values, and the reader need not know which. */
static void *
read_vecs(const char *path, size_t max_rows, size_t *count, size_t *dim)
{
	FILE *file = fopen(path, "rb");
	char *values = NULL;

	if (file == NULL)
		return NULL;
	if (measure_file(file, count, dim))
	{
		if (max_rows != 0 && *count > max_rows)
			*count = max_rows;
		values = malloc(*count * *dim * 4);
		if (values != NULL && !read_rows(file, *count, *dim, values))
		{
			free(values);
			values = NULL;
		}
	}
	fclose(file);
	return values;
}

float *
oracle_read_fvecs(const char *path, size_t max_rows, size_t *count, size_t *dim)
{
	return read_vecs(path, max_rows, count, dim);
}

int32_t *
oracle_read_ivecs(const char *path, size_t max_rows, size_t *count, size_t *dim)
{
	return read_vecs(path, max_rows, count, dim);
}
