/*
 * test_scan.c
 *	  Search of a level, descent and the continuous scan.
 *
 * Most of it runs over a graph of exact nearest neighbours drawn by brute
 * force, in which everything is reachable; then what holds can be said
 * exactly.  The last part runs over real inserts and measures recall.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "mem_fixture.h"
#include "unit.h"

#define ROWS 1200
#define DIM 24
#define DEGREE 10

static const ChsScanParams endless = {40, CHS_SCAN_RELAXED, UINT64_MAX,
									  SIZE_MAX};

static MemFixtureParams
describe(ChsMetric metric, int bits)
{
	return (MemFixtureParams){.metric = metric,
							  .bits = bits,
							  .dim = DIM,
							  .count = ROWS,
							  .clusters = 12,
							  .m = 8,
							  .ef_construction = 60,
							  .seed = 21};
}

static MemFixture *
create_linked(ChsMetric metric, int bits)
{
	MemFixtureParams params = describe(metric, bits);
	MemFixture *fx = mem_fixture_create(&params);

	mem_fixture_link_knn(fx, DEGREE);
	return fx;
}

static double
get_key(const MemFixture *fx, ChsNodeId id)
{
	return oracle_key(fx->params.metric, fx->query.row,
					  fx->values + (size_t) id * DIM, DIM);
}

/* Everything that one scan gave, to its end. */
typedef struct Result
{
	ChsScanHit hits[2 * ROWS];
	uint8_t times[ROWS]; /* how often each node came */
	int n;
	int inversions; /* rows nearer than the one before */
	ChsScanStatus status;
} Result;

static void
drain(MemFixture *fx, ChsScan *scan, Result *result)
{
	memset(result, 0, sizeof(*result));
	while ((result->status = chs_scan_next(scan, &result->hits[result->n])) ==
		   CHS_SCAN_ROW)
	{
		const ChsScanHit *hit = &result->hits[result->n];
		double key = get_key(fx, hit->ref.id);

		result->times[hit->ref.id]++;
		if (fabs(hit->key - key) > 1e-5 * (1 + fabs(key)))
			CHECK_NEAR(hit->key, key, 1e-5);
		if (result->n > 0 && hit->key < hit[-1].key)
			result->inversions++;
		if (++result->n >= 2 * ROWS - 1)
			break;
	}
	/* the end is the end */
	CHECK_EQ(chs_scan_next(scan, &result->hits[result->n]), result->status);
}

static int
count_in_order(const Result *result)
{
	int n = 1;

	while (n < result->n && result->hits[n].key >= result->hits[n - 1].key)
		n++;
	return n;
}

/* ---- search ---- */

/*
 * bits = 32 has no error, so a window as large as the graph is a sort, and a
 * smaller one is ascending and close to it.
 */
static void
test_search_level(ChsMetric metric)
{
	MemFixture *fx = create_linked(metric, CHS_BITS_NONE);
	ChsNodeRef start = {7, 0};
	ChsScored *out = chs_alloc(fx->arena, ROWS * sizeof(ChsScored));
	OracleHit *exact = chs_alloc(fx->arena, ROWS * sizeof(OracleHit));
	uint32_t found[10];
	double recall = 0;

	for (uint32_t q = 0; q < 20; q++)
	{
		OracleQuery query;
		int n;

		mem_fixture_query(fx, q);
		query = mem_fixture_oracle(fx);
		oracle_search(&query, ROWS, exact);
		n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, ROWS,
								   false, out);
		CHECK_EQ(n, ROWS);
		for (int i = 0; i < n; i++)
			CHECK_NEAR(out[i].est, exact[i].key, 1e-4);
		n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, 40,
								   false, out);
		CHECK_EQ(n, 40);
		for (int i = 0; i < n; i++)
		{
			CHECK(i == 0 || out[i].est >= out[i - 1].est);
			CHECK_EQ(out[i].state, CHS_SLOT_LIVE);
			if (i < 10)
				found[i] = out[i].id;
		}
		recall += oracle_recall(&query, exact, 10, found, 10) / 20;
	}
	/* by inner product all edges lead to a few long vectors */
	if (!CHECK(recall > (metric == CHS_METRIC_IP ? 0.75 : 0.9)))
		fprintf(stderr, "metric %d: recall %.4f\n", metric, recall);
	mem_fixture_destroy(fx);
}

