/*
 * fashion_exact.c
 *	  The exact nearest neighbours, by comparing each query with every row.
 *
 *	  fashion_exact IMAGES QUERY_IMAGES QUERIES K >ANSWERS
 *
 * Against these answers the demo measures recall.  It uses the distance
 * kernels of src/core and nothing else of the extension, so that a fault of
 * the index cannot hide in the answers.  One line a query: its distance to
 * the K-th neighbour (squared), then the K ids, nearest first.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "demo/idx.h"

#include "core/distance/distance.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Queries compared with a row while it is in the cache: reading 188 MB for
 * every single query would take three times as long.
 */
#define BATCH 16

typedef struct Neighbour
{
	float distance;
	size_t id;
} Neighbour;

/* Inserts into a list of the k nearest, sorted; list[k - 1] falls off. */
static void
keep_nearest(Neighbour *list, size_t k, Neighbour candidate)
{
	size_t place = k - 1;

	if (candidate.distance >= list[place].distance)
		return;
	while (place > 0 && list[place - 1].distance > candidate.distance)
	{
		list[place] = list[place - 1];
		place--;
	}
	list[place] = candidate;
}

static void
print_answer(const Neighbour *list, size_t k)
{
	printf("%.9g", list[k - 1].distance);
	for (size_t i = 0; i < k; i++)
		printf(" %zu", list[i].id);
	printf("\n");
}

/* Answers `n` (at most BATCH) queries, one pass over all rows. */
static void
answer_batch(const float *rows, size_t row_count, const float *queries,
			 size_t n, size_t dim, size_t k)
{
	const ChsDistanceKernels *kernels = chs_distance();
	Neighbour *lists = demo_alloc(n * k * sizeof(Neighbour));

	for (size_t i = 0; i < n * k; i++)
		lists[i] = (Neighbour){.distance = 3.4e38f, .id = 0};
	for (size_t row = 0; row < row_count; row++)
		for (size_t q = 0; q < n; q++)
			keep_nearest(lists + q * k, k,
						 (Neighbour){kernels->l2sq_f32(rows + row * dim,
													   queries + q * dim, dim),
									 row + 1});
	for (size_t q = 0; q < n; q++)
		print_answer(lists + q * k, k);
	free(lists);
}

int
main(int argc, char **argv)
{
	IdxFile images;
	IdxFile queries;
	size_t query_count;
	size_t k;
	size_t dim;
	float *rows;
	float *query_rows;

	if (argc != 5)
	{
		fprintf(stderr, "usage: fashion_exact IMAGES QUERY_IMAGES QUERIES K\n");
		return 2;
	}
	images = idx_read(argv[1]);
	queries = idx_read(argv[2]);
	query_count = strtoul(argv[3], NULL, 10);
	k = strtoul(argv[4], NULL, 10);
	dim = images.item_bytes;
	if (queries.item_bytes != dim || query_count > queries.items || k == 0 ||
		k > images.items)
	{
		fprintf(stderr, "the queries do not fit the images\n");
		return 1;
	}

	rows = idx_floats(&images, images.items);
	query_rows = idx_floats(&queries, query_count);
	for (size_t q = 0; q < query_count; q += BATCH)
		answer_batch(rows, images.items, query_rows + q * dim,
					 query_count - q < BATCH ? query_count - q : BATCH, dim, k);
	return fflush(stdout) == 0 ? 0 : 1;
}
