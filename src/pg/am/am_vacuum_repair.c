/*
 * am_vacuum_repair.c
 *	  Second pass of VACUUM: dead nodes leave the graph.
 *
 * Level by level: entries that died are replaced, live nodes that lost a
 * neighbour look for others among those behind it, every live node is made
 * reachable again, and only then are the dead slots freed.  Nothing here needs
 * to know who killed a node or when: what counts is its state, so that the
 * pass finishes what an interrupted one began.
 *
 * Inserts and scans go on all the time.  Why that is safe is in am_vacuum.c,
 * V4 to V9.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/am/am_vacuum.h"

/*
 * Window of the search for a new entry around the old one.  Arbitrary; the
 * nearest live node is wanted, and a few more make it likely to be met.
 */
#define ENTRY_EF 16

/*
 * A node whose list others change all the time is repaired at the latest by
 * this try, or not by this VACUUM.
 */
#define REPAIR_TRIES 4

static inline ChsSlotHeader *
copied_slot(ChsVacuum *vacuum, int level, uint32 position)
{
	return chs_page_slot(vacuum->copy.data,
						 chs_index_layout(vacuum->index, level), position);
}

/* Sets up the node store, and the handle through which core works on it. */
static void
open_graph(ChsVacuum *vacuum)
{
	const ChsMetaPageData *meta = vacuum->index->meta;
	ChsGraphParams params;

	params.m = (int) meta->m;
	params.ef_construction = (int) meta->ef_construction;
	params.seed = meta->seed;
	vacuum->store = chs_page_store_create(vacuum->index);
	vacuum->store->store.no_errors = true;
	chs_context_arena_init(&vacuum->arena, vacuum->context);
	chs_graph_init(&vacuum->graph, &vacuum->store->store, &params,
				   &vacuum->arena.arena);
	vacuum->node_context = AllocSetContextCreate(
		vacuum->context, "chassis vacuum node", ALLOCSET_DEFAULT_SIZES);
}

/* ---- upper levels: nodes that stand on a dead one ---- */

/* Is what this upper-level node stands on gone or about to go? */
static bool
stands_on_dead(ChsVacuum *vacuum, int level, const ChsSlotHeader *slot)
{
	ChsSlotHeader below;

	if (slot->down >= chs_index_capacity(vacuum->index, level - 1))
		return true; /* nothing that could be published is there */
	chs_page_store_header(vacuum->store, level - 1, slot->down, &below);
	return below.state != CHS_SLOT_LIVE || below.version != slot->down_version;
}

/*
 * Turns the marked slots of a page DEAD, as one record, if they still are what
 * was looked at.
 */
static void
kill_slots(ChsVacuum *vacuum, int level, uint32 page_number,
		   const ChsBits *marked)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	Buffer buffer = chs_vacuum_read(vacuum, level, page_number);
	ChsWal wal;
	Page page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	chs_page_check(vacuum->index->rel, buffer, CHS_PAGE_GRAPH, level);
	chs_wal_begin(&wal, vacuum->index);
	page = chs_wal_page(&wal, buffer, false);
	for (uint32 i = 0; i < per_page; i++)
	{
		ChsSlotHeader *slot = chs_page_slot(page, layout, i);
		const ChsSlotHeader *seen = copied_slot(vacuum, level, i);

		if (chs_bits_test(marked, i) && slot->state == CHS_SLOT_LIVE &&
			slot->version == seen->version)
			slot->state = CHS_SLOT_DEAD;
	}
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(buffer);
}

