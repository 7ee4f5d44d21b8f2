/*
 * am_vacuum_tids.c
 *	  First pass of VACUUM: the dead rows' TIDs leave the index.
 *
 * This is the part that VACUUM cannot do without: when it is done the table
 * may give the TIDs to other rows.  It reads the pages of level 0 once, in
 * order, and knows nothing of edges.  A node that loses its last TID stays
 * in the graph as DEAD, because searches still pass through it; the repair
 * takes it out.
 *
 * CREATE INDEX CONCURRENTLY uses the same pass to learn which rows the index
 * has: then nothing is dead, and no page is written.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/am/am_vacuum.h"

/* More slots than any page has. */
#define MAX_SLOTS_PER_PAGE (CHS_SLOTS_BYTES / sizeof(ChsSlotHeader))

/* What is to become of one slot. */
typedef enum SlotFate
{
	FATE_KEEP,
	FATE_CLEAR_TID, /* the inline TID goes, others stay */
	FATE_DIE,       /* LIVE -> DEAD */
	FATE_FREE       /* RESERVED or UNLINKED -> FREE */
} SlotFate;

/* What a page turned out to hold. */
typedef struct PageReport
{
	uint32 nfree;
	bool some_dead; /* a DEAD slot */
	bool dying;     /* a TID of a LIVE slot is dead */
	bool change;    /* a TID is dead */
	int64 tids;     /* those that stay */
} PageReport;

/*
 * Has the slot TIDs?  A reserved one has its row's already: the insert that
 * claimed it is at work, or its row is dead.
 */
static inline bool
has_tids(const ChsSlotHeader *slot)
{
	return slot->state == CHS_SLOT_RESERVED || slot->state == CHS_SLOT_LIVE ||
		   slot->state == CHS_SLOT_UNLINKED;
}

static inline bool
is_dead(ChsVacuum *vacuum, ItemPointer tid)
{
	return vacuum->dead(tid, vacuum->dead_state);
}

/* Asks about the TIDs of one slot, whose page is locked. */
static void
inspect_tids(ChsVacuum *vacuum, ChsNodeId id, ChsSlotHeader *slot,
			 PageReport *report)
{
	ChsNodeRef owner = {id, slot->version};
	int64 dead = 0;
	int n = 0;

	if (ItemPointerIsValid(chs_slot_tid(slot)))
		vacuum->tids[n++] = *chs_slot_tid(slot);
	chs_overflow_collect(vacuum->index, owner, slot->overflow, &vacuum->tids,
						 &n, &vacuum->tids_room);
	for (int i = 0; i < n; i++)
		dead += is_dead(vacuum, &vacuum->tids[i]);
	report->tids += n - dead;

	/* a slot without any TID is what an interrupted pass can leave */
	if (dead > 0 || n == 0)
	{
		report->change = true;
		report->dying |= slot->state == CHS_SLOT_LIVE;
	}
}

/* Looks through a page that is locked, in share mode at least. */
static void
inspect_page(ChsVacuum *vacuum, uint32 page_number, Page page, PageReport *report)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, 0);
	uint32 per_page = chs_index_per_page(vacuum->index, 0);

	memset(report, 0, sizeof(*report));
	if (PageIsNew(page))
	{
		report->nfree = per_page;
		return;
	}
	for (uint32 i = 0; i < per_page; i++)
	{
		ChsSlotHeader *slot = chs_page_slot(page, layout, i);

		report->nfree += slot->state == CHS_SLOT_FREE;
		report->some_dead |= slot->state == CHS_SLOT_DEAD;
		if (has_tids(slot))
			inspect_tids(vacuum, page_number * per_page + i, slot, report);
	}
}

/*
 * Removes the dead TIDs of one slot's overflow list, on an exclusively locked
 * page, and decides about the slot.  Overflow slots that become empty go at
 * once; that comes before the slot's own change, so that a crash in between
 * leaves the slot with a dead inline TID or none, for the next VACUUM to see.
 */
