/*
 * test_visited.c
 *	  The visited set against a plain array of flags.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/visited.h"

#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "core/base/rng.h"
#include "unit.h"

/* Numbers go up to this, so that a plain array can follow. */
#define NUMBERS (8u << 20)

/* The longest list put in at once: longer than any of a graph with m = 16. */
#define MOST 40

#define LARGE (CHS_VISITED_BITMAP_NODES + 1000000)

static uint8_t *plain;

/*
 * `count` numbers below `range` into a set reset for `capacity`, in a mixture
 * of neighbouring and scattered ones; then every number is asked for.
 */
static void
run_set(ChsVisited *set, uint32_t capacity, uint32_t range, uint32_t count,
		ChsRng *rng)
{
	uint32_t id = 0;
	uint32_t wrong = 0;

	memset(plain, 0, NUMBERS);
	chs_visited_reset(set, capacity);
	for (uint32_t i = 0; i < count; i++)
	{
		if (chs_rng_next(rng) % 4 != 0)
			id = (uint32_t) (chs_rng_next(rng) % range);
		else
			id = (id + 1) % range;
		wrong += chs_visited_has(set, id) != (plain[id] != 0);
		wrong += chs_visited_add(set, id) != (plain[id] == 0);
		plain[id] = 1;
	}
	for (id = 0; id < NUMBERS; id++)
		wrong += chs_visited_has(set, id) != (plain[id] != 0);
	CHECK_EQ(wrong, 0);
}

/* The same with lists of numbers, which may repeat themselves. */
static void
run_lists(ChsVisited *set, uint32_t capacity, uint32_t range, int count,
		  ChsRng *rng)
{
	uint32_t wrong = 0;

	memset(plain, 0, NUMBERS);
	chs_visited_reset(set, capacity);
	for (int i = 0; i < count; i++)
	{
		uint32_t ids[MOST];
		uint32_t expected[MOST];
		int n = (int) (chs_rng_next(rng) % (MOST + 1));
		int nexpected = 0;

		for (int j = 0; j < n; j++)
		{
			ids[j] = (uint32_t) (chs_rng_next(rng) % range);
			if (j > 0 && chs_rng_next(rng) % 8 == 0)
				ids[j] = ids[j - 1];
			if (!plain[ids[j]])
				expected[nexpected++] = ids[j];
			plain[ids[j]] = 1;
		}
		wrong += chs_visited_add_list(set, ids, n) != nexpected;
		wrong += memcmp(ids, expected, (size_t) nexpected * sizeof(*ids)) != 0;
	}
	for (uint32_t id = 0; id < NUMBERS; id++)
		wrong += chs_visited_has(set, id) != (plain[id] != 0);
	CHECK_EQ(wrong, 0);
}

static void
test_sizes(void)
{
	const uint32_t capacities[] = {0, 1, 1000, CHS_VISITED_BITMAP_NODES,
								   CHS_VISITED_BITMAP_NODES + 1};
	ChsArena *arena = arena_malloc_create();
	ChsVisited set;
	ChsRng rng = {1};

	chs_visited_init(&set, arena);
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < 5; i++)
		{
			uint32_t range = capacities[i] > 0 ? capacities[i] : 1;

			run_set(&set, capacities[i], range, 2000, &rng);
			/* the level grew after the reset */
			run_set(&set, capacities[i], NUMBERS, 1500, &rng);
			run_lists(&set, capacities[i], range, 100, &rng);
			/* more words than are listed */
			run_lists(&set, capacities[i], range, 3000, &rng);
			run_lists(&set, capacities[i], NUMBERS, 100, &rng);
		}
	}
	/* from table to bitmap, and back again at the next reset */
	chs_visited_reset(&set, LARGE);
	CHECK(set.hashed);
	run_set(&set, LARGE, LARGE, 400000, &rng);
	CHECK(!set.hashed);
	run_set(&set, LARGE, LARGE, 1000, &rng);
	CHECK(set.hashed);
	/* beyond the capacity in each of the two */
	run_set(&set, LARGE, NUMBERS, 400000, &rng);
	run_set(&set, 1000, NUMBERS, 100000, &rng);
	arena_malloc_destroy(arena);
}

/* The largest number there can be, in the table (a bitmap would be 256 MB). */
static void
test_largest(void)
{
	ChsArena *arena = arena_malloc_create();
	ChsVisited set;

	chs_visited_init(&set, arena);
	chs_visited_reset(&set, UINT32_C(0x7fffffff));
	CHECK(chs_visited_add(&set, UINT32_C(0x7ffffffe)));
	CHECK(!chs_visited_add(&set, UINT32_C(0x7ffffffe)));
	CHECK(chs_visited_add(&set, 0));
	CHECK(!chs_visited_add(&set, 0));
	CHECK(!chs_visited_has(&set, 1));
	arena_malloc_destroy(arena);
}

/* Using it again takes no memory, and clearing costs what was in it. */
static void
test_reuse(void)
{
	ChsArena *arena = arena_malloc_create();
	ChsVisited set;
	size_t bytes = 0;

	chs_visited_init(&set, arena);
	for (int round = 0; round < 3; round++)
	{
		for (int large = 0; large <= 1; large++)
		{
			chs_visited_reset(&set, large ? LARGE : 500000);
			for (uint32_t id = 0; id < 100000; id++)
				chs_visited_add(&set, id * 5);
		}
		if (round == 0)
			bytes = arena_malloc_bytes(arena);
		else
			CHECK_EQ(arena_malloc_bytes(arena), bytes);
	}
	chs_visited_reset(&set, 500000);
	for (uint32_t id = 0; id < 100; id++)
		chs_visited_add(&set, id * 640);
	CHECK_EQ(set.ntouched, 100);
	CHECK(!set.touched_lost);
	CHECK(chs_visited_bytes(&set) < 100 * 16);
	arena_malloc_destroy(arena);
}

int
main(void)
{
	plain = malloc(NUMBERS);
	test_sizes();
	test_largest();
	test_reuse();
	free(plain);
	return unit_summary("visited");
}
