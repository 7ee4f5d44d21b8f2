/*
 * overflow.c
 *	  Lists of heap TIDs beyond a node's first.
 *
 * Rows with equal vectors share a node; the slot holds the first TID and
 * further ones stand in overflow slots, a linked list per node on pages that
 * nodes share.  TIDs never move: VACUUM removes them in place.
 *
 * The whole list belongs to the owner's graph page: it is read under that
 * page's share lock and changed under its exclusive lock, and then one
 * overflow page is locked at a time (L2).  Each slot names its owner, so that a
 * broken link is found and not followed.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/am/am.h"

/* A locked overflow page and the slot in it. */
typedef struct OverflowRef
{
	Buffer buffer;
	uint32 index;
	ChsOverflowData *slot;
} OverflowRef;

static void
report_broken_list(ChsIndex *index, ChsNodeRef owner, uint32 number)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has a broken list of row pointers",
					RelationGetRelationName(index->rel)),
			 errdetail("Overflow slot %u does not belong to node %u.", number,
					   owner.id),
			 errhint("Please REINDEX it.")));
}

/* Locks the slot with this number, which must be in use by owner. */
static OverflowRef
open_slot(ChsIndex *index, ChsNodeRef owner, uint32 number, int mode)
{
	uint32 position = number - 1;
	OverflowRef ref;

	ref.buffer = chs_buffer_read(
		index, chs_index_block(index, CHS_STREAM_OVERFLOW,
							   position / CHS_OVERFLOW_PER_PAGE));
	ref.index = position % CHS_OVERFLOW_PER_PAGE;
	LockBuffer(ref.buffer, mode);
	chs_page_check(index->rel, ref.buffer, CHS_PAGE_OVERFLOW, 0);
	ref.slot = chs_page_overflow(BufferGetPage(ref.buffer), ref.index);
	if (!ref.slot->used || ref.slot->owner != owner.id ||
		ref.slot->owner_version != owner.version ||
		ref.slot->ntids > CHS_OVERFLOW_TIDS)
		report_broken_list(index, owner, number);
	return ref;
}

/*
 * Guards a walk against a cycle: no list is longer than all overflow slots.
 */
static void
count_step(ChsIndex *index, ChsNodeRef owner, uint32 number, uint64 *steps)
{
	uint64 limit =
		(uint64) index->meta->stream[CHS_STREAM_OVERFLOW].pages_allocated *
		CHS_OVERFLOW_PER_PAGE;

	if (++*steps > limit + CHS_OVERFLOW_PER_PAGE)
		report_broken_list(index, owner, number);
}

void
chs_overflow_collect(ChsIndex *index, ChsNodeRef owner, uint32 head,
					 ItemPointerData **tids, int *n, int *room)
{
	uint64 steps = 0;

	while (head != 0)
	{
		OverflowRef ref = open_slot(index, owner, head, BUFFER_LOCK_SHARE);

		if (*n + ref.slot->ntids > *room)
		{
			*room = Max(*room * 2, *n + CHS_OVERFLOW_TIDS);
			*tids = repalloc_huge(*tids,
								  (Size) *room * sizeof(ItemPointerData));
		}
		memcpy(*tids + *n, ref.slot->tids,
			   ref.slot->ntids * sizeof(ItemPointerData));
		*n += ref.slot->ntids;
		head = ref.slot->next;
		UnlockReleaseBuffer(ref.buffer);
		count_step(index, owner, head, &steps);
	}
}

int64
chs_overflow_remove(ChsIndex *index, ChsNodeRef owner, uint32 head,
					IndexBulkDeleteCallback dead, void *dead_state,
					int64 *removed)
{
	int64 left = 0;
	uint64 steps = 0;

	while (head != 0)
	{
		OverflowRef ref =
			open_slot(index, owner, head, BUFFER_LOCK_EXCLUSIVE);
		ItemPointerData kept[CHS_OVERFLOW_TIDS];
		int nkept = 0;

		for (int i = 0; i < ref.slot->ntids; i++)
		{
			if (!dead(&ref.slot->tids[i], dead_state))
				kept[nkept++] = ref.slot->tids[i];
		}
		if (nkept < ref.slot->ntids)
		{
			ChsWal wal;
			ChsOverflowData *slot;

			*removed += ref.slot->ntids - nkept;
			chs_wal_begin(&wal, index);
			slot = chs_page_overflow(chs_wal_page(&wal, ref.buffer, false),
									 ref.index);
			memset(slot->tids, 0, sizeof(slot->tids));
			memcpy(slot->tids, kept, nkept * sizeof(ItemPointerData));
			slot->ntids = (uint16) nkept;
			chs_wal_finish(&wal);
		}
		left += nkept;
		head = ref.slot->next;
		UnlockReleaseBuffer(ref.buffer);
		count_step(index, owner, head, &steps);
	}
	return left;
}

