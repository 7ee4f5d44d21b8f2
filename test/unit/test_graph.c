/*
 * test_graph.c
 *	  Inserting builds a graph that finds what the oracle finds.
 *
 * Floors are a little under what the seeded data give; they fall far short
 * when a part of the insert is missing (no choice of neighbours, no linking
 * back, no anchor).  Stores that lie, refuse or do not return are made by
 * overriding single operations of the in-memory one.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "unit.h"

#define QUERIES 100

static GraphParams
make_params(ChsMetric metric, int bits, int m, uint32_t room)
{
	return (GraphParams){.metric = metric,
						 .bits = bits,
						 .m = m,
						 .ef_construction = 100,
						 .room = room};
}

/* The geometric law, and its two caps. */
static void
test_levels(void)
{
	ChsGraphParams params = {.m = 16, .seed = 3};
	uint32_t count[CHS_MAX_LEVELS] = {0};

	for (uint64_t key = 0; key < 100000; key++)
		count[chs_graph_draw_level(&params, key, CHS_MAX_LEVELS, 1u << 30)]++;
	CHECK_NEAR(count[0], 93750, 400);
	CHECK_NEAR(count[1], 5859, 350);
	CHECK_NEAR(count[2], 366, 80);
	for (uint64_t key = 0; key < 100000; key++)
	{
		int free_level = chs_graph_draw_level(&params, key, CHS_MAX_LEVELS,
											  UINT64_MAX);

		CHECK_EQ(chs_graph_draw_level(&params, key, 0, 1u << 30), 0);
		CHECK_EQ(chs_graph_draw_level(&params, key, 1, 1u << 30),
				 free_level < 1 ? free_level : 1);
		/* log_16(300) = 2.06 */
		CHECK_EQ(chs_graph_draw_level(&params, key, CHS_MAX_LEVELS, 300),
				 free_level < 2 ? free_level : 2);
	}
}

/* Recall@10 at ef = 60, every metric and code size, dimensions not of 64. */
static void
test_recall(void)
{
	static const int bits[] = {1, 2, 4, 32};
	static const float floors[4][4] = {{0.93f, 0.96f, 0.97f, 0.97f},
									   {0.90f, 0.90f, 0.90f, 0.90f},
									   {0.93f, 0.96f, 0.97f, 0.97f},
									   {0.60f, 0.90f, 0.95f, 0.97f}};
	static const uint32_t dims[] = {72, 48, 128, 16};
	uint32_t count = 3000 * graph_stress();

	for (int metric = 0; metric < 4; metric++)
	{
		GraphRows rows = graph_rows_latent(count, dims[metric], 12, 11);
		GraphRows queries = graph_rows_latent(QUERIES, dims[metric], 12, 12);

		for (int b = 0; b < 4; b++)
		{
			GraphParams params = make_params((ChsMetric) metric, bits[b], 16,
											 count);
			GraphFixture *fixture = graph_fixture_create(&params, &rows);
			double recall;

			graph_fixture_insert_rows(fixture, 0, count);
			recall = graph_fixture_recall(fixture, &queries, QUERIES, 60);
			if (!CHECK(recall >= floors[metric][b]))
				fprintf(stderr, "metric %d, bits %d: recall %.4f\n", metric,
						bits[b], recall);
			CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
			graph_fixture_destroy(fixture);
		}
		graph_rows_free(&rows);
		graph_rows_free(&queries);
	}
}

/*
 * Clusters larger than the window, so that a node sees only its own cluster:
 * every node must still be reachable, and codes must cost no recall.
 */
