/*
 * test_base.c
 *	  The base headers, and the tools the other unit programs rely on.
 *
 * A yardstick that is wrong makes every test that uses it worthless, so the
 * oracle, the recall measure, the file readers and the arena are tested here
 * on cases whose answers can be seen.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _POSIX_C_SOURCE 200809L /* mkstemp */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/rng.h"
#include "arena_malloc.h"
#include "oracle.h"
#include "unit.h"

static void
test_rng(void)
{
	/* the published first outputs of splitmix64 from state 0 */
	static const uint64_t published[] = {
		UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f4),
		UINT64_C(0x06c45d188009454f), UINT64_C(0xf88bb8a8724c81ec)};
	ChsRng rng = {.state = 0};
	double sum = 0.0;

	for (size_t i = 0; i < 4; i++)
		CHECK(chs_rng_next(&rng) == published[i]);
	CHECK(chs_mix64(0) == published[0]);
	CHECK(chs_unit_from_bits(0) > 0.0);
	CHECK(chs_unit_from_bits(UINT64_MAX) == 1.0);
	for (int i = 0; i < 10000; i++)
		sum += chs_unit_from_bits(chs_rng_next(&rng));
	/* standard deviation of the mean 0.0029: four of them */
	CHECK_NEAR(sum / 10000.0, 0.5, 0.0116);
}

static void
test_arena(void)
{
	ChsArena *arena = arena_malloc_create();
	unsigned char *block;

	for (size_t round = 0; round < 2; round++)
	{
		size_t bytes = 0;

		/* 0 bytes too: the contract knows no NULL */
		for (size_t size = 0; size < 300; size++)
		{
			block = chs_alloc(arena, size);
			CHECK(block != NULL && (uintptr_t) block % 64 == 0);
			memset(block, 0xff, size);
			bytes += size;
		}
		CHECK_EQ(arena_malloc_bytes(arena), bytes);
		arena_malloc_reset(arena);
		CHECK_EQ(arena_malloc_bytes(arena), 0);
	}
	block = chs_alloc_zero(arena, 1000);
	for (size_t i = 0; i < 1000; i++)
		CHECK(block[i] == 0);
	arena_malloc_destroy(arena);
}

/* Rows whose order from the origin is plain, with a tie and a NaN. */
static void
test_oracle_order(void)
{
	const float values[] = {3, 0, 1, 0, NAN, 0, 0, -1, 2, 0, 0, 0};
	const float origin[] = {0, 0};
	const OracleRows rows = {.values = values, .count = 6, .dim = 2};
	const OracleQuery query = {
		.rows = &rows, .metric = CHS_METRIC_L2, .vector = origin};
	static const uint32_t order[] = {5, 1, 3, 4, 0, 2};
	OracleHit hits[10];

	CHECK_EQ(oracle_search(&query, 10, hits), 6);
	for (size_t i = 0; i < 6; i++)
		CHECK_EQ(hits[i].row, order[i]);
	CHECK(isnan(hits[5].key) && hits[4].key == 9.0);
	/* a shorter answer is the beginning of the longer one */
	CHECK_EQ(oracle_search(&query, 3, hits), 3);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(hits[i].row, order[i]);
	CHECK_EQ(oracle_search(&query, 0, hits), 0);
}

static void
test_oracle_keys(void)
{
	const float a[] = {3, 4};
	const float b[] = {4, -3};
	const float zero[] = {0, 0};

	CHECK(oracle_key(CHS_METRIC_L2, a, b, 2) == 50.0);
	CHECK(oracle_key(CHS_METRIC_IP, a, a, 2) == -25.0);
	CHECK(oracle_key(CHS_METRIC_COSINE, a, b, 2) == 1.0);
	CHECK(oracle_key(CHS_METRIC_COSINE, a, a, 2) == 0.0);
	CHECK(isnan(oracle_key(CHS_METRIC_COSINE, a, zero, 2)));
	CHECK(oracle_key(CHS_METRIC_L1, a, b, 2) == 8.0);
}

