/*
 * test_repair.c
 *	  Deleting nodes and repairing the graph keeps it whole and as good as new.
 *
 * "As good" is measured against a graph built from nothing over the rows that
 * are left.  The passes of VACUUM are played by graph_fixture_vacuum().
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "unit.h"

#define QUERIES 150
#define EF 16 /* so small that recall is not simply 1 */

static GraphParams
make_params(ChsMetric metric, int bits, uint32_t room)
{
	return (GraphParams){.metric = metric,
						 .bits = bits,
						 .m = 12,
						 .ef_construction = 100,
						 .room = room};
}

static bool
is_live(const GraphFixture *fixture, ChsNodeId id)
{
	return chs_mem_slot(&fixture->mem, 0, id)->state == CHS_SLOT_LIVE;
}

/* Deletes live nodes at random until `count` are gone. */
static void
delete_random(GraphFixture *fixture, uint32_t count, ChsRng *rng)
{
	uint32_t nodes = chs_mem_count(&fixture->mem, 0);

	while (count > 0)
	{
		ChsNodeId id = (ChsNodeId) (chs_rng_next(rng) % nodes);

		if (!is_live(fixture, id))
			continue;
		graph_fixture_delete(fixture, id);
		count--;
	}
}

/* Recall of a new graph over the rows that are live in this one. */
static double
rebuild_recall(const GraphFixture *fixture, const GraphRows *queries)
{
	GraphFixture *rebuilt = graph_fixture_create(&fixture->params,
												 fixture->rows);
	uint32_t nodes = chs_mem_count(&fixture->mem, 0);
	ChsNodeRef ref;
	double recall;

	for (ChsNodeId id = 0; id < nodes; id++)
		if (is_live(fixture, id))
			(void) graph_fixture_insert(rebuilt,
										graph_fixture_row(fixture, id), &ref);
	recall = graph_fixture_recall(rebuilt, queries, QUERIES, EF);
	graph_fixture_destroy(rebuilt);
	return recall;
}

static void
compare_with_rebuild(GraphFixture *fixture, const GraphRows *queries,
					 const char *after)
{
	double recall = graph_fixture_recall(fixture, queries, QUERIES, EF);
	double rebuilt = rebuild_recall(fixture, queries);

	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	if (!CHECK(recall >= rebuilt - 0.01))
		fprintf(stderr, "metric %d, after %s: recall %.4f, rebuilt %.4f\n",
				fixture->params.metric, after, recall, rebuilt);
}