static void
test_near_duplicates(void)
{
	uint32_t count = 9600 * graph_stress();
	uint32_t size = 120;

	for (int shuffled = 0; shuffled <= 1; shuffled++)
	{
		GraphRows rows = graph_rows_clusters(count, 64, size, shuffled != 0, 21);
		/* some rows of each cluster, off by a little */
		GraphRows queries = graph_rows_clusters(count, 64, size, true, 21);
		double recall[2];

		for (int exact = 0; exact <= 1; exact++)
		{
			GraphParams params = make_params(CHS_METRIC_L2, exact ? 32 : 4, 16,
											 count);
			GraphFixture *fixture = graph_fixture_create(&params, &rows);

			graph_fixture_insert_rows(fixture, 0, count);
			CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
			recall[exact] = graph_fixture_recall(fixture, &queries,
												 2 * QUERIES, 200);
			graph_fixture_destroy(fixture);
		}
		if (!CHECK(recall[0] >= recall[1] - 0.01) ||
			!CHECK(recall[1] >= (shuffled ? 0.99 : 0.90)))
			fprintf(stderr, "shuffled %d: recall %.4f with codes, %.4f\n",
					shuffled, recall[0], recall[1]);
		graph_rows_free(&rows);
		graph_rows_free(&queries);
	}
}

/* Rows that repeat: `distinct` vectors, again and again. */
static GraphRows
repeat_rows(uint32_t count, uint32_t distinct, uint32_t dim)
{
	GraphRows rows = graph_rows_latent(count, dim, 8, 31);

	for (uint32_t row = distinct; row < count; row++)
		memcpy(rows.values + (size_t) row * dim,
			   rows.values + (size_t) (row % distinct) * dim,
			   dim * sizeof(float));
	return rows;
}

/* Equal vectors share one node under every metric. */
static void
test_duplicates(void)
{
	uint32_t distinct = 150;
	GraphRows rows = repeat_rows(1500, distinct, 32);

	for (int metric = 0; metric < 4; metric++)
	{
		GraphParams params = make_params((ChsMetric) metric, 4, 8, 1500);
		GraphFixture *fixture = graph_fixture_create(&params, &rows);
		ChsNodeRef ref;
		uint32_t joined = 0;

		for (uint32_t row = 0; row < 1500; row++)
		{
			ChsInsertResult result = graph_fixture_insert(fixture, row, &ref);

			joined += result == CHS_INSERT_DUPLICATE;
			CHECK_EQ(graph_fixture_row(fixture, ref.id), row % distinct);
		}
		CHECK_EQ(joined, 1500 - distinct);
		CHECK_EQ(chs_mem_count(&fixture->mem, 0), distinct);
		CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
		graph_fixture_destroy(fixture);
	}
	graph_rows_free(&rows);
}

/*
 * The look-up alone: finds the equal vector, and nothing when there is none.
 * Under inner product short vectors are hard to come to, by anybody.
 */
static void
test_add_duplicate(void)
{
	GraphRows rows = graph_rows_latent(1000, 32, 8, 33);

	for (int metric = 0; metric < 4; metric++)
	{
		GraphParams params = make_params((ChsMetric) metric, 4, 8, 1000);
		GraphFixture *fixture = graph_fixture_create(&params, &rows);
		int missed = 0;
		ChsFactors factors;
		ChsNewNode node;
		ChsNodeRef ref;

		node = graph_fixture_node(fixture, 0, &factors);
		(void) chs_query_init(&fixture->query, fixture->query_mem,
							  &fixture->model, node.row);
		CHECK(!chs_graph_add_duplicate(&fixture->graph, &node, &fixture->query,
									   32, &ref));
		graph_fixture_insert_rows(fixture, 0, 900);
		for (uint32_t row = 0; row < 1000; row += 7)
		{
			bool found;

			node = graph_fixture_node(fixture, row, &factors);
			(void) chs_query_init(&fixture->query, fixture->query_mem,
								  &fixture->model, node.row);
			found = chs_graph_add_duplicate(&fixture->graph, &node,
											&fixture->query, 32, &ref);
			CHECK(!found || ref.id == row);
			missed += !found && row < 900;
		}
		if (!CHECK(missed <= (metric == CHS_METRIC_IP ? 30 : 0)))
			fprintf(stderr, "metric %d: %d missed\n", metric, missed);
		graph_fixture_destroy(fixture);
	}
	graph_rows_free(&rows);
}

/*
 * Equal vectors that may not share a node (other payload), and hashes that
 * collide though the vectors differ.
 */
