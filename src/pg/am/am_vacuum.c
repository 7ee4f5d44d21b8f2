/*
 * am_vacuum.c
 *	  ambulkdelete and amvacuumcleanup.
 *
 * VACUUM of an index is two passes: TIDs of dead rows leave their slots
 * (am_vacuum_tids.c), and nodes without a TID leave the graph
 * (am_vacuum_repair.c).  The first must be complete before the table gives
 * the TIDs to other rows; the second may be interrupted and finished by any
 * later VACUUM.  Neither locks anything but pages, one at a time and shortly:
 * inserts and scans run on.  That this is safe follows from these rules.
 *
 * V1	Only VACUUM makes a node DEAD, only VACUUM frees a slot, and there is
 *		one VACUUM of a table at a time.  Nobody revives a dead node, and nobody
 *		gives a TID or an edge to one.
 * V2	A slot that has no TID left turns from LIVE to DEAD, from RESERVED or
 *		UNLINKED to FREE; a dead node routes until its slot is freed.  Freeing
 *		raises the slot's version.  All are single records under the page's
 *		exclusive lock, and each leaves a legal index, so an interruption at
 *		any point costs only the work that is left.
 * V3	CHS_META_DEAD_LEFT is set before the first node dies and cleared when
 *		no dead one is left.  While it is set, every VACUUM runs the second
 *		pass, whether or not it removed TIDs itself.
 * V4	The dead of a level are freed after its entry is live, and after every
 *		live node of the level has been looked at for edges to them; levels
 *		from the top down, so that `down` never leads to a slot that was freed
 *		while the node above it lives.
 * V5	An insert publishes a node with edges to nodes that it saw live, and
 *		looks at each of them once more afterwards, when it links back: those
 *		that are not live at that version any more it takes out again.  If one
 *		died before that second look, the insert sees it; if after, the new
 *		node was published before the death and VACUUM's walk, which begins
 *		later, sees the edge.  So when both have done, no live node leads to a
 *		slot that this VACUUM freed.  An insert whose neighbours are all gone
 *		searches again.
 * V6	An edge back is given only to a node that its writer owns: its own row
 *		is in progress, so that VACUUM cannot kill it.  The exception is a
 *		leftover of the flat phase that another row's insert links: it can die
 *		between its publication and its last edge back, and an edge to a
 *		slot that is free, or another node's, stays behind.  So does the
 *		forward edge of a node whose inserter did not get to the second look of
 *		V5: a crash, or a list that changed twice meanwhile.
 * V7	An edge to a slot that is not live is therefore legal, and harmless: a
 *		search ignores it, and when the slot is used again it leads to a node
 *		that nobody chose for it.  The checker reports it; the second pass
 *		repairs every node that has one, whoever left it.
 * V8	Whoever waits with a number and a version (a scan its candidates, an
 *		insert its neighbours, an upper node its `down`, the metapage its
 *		entries) compares the version before relying on it.
 * V9	After the second pass anchors lead from a level's entry to each of its
 *		live nodes that was there when the pass began.  Inserts never remove
 *		an anchor, so that this holds until the next death.
 *
 * Memory: context "chassis vacuum" for the length of one callback, in it a few
 * bits per node of the level at hand; "chassis vacuum node" is reset after each
 * node that is repaired.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/indexfsm.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am_vacuum.h"

/* Leftovers of the flat phase that are linked between two delays. */
#define LEFTOVERS_PER_STEP 16

/* ---- shared with am_vacuum_*.c ---- */