/* Half of all rows go at once. */
static void
test_half(void)
{
	uint32_t count = 4000 * graph_stress();
	GraphRows rows = graph_rows_latent(count, 48, 10, 11);
	GraphRows queries = graph_rows_latent(QUERIES, 48, 10, 12);

	for (int metric = 0; metric < 4; metric++)
	{
		GraphParams params = make_params((ChsMetric) metric, 4, count);
		GraphFixture *fixture = graph_fixture_create(&params, &rows);
		ChsRng rng = {13};

		graph_fixture_insert_rows(fixture, 0, count);
		delete_random(fixture, count / 2, &rng);
		/* dead nodes still route, so nothing is lost before VACUUM */
		CHECK_EQ(graph_fixture_check(fixture, "I11"), 0);
		(void) graph_fixture_vacuum(fixture);
		compare_with_rebuild(fixture, &queries, "deleting half");
		graph_fixture_destroy(fixture);
	}
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

/* Whole clusters go, and with them all that some nodes lead to. */
static void
test_clusters(void)
{
	uint32_t count = 4000;
	GraphRows rows = graph_rows_clusters(count, 32, 40, true, 21);
	GraphRows queries = graph_rows_clusters(QUERIES, 32, 40, true, 21);
	GraphParams params = make_params(CHS_METRIC_L2, 4, count);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);

	graph_fixture_insert_rows(fixture, 0, count);
	for (uint32_t gone = 0; gone < count; gone++)
	{
		const float *centre = rows.values;
		const float *value = rows.values + (size_t) gone * rows.dim;

		/* a half-space holds about half of the clusters */
		if (value[0] > centre[0] - 1.0f)
			graph_fixture_delete(fixture, gone);
	}
	(void) graph_fixture_vacuum(fixture);
	compare_with_rebuild(fixture, &queries, "deleting clusters");
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

/*
 * Five turnovers: an eighth goes, VACUUM runs, as many new rows come into the
 * freed slots, forty times.
 */
static void
test_turnover(void)
{
	uint32_t live = 2400;
	uint32_t step = live / 8;
	uint32_t count = live + 40 * step;
	GraphRows rows = graph_rows_latent(count, 48, 10, 31);
	GraphRows queries = graph_rows_latent(QUERIES, 48, 10, 32);
	/* upper levels of the memory store do not use slots again */
	GraphParams params = make_params(CHS_METRIC_L2, 4, 2 * count);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	uint32_t next = live;
	ChsRng rng = {33};

	graph_fixture_insert_rows(fixture, 0, live);
	for (int round = 0; round < 40; round++)
	{
		delete_random(fixture, step, &rng);
		(void) graph_fixture_vacuum(fixture);
		CHECK_EQ(fixture->nunused, step);
		graph_fixture_insert_rows(fixture, next, step);
		next += step;
		CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	}
	CHECK_EQ(chs_mem_count(&fixture->mem, 0), live);
	compare_with_rebuild(fixture, &queries, "five turnovers");
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

/* All go but a few; then those, too; then rows come again. */
static void
test_emptied(void)
{
	GraphRows rows = graph_rows_latent(900, 32, 8, 41);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 2000);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsRng rng = {43};

	graph_fixture_insert_rows(fixture, 0, 900);
	delete_random(fixture, 890, &rng);
	(void) graph_fixture_vacuum(fixture);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	CHECK_NEAR(graph_fixture_recall(fixture, &rows, 20, 20), 1, 0);
	delete_random(fixture, 10, &rng);
	(void) graph_fixture_vacuum(fixture);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	graph_fixture_insert_rows(fixture, 0, 900);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	CHECK(graph_fixture_recall(fixture, &rows, 100, 60) >= 0.97);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* Inserts between the marking of dead nodes and their repair. */
static void
test_insert_among_dead(void)
{
	GraphRows rows = graph_rows_latent(3000, 32, 8, 51);
	GraphRows queries = graph_rows_latent(QUERIES, 32, 8, 52);
	GraphParams params = make_params(CHS_METRIC_COSINE, 4, 3000);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStore *store = &fixture->mem.store;
	ChsRng rng = {53};
	ChsList list;

	graph_fixture_insert_rows(fixture, 0, 1500);
	delete_random(fixture, 1400, &rng);
	graph_fixture_insert_rows(fixture, 1500, 1500);
	/* nobody links to the dead */
	for (ChsNodeId id = 1500; id < 3000; id++)
	{
		store->ops->list(store, 0, id, &list);
		for (int i = 0; i < list.degree; i++)
			CHECK(is_live(fixture, CHS_EDGE_NODE(list.edges[i])));
	}
	(void) graph_fixture_vacuum(fixture);
	compare_with_rebuild(fixture, &queries, "inserting among the dead");
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	graph_rows_free(&queries);
}

/* Repair changes what needs it and nothing else. */
static void
test_repair_alone(void)
{
	GraphRows rows = graph_rows_latent(600, 32, 8, 61);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 600);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStore *store = &fixture->mem.store;
	ChsList before;
	ChsList after;
	ChsNodeId lost;

	graph_fixture_insert_rows(fixture, 0, 600);
	for (ChsNodeId id = 0; id < 600; id++)
		CHECK(!chs_graph_repair(&fixture->graph, 0, id));
	store->ops->list(store, 0, 300, &before);
	lost = CHS_EDGE_NODE(before.edges[0]);
	chs_mem_set_dead(&fixture->mem, 0, lost);
	CHECK(!chs_graph_repair(&fixture->graph, 0, lost));
	CHECK(chs_graph_repair(&fixture->graph, 0, 300));
	CHECK(!chs_graph_repair(&fixture->graph, 0, 300));
	store->ops->list(store, 0, 300, &after);
	CHECK(after.degree >= before.degree - 1);
	for (int i = 1; i < before.degree; i++)
	{
		bool kept = false;

		for (int k = 0; k < after.degree; k++)
			kept |= after.edges[k] == before.edges[i];
		CHECK(kept); /* with its anchor mark, too */
	}
	for (int i = 0; i < after.degree; i++)
		CHECK(CHS_EDGE_NODE(after.edges[i]) != lost);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* A node that nobody leads to any more gets an anchor, and only one. */
static void
test_anchor_alone(void)
{
	GraphRows rows = graph_rows_latent(600, 32, 8, 71);
	GraphParams params = make_params(CHS_METRIC_L2, 4, 600);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsStore *store = &fixture->mem.store;
	ChsNodeId orphan = 77;
	uint32_t anchors = 0;
	ChsList list;

	graph_fixture_insert_rows(fixture, 0, 1);
	CHECK(chs_graph_anchor(&fixture->graph, 0, 0)); /* the only one */
	graph_fixture_insert_rows(fixture, 1, 599);
	for (ChsNodeId id = 0; id < 600; id++)
	{
		ChsSlotHeader *slot = chs_mem_slot(&fixture->mem, 0, id);
		ChsEdge *edges = chs_slot_edges(chs_mem_layout(&fixture->mem, 0), slot);
		uint16_t n = 0;

		for (uint16_t i = 0; i < slot->degree; i++)
			if (CHS_EDGE_NODE(edges[i]) != orphan)
				edges[n++] = edges[i];
		slot->degree = n;
	}
	CHECK(chs_graph_anchor(&fixture->graph, 0, orphan));
	CHECK(chs_graph_anchor(&fixture->graph, 0, orphan));
	for (ChsNodeId id = 0; id < 600; id++)
	{
		store->ops->list(store, 0, id, &list);
		for (int i = 0; i < list.degree; i++)
			anchors += (list.edges[i] & ~CHS_EDGE_SPARE) ==
					   (orphan | CHS_EDGE_ANCHOR);
	}
	CHECK_EQ(anchors, 1);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	chs_mem_set_dead(&fixture->mem, 0, orphan);
	CHECK(!chs_graph_anchor(&fixture->graph, 0, orphan));
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

int
main(void)
{
	test_repair_alone();
	test_anchor_alone();
	test_half();
	test_clusters();
	test_turnover();
	test_emptied();
	test_insert_among_dead();
	return unit_summary("repair");
}
