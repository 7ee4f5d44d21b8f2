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

/* Slots at the beginning of a list that an insert looks at. */
#define SEARCHED_SLOTS 4

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
	ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
					errmsg("index \"%s\" has a broken list of row pointers",
						   RelationGetRelationName(index->rel)),
					errdetail("Overflow slot %u does not belong to node %u.",
							  number, owner.id),
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
	uint64 limit = (uint64) index->meta->stream[CHS_STREAM_OVERFLOW].pages_allocated *
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
			*tids = repalloc_huge(*tids, (Size) *room * sizeof(ItemPointerData));
		}
		memcpy(*tids + *n, ref.slot->tids,
			   ref.slot->ntids * sizeof(ItemPointerData));
		*n += ref.slot->ntids;
		head = ref.slot->next;
		UnlockReleaseBuffer(ref.buffer);
		count_step(index, owner, head, &steps);
	}
}

/* Takes the TIDs that are dead out of one slot; returns how many are left. */
static int
remove_from_slot(ChsIndex *index, const OverflowRef *ref,
				 IndexBulkDeleteCallback dead, void *dead_state)
{
	ItemPointerData kept[CHS_OVERFLOW_TIDS];
	ChsOverflowData *slot;
	int nkept = 0;
	ChsWal wal;

	for (int i = 0; i < ref->slot->ntids; i++)
	{
		if (!dead(&ref->slot->tids[i], dead_state))
			kept[nkept++] = ref->slot->tids[i];
	}
	if (nkept == ref->slot->ntids)
		return nkept;
	chs_wal_begin(&wal, index);
	slot = chs_page_overflow(chs_wal_page(&wal, ref->buffer, false), ref->index);
	memset(slot->tids, 0, sizeof(slot->tids));
	memcpy(slot->tids, kept, nkept * sizeof(ItemPointerData));
	slot->ntids = (uint16) nkept;
	chs_wal_finish(&wal);
	return nkept;
}

/* Takes the first slot of the list in slot `slot_index` of the graph page out. */
static void
unlink_first(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
			 ChsNodeRef owner)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 number = chs_page_slot(BufferGetPage(graph_buffer), layout, slot_index)
						->overflow;
	OverflowRef ref = open_slot(index, owner, number, BUFFER_LOCK_EXCLUSIVE);
	ChsOverflowData *slot;
	uint32 next;
	ChsWal wal;

	chs_wal_begin(&wal, index);
	slot = chs_page_overflow(chs_wal_page(&wal, ref.buffer, false), ref.index);
	next = slot->next;
	memset(slot, 0, sizeof(*slot));
	chs_page_slot(chs_wal_page(&wal, graph_buffer, false), layout, slot_index)
		->overflow = next;
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(ref.buffer);
}

/*
 * Takes a slot out of the middle of a list.  Its page and its predecessor's are
 * locked in ascending order (L1); the list cannot change meanwhile, it belongs
 * to the graph page that the caller has locked.
 */
static void
unlink_behind(ChsIndex *index, ChsNodeRef owner, uint32 prev, uint32 number)
{
	bool same = (prev - 1) / CHS_OVERFLOW_PER_PAGE ==
				(number - 1) / CHS_OVERFLOW_PER_PAGE;
	uint32 low = Min(prev, number);
	uint32 high = Max(prev, number);
	OverflowRef first = open_slot(index, owner, low, BUFFER_LOCK_EXCLUSIVE);
	OverflowRef second = {InvalidBuffer, 0, NULL};
	ChsOverflowData *low_slot;
	ChsOverflowData *high_slot;
	ChsOverflowData *gone;
	ChsWal wal;
	Page page;

	if (!same)
		second = open_slot(index, owner, high, BUFFER_LOCK_EXCLUSIVE);
	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, first.buffer, false);
	low_slot = chs_page_overflow(page, first.index);
	if (!same)
		page = chs_wal_page(&wal, second.buffer, false);
	high_slot = chs_page_overflow(page, (high - 1) % CHS_OVERFLOW_PER_PAGE);
	gone = number == low ? low_slot : high_slot;
	(number == low ? high_slot : low_slot)->next = gone->next;
	memset(gone, 0, sizeof(*gone));
	chs_wal_finish(&wal);
	if (!same)
		UnlockReleaseBuffer(second.buffer);
	UnlockReleaseBuffer(first.buffer);
}

int64
chs_overflow_remove(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
					ChsNodeRef owner, IndexBulkDeleteCallback dead,
					void *dead_state, int64 *removed)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 number = chs_page_slot(BufferGetPage(graph_buffer), layout, slot_index)
						->overflow;
	uint32 prev = 0;
	int64 left = 0;
	uint64 steps = 0;

	while (number != 0)
	{
		OverflowRef ref = open_slot(index, owner, number, BUFFER_LOCK_EXCLUSIVE);
		uint32 next = ref.slot->next;
		int had = ref.slot->ntids;
		int kept = remove_from_slot(index, &ref, dead, dead_state);

		UnlockReleaseBuffer(ref.buffer);
		*removed += had - kept;
		left += kept;
		if (kept > 0)
			prev = number;
		else if (prev == 0)
			unlink_first(index, graph_buffer, slot_index, owner);
		else
			unlink_behind(index, owner, prev, number);
		number = next;
		count_step(index, owner, number, &steps);
	}
	return left;
}

void
chs_overflow_free(ChsIndex *index, Buffer graph_buffer, uint32 slot_index,
				  ChsNodeRef owner)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);

	while (chs_page_slot(BufferGetPage(graph_buffer), layout, slot_index)->overflow !=
		   0)
		unlink_first(index, graph_buffer, slot_index, owner);
}

/*
 * Looks through the beginning of a list for the TID and for a slot with room;
 * returns true if the TID is there.  *room: number of a slot with room, 0 if
 * none.
 *
 * Only the beginning: new slots are put in front, so room is there or VACUUM
 * will have taken the empty ones out, and a list may have a hundred thousand
 * rows.  That a TID is added twice would need a bug elsewhere (no row is
 * inserted twice, and VACUUM removes a TID before the table reuses it); the
 * look is for that.
 */
static bool
search_list(ChsIndex *index, ChsNodeRef owner, uint32 head,
			const ItemPointerData *tid, uint32 *room)
{
	*room = 0;
	for (int i = 0; i < SEARCHED_SLOTS && head != 0; i++)
	{
		OverflowRef ref = open_slot(index, owner, head, BUFFER_LOCK_SHARE);
		uint32 next = ref.slot->next;
		bool found = false;

		for (int t = 0; t < ref.slot->ntids; t++)
			found |= ItemPointerEquals(&ref.slot->tids[t],
									   unconstify(ItemPointerData *, tid));
		if (*room == 0 && ref.slot->ntids < CHS_OVERFLOW_TIDS)
			*room = head;
		UnlockReleaseBuffer(ref.buffer);
		if (found)
			return true;
		head = next;
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
	slot = chs_page_overflow(chs_wal_page(&wal, ref.buffer, false), ref.index);
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
		chs_page_init(image, CHS_PAGE_OVERFLOW, 0);
	slot = chs_page_overflow(image, free_slot);
	chs_page_use(image, slot + 1);
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