/* What starts a search must still be what it names, and counts once. */
static void
test_starts(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 4);
	ChsNodeRef starts[3 * CHS_MAX_DEGREE];
	ChsScored out[5];

	mem_fixture_query(fx, 0);
	for (int i = 0; i < 3 * CHS_MAX_DEGREE; i++)
		starts[i] = (ChsNodeRef){(ChsNodeId) i, 1};
	starts[1].id = CHS_NODE_NONE;
	CHECK_EQ(chs_graph_search_level(&fx->graph, 0, &fx->query, starts, 2, 5,
									false, out),
			 0);
	CHECK_EQ(chs_graph_search_level(&fx->graph, 0, &fx->query, starts, 0, 5,
									false, out),
			 0);
	starts[3 * CHS_MAX_DEGREE - 1].version = 0;
	CHECK_EQ(chs_graph_search_level(&fx->graph, 0, &fx->query, starts,
									3 * CHS_MAX_DEGREE, 5, false, out),
			 5);
	starts[0] = starts[1] = (ChsNodeRef){3, 0};
	CHECK_EQ(chs_graph_search_level(&fx->graph, 0, &fx->query, starts, 2, 5,
									false, out),
			 5);
	for (int i = 1; i < 5; i++)
		CHECK(out[i].id != out[i - 1].id);
	mem_fixture_destroy(fx);
}

/* Dead nodes are passed through, and returned only when asked for. */
static void
test_dead(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, CHS_BITS_NONE);
	ChsScored *out = chs_alloc(fx->arena, ROWS * sizeof(ChsScored));
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsNodeRef start = {0, 0};
	int n;
	int dead = 0;

	/* only every twentieth stays: most ways lead through the dead */
	for (uint32_t id = 0; id < ROWS; id++)
	{
		if (id % 20 != 7)
			chs_mem_set_dead(&fx->mem, 0, id);
	}
	mem_fixture_query(fx, 0);
	n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, ROWS,
							   false, out);
	CHECK_EQ(n, ROWS / 20);
	for (int i = 0; i < n; i++)
		CHECK_EQ(out[i].id % 20, 7);
	n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, 20, false,
							   out);
	CHECK_EQ(n, 20);
	n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, 100, true,
							   out);
	CHECK_EQ(n, 100);
	for (int i = 0; i < n; i++)
		dead += out[i].state == CHS_SLOT_DEAD;
	CHECK(dead > 80);
	chs_scan_start(scan, &endless, &fx->query);
	drain(fx, scan, result);
	CHECK_EQ(result->status, CHS_SCAN_EXHAUSTED);
	CHECK_EQ(result->n, ROWS / 20);

	/* free slots are a wall; what is behind is not reached */
	for (uint32_t id = 0; id < ROWS; id++)
	{
		if (id % 20 != 7 && id != 0)
			chs_mem_free(&fx->mem, 0, id);
	}
	n = chs_graph_search_level(&fx->graph, 0, &fx->query, &start, 1, ROWS,
							   false, out);
	CHECK(n < ROWS / 20);
	mem_fixture_destroy(fx);
}

