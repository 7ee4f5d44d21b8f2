/*
 * test_check.c
 *	  Every numbered invariant is reported when it is broken, where it is broken.
 *
 * One fault is planted at a time in a sound graph, by writing into its slots,
 * and taken out again afterwards; each must be reported under its own number,
 * at its node.  Consequences of a fault may be reported, too (a node that
 * leads nowhere may leave others unreachable).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_fixture.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "unit.h"

#define ROWS 400

static GraphFixture *fixture;

/* What is expected, and whether it came. */
typedef struct Expectation
{
	const char *invariant;
	int level;
	ChsNodeId id;
	const char *words; /* part of the text */
	bool met;
} Expectation;

static void
compare_problem(void *context, const ChsProblem *problem)
{
	Expectation *expected = context;

	if (strcmp(problem->invariant, expected->invariant) == 0 &&
		problem->level == expected->level && problem->id == expected->id &&
		strstr(problem->text, expected->words) != NULL)
		expected->met = true;
}

static bool
reports(const char *invariant, int level, ChsNodeId id, const char *words)
{
	ChsArena *arena = arena_malloc_create();
	Expectation expected = {invariant, level, id, words, false};
	uint64_t problems = chs_graph_check(&fixture->graph, arena,
										compare_problem, &expected);

	arena_malloc_destroy(arena);
	return problems > 0 && expected.met;
}

/* One slot with its copy, to be put back. */
typedef struct Saved
{
	ChsSlotHeader *slot;
	void *copy;
	size_t bytes;
} Saved;

static Saved
save_slot(int level, ChsNodeId id)
{
	Saved saved = {chs_mem_slot(&fixture->mem, level, id), NULL,
				   chs_mem_layout(&fixture->mem, level)->slot_bytes};

	saved.copy = malloc(saved.bytes);
	memcpy(saved.copy, saved.slot, saved.bytes);
	return saved;
}

/* Puts the slot back and makes sure that this was all that was wrong. */
static void
restore_slot(Saved *saved)
{
	memcpy(saved->slot, saved->copy, saved->bytes);
	free(saved->copy);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
}

static ChsEdge *
edges_of(int level, ChsNodeId id)
{
	return chs_slot_edges(chs_mem_layout(&fixture->mem, level),
						  chs_mem_slot(&fixture->mem, level, id));
}

/* A node that is not the entry and has two edges. */
static ChsNodeId
choose_node(int level)
{
	ChsNodeRef entry[CHS_MAX_LEVELS];
	ChsNodeId id = 3;

	(void) fixture->mem.store.ops->entries(&fixture->mem.store, true, entry);
	while (id == entry[level].id ||
		   chs_mem_slot(&fixture->mem, level, id)->degree < 2)
		id++;
	return id;
}

static void
test_state_and_factors(void)
{
	ChsNodeId id = choose_node(0);
	Saved saved = save_slot(0, id);
	ChsFactors *factors = chs_slot_factors(chs_mem_layout(&fixture->mem, 0),
										   saved.slot);

	saved.slot->state = 17;
	CHECK(reports("I1", 0, id, "unknown state 17"));
	restore_slot(&saved);

	saved = save_slot(0, id);
	factors->scale = NAN;
	CHECK(reports("I2", 0, id, "not finite"));
	factors->scale = 1;
	factors->norm2 = -1;
	CHECK(reports("I2", 0, id, "negative"));
	restore_slot(&saved);
}

static void
test_edges(void)
{
	for (int level = 0; level <= 1; level++)
	{
		ChsNodeId id = choose_node(level);
		Saved saved = save_slot(level, id);
		ChsEdge *edges = edges_of(level, id);

		saved.slot->degree = level == 0 ? 17 : 9;
		CHECK(reports("I3", level, id, "edges of at most"));
		saved.slot->degree = 65535;
		CHECK(reports("I3", level, id, "has 65535 edges"));
		restore_slot(&saved);

		saved = save_slot(level, id);
		edges[1] = chs_mem_count(&fixture->mem, level);
		CHECK(reports("I4", level, id, "edge 1 leads to node"));
		edges[1] = CHS_NODE_NONE;
		CHECK(reports("I4", level, id, "edge 1 leads to node"));
		restore_slot(&saved);

		saved = save_slot(level, id);
		edges[1] = id | CHS_EDGE_ANCHOR;
		CHECK(reports("I5", level, id, "edge 1 leads to its own node"));
		restore_slot(&saved);

		saved = save_slot(level, id);
		edges[1] = edges[0] ^ CHS_EDGE_ANCHOR;
		CHECK(reports("I6", level, id, "edges 0 and 1 both lead"));
		restore_slot(&saved);
	}
}

/* An edge to a slot in each of the states; only dead is allowed. */
static void
test_ends(void)
{
	ChsNodeId id = choose_node(0);
	ChsNodeId end = CHS_EDGE_NODE(edges_of(0, id)[0]);
	Saved saved = save_slot(0, end);

	saved.slot->state = CHS_SLOT_FREE;
	CHECK(reports("I7", 0, id, "which is free"));
	saved.slot->state = CHS_SLOT_RESERVED;
	CHECK(reports("I7", 0, id, "which is reserved"));
	saved.slot->state = CHS_SLOT_UNLINKED;
	CHECK(reports("I7", 0, id, "which is unlinked"));
	saved.slot->state = CHS_SLOT_DEAD;
	CHECK_EQ(graph_fixture_check(fixture, "I7"), 0);
	restore_slot(&saved);
}

