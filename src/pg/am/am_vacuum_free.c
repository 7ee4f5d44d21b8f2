/*
 * am_vacuum_free.c
 *	  Last step of VACUUM: slots are free again, and inserts learn of it.
 *
 * What is free is decided by a slot's state alone; the free space map and the
 * hints in the metapage only say where to look.  They may be wrong, and after
 * a crash they may be lost: so every VACUUM tells of all free slots it meets,
 * not only of those it frees.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "storage/indexfsm.h"
#include "utils/rel.h"

#include "pg/am/am_vacuum.h"

/*
 * A page is offered when one slot in so many is free.  Each page that inserts
 * turn to costs a change of the metapage, so a page should have room for more
 * than one; at most an eighth of the slots stays unused for it.
 */
#define OFFER_SHARE 8

/*
 * The version is what tells whoever still has this number that the slot is
 * another's.  Vector and code stay: they are read by nobody and are written
 * over, and clearing them would only make the record larger.  Where a slot was
 * never published the page does not use the edges, which are zeros then.
 */
void
chs_vacuum_clear_slot(const ChsSlotLayout *layout, ChsSlotHeader *slot)
{
	uint16 version = slot->version;

	Assert(slot->overflow == 0);
	memset(slot, 0, sizeof(*slot));
	slot->version = (uint16) (version + 1);
	memset(chs_slot_edges(layout, slot), 0,
		   layout->max_degree * sizeof(ChsEdge));
}

/* ---- where free slots are ---- */

/* Is this a page that inserts are filling at present? */
static bool
is_insert_page(const ChsMetaPageData *meta, uint32 page)
{
	for (int i = 0; i < CHS_INSERT_PAGES; i++)
	{
		if (meta->insert_page[i] == page + 1)
			return true;
	}
	return false;
}

void
chs_vacuum_offer_page(ChsVacuum *vacuum, uint32 page, uint32 nfree)
{
	ChsIndex *index = vacuum->index;
	uint32 enough = Max(chs_index_per_page(index, 0) / OFFER_SHARE, 1);

	if (nfree >= enough && !is_insert_page(index->meta, page))
		RecordFreeIndexPage(index->rel,
							chs_index_block(index, CHS_STREAM_GRAPH(0), page));
}

/* A hint that is to point at the first page with a free slot. */
typedef struct HintMove
{
	int level; /* 0: the overflow stream */
	uint32 page;
} HintMove;

/* Change of the metapage: moves a hint to the front, never to the back. */
static bool
move_hint(ChsMetaPage meta, void *arg)
{
	HintMove *move = arg;
	uint32 *hint = move->level == 0 ? &meta->insert_page_overflow
									: &meta->insert_page_upper[move->level];

	if (*hint != 0 && *hint <= move->page + 1)
		return false;
	*hint = move->page + 1;
	return true;
}

/* Where upper levels and overflow lists are to look for a free slot first. */
static void
offer_from(ChsVacuum *vacuum, int level, uint32 page)
{
	HintMove move;

	move.level = level;
	move.page = page;
	(void) chs_meta_update(vacuum->index, move_hint, &move, true);
}

static bool
has_free_overflow(Page page)
{
	if (PageIsNew(page))
		return true;
	for (uint32 i = 0; i < CHS_OVERFLOW_PER_PAGE; i++)
	{
		if (!chs_page_overflow(page, i)->used)
			return true;
	}
	return false;
}

void
chs_vacuum_offer_overflow(ChsVacuum *vacuum)
{
	ChsIndex *index = vacuum->index;
	uint32 pages;

	chs_index_refresh(index);
	pages = index->meta->stream[CHS_STREAM_OVERFLOW].pages_used;
	for (uint32 page = 0; page < pages; page++)
	{
		chs_vacuum_delay(vacuum);
		(void) chs_page_copy(index->rel,
							 chs_index_block(index, CHS_STREAM_OVERFLOW, page),
							 vacuum->info->strategy, vacuum->copy.data);
		if (has_free_overflow(vacuum->copy.data))
		{
			offer_from(vacuum, 0, page);
			return;
		}
	}
}

/* ---- freeing ---- */

/* Slots of a page image in this state. */
static uint32
count_state(ChsVacuum *vacuum, int level, Page page, ChsSlotState state)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	uint32 n = 0;

	for (uint32 i = 0; i < per_page; i++)
		n += chs_page_slot(page, layout, i)->state == state;
	return n;
}

/*
 * Gives back the overflow lists of the dead slots of an exclusively locked
 * page.  The first pass did it; one that was interrupted may not have.
 */
static void
free_lists(ChsVacuum *vacuum, uint32 page_number, Buffer buffer)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, 0);
	uint32 per_page = chs_index_per_page(vacuum->index, 0);

	for (uint32 i = 0; i < per_page; i++)
	{
		ChsSlotHeader *slot = chs_page_slot(BufferGetPage(buffer), layout, i);
		ChsNodeRef owner = {page_number * per_page + i, slot->version};

		if (slot->state != CHS_SLOT_DEAD || slot->overflow == 0)
			continue;
		chs_overflow_free(vacuum->index, buffer, i, owner);
		vacuum->overflow_freed = true;
	}
}

/*
 * Frees the dead slots of one page, as one record.  Their state is looked at
 * again under the lock that changes it.  Returns how many slots are free now.
 */
static uint32
free_page(ChsVacuum *vacuum, int level, uint32 page_number)
{
	const ChsSlotLayout *layout = chs_index_layout(vacuum->index, level);
	uint32 per_page = chs_index_per_page(vacuum->index, level);
	Buffer buffer = chs_vacuum_read(vacuum, level, page_number);
	uint32 nfree;
	ChsWal wal;
	Page page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	chs_page_check(vacuum->index->rel, buffer, CHS_PAGE_GRAPH, level);
	if (level == 0)
		free_lists(vacuum, page_number, buffer);
	chs_wal_begin(&wal, vacuum->index);
	page = chs_wal_page(&wal, buffer, false);
	for (uint32 i = 0; i < per_page; i++)
	{
		ChsSlotHeader *slot = chs_page_slot(page, layout, i);

		if (slot->state == CHS_SLOT_DEAD)
			chs_vacuum_clear_slot(layout, slot);
	}
	nfree = count_state(vacuum, level, page, CHS_SLOT_FREE);
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(buffer);
	return nfree;
}

void
chs_vacuum_free_dead(ChsVacuum *vacuum, int level)
{
	uint32 pages = chs_vacuum_pages(vacuum, level);
	uint32 first = UINT32_MAX;

	for (uint32 page = 0; page < pages; page++)
	{
		uint32 nfree;

		chs_vacuum_delay(vacuum);
		if (!chs_vacuum_copy(vacuum, level, page) ||
			count_state(vacuum, level, vacuum->copy.data, CHS_SLOT_DEAD) == 0)
			continue;
		nfree = free_page(vacuum, level, page);
		if (level == 0)
			chs_vacuum_offer_page(vacuum, page, nfree);
		else if (first == UINT32_MAX)
			first = page;
	}
	if (first != UINT32_MAX)
		offer_from(vacuum, level, first);
}