static void
test_equal_but_apart(void)
{
	GraphRows rows = repeat_rows(600, 3, 32);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 8, 600);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsNodeRef ref;
	ChsFactors factors;
	ChsNewNode node;

	for (uint32_t row = 0; row < 600; row++)
	{
		fixture->hash_salt = row;
		CHECK_EQ(graph_fixture_insert(fixture, row, &ref), CHS_INSERT_NEW);
	}
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	node = graph_fixture_node(fixture, 1, &factors);
	node.hash = chs_mem_slot(&fixture->mem, 0, 0)->hash;
	(void) chs_query_init(&fixture->query, fixture->query_mem, &fixture->model,
						  node.row);
	CHECK(!chs_graph_add_duplicate(&fixture->graph, &node, &fixture->query, 32,
								   &ref));
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* From nothing on, every graph is whole, and a small one is searched whole. */
static void
test_tiny(void)
{
	GraphRows rows = graph_rows_latent(60, 16, 8, 41);

	for (int m = 2; m <= 8; m += 3)
	{
		GraphParams params = make_params(CHS_METRIC_L2, 4, m, 60);
		GraphFixture *fixture = graph_fixture_create(&params, &rows);
		ChsNodeRef ref;

		for (uint32_t row = 0; row < 60; row++)
		{
			CHECK_EQ(graph_fixture_insert(fixture, row, &ref), CHS_INSERT_NEW);
			CHECK_EQ(ref.id, row);
			CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
			CHECK_NEAR(graph_fixture_recall(fixture, &rows, row + 1, 100), 1, 0);
		}
		graph_fixture_destroy(fixture);
	}
	graph_rows_free(&rows);
}

/* Each node but the first has one protected incoming edge, at each level. */
static void
test_anchors(void)
{
	GraphRows rows = graph_rows_latent(3000, 32, 8, 51);
	GraphParams params = make_params(CHS_METRIC_IP, 4, 6, 3000);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStore *store = &fixture->mem.store;
	uint8_t *anchors = calloc(3000, 1);
	ChsList list;

	graph_fixture_insert_rows(fixture, 0, 3000);
	for (ChsNodeId id = 0; id < 3000; id++)
	{
		int held = 0;

		store->ops->list(store, 0, id, &list);
		for (int i = 0; i < list.degree; i++)
		{
			if ((list.edges[i] & CHS_EDGE_ANCHOR) == 0)
				continue;
			anchors[CHS_EDGE_NODE(list.edges[i])]++;
			held++;
		}
		CHECK(held <= 9); /* three quarters of a list */
	}
	CHECK_EQ(anchors[0], 0);
	for (ChsNodeId id = 1; id < 3000; id++)
		CHECK_EQ(anchors[id], 1);
	free(anchors);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* The same rows in the same order give the same bytes. */
static void
test_repeatable(void)
{
	GraphRows rows = graph_rows_latent(1500, 32, 8, 61);
	GraphParams params = make_params(CHS_METRIC_COSINE, 2, 8, 1500);
	GraphFixture *a = graph_fixture_create(&params, &rows);
	GraphFixture *b = graph_fixture_create(&params, &rows);

	graph_fixture_insert_rows(a, 0, 1500);
	graph_fixture_insert_rows(b, 0, 1500);
	for (ChsNodeId id = 0; id < 1500; id++)
		CHECK(memcmp(chs_mem_slot(&a->mem, 0, id), chs_mem_slot(&b->mem, 0, id),
					 chs_mem_layout(&a->mem, 0)->slot_bytes) == 0);
	graph_fixture_destroy(a);
	graph_fixture_destroy(b);
	graph_rows_free(&rows);
}

typedef struct Part
{
	GraphFixture *fixture;
	uint32_t first;
	uint32_t step;
} Part;

static void *
insert_part(void *argument)
{
	Part *part = argument;
	ChsNodeRef ref;

	for (uint32_t row = part->first; row < part->fixture->rows->count;
		 row += part->step)
		(void) graph_fixture_insert(part->fixture, row, &ref);
	return NULL;
}

/* Two threads from the empty store on; every second row has an equal one. */
static void
test_two_threads(void)
{
	uint32_t count = 4000 * graph_stress();
	GraphRows rows = graph_rows_latent(count, 48, 10, 71);
	GraphRows queries = graph_rows_latent(QUERIES, 48, 10, 72);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 12, count);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	GraphFixture *other = graph_fixture_attach(fixture);
	Part parts[2] = {{fixture, 0, 2}, {other, 1, 2}};
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, insert_part, &parts[1]), 0);
	(void) insert_part(&parts[0]);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(chs_mem_count(&fixture->mem, 0), count);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	CHECK(graph_fixture_recall(fixture, &queries, QUERIES, 60) >= 0.95);
	graph_fixture_destroy(other);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

