/*
 * test_candidates.c
 *	  Window and heap against sorting.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/candidates.h"

#include <float.h>
#include <stdlib.h>

#include "arena_malloc.h"
#include "core/base/rng.h"
#include "unit.h"

#define MOST 3000

static int
compare_ranks(const void *a, const void *b)
{
	ChsRank x = *(const ChsRank *) a & ~CHS_RANK_MARK;
	ChsRank y = *(const ChsRank *) b & ~CHS_RANK_MARK;

	return (x > y) - (x < y);
}

static int
compare_entries(const void *a, const void *b)
{
	const ChsHeapEntry *x = a;
	const ChsHeapEntry *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Ranks order as the floats do, and give both parts back. */
static void
test_rank(void)
{
	const float values[] = {-FLT_MAX, -1e10f,   -1.0f, -FLT_MIN, 0.0f,
							FLT_MIN,  0x1p-20f, 1.0f,  1e10f,    FLT_MAX};
	const ChsNodeId ids[] = {0, 1, 0x40000000, 0x7ffffffe};
	int n = (int) (sizeof(values) / sizeof(values[0]));

	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < 4; k++)
		{
			ChsRank rank = chs_rank(values[i], ids[k]);

			CHECK(chs_rank_est(rank) == values[i]);
			CHECK_EQ(chs_rank_id(rank), ids[k]);
			CHECK_EQ(chs_rank_id(rank | CHS_RANK_MARK), ids[k]);
			if (k > 0)
				CHECK(chs_rank(values[i], ids[k - 1]) < rank);
			if (i > 0)
				CHECK(chs_rank(values[i - 1], ids[k]) < rank);
		}
	}
}

/*
 * Random ranks, few different estimates (ties), expansions in between: the
 * window must hold the smallest so far, in order, with marks and words kept.
 */
static void
run_window(ChsWindow *window, int capacity, int count, ChsRng *rng)
{
	static ChsRank all[MOST];
	static bool expanded[MOST];
	int lost_count = 0;

	chs_window_reset(window, capacity);
	memset(expanded, 0, sizeof(expanded));
	for (int i = 0; i < count; i++)
	{
		float est = (float) (chs_rng_next(rng) % 64) - 32.0f;
		ChsRank rank = chs_rank(est, (ChsNodeId) i);
		ChsRank lost;
		uint32_t lost_at;
		bool admitted = chs_window_admits(window, rank);

		all[i] = rank;
		qsort(all, (size_t) i + 1, sizeof(ChsRank), compare_ranks);
		CHECK_EQ(admitted, i < capacity || rank <= all[capacity - 1]);
		if (admitted &&
			chs_window_insert(window, rank, (uint32_t) i, &lost, &lost_at))
		{
			lost_count++;
			CHECK_EQ(chs_rank_id(lost), lost_at);
			CHECK_EQ((lost & CHS_RANK_MARK) != 0, expanded[lost_at]);
			CHECK_EQ(lost & ~CHS_RANK_MARK, all[capacity]);
		}
		if (chs_rng_next(rng) % 3 == 0 && chs_window_pending(window))
			expanded[chs_window_expand(window)] = true;
	}
	CHECK_EQ(window->n, count < capacity ? count : capacity);
	CHECK(count <= capacity || lost_count > 0);
	for (int i = 0; i < window->n; i++)
	{
		CHECK_EQ(window->ranks[i] & ~CHS_RANK_MARK, all[i]);
		CHECK_EQ(window->at[i], chs_rank_id(all[i]));
		CHECK_EQ((window->ranks[i] & CHS_RANK_MARK) != 0,
				 expanded[chs_rank_id(all[i])]);
	}
	/* what is left is handed out in order and once */
	for (ChsRank last = 0; chs_window_pending(window);)
	{
		ChsRank rank = window->ranks[window->next];

		CHECK(rank > last);
		last = rank;
		CHECK_EQ(chs_window_expand(window), chs_rank_id(rank));
		CHECK(!expanded[chs_rank_id(rank)]);
	}
	for (int i = 0; i < window->n; i++)
		CHECK((window->ranks[i] & CHS_RANK_MARK) != 0);
}

static void
test_window(ChsArena *arena)
{
	const int capacities[] = {1, 2, 3, 10, 64, 200};
	ChsWindow window;
	ChsRng rng = {1};
	size_t bytes;

	chs_window_init(&window, arena);
	for (int i = 0; i < 6; i++)
	{
		run_window(&window, capacities[i], capacities[i] / 2, &rng);
		run_window(&window, capacities[i], 400, &rng);
	}
	bytes = arena_malloc_bytes(arena);
	run_window(&window, 200, 300, &rng);
	run_window(&window, 1, 300, &rng);
	CHECK_EQ(arena_malloc_bytes(arena), bytes);
}

/* Adds and pops in random proportion, against a sorted array. */
static void
run_heap(ChsHeap *heap, int steps, unsigned add_share, ChsRng *rng)
{
	static ChsHeapEntry all[MOST];
	size_t n = 0;

	chs_heap_reset(heap);
	for (int i = 0; i < steps; i++)
	{
		if (n == 0 || chs_rng_next(rng) % 16 < add_share)
		{
			ChsHeapEntry entry = {(double) (chs_rng_next(rng) % 50) - 25.0,
								  (ChsNodeId) i, (uint16_t) i, 7};

			chs_heap_add(heap, entry);
			all[n++] = entry;
			continue;
		}
		qsort(all, n, sizeof(all[0]), compare_entries);
		CHECK_EQ(chs_heap_min(heap)->id, all[0].id);
		{
			ChsHeapEntry entry = chs_heap_pop(heap);

			CHECK_EQ(entry.id, all[0].id);
			CHECK_EQ(entry.version, (uint16_t) all[0].id);
			CHECK_EQ(entry.tag, 7);
		}
		memmove(all, all + 1, --n * sizeof(all[0]));
	}
	CHECK_EQ(heap->n, n);
	qsort(all, n, sizeof(all[0]), compare_entries);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(chs_heap_pop(heap).id, all[i].id);
	CHECK_EQ(heap->n, 0);
}

static void
test_heap(ChsArena *arena)
{
	ChsHeap heap;
	ChsRng rng = {2};
	size_t bytes;

	chs_heap_init(&heap, arena);
	for (unsigned add_share = 8; add_share <= 16; add_share += 2)
		run_heap(&heap, 600, add_share, &rng);
	run_heap(&heap, MOST, 16, &rng);
	bytes = arena_malloc_bytes(arena);
	run_heap(&heap, MOST, 16, &rng);
	CHECK_EQ(arena_malloc_bytes(arena), bytes);
}

int
main(void)
{
	ChsArena *arena = arena_malloc_create();

	test_rank();
	test_window(arena);
	test_heap(arena);
	arena_malloc_destroy(arena);
	return unit_summary("candidates");
}