static void
test_recall(void)
{
	/* rows 0..7 at distance 0, 1, 2, 3, 3, 3, 4, 5 */
	const float values[] = {0, 1, 2, 3, -3, 3, 4, 5};
	const float origin[] = {0};
	const OracleRows rows = {.values = values, .count = 8, .dim = 1};
	const OracleQuery query = {
		.rows = &rows, .metric = CHS_METRIC_L2, .vector = origin};
	const uint32_t all[] = {0, 1, 2, 3};
	const uint32_t tied[] = {5, 2, 1, 0};
	const uint32_t repeated[] = {0, 0, 0, 0};
	const uint32_t wrong[] = {0, 7, 99, 2};
	const uint32_t late[] = {0, 6, 7, 6, 1, 2, 3};
	OracleHit exact[4];

	CHECK_EQ(oracle_search(&query, 4, exact), 4);
	CHECK(oracle_recall(&query, exact, 4, all, 4) == 1.0);
	CHECK(oracle_recall(&query, exact, 4, all, 2) == 0.5);
	CHECK(oracle_recall(&query, exact, 4, tied, 4) == 1.0);
	CHECK(oracle_recall(&query, exact, 4, repeated, 4) == 0.25);
	CHECK(oracle_recall(&query, exact, 4, wrong, 4) == 0.5);
	CHECK(oracle_recall(&query, exact, 4, late, 7) == 0.25);
	CHECK(oracle_recall(&query, exact, 0, all, 4) == 1.0);
}

/* Replaces the file by rows of three values under the heads given. */
static void
write_vecs(const char *path, const void *values, const int32_t *heads,
		   size_t count)
{
	FILE *file = fopen(path, "wb");

	CHECK(file != NULL);
	if (file == NULL)
		return;
	for (size_t row = 0; row < count; row++)
	{
		CHECK(fwrite(&heads[row], 4, 1, file) == 1);
		CHECK(fwrite((const char *) values + row * 12, 12, 1, file) == 1);
	}
	CHECK(fclose(file) == 0);
}

static void
test_readers(void)
{
	const float floats[6] = {1.5f, -2.0f, 3.25f, 0.0f, 7.0f, -8.5f};
	const int32_t integers[6] = {1, -2, 3, 4, 5, 6};
	const int32_t heads[2] = {3, 3};
	const int32_t uneven[2] = {3, 2};
	const int32_t absurd[2] = {-3, 3};
	char path[] = "test_base_XXXXXX"; /* in the working directory */
	int fd = mkstemp(path);
	size_t count = 0;
	size_t dim = 0;
	float *read_floats;
	int32_t *read_integers;

	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(oracle_read_fvecs(path, 0, &count, &dim) == NULL); /* empty */
	write_vecs(path, floats, heads, 2);
	read_floats = oracle_read_fvecs(path, 0, &count, &dim);
	CHECK(read_floats != NULL && count == 2 && dim == 3);
	CHECK(read_floats != NULL && memcmp(read_floats, floats, 24) == 0);
	free(read_floats);
	read_floats = oracle_read_fvecs(path, 1, &count, &dim);
	CHECK(read_floats != NULL && count == 1 && dim == 3);
	free(read_floats);
	write_vecs(path, integers, heads, 2);
	read_integers = oracle_read_ivecs(path, 0, &count, &dim);
	CHECK(read_integers != NULL && count == 2 && dim == 3);
	CHECK(read_integers != NULL && memcmp(read_integers, integers, 24) == 0);
	free(read_integers);
	write_vecs(path, floats, uneven, 2);
	CHECK(oracle_read_fvecs(path, 0, &count, &dim) == NULL);
	write_vecs(path, floats, absurd, 2);
	CHECK(oracle_read_fvecs(path, 0, &count, &dim) == NULL);
	CHECK(truncate(path, 20) == 0);
	CHECK(oracle_read_fvecs(path, 0, &count, &dim) == NULL);
	CHECK(remove(path) == 0);
	CHECK(oracle_read_fvecs(path, 0, &count, &dim) == NULL); /* missing */
}

int
main(void)
{
	test_rng();
	test_arena();
	test_oracle_order();
	test_oracle_keys();
	test_recall();
	test_readers();
	return unit_summary("base");
}