/* Publishes row's node of an upper level over the level-0 node of that row. */
static ChsNodeRef
publish_upper(MemFixture *fx, uint32_t row, uint16_t down_version)
{
	ChsStore *store = &fx->mem.store;
	ChsSlotHeader *slot = chs_mem_slot(&fx->mem, 0, row);
	const ChsSlotLayout *layout = chs_mem_layout(&fx->mem, 0);
	ChsNewNode node = {.existing = {CHS_NODE_NONE, 0},
					   .factors = chs_slot_factors(layout, slot),
					   .code = chs_slot_code(layout, slot),
					   .down = {row, down_version}};
	ChsEdge edges[CHS_MAX_DEGREE];
	ChsNodeRef ref;

	/* everybody knows everybody before him and the next */
	for (uint32_t i = 0; i < 6; i++)
		edges[node.nedges++] = i;
	node.edges = edges;
	CHECK(chs_mem_promise(&fx->mem, 1));
	ref = store->ops->publish(store, 1, &node);
	chs_mem_settle(&fx->mem, 1);
	return ref;
}

/* Cached entries may be stale: then the true ones are asked for, once. */
static int (*true_entries)(ChsStore *, bool, ChsNodeRef *);
static int fresh_asked;
static int stale_levels;

static int
give_stale_entries(ChsStore *store, bool fresh, ChsNodeRef entry[CHS_MAX_LEVELS])
{
	if (fresh)
	{
		fresh_asked++;
		return true_entries(store, fresh, entry);
	}
	for (int level = 0; level < stale_levels; level++)
		entry[level] = (ChsNodeRef){1, 9};
	return stale_levels;
}

static void
test_descend(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, CHS_BITS_NONE);
	ChsStore *store = &fx->mem.store;
	ChsStoreOps ops = *store->ops;
	ChsNodeRef none = {CHS_NODE_NONE, 0};
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	ChsScored nearest[CHS_DESCENT_WIDTH];
	int n;

	mem_fixture_query(fx, 3);
	/* no level above */
	CHECK_EQ(chs_graph_descend(&fx->graph, 0, &fx->query, starts), 1);
	CHECK_EQ(starts[0].id, 0);
	CHECK_EQ(chs_graph_descend(&fx->graph, 1, &fx->query, starts), 0);

	/* six nodes above: the four nearest are where level 0 is entered */
	for (uint32_t i = 0; i < 6; i++)
		publish_upper(fx, 100 * i, 0);
	store->ops->set_entry(store, 1, none, (ChsNodeRef){5, 0});
	n = chs_graph_descend(&fx->graph, 0, &fx->query, starts);
	CHECK_EQ(n, CHS_DESCENT_WIDTH);
	chs_graph_search_level(&fx->graph, 1, &fx->query, &(ChsNodeRef){2, 0}, 1,
						   CHS_DESCENT_WIDTH, false, nearest);
	for (int i = 0; i < n; i++)
		CHECK_EQ(starts[i].id, nearest[i].down);
	CHECK_EQ(chs_graph_descend(&fx->graph, 1, &fx->query, starts), 1);
	CHECK_EQ(starts[0].id, 5);

	/* what one of them stood for has gone: it is left out */
	chs_mem_free(&fx->mem, 0, nearest[0].down);
	n = chs_graph_descend(&fx->graph, 0, &fx->query, starts);
	CHECK_EQ(n, CHS_DESCENT_WIDTH - 1);
	CHECK_EQ(starts[0].id, nearest[1].down);

	/* all of them gone: the level's own entry has to do */
	for (uint32_t i = 1; i < 6; i++)
		chs_mem_free(&fx->mem, 0, 100 * i);
	store->ops->set_entry(store, 0, (ChsNodeRef){0, 0}, (ChsNodeRef){50, 0});
	if (chs_mem_slot(&fx->mem, 0, 0)->state != CHS_SLOT_FREE)
		chs_mem_free(&fx->mem, 0, 0);
	n = chs_graph_descend(&fx->graph, 0, &fx->query, starts);
	CHECK_EQ(n, 1);
	CHECK_EQ(starts[0].id, 50);

	true_entries = ops.entries;
	ops.entries = give_stale_entries;
	store->ops = &ops;
	for (stale_levels = 0; stale_levels <= 2; stale_levels++)
	{
		fresh_asked = 0;
		n = chs_graph_descend(&fx->graph, 0, &fx->query, starts);
		CHECK_EQ(n, 1);
		CHECK_EQ(starts[0].id, 50);
		CHECK_EQ(fresh_asked, 1);
	}
	mem_fixture_destroy(fx);
}