ChsBits *
chs_bits_create(uint32 n)
{
	Size words = ((Size) n + 63) / 64;
	Size bytes = offsetof(ChsBits, words) + Max(words, 1) * sizeof(uint64);
	ChsBits *bits = MemoryContextAllocExtended(
		CurrentMemoryContext, bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	bits->n = n;
	return bits;
}

uint32
chs_vacuum_pages(ChsVacuum *vacuum, int level)
{
	chs_index_refresh(vacuum->index);
	return vacuum->index->meta->stream[CHS_STREAM_GRAPH(level)].pages_used;
}

void
chs_vacuum_delay(ChsVacuum *vacuum)
{
	(void) vacuum;
	CHS_VACUUM_DELAY();
}

bool
chs_vacuum_copy(ChsVacuum *vacuum, int level, uint32 page)
{
	Buffer buffer = chs_vacuum_read(vacuum, level, page);
	bool used;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(vacuum->index->rel, buffer, CHS_PAGE_GRAPH, level);
	used = !PageIsNew(BufferGetPage(buffer));
	if (used)
		memcpy(vacuum->copy.data, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return used;
}

Buffer
chs_vacuum_read(ChsVacuum *vacuum, int level, uint32 page)
{
	BlockNumber block = chs_index_block(vacuum->index, CHS_STREAM_GRAPH(level),
										page);

	return ReadBufferExtended(vacuum->index->rel, MAIN_FORKNUM, block,
							  RBM_NORMAL, vacuum->info->strategy);
}

/* Change of the metapage: sets or clears the flag. */
static bool
change_left(ChsMetaPage meta, void *arg)
{
	uint32 flag = *(bool *) arg ? CHS_META_DEAD_LEFT : 0;

	if ((meta->flags & CHS_META_DEAD_LEFT) == flag)
		return false;
	meta->flags = (meta->flags & ~CHS_META_DEAD_LEFT) | flag;
	return true;
}

void
chs_vacuum_mark_left(ChsVacuum *vacuum, bool left)
{
	bool marked = (vacuum->index->meta->flags & CHS_META_DEAD_LEFT) != 0;

	/* only VACUUM changes the flag, so our copy is right */
	if (marked != left)
		(void) chs_meta_update(vacuum->index, change_left, &left, false);
}

/* ---- callbacks ---- */

static ChsVacuum *
begin_vacuum(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "chassis vacuum", ALLOCSET_DEFAULT_SIZES);
	ChsVacuum *vacuum = MemoryContextAllocZero(context, sizeof(ChsVacuum));

	vacuum->info = info;
	vacuum->stats = stats;
	vacuum->context = context;
	vacuum->index = chs_index_open(info->index, context);
	return vacuum;
}

static void
end_vacuum(ChsVacuum *vacuum)
{
	MemoryContextDelete(vacuum->context);
}

/*
 * Removes the TIDs that the callback says are dead, then repairs the graph.
 * Called once or several times a VACUUM, also by a parallel worker, and by
 * CREATE INDEX CONCURRENTLY with a callback that only wants to see them all.
 */
IndexBulkDeleteResult *
chsbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *callback_state)
{
	ChsVacuum *vacuum;
	MemoryContext old;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vacuum = begin_vacuum(info, stats);
	old = MemoryContextSwitchTo(vacuum->context);
	vacuum->dead = callback;
	vacuum->dead_state = callback_state;
	chs_vacuum_tids(vacuum);
	CHS_STOP("between-passes");
	if (vacuum->dead_left)
		chs_vacuum_repair(vacuum);
	if (vacuum->overflow_freed)
		chs_vacuum_offer_overflow(vacuum);
	stats->estimated_count = false;
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextSwitchTo(old);
	end_vacuum(vacuum);
	return stats;
}

/*
 * Links what the turn from a flat index to a graph left unlinked.  With
 * rerank = heap this needs the table, and is left to the inserts.
 */
static void
link_leftovers(ChsVacuum *vacuum)
{
	const ChsMetaPageData *meta = vacuum->index->meta;
	ChsInserter *inserter;

	if (meta->phase == CHS_PHASE_FLAT || meta->rerank == CHS_RERANK_HEAP ||
		meta->link_cursor >= meta->unlinked_end)
		return;
	inserter = chs_inserter_create(vacuum->index);
	while (meta->link_cursor < meta->unlinked_end)
	{
		chs_vacuum_delay(vacuum);
		chs_inserter_link_leftovers(inserter, LEFTOVERS_PER_STEP);
		chs_index_refresh(vacuum->index);
	}
}

/* Counts for a VACUUM that did not look: no more than can be there. */
static void
estimate_stats(ChsVacuum *vacuum)
{
	IndexBulkDeleteResult *stats = vacuum->stats;

	stats->estimated_count = true;
	stats->num_index_tuples = vacuum->info->num_heap_tuples;
	if (!vacuum->info->estimated_count && stats->num_index_tuples < 0)
		stats->num_index_tuples = 0;
}

/*
 * The last call of a VACUUM, and the only one when no row was dead.  Finishes
 * what an interrupted VACUUM left, and makes the free space map usable.
 */
IndexBulkDeleteResult *
chsvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	bool counted = stats != NULL;
	ChsVacuum *vacuum;
	MemoryContext old;

	if (info->analyze_only)
		return stats;
	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vacuum = begin_vacuum(info, stats);
	old = MemoryContextSwitchTo(vacuum->context);
	if (!counted)
		estimate_stats(vacuum);
	if ((vacuum->index->meta->flags & CHS_META_DEAD_LEFT) != 0)
	{
		chs_vacuum_repair(vacuum);
		if (vacuum->overflow_freed)
			chs_vacuum_offer_overflow(vacuum);
	}
	link_leftovers(vacuum);
	IndexFreeSpaceMapVacuum(info->index);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextSwitchTo(old);
	end_vacuum(vacuum);
	return stats;
}