/* Kills the nodes of an upper level whose counterpart below is dead. */
static void
kill_upper(ChsVacuum *vacuum, int level)
{
	uint32 pages = chs_vacuum_pages(vacuum, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	ChsBits *marked = chs_bits_create(per_page);

	for (uint32 page = 0; page < pages; page++)
	{
		bool some = false;

		chs_vacuum_delay(vacuum);
		if (!chs_vacuum_copy(vacuum, level, page))
			continue;
		for (uint32 i = 0; i < per_page; i++)
		{
			const ChsSlotHeader *slot = copied_slot(vacuum, level, i);

			chs_bits_clear(marked, i);
			if (slot->state != CHS_SLOT_LIVE ||
				!stands_on_dead(vacuum, level, slot))
				continue;
			chs_bits_set(marked, i);
			some = true;
		}
		if (some)
			kill_slots(vacuum, level, page, marked);
	}
	pfree(marked);
}

/* ---- entries ---- */

/* The live node nearest to a dead entry, found by passing through the dead. */
static bool
find_near_entry(ChsVacuum *vacuum, int level, ChsNodeRef entry, ChsNodeRef *found)
{
	ChsStore *store = &vacuum->store->store;
	void *mem = chs_alloc(&vacuum->arena.arena,
						  chs_node_copy_bytes(store->model));
	void *query_mem = chs_alloc(&vacuum->arena.arena,
								chs_query_bytes(store->model));
	ChsScored near[ENTRY_EF];
	ChsNodeCopy copy;
	ChsQuery query;
	int n;

	store->ops->fetch(store, level, &entry.id, 1, mem, &copy);
	if (copy.state != CHS_SLOT_DEAD || copy.ref.version != entry.version)
		return false;
	chs_query_from_code(&query, query_mem, store->model, copy.code,
						copy.factors);
	n = chs_graph_search_level(&vacuum->graph, level, &query, &entry, 1,
							   ENTRY_EF, false, near);
	if (n == 0)
		return false;
	found->id = near[0].id;
	found->version = near[0].version;
	return true;
}

/*
 * Any live node of a level, the first that has neighbours if there is one;
 * id CHS_NODE_NONE if none lives.
 */
static ChsNodeRef
find_any(ChsVacuum *vacuum, int level)
{
	uint32 pages = chs_vacuum_pages(vacuum, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	ChsNodeRef found = {CHS_NODE_NONE, 0};

	for (uint32 page = 0; page < pages; page++)
	{
		chs_vacuum_delay(vacuum);
		if (!chs_vacuum_copy(vacuum, level, page))
			continue;
		for (uint32 i = 0; i < per_page; i++)
		{
			const ChsSlotHeader *slot = copied_slot(vacuum, level, i);

			if (slot->state != CHS_SLOT_LIVE ||
				(found.id != CHS_NODE_NONE && slot->degree == 0))
				continue;
			found.id = page * per_page + i;
			found.version = slot->version;
			if (slot->degree > 0)
				return found;
		}
	}
	return found;
}

/*
 * Gives a level a live entry if it has none, or no entry if no node of it
 * lives.  An insert may be faster; whatever it made the entry is live.
 */
static void
move_entry(ChsVacuum *vacuum, int level)
{
	ChsStore *store = &vacuum->store->store;
	const ChsEntry *now = &vacuum->index->meta->entry[level];
	ChsNodeRef entry;
	ChsNodeRef next;

	(void) chs_vacuum_pages(vacuum, level);
	entry.id = now->id;
	entry.version = now->version;
	if (entry.id != CHS_NODE_NONE)
	{
		ChsSlotHeader header;

		chs_page_store_header(vacuum->store, level, entry.id, &header);
		if (header.state == CHS_SLOT_LIVE && header.version == entry.version)
			return;
	}
	if (entry.id == CHS_NODE_NONE ||
		!find_near_entry(vacuum, level, entry, &next))
		next = find_any(vacuum, level);
	if (next.id != entry.id || next.version != entry.version)
		(void) store->ops->set_entry(store, level, entry, next);
}

/* ---- neighbours ---- */

/* Reads which nodes of the level live; returns how many are dead. */
static uint32
collect_live(ChsVacuum *vacuum, int level, uint32 pages, ChsBits *live)
{
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	uint32 dead = 0;

	for (uint32 page = 0; page < pages; page++)
	{
		chs_vacuum_delay(vacuum);
		if (!chs_vacuum_copy(vacuum, level, page))
			continue;
		for (uint32 i = 0; i < per_page; i++)
		{
			uint8 state = copied_slot(vacuum, level, i)->state;

			if (state == CHS_SLOT_LIVE)
				chs_bits_set(live, page * per_page + i);
			dead += state == CHS_SLOT_DEAD;
		}
	}
	return dead;
}

/*
 * Does a list lead to a node that was not live?  Numbers beyond the set came
 * later.
 */
static bool
leads_to_dead(const ChsEdge *edges, uint32 n, const ChsBits *live)
{
	for (uint32 i = 0; i < n; i++)
	{
		ChsNodeId end = CHS_EDGE_NODE(edges[i]);

		if (end < live->n && !chs_bits_test(live, end))
			return true;
	}
	return false;
}

/* Reads the list again: does it lead to a node that is not live now? */
static bool
is_broken(ChsVacuum *vacuum, int level, ChsNodeId id, const ChsBits *live)
{
	ChsStore *store = &vacuum->store->store;
	ChsList list;

	store->ops->list(store, level, id, &list);
	if (list.state != CHS_SLOT_LIVE)
		return false;
	for (int i = 0; i < list.degree; i++)
	{
		ChsNodeId end = CHS_EDGE_NODE(list.edges[i]);
		ChsSlotHeader header;

		if (end >= live->n || chs_bits_test(live, end))
			continue;
		chs_page_store_header(vacuum->store, level, end, &header);
		if (header.state != CHS_SLOT_LIVE)
			return true;
	}
	return false;
}

/*
 * Repairs one node; inserts may change its list under our hands, and a node
 * that was not live when the set was made may have become so.  True if it got
 * a new list.
 */
static bool
repair_node(ChsVacuum *vacuum, int level, ChsNodeId id, const ChsBits *live)
{
	MemoryContext old = MemoryContextSwitchTo(vacuum->node_context);
	bool done = false;

	for (int i = 0; i < REPAIR_TRIES && !done; i++)
	{
		CHECK_FOR_INTERRUPTS();
		done = chs_graph_repair(&vacuum->graph, level, id);
		if (!done && !is_broken(vacuum, level, id, live))
			break;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(vacuum->node_context);
	return done;
}

/*
 * Walks all live nodes of the level: repairs those that lost a neighbour, and
 * notes in `held` whom the others hold by an anchor.  Returns how many were
 * repaired.
 */
static uint32
repair_lists(ChsVacuum *vacuum, int level, uint32 pages, const ChsBits *live,
			 ChsBits *held)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	uint32 repaired = 0;

	for (uint32 page = 0; page < pages; page++)
	{
		chs_vacuum_delay(vacuum);
		if (!chs_vacuum_copy(vacuum, level, page))
			continue;
		for (uint32 i = 0; i < per_page; i++)
		{
			ChsSlotHeader *slot = copied_slot(vacuum, level, i);
			const ChsEdge *edges = chs_slot_edges(layout, slot);
			uint32 n = Min(slot->degree, layout->max_degree);

			if (slot->state != CHS_SLOT_LIVE)
				continue;
			chs_vacuum_note_anchors(edges, (int) n, held);
			if (leads_to_dead(edges, n, live))
				repaired += repair_node(vacuum, level, page * per_page + i,
										live);
		}
	}
	return repaired;
}

/* Everything for one level whose entry is live. */
static void
repair_level(ChsVacuum *vacuum, int level)
{
	uint32 pages = chs_vacuum_pages(vacuum, level);
	uint32 nodes = pages * chs_index_per_page(vacuum->index, level);
	ChsBits *live = chs_bits_create(nodes);
	ChsBits *held = chs_bits_create(nodes);
	uint32 dead = collect_live(vacuum, level, pages, live);
	uint32 repaired;
	uint32 anchored;

	CHS_STOP("before-repair");
	repaired = repair_lists(vacuum, level, pages, live, held);
	anchored = chs_vacuum_anchor(vacuum, level, live, held);
	pfree(live);
	pfree(held);
	ereport(DEBUG1, (errmsg_internal("index \"%s\" level %d: %u dead nodes, %u "
									 "repaired, %u anchored",
									 RelationGetRelationName(vacuum->index->rel),
									 level, dead, repaired, anchored)));
	if (dead == 0)
		return;
	CHS_STOP("before-free");
	chs_vacuum_free_dead(vacuum, level);
}

/*
 * From the bottom up for what dies with the level below, from the top down for
 * the rest: whoever comes from above must find something.
 */
void
chs_vacuum_repair(ChsVacuum *vacuum)
{
	int levels = 0;

	chs_index_refresh(vacuum->index);
	if (vacuum->index->meta->phase == CHS_PHASE_FLAT)
		return;
	open_graph(vacuum);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		if (chs_vacuum_pages(vacuum, level) > 0)
			levels = level + 1;
	}
	for (int level = 1; level < levels; level++)
		kill_upper(vacuum, level);
	for (int level = levels - 1; level >= 0; level--)
		move_entry(vacuum, level);
	for (int level = levels - 1; level >= 0; level--)
		repair_level(vacuum, level);
	chs_vacuum_mark_left(vacuum, false);
}