/* ---- scan ---- */

/* To its end a scan returns each node once; the first half window is sorted. */
static void
test_complete(ChsMetric metric, int bits, int ef)
{
	MemFixture *fx = create_linked(metric, bits);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanParams params = endless;

	params.ef = ef;
	for (uint32_t q = 0; q < 5; q++)
	{
		int missing = 0;

		mem_fixture_query(fx, q);
		chs_scan_start(scan, &params, &fx->query);
		for (uint32_t id = 0; id < ROWS; id++)
			CHECK(!chs_scan_returned(scan, id));
		drain(fx, scan, result);
		CHECK_EQ(result->status, CHS_SCAN_EXHAUSTED);
		CHECK_EQ(result->n, ROWS);
		for (uint32_t id = 0; id < ROWS; id++)
			missing += result->times[id] != 1 || !chs_scan_returned(scan, id);
		CHECK_EQ(missing, 0);
		CHECK(count_in_order(result) >= ef / 2);
		CHECK_EQ(chs_scan_stats(scan)->reranked, ROWS);
	}
	mem_fixture_destroy(fx);
}

/*
 * Codes of one bit estimate badly; with a window as large as the graph the
 * order must be exact all the same, because bounds decide and not estimates.
 */
static void
test_order(int bits)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, bits);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	ChsScanParams params = {ROWS, CHS_SCAN_RELAXED, UINT64_MAX, SIZE_MAX};
	OracleHit exact[10];
	uint64_t reranked = 0;
	int right = 0;

	for (uint32_t q = 0; q < 40; q++)
	{
		OracleQuery query;
		ChsScanHit hit;

		mem_fixture_query(fx, q);
		query = mem_fixture_oracle(fx);
		oracle_search(&query, 10, exact);
		chs_scan_start(scan, &params, &fx->query);
		for (int i = 0; i < 10; i++)
		{
			CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
			right += hit.ref.id == exact[i].row;
		}
		reranked += chs_scan_stats(scan)->reranked;
	}
	/* three deviations leave out one row in a thousand or so */
	CHECK(right >= 395);
	CHECK(reranked < 40 * ROWS / (bits == 1 ? 1 : 4));
	if (bits == CHS_BITS_NONE)
	{
		CHECK_EQ(right, 400);
		CHECK_EQ(reranked, 40 * 16);
	}
	mem_fixture_destroy(fx);
}

/* relaxed gives all, strict a sorted part of it, off one window. */
static void
test_modes(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 1);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *relaxed = chs_alloc(fx->arena, sizeof(*relaxed));
	Result *strict = chs_alloc(fx->arena, sizeof(*strict));
	Result *off = chs_alloc(fx->arena, sizeof(*off));
	ChsScanParams params = endless;
	int late = 0;

	params.ef = 10;
	for (uint32_t q = 0; q < 10; q++)
	{
		int k = 0;

		mem_fixture_query(fx, q);
		params.order = CHS_SCAN_RELAXED;
		chs_scan_start(scan, &params, &fx->query);
		drain(fx, scan, relaxed);
		late += relaxed->inversions;

		params.order = CHS_SCAN_STRICT;
		chs_scan_start(scan, &params, &fx->query);
		drain(fx, scan, strict);
		CHECK_EQ(strict->status, CHS_SCAN_EXHAUSTED);
		CHECK_EQ(strict->inversions, 0);
		/* exactly those relaxed rows that are no nearer than any before */
		for (int i = 0; i < relaxed->n; i++)
		{
			if (k > 0 && relaxed->hits[i].key < strict->hits[k - 1].key)
				CHECK(chs_scan_returned(scan, relaxed->hits[i].ref.id));
			else
				CHECK_EQ(relaxed->hits[i].ref.id, strict->hits[k++].ref.id);
		}
		CHECK_EQ(k, strict->n);

		params.order = CHS_SCAN_OFF;
		chs_scan_start(scan, &params, &fx->query);
		drain(fx, scan, off);
		CHECK_EQ(off->status, CHS_SCAN_END);
		CHECK_EQ(off->n, 10);
		CHECK_EQ(off->inversions, 0);
		CHECK_EQ(off->hits[0].ref.id, relaxed->hits[0].ref.id);
	}
	/* else this proves nothing about strict */
	CHECK(late > 0);
	mem_fixture_destroy(fx);
}

