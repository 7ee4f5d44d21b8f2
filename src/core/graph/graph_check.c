/*
 * graph_check.c
 *	  Tests the numbered invariants of README.md over any store.
 *
 * It reads through the store like everybody else and trusts nothing that it
 * reads: a number out of range is reported and never followed.  It changes
 * nothing, and does not know what the invariants are good for.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_link.h"
#include "core/graph/graph_work.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Nodes per fetch. */
#define CHECK_BATCH 64

/* State of a number that no node of the level has. */
#define STATE_OUTSIDE 255

typedef struct Check
{
	ChsGraph *graph;
	ChsArena *arena;
	void (*report)(void *context, const ChsProblem *problem);
	void *context;
	uint64_t problems;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	void *mem; /* of one batch */
	ChsNodeCopy copies[CHECK_BATCH];

	/* the level being checked */
	int level;
	uint32_t nodes;
	uint8_t *state;    /* of every number below `nodes` */
	uint8_t *incoming; /* has an edge from a node in the graph */
	uint8_t *reached;
	ChsNodeId *queue;
	ChsList list;
} Check;

static void report_problem(Check *check, const char *invariant, ChsNodeId id,
						   const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void
report_problem(Check *check, const char *invariant, ChsNodeId id,
			   const char *format, ...)
{
	char text[256];
	ChsProblem problem = {invariant, check->level, id, text};
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check->problems++;
	check->report(check->context, &problem);
}

static const char *
name_state(uint8_t state)
{
	static const char *const names[] = {"free", "reserved", "live", "dead",
										"unlinked"};

	if (state == STATE_OUTSIDE)
		return "not there";
	return state < 5 ? names[state] : "of an unknown state";
}

static bool
is_routed(uint8_t state)
{
	return state == CHS_SLOT_LIVE || state == CHS_SLOT_DEAD;
}

static uint8_t
get_state(const Check *check, ChsNodeId id)
{
	return id < check->nodes ? check->state[id] : STATE_OUTSIDE;
}

/* I1: the state is one of those that a slot can have. */
static void
check_state(Check *check, const ChsNodeCopy *node)
{
	if (node->state > CHS_SLOT_UNLINKED)
		report_problem(check, "I1", node->ref.id, "unknown state %d",
					   node->state);
}

/* I2: factors are finite, and none is negative that is a length. */
static void
check_factors(Check *check, const ChsNodeCopy *node)
{
	ChsFactors factors;

	memcpy(&factors, node->factors, sizeof(factors));
	if (!isfinite(factors.norm2) || !isfinite(factors.scale) ||
		!isfinite(factors.err) || !isfinite(factors.add))
		report_problem(check, "I2", node->ref.id, "a factor is not finite");
	else if (factors.norm2 < 0 || factors.err < 0)
		report_problem(check, "I2", node->ref.id, "a factor is negative");
}

/*
 * I8: a live node of an upper level stands on the node of the same vector one
 * level below.  That may be dead: VACUUM marks from below, and an interrupted
 * one leaves it at that.
 */
static void
check_down(Check *check, const ChsNodeCopy *node)
{
	ChsStore *store = check->graph->store;
	int below = check->level - 1;
	ChsNodeCopy copy;

	if (node->down.id >= store->ops->capacity(store, below))
	{
		report_problem(check, "I8", node->ref.id,
					   "stands on node %u of level %d, which does not exist",
					   node->down.id, below);
		return;
	}
	store->ops->fetch(store, below, &node->down.id, 1,
					  (char *) check->mem +
						  CHECK_BATCH * chs_node_copy_bytes(store->model),
					  &copy);
	if (!is_routed(copy.state))
		report_problem(check, "I8", node->ref.id,
					   "stands on node %u of level %d, which is %s",
					   node->down.id, below, name_state(copy.state));
	else if (copy.ref.version != node->down.version)
		report_problem(check, "I8", node->ref.id,
					   "stands on version %d of node %u of level %d, which "
					   "is at version %d",
					   node->down.version, node->down.id, below,
					   copy.ref.version);
	else if (copy.hash != node->hash)
		report_problem(check, "I8", node->ref.id,
					   "stands on node %u of level %d, which is of another "
					   "vector",
					   node->down.id, below);
}

/* Everything about a node that does not need the others' states. */
static void
check_copy(Check *check, const ChsNodeCopy *node)
{
	check->state[node->ref.id] = node->state;
	check_state(check, node);
	if (!is_routed(node->state))
		return;
	check_factors(check, node);
	if (check->level > 0 && node->state == CHS_SLOT_LIVE)
		check_down(check, node);
}

static void
check_copies(Check *check)
{
	ChsStore *store = check->graph->store;
	ChsNodeId ids[CHECK_BATCH];

	for (ChsNodeId first = 0; first < check->nodes; first += CHECK_BATCH)
	{
		int n = 0;

		for (; n < CHECK_BATCH && first + n < check->nodes; n++)
			ids[n] = first + n;
		store->ops->fetch(store, check->level, ids, n, check->mem,
						  check->copies);
		for (int i = 0; i < n; i++)
			check_copy(check, &check->copies[i]);
	}
}

/* I4, I5, I6, I7: one edge. */
static void
check_edge(Check *check, int slot)
{
	const ChsList *list = &check->list;
	ChsNodeId owner = list->owner.id;
	ChsNodeId end = CHS_EDGE_NODE(list->edges[slot]);
	uint8_t state = get_state(check, end);

	if (end >= check->nodes)
	{
		report_problem(check, "I4", owner,
					   "edge %d leads to node %u, but there are %u nodes",
					   slot, end, check->nodes);
		return;
	}
	if (end == owner)
		report_problem(check, "I5", owner, "edge %d leads to its own node",
					   slot);
	for (int i = 0; i < slot; i++)
		if (CHS_EDGE_NODE(list->edges[i]) == end)
		{
			report_problem(check, "I6", owner,
						   "edges %d and %d both lead to node %u", i, slot, end);
			break;
		}
	if (list->state == CHS_SLOT_LIVE && !is_routed(state))
		report_problem(check, "I7", owner,
					   "edge %d leads to node %u, which "
					   "is %s",
					   slot, end, name_state(state));
	if (end != owner)
		check->incoming[end] = 1;
}

/* Copies a list; false if there is none to look at.  I3: its length. */
static bool
read_list(Check *check, ChsNodeId id, bool report)
{
	ChsStore *store = check->graph->store;
	int capacity = chs_link_capacity(check->graph, check->level);

	store->ops->list(store, check->level, id, &check->list);
	if (check->list.degree >= 0 && check->list.degree <= capacity)
		return true;
	if (report)
		report_problem(check, "I3", id, "has %d edges of at most %d",
					   check->list.degree, capacity);
	return false;
}

static void
check_lists(Check *check)
{
	for (ChsNodeId id = 0; id < check->nodes; id++)
	{
		if (!is_routed(check->state[id]) || !read_list(check, id, true))
			continue;
		for (int i = 0; i < check->list.degree; i++)
			check_edge(check, i);
	}
}

/* I9: a level with a live node has an entry, and that is live. */
static bool
check_entry(Check *check)
{
	ChsNodeRef entry = check->entry[check->level];
	uint8_t state = get_state(check, entry.id);
	ChsNodeId live = 0;

	while (live < check->nodes && check->state[live] != CHS_SLOT_LIVE)
		live++;
	if (live == check->nodes)
		return false; /* nothing to enter; the entry may wait for VACUUM */
	if (entry.id == CHS_NODE_NONE)
	{
		report_problem(check, "I9", live, "the level has nodes but no entry");
		return false;
	}
	if (state != CHS_SLOT_LIVE)
	{
		report_problem(check, "I9", entry.id, "the entry is %s",
					   name_state(state));
		return is_routed(state);
	}
	(void) read_list(check, entry.id, false);
	if (check->list.owner.version != entry.version)
		report_problem(check, "I9", entry.id,
					   "the entry is named at version %d but is at version %d",
					   entry.version, check->list.owner.version);
	return true;
}

/* Marks all that can be reached from the entry, over live and dead nodes. */
static void
mark_reached(Check *check)
{
	ChsNodeId head = 0;
	ChsNodeId tail = 0;

	check->queue[tail++] = check->entry[check->level].id;
	check->reached[check->queue[0]] = 1;
	while (head < tail)
	{
		if (!read_list(check, check->queue[head++], false))
			continue;
		for (int i = 0; i < check->list.degree; i++)
		{
			ChsNodeId end = CHS_EDGE_NODE(check->list.edges[i]);

			if (!is_routed(get_state(check, end)) || check->reached[end])
				continue;
			check->reached[end] = 1;
			check->queue[tail++] = end;
		}
	}
}

/*
 * I10: a live node other than the entry has an incoming edge.  I11: it can be
 * reached from the entry; reported once a level, for one cause makes many.
 */
static void
check_reached(Check *check)
{
	ChsNodeId entry = check->entry[check->level].id;
	ChsNodeId first = CHS_NODE_NONE;
	uint32_t live = 0;
	uint32_t lost = 0;

	for (ChsNodeId id = 0; id < check->nodes; id++)
	{
		if (check->state[id] != CHS_SLOT_LIVE)
			continue;
		live++;
		if (id != entry && !check->incoming[id])
			report_problem(check, "I10", id, "no edge leads to it");
		if (check->reached[id])
			continue;
		if (lost++ == 0)
			first = id;
	}
	if (lost > 0)
		report_problem(check, "I11", first,
					   "%u of %u live nodes cannot be reached from entry %u; "
					   "this is the first",
					   lost, live, entry);
}

static void
check_level(Check *check, int level)
{
	ChsStore *store = check->graph->store;
	size_t nodes = store->ops->capacity(store, level);

	check->level = level;
	check->nodes = (uint32_t) nodes;
	if (nodes == 0)
		return;
	check->state = chs_alloc_zero(check->arena, nodes);
	check->incoming = chs_alloc_zero(check->arena, nodes);
	check->reached = chs_alloc_zero(check->arena, nodes);
	check->queue = chs_alloc(check->arena, nodes * sizeof(ChsNodeId));
	check_copies(check);
	check_lists(check);
	if (!check_entry(check))
		return;
	mark_reached(check);
	check_reached(check);
}

uint64_t
chs_graph_check(ChsGraph *graph, ChsArena *arena,
				void (*report)(void *context, const ChsProblem *problem),
				void *context)
{
	ChsStore *store = graph->store;
	Check *check = chs_alloc_zero(arena, sizeof(Check));
	int levels;

	check->graph = graph;
	check->arena = arena;
	check->report = report;
	check->context = context;
	check->mem = chs_alloc(arena, (CHECK_BATCH + 1) *
									  chs_node_copy_bytes(store->model));
	levels = store->ops->entries(store, true, check->entry);
	for (int level = levels; level < CHS_MAX_LEVELS; level++)
		check->entry[level].id = CHS_NODE_NONE;
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		check_level(check, level);
	return check->problems;
}