static void
test_down(void)
{
	ChsNodeId id = choose_node(1);
	Saved saved = save_slot(1, id);
	Saved below = save_slot(0, saved.slot->down);

	saved.slot->down = chs_mem_count(&fixture->mem, 0);
	CHECK(reports("I8", 1, id, "does not exist"));
	saved.slot->down = below.slot == chs_mem_slot(&fixture->mem, 0, 5) ? 6 : 5;
	CHECK(reports("I8", 1, id, "of another vector"));
	memcpy(saved.slot, saved.copy, saved.bytes);
	saved.slot->down_version++;
	CHECK(reports("I8", 1, id, "is at version 0"));
	memcpy(saved.slot, saved.copy, saved.bytes);
	below.slot->state = CHS_SLOT_FREE;
	CHECK(reports("I8", 1, id, "which is free"));
	memcpy(below.slot, below.copy, below.bytes);
	restore_slot(&below);
	restore_slot(&saved);
}

static void
test_entry(void)
{
	ChsStore *store = &fixture->mem.store;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	ChsNodeRef none = {CHS_NODE_NONE, 0};
	Saved saved;

	for (int level = 0; level <= 1; level++)
	{
		(void) store->ops->entries(store, true, entry);
		saved = save_slot(level, entry[level].id);
		saved.slot->state = CHS_SLOT_DEAD;
		CHECK(reports("I9", level, entry[level].id, "the entry is dead"));
		saved.slot->state = CHS_SLOT_FREE;
		CHECK(reports("I9", level, entry[level].id, "the entry is free"));
		saved.slot->state = CHS_SLOT_LIVE;
		saved.slot->version++;
		CHECK(reports("I9", level, entry[level].id, "is at version 1"));
		restore_slot(&saved);
		CHECK(store->ops->set_entry(store, level, entry[level], none));
		CHECK(reports("I9", level, 0, "has nodes but no entry"));
		CHECK(store->ops->set_entry(store, level, none, entry[level]));
	}
}

/* Takes every edge to `id` away; the slots of all others must be saved. */
static void
cut_incoming(ChsNodeId id)
{
	for (ChsNodeId other = 0; other < ROWS; other++)
	{
		ChsSlotHeader *slot = chs_mem_slot(&fixture->mem, 0, other);
		ChsEdge *edges = edges_of(0, other);
		uint16_t n = 0;

		for (uint16_t i = 0; i < slot->degree; i++)
			if (CHS_EDGE_NODE(edges[i]) != id)
				edges[n++] = edges[i];
		slot->degree = n;
	}
}

/*
 * A node with no edge to it is reported itself; two that lead to each other
 * alone are only unreachable.
 */
static void
test_reach(void)
{
	ChsNodeId a = choose_node(0);
	ChsNodeId b = a + 1;
	Saved saved[ROWS];

	for (ChsNodeId id = 0; id < ROWS; id++)
		saved[id] = save_slot(0, id);
	cut_incoming(a);
	CHECK(reports("I10", 0, a, "no edge leads to it"));
	CHECK(reports("I11", 0, a, "1 of 400 live nodes cannot be reached"));
	cut_incoming(b);
	edges_of(0, a)[0] = b;
	edges_of(0, b)[0] = a;
	CHECK_EQ(graph_fixture_check(fixture, "I10"), 0);
	CHECK(reports("I11", 0, a, "2 of 400 live nodes cannot be reached"));
	for (ChsNodeId id = 0; id < ROWS; id++)
		memcpy(saved[id].slot, saved[id].copy, saved[id].bytes);
	for (ChsNodeId id = 0; id < ROWS; id++)
		restore_slot(&saved[id]);
}

/* An empty store, and one whose only nodes are dead, are in order. */
static void
test_nothing(const GraphRows *rows)
{
	GraphFixture *full = fixture;

	fixture = graph_fixture_create(&full->params, rows);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	graph_fixture_insert_rows(fixture, 0, 2);
	graph_fixture_delete(fixture, 0);
	graph_fixture_delete(fixture, 1);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	graph_fixture_destroy(fixture);
	fixture = full;
}

int
main(void)
{
	GraphRows rows = graph_rows_latent(ROWS, 32, 8, 5);
	GraphParams params = {.metric = CHS_METRIC_L2,
						  .bits = 4,
						  .m = 8,
						  .ef_construction = 60,
						  .room = 2 * ROWS};

	fixture = graph_fixture_create(&params, &rows);
	graph_fixture_insert_rows(fixture, 0, ROWS);
	CHECK_EQ(graph_fixture_check(fixture, NULL), 0);
	test_state_and_factors();
	test_edges();
	test_ends();
	test_down();
	test_entry();
	test_reach();
	test_nothing(&rows);
	graph_fixture_destroy(fixture);
	graph_rows_free(&rows);
	return unit_summary("check");
}
