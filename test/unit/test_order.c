/*
 * test_order.c
 *	  An order gives every node one place, and puts neighbours together.
 *
 * How many pages a search touches is counted on a graph of rows in a seeded
 * order that has nothing to do with where they lie, as rows come to a table.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "core/graph/graph_order.h"
#include "unit.h"

#define ROWS 4000
#define PER_PAGE 20

static const GraphParams params = {.metric = CHS_METRIC_L2,
								   .bits = 4,
								   .m = 8,
								   .ef_construction = 60,
								   .room = ROWS};

static void
make_order(ChsOrder *order, const ChsMemStore *mem, int level,
		   uint32_t per_page, ChsArena *arena)
{
	uint32_t pages = 0;

	chs_order_begin(order, mem, level, per_page, arena);
	do
		pages++;
	while (chs_order_page(order));
	if (order->count > 0)
		CHECK_EQ(pages, (order->count + per_page - 1) / per_page);
}

/* Every node has one place, every place one node. */
static void
check_places(const ChsOrder *order)
{
	uint32_t wrong = 0;

	for (uint32_t place = 0; place < order->count; place++)
	{
		ChsNodeId id = order->node_at[place];

		wrong += id >= order->count || order->place_of[id] != place;
	}
	CHECK_EQ(wrong, 0);
}

/*
 * Pages on which the edges of a node end, in the mean, with nodes of these
 * numbers (NULL: their own).
 */
static double
count_pages(const ChsMemStore *mem, const uint32_t *place_of)
{
	const ChsSlotLayout *layout = chs_mem_layout(mem, 0);
	uint32_t count = chs_mem_count(mem, 0);
	uint32_t *last = calloc(count, sizeof(uint32_t));
	uint64_t pages = 0;

	for (ChsNodeId id = 0; id < count; id++)
	{
		ChsSlotHeader *slot = chs_mem_slot(mem, 0, id);

		for (int i = 0; i < slot->degree; i++)
		{
			ChsNodeId to = CHS_EDGE_NODE(chs_slot_edges(layout, slot)[i]);
			uint32_t page = (place_of == NULL ? to : place_of[to]) / PER_PAGE;

			pages += last[page] != id + 1;
			last[page] = id + 1;
		}
	}
	free(last);
	return (double) pages / count;
}

/* Clusters of 12 rows whose order is shuffled. */
static void
test_clusters(void)
{
	GraphRows rows = graph_rows_clusters(ROWS, 32, 12, true, 11);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsOrder order;
	double before;
	double after;

	graph_fixture_insert_rows(fixture, 0, ROWS);
	for (int level = CHS_MAX_LEVELS - 1; level >= 0; level--)
	{
		make_order(&order, &fixture->mem, level, PER_PAGE, fixture->arena);
		CHECK_EQ(order.count, chs_mem_count(&fixture->mem, level));
		check_places(&order);
	}
	before = count_pages(&fixture->mem, NULL);
	after = count_pages(&fixture->mem, order.place_of);
	CHECK(after < 0.7 * before);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* Rows without clusters: less can be won, and the answer repeats. */
static void
test_latent(void)
{
	GraphRows rows = graph_rows_latent(ROWS, 48, 12, 5);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsOrder order;
	ChsOrder again;

	graph_fixture_insert_rows(fixture, 0, ROWS);
	make_order(&order, &fixture->mem, 0, PER_PAGE, fixture->arena);
	check_places(&order);
	CHECK(count_pages(&fixture->mem, order.place_of) <
		  0.8 * count_pages(&fixture->mem, NULL));
	make_order(&again, &fixture->mem, 0, PER_PAGE, fixture->arena);
	CHECK(memcmp(order.place_of, again.place_of, ROWS * sizeof(uint32_t)) == 0);

	/* a page of one, and a page for all */
	make_order(&order, &fixture->mem, 0, 1, fixture->arena);
	check_places(&order);
	make_order(&order, &fixture->mem, 0, 2 * ROWS, fixture->arena);
	check_places(&order);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

/* Nodes without edges, and no nodes. */
static void
test_without_edges(void)
{
	GraphRows rows = graph_rows_latent(100, 16, 4, 9);
	GraphFixture *fixture = graph_fixture_create(&params, &rows);
	ChsOrder order;

	make_order(&order, &fixture->mem, 0, PER_PAGE, fixture->arena);
	CHECK_EQ(order.count, 0);
	graph_fixture_insert_rows(fixture, 0, 100);
	for (ChsNodeId id = 0; id < 100; id++)
	{
		if (id % 3 != 0)
			chs_mem_slot(&fixture->mem, 0, id)->degree = 0;
	}
	make_order(&order, &fixture->mem, 0, PER_PAGE, fixture->arena);
	check_places(&order);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
}

int
main(void)
{
	test_clusters();
	test_latent();
	test_without_edges();
	return unit_summary("order");
}
