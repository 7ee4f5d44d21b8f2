/*
 * alloc.c
 *	  Free slots: which page an insert writes to.
 *
 * The metapage names pages that inserts are filling at present, several at
 * level 0 so that backends do not queue for one page.  Only when such a page
 * is full is the metapage changed: first to a page that VACUUM recorded in
 * the free space map (level 0) or to a later page of the stream with a free
 * slot (elsewhere: these streams are short), then to a new page.  All of it
 * is a hint; what counts is the state of the slot under its page's lock.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/indexfsm.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* Answers of the free space map that are not ours before we give up on it. */
#define MAX_FSM_TRIES 8

/* Which hint a search for a free slot uses and fills. */
typedef struct InsertHint
{
	int stream;
	int which;        /* level 0: index into insert_page */
	uint32 exhausted; /* page + 1 that turned out full, 0 = none */
	uint32 next;      /* page + 1 to go on with; 0: a new page */
} InsertHint;

/* The hint's place in a metapage image. */
static uint32 *
hint_field(ChsMetaPage meta, const InsertHint *hint)
{
	if (hint->stream == CHS_STREAM_GRAPH(0))
		return &meta->insert_page[hint->which];
	if (hint->stream == CHS_STREAM_OVERFLOW)
		return &meta->insert_page_overflow;
	return &meta->insert_page_upper[hint->stream];
}

/*
 * Pages filled at the same time at level 0: one per eight pages there are, so
 * that a small index does not spread over many pages.
 */
static int
active_hints(const ChsMetaPageData *meta)
{
	uint32 used = meta->stream[CHS_STREAM_GRAPH(0)].pages_used;

	return (int) Max(1, Min(used / 8, CHS_INSERT_PAGES));
}

/*
 * Do the extents hold this many pages of the stream, and at level 0 the
 * vectors of all their slots?  Another insert may have taken the page that was
 * reserved for this one.
 */
static bool
is_reserved(const ChsMetaPageData *meta, int stream, uint32 pages)
{
	uint64 row_bytes = (uint64) pages * meta->per_page[0] * meta->row_bytes;
	uint64 room = (uint64) meta->stream[CHS_STREAM_VECTOR].pages_allocated *
				  CHS_BYTES_PER_PAGE;

	if (pages > meta->stream[stream].pages_allocated)
		return false;
	return stream != CHS_STREAM_GRAPH(0) || row_bytes <= room;
}

/* Change of the metapage: replaces a used-up hint unless another did. */
static bool
replace_hint(ChsMetaPage meta, void *arg)
{
	InsertHint *hint = arg;
	uint32 *field = hint_field(meta, hint);
	ChsStreamState *stream = &meta->stream[hint->stream];

	if (*field != hint->exhausted)
		return false;
	if (hint->next != 0)
		*field = hint->next;
	else if (is_reserved(meta, hint->stream, stream->pages_used + 1))
		*field = ++stream->pages_used;
	else
		return false;
	return true;
}

/*
 * Makes room for one more page of the stream, and at level 0 for the vectors
 * of all its slots, so that whoever owns a slot can write its vector.
 */
static void
reserve_page(ChsIndex *index, int stream)
{
	uint32 used = index->meta->stream[stream].pages_used;

	if (stream == CHS_STREAM_GRAPH(0) && index->meta->row_bytes > 0)
	{
		uint64 bytes = (uint64) (used + 1) * index->meta->per_page[0] *
					   index->meta->row_bytes;

		chs_stream_reserve(
			index, CHS_STREAM_VECTOR,
			(uint32) ((bytes + CHS_BYTES_PER_PAGE - 1) / CHS_BYTES_PER_PAGE),
			false);
	}
	chs_stream_reserve(index, stream, used + 1, false);
}

/* A level-0 page from the free space map as page + 1; 0 if it has none. */
static uint32
page_from_fsm(ChsIndex *index)
{
	for (int i = 0; i < MAX_FSM_TRIES; i++)
	{
		BlockNumber block = GetFreeIndexPage(index->rel);
		uint32 page;

		if (block == InvalidBlockNumber)
			return 0;
		if (chs_index_page_of_block(index, CHS_STREAM_GRAPH(0), block, &page) &&
			page < index->meta->stream[CHS_STREAM_GRAPH(0)].pages_used)
			return page + 1;
	}
	return 0;
}

/* The first free slot of a locked page, -1 if it has none. */
static int
find_free_slot(ChsIndex *index, Page page, int level)
{
	const ChsSlotLayout *layout = chs_index_layout(index, level);
	uint32 n = chs_index_per_page(index, level);

	for (uint32 i = 0; i < n; i++)
	{
		if (chs_page_slot(page, layout, i)->state == CHS_SLOT_FREE)
			return (int) i;
	}
	return -1;
}