void
chs_overflow_free(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
				  ChsNodeRef owner)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);

	for (;;)
	{
		uint32 head = chs_page_slot(BufferGetPage(graph_buffer), layout,
									slot_index)
						  ->overflow;
		OverflowRef ref;
		ChsOverflowData *slot;
		uint32 next;
		ChsWal wal;

		if (head == 0)
			return;
		ref = open_slot(index, owner, head, BUFFER_LOCK_EXCLUSIVE);
		chs_wal_begin(&wal, index);
		slot = chs_page_overflow(chs_wal_page(&wal, ref.buffer, false),
								 ref.index);
		next = slot->next;
		memset(slot, 0, sizeof(*slot));
		chs_page_slot(chs_wal_page(&wal, graph_buffer, false), layout,
					  slot_index)
			->overflow = next;
		chs_wal_finish(&wal);
		UnlockReleaseBuffer(ref.buffer);
	}
}

/*
 * Looks through a list for the TID and for a slot with room; returns true if
 * the TID is there.  *room: number of a slot with room, 0 if none.
 */
static bool
search_list(ChsIndex *index, ChsNodeRef owner, uint32 head,
			const ItemPointerData *tid, uint32 *room)
{
	uint64 steps = 0;

	*room = 0;
	while (head != 0)
	{
		OverflowRef ref = open_slot(index, owner, head, BUFFER_LOCK_SHARE);
		uint32 next = ref.slot->next;
		bool found = false;

		for (int i = 0; i < ref.slot->ntids; i++)
			found |= ItemPointerEquals(&ref.slot->tids[i], unconstify(ItemPointerData *, tid));
		if (*room == 0 && ref.slot->ntids < CHS_OVERFLOW_TIDS)
			*room = head;
		UnlockReleaseBuffer(ref.buffer);
		if (found)
			return true;
		head = next;
		count_step(index, owner, head, &steps);
	}
	return false;
}

/* Appends to a slot that search_list found room in; one record. */
static void
append_in_place(ChsIndex *index, ChsNodeRef owner, uint32 number,
				const ItemPointerData *tid)
{
	OverflowRef ref = open_slot(index, owner, number, BUFFER_LOCK_EXCLUSIVE);
	ChsOverflowData *slot;
	ChsWal wal;

	chs_wal_begin(&wal, index);
	slot =
		chs_page_overflow(chs_wal_page(&wal, ref.buffer, false), ref.index);
	slot->tids[slot->ntids++] = *tid;
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(ref.buffer);
}

/*
 * Puts a new slot with this TID in front of the list, on the overflow page
 * the caller found room on; false if the room is gone.  One record for both
 * pages.
 */
static bool
append_new_slot(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
				ChsNodeRef owner, uint32 page, const ItemPointerData *tid)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	Buffer buffer = chs_buffer_read(
		index, chs_index_block(index, CHS_STREAM_OVERFLOW, page));
	bool fresh;
	uint32 free_slot = 0;
	ChsOverflowData *slot;
	ChsSlotHeader *header;
	ChsWal wal;
	Page image;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	chs_page_check(index->rel, buffer, CHS_PAGE_OVERFLOW, 0);
	fresh = PageIsNew(BufferGetPage(buffer));
	while (free_slot < CHS_OVERFLOW_PER_PAGE &&
		   chs_page_overflow(BufferGetPage(buffer), free_slot)->used)
		free_slot++;
	if (free_slot == CHS_OVERFLOW_PER_PAGE)
	{
		UnlockReleaseBuffer(buffer);
		return false;
	}
	chs_wal_begin(&wal, index);
	header = chs_page_slot(chs_wal_page(&wal, graph_buffer, false), layout,
						   slot_index);
	image = chs_wal_page(&wal, buffer, fresh);
	if (fresh)
		chs_page_init(image, CHS_PAGE_OVERFLOW, 0, index->meta);
	slot = chs_page_overflow(image, free_slot);
	memset(slot, 0, sizeof(*slot));
	slot->owner = owner.id;
	slot->owner_version = owner.version;
	slot->used = 1;
	slot->next = header->overflow;
	slot->ntids = 1;
	slot->tids[0] = *tid;
	header->overflow = page * CHS_OVERFLOW_PER_PAGE + free_slot + 1;
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(buffer);
	return true;
}

ChsAddTid
chs_overflow_add(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
				 ChsNodeRef owner, uint32 page, const ItemPointerData *tid)
{
	uint32 head = chs_page_slot(BufferGetPage(graph_buffer),
								chs_index_layout(index, 0), slot_index)
					  ->overflow;
	uint32 room;

	if (search_list(index, owner, head, tid, &room))
		return CHS_TID_ADDED;
	if (room != 0)
	{
		append_in_place(index, owner, room, tid);
		return CHS_TID_ADDED;
	}
	if (page == CHS_NO_OVERFLOW_PAGE ||
		!append_new_slot(index, graph_buffer, slot_index, owner, page, tid))
		return CHS_TID_NEEDS_PAGE;
	return CHS_TID_ADDED;
}
