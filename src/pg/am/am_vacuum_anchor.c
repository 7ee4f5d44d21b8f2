/*
 * am_vacuum_anchor.c
 *	  Makes sure that every live node of a level can be reached.
 *
 * Every node was given an anchor when it was inserted: an edge from a
 * neighbour that nobody may replace.  Anchors alone lead from the entry to all
 * nodes, like the branches of a tree, so nothing that inserts do can cut a node
 * off.  Deaths can: a dead node takes the anchors it holds with it, and all that
 * hangs below.
 *
 * What hangs there is found by following anchors from the entry; for each
 * branch only its root needs a new anchor, and from a node that is reached,
 * not from its own branch.  After 1 % of the rows were deleted that is a
 * search for about 1 % of the nodes, however much hangs below them.
 *
 * Lists are read again page by page and in order, with two bits a node, instead
 * of being remembered: at 100 million nodes that is 25 MB and not 400.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/am/am_vacuum.h"

/* One level while its anchors are followed. */
typedef struct Reach
{
	ChsVacuum *vacuum;
	int level;
	uint32 per_page;
	const ChsBits *live;
	ChsBits *held;    /* has an anchor from a live node */
	ChsBits *reached; /* over anchors, from the entry */
	ChsBits *pending; /* reached, and its own anchors not followed yet */
	uint32 anchored;  /* nodes that were given an anchor */
} Reach;

/* Numbers beyond the set belong to nodes that came later: they are not ours. */
void
chs_vacuum_note_anchors(const ChsEdge *edges, int n, ChsBits *held)
{
	for (int i = 0; i < n; i++)
	{
		ChsNodeId end = CHS_EDGE_NODE(edges[i]);

		if ((edges[i] & CHS_EDGE_ANCHOR) != 0 && end < held->n)
			chs_bits_set(held, end);
	}
}

static void
mark_reached(Reach *reach, ChsNodeId id)
{
	if (id >= reach->reached->n || chs_bits_test(reach->reached, id))
		return;
	chs_bits_set(reach->reached, id);
	chs_bits_set(reach->pending, id);
}

/* The first pending number from `from` on, or the size of the set. */
static uint32
find_pending(const Reach *reach, uint32 from)
{
	const ChsBits *pending = reach->pending;
	uint32 word = from >> 6;
	uint64 bits;

	if (from >= pending->n)
		return pending->n;
	bits = pending->words[word] & (~UINT64CONST(0) << (from & 63));
	while (bits == 0)
	{
		if (++word > (pending->n - 1) >> 6)
			return pending->n;
		bits = pending->words[word];
	}
	return word * 64 + (uint32) __builtin_ctzll(bits);
}

/*
 * Follows the anchors of the pending nodes of one page, and of those on the
 * same page that become pending by it.
 */
static void
follow_page(Reach *reach, uint32 page)
{
	ChsVacuum *vacuum = reach->vacuum;
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, reach->level);
	uint32 first = page * reach->per_page;
	uint32 end = first + reach->per_page;
	bool used = chs_vacuum_copy(vacuum, reach->level, page);
	uint32 id = find_pending(reach, first);

	while (id < end && id < reach->pending->n)
	{
		ChsSlotHeader *slot = chs_page_slot(vacuum->copy.data, layout,
											id - first);
		const ChsEdge *edges = chs_slot_edges(layout, slot);
		uint32 n = Min(slot->degree, layout->max_degree);

		chs_bits_clear(reach->pending, id);
		for (uint32 i = 0; used && slot->state == CHS_SLOT_LIVE && i < n; i++)
		{
			if ((edges[i] & CHS_EDGE_ANCHOR) != 0)
				mark_reached(reach, CHS_EDGE_NODE(edges[i]));
		}
		id = find_pending(reach, first);
	}
}

/*
 * Follows anchors until nothing is pending.  Numbers are given in the order of
 * insertion and anchors mostly come from older nodes, so that a few walks in
 * ascending order suffice.
 */
static void
follow_all(Reach *reach)
{
	uint32 id = find_pending(reach, 0);

	while (id < reach->pending->n)
	{
		uint32 page = id / reach->per_page;

		chs_vacuum_delay(reach->vacuum);
		follow_page(reach, page);
		id = find_pending(reach, (page + 1) * reach->per_page);
		if (id >= reach->pending->n)
			id = find_pending(reach, 0);
	}
}

static bool
may_hold(void *context, ChsNodeId id)
{
	Reach *reach = context;

	return id < reach->reached->n && chs_bits_test(reach->reached, id);
}

/*
 * Gives one node an anchor from a node that is reached; false if none of those
 * asked can.  far: as for chs_graph_anchor_among.
 */
static bool
anchor_node(Reach *reach, ChsNodeId id, bool far)
{
	ChsVacuum *vacuum = reach->vacuum;
	MemoryContext old = MemoryContextSwitchTo(vacuum->node_context);
	bool done;

	chs_vacuum_delay(vacuum);
	done = chs_graph_anchor_among(&vacuum->graph, reach->level, id, far,
								  may_hold, reach);
	MemoryContextSwitchTo(old);
	MemoryContextReset(vacuum->node_context);
	if (!done)
		return false;
	reach->anchored++;
	chs_bits_set(reach->held, id);
	mark_reached(reach, id);
	return true;
}

static bool
is_lost(const Reach *reach, ChsNodeId id)
{
	return chs_bits_test(reach->live, id) && !chs_bits_test(reach->reached, id);
}

/*
 * Anchors the roots of the branches that fell off, one after the other: a root
 * whose neighbours all hang below another root gets its turn when that one has
 * been dealt with.  Returns how many nodes are lost still.
 */
static uint32
anchor_roots(Reach *reach)
{
	uint32 lost;
	uint32 done;

	do
	{
		lost = 0;
		done = 0;
		for (ChsNodeId id = 0; id < reach->live->n; id++)
		{
			if (!is_lost(reach, id))
				continue;
			if (!chs_bits_test(reach->held, id) && anchor_node(reach, id, false))
				done++;
			else
				lost++;
		}
		follow_all(reach);
	} while (done > 0 && lost > 0);
	return lost;
}

/*
 * Branches without a root: nodes inserted at the same time that hold each
 * other's anchor, or roots that no reached node is near to.  One node of each
 * is tied to what is reached.
 */
static void
anchor_rings(Reach *reach)
{
	for (ChsNodeId id = 0; id < reach->live->n; id++)
	{
		if (is_lost(reach, id) && anchor_node(reach, id, true))
			follow_all(reach);
	}
}

uint32
chs_vacuum_anchor(ChsVacuum *vacuum, int level, const ChsBits *live,
				  ChsBits *held)
{
	ChsNodeId entry = vacuum->index->meta->entry[level].id;
	Reach reach;

	if (entry == CHS_NODE_NONE)
		return 0;
	reach.vacuum = vacuum;
	reach.level = level;
	reach.per_page = chs_index_per_page(vacuum->index, level);
	reach.live = live;
	reach.held = held;
	reach.anchored = 0;
	reach.reached = chs_bits_create(live->n);
	reach.pending = chs_bits_create(live->n);
	mark_reached(&reach, entry);
	follow_all(&reach);
	if (anchor_roots(&reach) > 0)
		anchor_rings(&reach);
	pfree(reach.reached);
	pfree(reach.pending);
	return reach.anchored;
}