/* The search goes on only when half a window is left, not before. */
static void
test_resume(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 8);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	ChsScanHit hit;
	uint64_t expanded;

	mem_fixture_query(fx, 1);
	chs_scan_start(scan, &endless, &fx->query);
	CHECK_EQ(chs_scan_stats(scan)->expanded, 0);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
	expanded = chs_scan_stats(scan)->expanded;
	CHECK(expanded >= 40);
	for (int i = 1; i < 21; i++)
		CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
	CHECK_EQ(chs_scan_stats(scan)->expanded, expanded);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
	CHECK(chs_scan_stats(scan)->expanded > expanded);
	CHECK(chs_scan_stats(scan)->expanded < 3 * expanded);
	mem_fixture_destroy(fx);
}

/* max_tuples ends the search; what was met still comes, then nothing. */
static void
test_max_tuples(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 4);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanParams params = endless;

	mem_fixture_query(fx, 0);
	params.max_tuples = 400;
	chs_scan_start(scan, &params, &fx->query);
	drain(fx, scan, result);
	CHECK_EQ(result->status, CHS_SCAN_END);
	CHECK(result->n >= 400);
	CHECK(result->n <= 400 + DEGREE + 2);
	CHECK_EQ(chs_scan_stats(scan)->reranked, result->n);
	/* however low, the first window is searched */
	params.max_tuples = 1;
	chs_scan_start(scan, &params, &fx->query);
	drain(fx, scan, result);
	CHECK_EQ(result->status, CHS_SCAN_END);
	CHECK(result->n >= 40);
	CHECK(result->n < 400);
	mem_fixture_destroy(fx);
}

/* Out of memory: some rows came, chs_scan_returned knows which. */
static void
test_max_memory(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 4);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanParams params = endless;

	mem_fixture_query(fx, 0);
	for (params.max_memory = 0; params.max_memory <= 16000;
		 params.max_memory += 16000)
	{
		int wrong = 0;

		chs_scan_start(scan, &params, &fx->query);
		drain(fx, scan, result);
		CHECK_EQ(result->status, CHS_SCAN_MEMORY);
		CHECK(result->n >= 40);
		CHECK(result->n < 600);
		if (params.max_memory > 0)
			CHECK(result->n > 80);
		for (uint32_t id = 0; id < ROWS; id++)
			wrong += chs_scan_returned(scan, id) != (result->times[id] == 1);
		CHECK_EQ(wrong, 0);
	}
	params.max_memory = 100000;
	chs_scan_start(scan, &params, &fx->query);
	drain(fx, scan, result);
	CHECK_EQ(result->status, CHS_SCAN_EXHAUSTED);
	mem_fixture_destroy(fx);
}

/* Thousands of restarts, some drained and some not: memory stays. */
static void
test_restart(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 4);
	ChsArena *arena = arena_malloc_create();
	ChsScan *scan = chs_scan_create(&fx->graph, arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanHit first[ROWS];
	ChsScanHit hit;
	size_t graph_bytes = 0;
	size_t bytes = 0;
	int wrong = 0;

	for (uint32_t i = 0; i < 10000; i++)
	{
		uint32_t q = i % 50;

		mem_fixture_query(fx, q);
		chs_scan_start(scan, &endless, &fx->query);
		if (i % 1000 == 0)
			drain(fx, scan, result);
		else
			for (int k = 0; k < 3; k++)
			{
				CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
				if (i < 50 && k == 0)
					first[q] = hit;
				/* no trace of the query before */
				if (i >= 50 && k == 0)
					wrong += hit.ref.id != first[q].ref.id;
			}
		if (i == 100)
		{
			bytes = arena_malloc_bytes(arena);
			graph_bytes = arena_malloc_bytes(fx->arena);
		}
		/* the first was drained: it wanted the most */
		if (i == 0)
			first[0] = result->hits[0];
	}
	CHECK_EQ(wrong, 0);
	CHECK_EQ(arena_malloc_bytes(arena), bytes);
	CHECK_EQ(arena_malloc_bytes(fx->arena), graph_bytes);
	arena_malloc_destroy(arena);
	mem_fixture_destroy(fx);
}