/* ---- stores that misbehave within their contract ---- */

static const ChsStoreOps *real_ops;
static ChsNodeId victim; /* vanishes when an edit is tried */
static ChsMemStore *victim_store;
static int calls_left; /* until the store does not return */
static jmp_buf out_of_store;
static ChsRng chance;

static int
see_no_entries(ChsStore *store, bool fresh, ChsNodeRef entry[CHS_MAX_LEVELS])
{
	if (fresh)
		return real_ops->entries(store, fresh, entry);
	for (int i = 0; i < CHS_MAX_LEVELS; i++)
		entry[i].id = CHS_NODE_NONE;
	return 0;
}

/*
 * Descents ask again when they find nothing, so the first look must be the
 * only one: the search of an insert is answered as if the graph were empty.
 */
static int blind_looks;

static int
see_entries_late(ChsStore *store, bool fresh, ChsNodeRef entry[CHS_MAX_LEVELS])
{
	return see_no_entries(store, fresh && blind_looks-- <= 0, entry);
}

/* Installs a copy of the operations that the caller may change. */
static void
override_ops(GraphFixture *fixture, ChsStoreOps *ops)
{
	real_ops = fixture->mem.store.ops;
	*ops = *real_ops;
	fixture->mem.store.ops = ops;
}

/* A node that thought it was the first links to whoever was. */
static void
test_lost_entry(void)
{
	GraphRows rows = graph_rows_latent(200, 32, 8, 81);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 8, 200);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStoreOps ops;
	ChsNodeRef ref;

	graph_fixture_insert_rows(fixture, 0, 1);
	override_ops(fixture, &ops);
	for (uint32_t row = 1; row < 200; row++)
	{
		ops.entries = real_ops->entries;
		if (row % 3 == 0)
			ops.entries = see_entries_late;
		/* the fixture looks once itself, the descent once */
		blind_looks = 2;
		CHECK_EQ(graph_fixture_insert(fixture, row, &ref), CHS_INSERT_NEW);
		ops.entries = real_ops->entries;
		CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	}
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

static void
edit_by_chance(ChsStore *store, int level, const ChsEdit *edits, int n,
			   ChsEditResult *results)
{
	for (int i = 0; i < n; i++)
	{
		results[i] = CHS_EDIT_CHANGED;
		if (chs_rng_next(&chance) % 3 == 0)
			real_ops->edit(store, level, &edits[i], 1, &results[i]);
	}
}

/* Two of three edits lose their race: still nobody is left out. */
static void
test_lost_edits(void)
{
	GraphRows rows = graph_rows_latent(2000, 32, 8, 91);
	GraphRows queries = graph_rows_latent(QUERIES, 32, 8, 92);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 8, 2000);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStoreOps ops;

	/* who has only one candidate has nobody else to ask */
	graph_fixture_insert_rows(fixture, 0, 30);
	override_ops(fixture, &ops);
	ops.edit = edit_by_chance;
	chance.state = 5;
	graph_fixture_insert_rows(fixture, 30, 1970);
	fixture->mem.store.ops = real_ops;
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	CHECK(graph_fixture_recall(fixture, &queries, QUERIES, 60) >= 0.80);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