static int
find_free_overflow(Page page)
{
	for (uint32 i = 0; i < CHS_OVERFLOW_PER_PAGE; i++)
	{
		if (!chs_page_overflow(page, i)->used)
			return (int) i;
	}
	return -1;
}

/*
 * Pins and locks a page of the stream if it has a free slot; InvalidBuffer
 * and nothing held if not.
 */
static Buffer
try_page(ChsIndex *index, int stream, uint32 page, int mode, int *slot)
{
	Buffer buffer = chs_buffer_read(index, chs_index_block(index, stream, page));
	bool overflow = stream == CHS_STREAM_OVERFLOW;
	int level = overflow ? 0 : stream;

	LockBuffer(buffer, mode);
	chs_page_check(index->rel, buffer,
				   overflow ? CHS_PAGE_OVERFLOW : CHS_PAGE_GRAPH, level);
	*slot = overflow ? find_free_overflow(BufferGetPage(buffer))
					 : find_free_slot(index, BufferGetPage(buffer), level);
	if (*slot >= 0)
		return buffer;
	UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/*
 * The next page behind an exhausted one with a free slot, as page + 1; 0 if
 * there is none.  VACUUM moves the hint to the front when it frees slots, so
 * that one walk per VACUUM finds them all.
 */
static uint32
page_behind(ChsIndex *index, int stream, uint32 exhausted)
{
	uint32 used = index->meta->stream[stream].pages_used;

	for (uint32 page = exhausted; page < used; page++)
	{
		int slot;
		Buffer buffer = try_page(index, stream, page, BUFFER_LOCK_SHARE, &slot);

		if (BufferIsValid(buffer))
		{
			UnlockReleaseBuffer(buffer);
			return page + 1;
		}
		CHECK_FOR_INTERRUPTS();
	}
	return 0;
}

/* Moves the hint on to another page. */
static void
advance_hint(ChsIndex *index, InsertHint *hint)
{
	hint->next = hint->stream == CHS_STREAM_GRAPH(0)
					 ? page_from_fsm(index)
					 : page_behind(index, hint->stream, hint->exhausted);
	if (hint->next == 0)
		reserve_page(index, hint->stream);
	(void) chs_meta_update(index, replace_hint, hint, false);
}

/* Locks (in `mode`) the page of the stream that the next insert goes to. */
static Buffer
find_free(ChsIndex *index, int stream, int mode, uint32 *page, int *slot)
{
	InsertHint hint;

	hint.stream = stream;
	hint.which = 0;
	if (stream == CHS_STREAM_GRAPH(0))
		hint.which = MyProcPid % active_hints(index->meta);
	for (;;)
	{
		hint.exhausted = *hint_field(index->meta, &hint);
		if (hint.exhausted != 0)
		{
			Buffer buffer;

			*page = hint.exhausted - 1;
			buffer = try_page(index, stream, *page, mode, slot);
			if (BufferIsValid(buffer))
				return buffer;
		}
		advance_hint(index, &hint);
		CHECK_FOR_INTERRUPTS();
	}
}

Buffer
chs_slot_find_free(ChsIndex *index, int level, ChsNodeId *id)
{
	uint32 per_page = chs_index_per_page(index, level);
	uint32 page;
	int slot;
	Buffer buffer = find_free(index, CHS_STREAM_GRAPH(level),
							  BUFFER_LOCK_EXCLUSIVE, &page, &slot);

	if ((uint64) (page + 1) * per_page >= CHS_NODE_NONE)
	{
		UnlockReleaseBuffer(buffer);
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" cannot hold more than %u vectors",
						RelationGetRelationName(index->rel), CHS_NODE_NONE),
				 errhint("Partition the table.")));
	}
	*id = page * per_page + (uint32) slot;
	return buffer;
}

uint32
chs_overflow_find_page(ChsIndex *index)
{
	uint32 page;
	int slot;
	Buffer buffer = find_free(index, CHS_STREAM_OVERFLOW, BUFFER_LOCK_SHARE,
							  &page, &slot);

	UnlockReleaseBuffer(buffer);
	return page;
}

ChsNodeId
chs_slot_claim(ChsIndex *index, const uint8 *tid, uint16 *version)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	ChsNodeId id;
	Buffer buffer = chs_slot_find_free(index, 0, &id);
	bool fresh = PageIsNew(BufferGetPage(buffer));
	ChsSlotHeader *slot;
	ChsWal wal;
	Page page;

	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, buffer, fresh);
	if (fresh)
		chs_page_init(page, CHS_PAGE_GRAPH, 0);
	slot = chs_page_slot(page, layout, id % chs_index_per_page(index, 0));
	/* the rest of the slot is logged once, when there is something in it */
	chs_page_use(page, slot + 1);
	slot->state = CHS_SLOT_RESERVED;
	memcpy(slot->tid, tid, sizeof(slot->tid));
	*version = slot->version;
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(buffer);
	return id;
}