/*
 * Nodes from outside the graph come in their places, once; those with an
 * infinite key never.
 */
static void
test_add(ChsScanOrder order)
{
	MemFixtureParams desc = describe(CHS_METRIC_L2, 4);
	MemFixture *fx = mem_fixture_create(&desc);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanParams params = endless;
	ChsNodeRef nodes[30];
	double keys[30];
	int added = 0;

	mem_fixture_link_knn(fx, DEGREE);
	mem_fixture_query(fx, 0);
	for (uint32_t i = 0; i < 30; i++)
	{
		chs_mem_slot(&fx->mem, 0, i * 40)->state = CHS_SLOT_UNLINKED;
		nodes[i] = (ChsNodeRef){i * 40, 0};
		keys[i] = i == 29 ? INFINITY : get_key(fx, i * 40);
	}
	chs_mem_slot(&fx->mem, 0, 0)->state = CHS_SLOT_LIVE; /* the entry */
	params.order = order;
	chs_scan_start(scan, &params, &fx->query);
	chs_scan_add(scan, nodes + 1, keys + 1, 29);
	chs_scan_add(scan, nodes + 1, keys + 1, 3);
	/* linked after it was added */
	chs_mem_slot(&fx->mem, 0, 40)->state = CHS_SLOT_LIVE;
	drain(fx, scan, result);
	for (int i = 1; i < 30; i++)
		added += result->times[i * 40];
	CHECK_EQ(result->times[29 * 40], 0);
	CHECK(chs_scan_returned(scan, 29 * 40));
	if (order == CHS_SCAN_OFF)
		CHECK_EQ(result->n, 40 + 28);
	else
	{
		CHECK_EQ(added, 28);
		CHECK_EQ(result->n, ROWS - 1);
		CHECK(count_in_order(result) >= 20);
	}

	/* nothing but those added: an index too small for a graph */
	for (uint32_t id = 0; id < ROWS; id++)
		chs_mem_slot(&fx->mem, 0, id)->state = CHS_SLOT_UNLINKED;
	chs_scan_start(scan, &params, &fx->query);
	chs_scan_add(scan, nodes, keys, 30);
	drain(fx, scan, result);
	CHECK_EQ(result->n, 29);
	CHECK_EQ(result->inversions, 0);
	CHECK_EQ(result->status,
			 order == CHS_SCAN_OFF ? CHS_SCAN_END : CHS_SCAN_EXHAUSTED);
	mem_fixture_destroy(fx);
}

/* Rows that vanish between scoring and rerank are dropped, and counted. */
static void
test_vanished(void)
{
	MemFixture *fx = create_linked(CHS_METRIC_L2, 4);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	ChsScanHit hit;
	int wrong = 0;

	mem_fixture_query(fx, 0);
	chs_scan_start(scan, &endless, &fx->query);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
	for (uint32_t id = 1; id < ROWS; id += 2)
		chs_mem_set_dead(&fx->mem, 0, id);
	drain(fx, scan, result);
	CHECK_EQ(result->status, CHS_SCAN_EXHAUSTED);
	/* those reranked before still come: 32 at most */
	CHECK(result->n >= ROWS / 2 - 1);
	CHECK(result->n <= ROWS / 2 + 32);
	for (uint32_t id = 0; id < ROWS; id += 2)
		wrong += !chs_scan_returned(scan, id);
	CHECK_EQ(wrong, 0);
	mem_fixture_destroy(fx);
}