static void
edit_after_death(ChsStore *store, int level, const ChsEdit *edits, int n,
				 ChsEditResult *results)
{
	if (level == 0 && victim == CHS_NODE_NONE)
	{
		victim = edits[n / 2].owner.id;
		chs_mem_set_dead(victim_store, 0, victim);
		chs_mem_free(victim_store, 0, victim);
	}
	real_ops->edit(store, level, edits, n, results);
}

/* A neighbour that is freed before it is linked back loses its edge, too. */
static void
test_gone(void)
{
	GraphRows rows = graph_rows_latent(300, 32, 8, 95);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 8, 400);
	ChsStoreOps ops;

	for (uint32_t row = 250; row < 270; row++)
	{
		GraphFixture *fixture = graph_fixture_create(&params, &rows);
		ChsNodeRef ref;
		ChsList list;

		graph_fixture_insert_rows(fixture, 0, row);
		override_ops(fixture, &ops);
		ops.edit = edit_after_death;
		victim = CHS_NODE_NONE;
		victim_store = &fixture->mem;
		CHECK_EQ(graph_fixture_insert(fixture, row, &ref), CHS_INSERT_NEW);
		CHECK(victim != CHS_NODE_NONE);
		real_ops->list(&fixture->mem.store, 0, ref.id, &list);
		CHECK(list.degree > 0);
		for (int i = 0; i < list.degree; i++)
			CHECK(CHS_EDGE_NODE(list.edges[i]) != victim);
		graph_fixture_destroy(fixture);
	}
	graph_rows_free(&rows);
}

static void
count_call(void)
{
	if (calls_left-- == 0)
		longjmp(out_of_store, 1);
}

static void
edit_or_leave(ChsStore *store, int level, const ChsEdit *edits, int n,
			  ChsEditResult *results)
{
	count_call();
	real_ops->edit(store, level, edits, n, results);
	count_call();
}

static ChsNodeRef
publish_or_leave(ChsStore *store, int level, const ChsNewNode *node)
{
	ChsNodeRef ref;

	count_call();
	ref = real_ops->publish(store, level, node);
	count_call();
	return ref;
}

static void
fetch_or_leave(ChsStore *store, int level, const ChsNodeId *ids, int n,
			   void *mem, ChsNodeCopy *out)
{
	count_call();
	real_ops->fetch(store, level, ids, n, mem, out);
}

/*
 * An insert cut off at every point: what is there stays sound (a node may
 * lack edges into it), and the same handle goes on working.
 */
static void
test_cut_off(void)
{
	GraphRows rows = graph_rows_latent(800, 32, 8, 97);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 4, 1000);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStoreOps ops;
	ChsNodeRef ref;
	volatile uint32_t cut = 0;

	graph_fixture_insert_rows(fixture, 0, 100);
	override_ops(fixture, &ops);
	ops.edit = edit_or_leave;
	ops.publish = publish_or_leave;
	ops.fetch = fetch_or_leave;
	for (volatile uint32_t row = 100; row < 800; row++)
	{
		calls_left = (int) (row % 16);
		if (setjmp(out_of_store) == 0)
			(void) graph_fixture_insert(fixture, row, &ref);
		else
			cut++;
	}
	fixture->mem.store.ops = real_ops;
	CHECK(cut > 300);
	for (int i = 1; i <= 9; i++)
	{
		char invariant[3] = {'I', (char) ('0' + i), 0};

		CHECK_EQ(graph_fixture_check(fixture, invariant), 0);
	}
	/* VACUUM makes it whole */
	CHECK(graph_fixture_vacuum(fixture) > 0);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

int
main(void)
{
	(void) chs_quant(); /* choose kernels before there are threads */
	test_levels();
	test_tiny();
	test_recall();
	test_near_duplicates();
	test_duplicates();
	test_add_duplicate();
	test_equal_but_apart();
	test_anchors();
	test_repeatable();
	test_two_threads();
	test_lost_entry();
	test_lost_edits();
	test_gone();
	test_cut_off();
	return unit_summary("graph");
}