static SlotFate
remove_tids(ChsVacuum *vacuum, Buffer buffer, uint32 position, ChsNodeId id)
{
	ChsSlotHeader *slot = chs_page_slot(
		BufferGetPage(buffer), chs_index_layout(vacuum->index, 0), position);
	ChsNodeRef owner = {id, slot->version};
	bool has_inline = ItemPointerIsValid(chs_slot_tid(slot));
	bool inline_dead = has_inline && is_dead(vacuum, chs_slot_tid(slot));
	int64 removed = inline_dead ? 1 : 0;
	int64 left = has_inline && !inline_dead ? 1 : 0;

	if (slot->overflow != 0)
	{
		int64 before = removed;

		left += chs_overflow_remove(vacuum->index, buffer, position, owner,
									vacuum->dead, vacuum->dead_state, &removed);
		vacuum->overflow_freed |= removed > before;
	}
	vacuum->stats->tuples_removed += (double) removed;
	vacuum->stats->num_index_tuples += (double) left;
	if (left > 0)
		return inline_dead ? FATE_CLEAR_TID : FATE_KEEP;
	return slot->state == CHS_SLOT_LIVE ? FATE_DIE : FATE_FREE;
}

static void
apply_fate(const ChsSlotLayout *layout, ChsSlotHeader *slot, SlotFate fate)
{
	switch (fate)
	{
		case FATE_KEEP:
			break;
		case FATE_CLEAR_TID:
			memset(slot->tid, 0, sizeof(slot->tid));
			break;
		case FATE_DIE:
			memset(slot->tid, 0, sizeof(slot->tid));
			slot->state = CHS_SLOT_DEAD;
			break;
		case FATE_FREE:
			chs_vacuum_clear_slot(layout, slot);
			break;
	}
}

/*
 * Removes what is dead from an exclusively locked page.  The overflow lists
 * are changed first, each by records of its own; one record then tells of all
 * slots.  Returns how many slots are free now.
 */
static uint32
change_page(ChsVacuum *vacuum, uint32 page_number, Buffer buffer)
{
	ChsIndex *index = vacuum->index;
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 per_page = chs_index_per_page(index, 0);
	uint8 fate[MAX_SLOTS_PER_PAGE]; /* SlotFate */
	uint32 nfree = 0;
	bool change = false;
	ChsWal wal;
	Page page;

	for (uint32 i = 0; i < per_page; i++)
	{
		ChsSlotHeader *slot = chs_page_slot(BufferGetPage(buffer), layout, i);

		fate[i] = FATE_KEEP;
		if (has_tids(slot))
			fate[i] = (uint8) remove_tids(vacuum, buffer, i,
										  page_number * per_page + i);
		change |= fate[i] != FATE_KEEP;
		vacuum->dead_left |= fate[i] == FATE_DIE || slot->state == CHS_SLOT_DEAD;
		nfree += fate[i] == FATE_FREE || slot->state == CHS_SLOT_FREE;
	}
	if (!change)
		return nfree;
	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, buffer, false);
	for (uint32 i = 0; i < per_page; i++)
		apply_fate(layout, chs_page_slot(page, layout, i), (SlotFate) fate[i]);
	chs_wal_finish(&wal);
	return nfree;
}

/*
 * One page.  Most have nothing dead on them and are only read; inserts may
 * add TIDs between the two locks, and those are not dead.
 */
static void
vacuum_page(ChsVacuum *vacuum, uint32 page)
{
	Buffer buffer = chs_vacuum_read(vacuum, 0, page);
	PageReport report;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(vacuum->index->rel, buffer, CHS_PAGE_GRAPH, 0);
	inspect_page(vacuum, page, BufferGetPage(buffer), &report);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	vacuum->dead_left |= report.some_dead;
	if (!report.change)
		vacuum->stats->num_index_tuples += (double) report.tids;
	else
	{
		/* before the first node dies, so that an interruption is seen */
		if (report.dying)
			chs_vacuum_mark_left(vacuum, true);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		report.nfree = change_page(vacuum, page, buffer);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	chs_vacuum_offer_page(vacuum, page, report.nfree);
}

/*
 * The pages are counted once, at the start: a dead row's TID came into the
 * index before its row died, and TIDs never move.
 */
void
chs_vacuum_tids(ChsVacuum *vacuum)
{
	uint32 pages = chs_vacuum_pages(vacuum, 0);

	vacuum->tids_room = CHS_OVERFLOW_TIDS + 1;
	vacuum->tids = MemoryContextAlloc(
		vacuum->context, vacuum->tids_room * sizeof(ItemPointerData));
	vacuum->stats->num_index_tuples = 0;
	for (uint32 page = 0; page < pages; page++)
	{
		chs_vacuum_delay(vacuum);
		vacuum_page(vacuum, page);
	}
}