static void
test_empty(void)
{
	MemFixtureParams desc = describe(CHS_METRIC_L2, 4);
	MemFixture *fx = mem_fixture_create(&desc);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	ChsScanParams params = endless;
	ChsScanHit hit;

	mem_fixture_query(fx, 0);
	CHECK_EQ(chs_graph_descend(&fx->graph, 0, &fx->query, starts), 0);
	chs_scan_start(scan, &params, &fx->query);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_EXHAUSTED);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_EXHAUSTED);
	params.order = CHS_SCAN_OFF;
	chs_scan_start(scan, &params, &fx->query);
	CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_END);
	mem_fixture_destroy(fx);
}

/* ---- over real inserts ---- */

static void
test_inserted(ChsMetric metric, int bits, double least)
{
	MemFixtureParams desc = describe(metric, bits);
	MemFixture *fx = mem_fixture_create(&desc);
	ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
	Result *result = chs_alloc(fx->arena, sizeof(*result));
	OracleHit exact[10];
	double recall = 0;

	for (uint32_t row = 0; row < ROWS; row++)
	{
		ChsNodeRef ref;

		CHECK_EQ(mem_fixture_insert(fx, row, &ref), CHS_INSERT_NEW);
		CHECK_EQ(ref.id, row);
	}
	CHECK(chs_mem_count(&fx->mem, 1) > 0);
	for (uint32_t q = 0; q < 60; q++)
	{
		OracleQuery query;
		uint32_t found[10];
		size_t n = 0;

		mem_fixture_query(fx, q);
		query = mem_fixture_oracle(fx);
		oracle_search(&query, 10, exact);
		chs_scan_start(scan, &endless, &fx->query);
		while (n < 10)
		{
			ChsScanHit hit;

			CHECK_EQ(chs_scan_next(scan, &hit), CHS_SCAN_ROW);
			found[n++] = hit.ref.id;
		}
		recall += oracle_recall(&query, exact, 10, found, n) / 60;
	}
	if (!CHECK(recall >= least))
		fprintf(stderr, "metric %d, %d bits: recall %.4f\n", metric, bits,
				recall);
	drain(fx, scan, result);
	CHECK(result->n >= ROWS - 10 - ROWS / 200);
	mem_fixture_destroy(fx);
}

int
main(void)
{
	const ChsMetric metrics[] = {CHS_METRIC_L2, CHS_METRIC_IP,
								 CHS_METRIC_COSINE, CHS_METRIC_L1};

	for (int i = 0; i < 4; i++)
		test_search_level(metrics[i]);
	test_starts();
	test_dead();
	test_descend();
	test_complete(CHS_METRIC_L2, 4, 40);
	test_complete(CHS_METRIC_L2, 1, 1);
	test_complete(CHS_METRIC_IP, 4, 100);
	test_complete(CHS_METRIC_COSINE, 2, 7);
	test_complete(CHS_METRIC_L1, 8, 2 * ROWS);
	test_complete(CHS_METRIC_L2, CHS_BITS_NONE, 40);
	test_order(1);
	test_order(4);
	test_order(CHS_BITS_NONE);
	test_modes();
	test_resume();
	test_max_tuples();
	test_max_memory();
	test_restart();
	test_add(CHS_SCAN_RELAXED);
	test_add(CHS_SCAN_OFF);
	test_vanished();
	test_empty();
	test_inserted(CHS_METRIC_L2, 4, 0.98);
	test_inserted(CHS_METRIC_L2, CHS_BITS_NONE, 0.98);
	test_inserted(CHS_METRIC_COSINE, 4, 0.98);
	test_inserted(CHS_METRIC_L1, 8, 0.95);
	test_inserted(CHS_METRIC_L2, 1, 0.95);
	return unit_summary("scan");
}
