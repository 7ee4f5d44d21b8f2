/*
 * store_page_write.c
 *	  The node store over buffers: everything that changes a page.
 *
 * A node of level 0 comes into being by one record, with its TID, its row, code
 * and edges; only if the row is too large for that in steps, each atomic, any of
 * which may be the last before a crash.  Only then do others link to it.  See
 * "Life of a slot" in src/pg/README.md.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/am/am.h"

/* ---- edits of neighbour lists ---- */

/* Where an edit goes. */
typedef struct EditTarget
{
	int edit; /* index into the caller's array */
	uint32 page;
} EditTarget;

/* Pages of one record, locked in ascending block order (L1). */
typedef struct EditGroup
{
	int npages;
	uint32 page[MAX_GENERIC_XLOG_PAGES];
	Buffer buffer[MAX_GENERIC_XLOG_PAGES];
} EditGroup;

static int
compare_targets(const void *a, const void *b)
{
	uint32 x = ((const EditTarget *) a)->page;
	uint32 y = ((const EditTarget *) b)->page;

	return x < y ? -1 : x > y;
}

/*
 * Raises an error if a live node lies beyond what its page says is in use:
 * replay would clear what is written there.
 */
static void
check_in_use(ChsIndex *index, int level, Buffer buffer, ChsNodeId id)
{
	const ChsSlotLayout *layout = chs_index_layout(index, level);
	Page page = BufferGetPage(buffer);
	ChsSlotHeader *slot = chs_page_slot(page, layout,
										id % chs_index_per_page(index, level));
	Size end = (Size) ((char *) slot - (char *) page) + layout->slot_bytes;

	if (slot->state == CHS_SLOT_LIVE && end > ((PageHeader) page)->pd_lower)
		ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
						errmsg("index \"%s\" contains a damaged page at block %u",
							   RelationGetRelationName(index->rel),
							   BufferGetBlockNumber(buffer)),
						errdetail("Its header does not cover its contents."),
						errhint("Please REINDEX it.")));
}

/*
 * Locks the pages of the next edits, as many as one record can have, and finds
 * what could raise an error; returns how many edits these are.
 */
static int
lock_group(ChsIndex *index, int level, const ChsEdit *edits,
		   const EditTarget *targets, int n, EditGroup *group)
{
	int ntargets = 0;

	group->npages = 0;
	for (; ntargets < n; ntargets++)
	{
		uint32 page = targets[ntargets].page;
		int p = group->npages - 1;

		if (p < 0 || group->page[p] != page)
		{
			if (++p == MAX_GENERIC_XLOG_PAGES)
				break;
			group->page[p] = page;
			group->buffer[p] = chs_buffer_read(
				index, chs_index_block(index, CHS_STREAM_GRAPH(level), page));
			LockBuffer(group->buffer[p], BUFFER_LOCK_EXCLUSIVE);
			group->npages++;
			chs_page_check(index->rel, group->buffer[p], CHS_PAGE_GRAPH, level);
		}
		check_in_use(index, level, group->buffer[p],
					 edits[targets[ntargets].edit].owner.id);
	}
	return ntargets;
}

/*
 * Changes bytes of a page, of which those at both ends may be equal already and
 * are then not logged.  They are written all the same, so that no reader without
 * a lock sees the half of an edge.
 */
static void
change_bytes(ChsWalEdit *wal, int p, void *at, const void *next, int bytes)
{
	char *page_bytes = at;
	const char *next_bytes = next;
	int start = 0;
	int end = bytes;

	while (start < end && page_bytes[start] == next_bytes[start])
		start++;
	while (end > start && page_bytes[end - 1] == next_bytes[end - 1])
		end--;
	if (start == end)
		return;
	memcpy(page_bytes, next_bytes, bytes);
	chs_wal_edited(wal, p, page_bytes + start, (uint16) (end - start));
}

/*
 * Makes a list what the edit says, run by run of edges that differ.  One equal
 * edge between two runs takes no more than the header of another fragment.
 */
static void
write_list(ChsEdge *edges, const ChsEdit *edit, ChsWalEdit *wal, int p)
{
	ChsEdge next[CHS_MAX_DEGREE] = {0};
	int n = Max(edit->nseen, edit->nnext);
	int first = -1;
	int last = -1;

	memcpy(next, edit->next, edit->nnext * sizeof(ChsEdge));
	for (int i = 0; i < n; i++)
	{
		if (edges[i] == next[i])
			continue;
		if (first >= 0 && i > last + 2)
		{
			change_bytes(wal, p, edges + first, next + first,
						 (last + 1 - first) * (int) sizeof(ChsEdge));
			first = -1;
		}
		if (first < 0)
			first = i;
		last = i;
	}
	if (first >= 0)
		change_bytes(wal, p, edges + first, next + first,
					 (last + 1 - first) * (int) sizeof(ChsEdge));
}

/* What an edit may take of a record, at most: lists differ in runs, as above. */
static Size
count_edit_bytes(const ChsEdit *edit)
{
	return Max(edit->nseen, edit->nnext) * sizeof(ChsEdge) + sizeof(uint16) +
		   2 * CHS_WAL_FRAGMENT_HEADER;
}

/*
 * Tries one edit on the page in position p of the group.  Nothing in here may
 * raise an error.
 */
static ChsEditResult
apply_edit(ChsIndex *index, int level, const ChsEdit *edit, ChsWalEdit *wal,
		   int p)
{
	const ChsSlotLayout *layout = chs_index_layout(index, level);
	uint32 position = edit->owner.id % chs_index_per_page(index, level);
	ChsSlotHeader *slot = chs_page_slot(BufferGetPage(wal->buffers[p]), layout,
										position);
	ChsEdge *edges = chs_slot_edges(layout, slot);
	uint16 degree = (uint16) edit->nnext;

	if (slot->state != CHS_SLOT_LIVE || slot->version != edit->owner.version)
		return CHS_EDIT_GONE;
	if (slot->degree != edit->nseen ||
		memcmp(edges, edit->seen, edit->nseen * sizeof(ChsEdge)) != 0)
		return CHS_EDIT_CHANGED;
	/* there is room to edit each slot once; who does it again decides again */
	if (!chs_wal_edit_has_room(wal, p, count_edit_bytes(edit)))
		return CHS_EDIT_CHANGED;
	Assert(edit->nnext <= (int) layout->max_degree);
	write_list(edges, edit, wal, p);
	change_bytes(wal, p, &slot->degree, &degree, sizeof(degree));
	return CHS_EDIT_DONE;
}

/*
 * Applies the edits on the next up to four pages as one record; returns how
 * many edits were dealt with.
 */
static int
apply_group(ChsIndex *index, int level, const ChsEdit *edits,
			const EditTarget *targets, int n, ChsEditResult *results)
{
	EditGroup group = {0};
	ChsWalEdit wal;
	int ntargets = lock_group(index, level, edits, targets, n, &group);
	int p = 0;

	chs_wal_edit_begin(&wal, index, group.buffer, group.npages);
	for (int i = 0; i < ntargets; i++)
	{
		int edit = targets[i].edit;

		if (group.page[p] != targets[i].page)
			p++;
		results[edit] = apply_edit(index, level, &edits[edit], &wal, p);
	}
	chs_wal_edit_end(&wal);
	for (p = group.npages - 1; p >= 0; p--)
		UnlockReleaseBuffer(group.buffer[p]);
	return ntargets;
}

void
chs_page_store_edit(ChsStore *base, int level, const ChsEdit *edits, int n,
					ChsEditResult *results)
{
	ChsIndex *index = ((ChsPageStore *) base)->index;
	EditTarget targets[CHS_MAX_DEGREE];
	int done = 0;

	CHS_STOP("before-back-link");
	CHECK_FOR_INTERRUPTS();
	while (n > CHS_MAX_DEGREE)
	{
		chs_page_store_edit(base, level, edits, CHS_MAX_DEGREE, results);
		edits += CHS_MAX_DEGREE;
		results += CHS_MAX_DEGREE;
		n -= CHS_MAX_DEGREE;
	}
	for (int i = 0; i < n; i++)
	{
		targets[i].edit = i;
		targets[i].page = edits[i].owner.id / chs_index_per_page(index, level);
		/* the map is read before any lock is taken */
		(void) chs_index_block(index, CHS_STREAM_GRAPH(level), targets[i].page);
	}
	qsort(targets, n, sizeof(EditTarget), compare_targets);
	while (done < n)
		done += apply_group(index, level, edits, targets + done, n - done,
							results);
}

/* ---- new nodes ---- */

/*
 * Rows of at most as many bytes, which stand on at most three pages, are written
 * in one record with their slot.
 */
#define MAX_ROW_PAGES (MAX_GENERIC_XLOG_PAGES - 1)
#define MAX_ROW_AT_ONCE ((MAX_ROW_PAGES - 1) * CHS_BYTES_PER_PAGE)

/* Writes what is scored and followed into a slot: hash, code and list. */
static void
write_linked(Page page, ChsSlotHeader *slot, const ChsSlotLayout *layout,
			 const ChsNewNode *node)
{
	ChsEdge *edges = chs_slot_edges(layout, slot);

	Assert(node->nedges <= (int) layout->max_degree);
	chs_page_use(page, (char *) slot + layout->slot_bytes);
	slot->flags = 0;
	slot->lock = 0;
	slot->unused = 0;
	slot->degree = (uint16) node->nedges;
	slot->hash = node->hash;
	*chs_slot_factors(layout, slot) = *node->factors;
	memcpy(chs_slot_code(layout, slot), node->code, layout->code_bytes);
	memset(edges, 0, layout->max_degree * sizeof(ChsEdge));
	memcpy(edges, node->edges, node->nedges * sizeof(ChsEdge));
}

/* Writes what is compared into a slot: hash, and the row if it is the code. */
static void
write_unlinked(Page page, ChsSlotHeader *slot, const ChsIndex *index,
			   const ChsNewNode *node, uint8 flags)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);

	chs_page_use(page, slot + 1);
	slot->flags = flags;
	slot->degree = 0;
	slot->hash = node->hash;
	if (index->meta->rerank == CHS_RERANK_CODE)
	{
		chs_page_use(page, (char *) slot + layout->slot_bytes);
		memcpy(chs_slot_code(layout, slot), node->row, layout->code_bytes);
	}
}

/*
 * Makes a level-0 slot what a new node is to be: CHS_SLOT_LIVE, or
 * CHS_SLOT_UNLINKED with these flags.  TIDs are the caller's.
 */
static void
write_node(ChsIndex *index, Page page, ChsSlotHeader *slot,
		   const ChsNewNode *node, ChsSlotState state, uint8 flags)
{
	if (state == CHS_SLOT_LIVE)
		write_linked(page, slot, chs_index_layout(index, 0), node);
	else
		write_unlinked(page, slot, index, node, flags);
	slot->down = 0;
	slot->down_version = 0;
	slot->state = (uint8) state;
}

/* Locks the page of a level-0 slot exclusively. */
static Buffer
lock_slot(ChsIndex *index, ChsNodeId id)
{
	Buffer buffer = chs_buffer_read(
		index, chs_index_block(index, CHS_STREAM_GRAPH(0),
							   id / chs_index_per_page(index, 0)));

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	chs_page_check(index->rel, buffer, CHS_PAGE_GRAPH, 0);
	return buffer;
}

/*
 * Turns a claimed (or, for a leftover of the flat phase, an unlinked) slot into
 * what it is to be.  If it is not in that state any more, VACUUM or another
 * backend was faster, and nothing is done: false.
 */
static bool
turn_slot(ChsIndex *index, ChsNodeRef ref, ChsSlotState from,
		  const ChsNewNode *node, ChsSlotState state, uint8 flags)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 position = ref.id % chs_index_per_page(index, 0);
	Buffer buffer = lock_slot(index, ref.id);
	ChsSlotHeader *slot = chs_page_slot(BufferGetPage(buffer), layout, position);
	bool mine = slot->state == from && slot->version == ref.version;

	if (mine)
	{
		ChsWal wal;
		Page page;

		chs_wal_begin(&wal, index);
		page = chs_wal_page(&wal, buffer, false);
		slot = chs_page_slot(page, layout, position);
		if (from == CHS_SLOT_RESERVED)
			slot->overflow = 0;
		write_node(index, page, slot, node, state, flags);
		chs_wal_finish(&wal);
	}
	UnlockReleaseBuffer(buffer);
	return mine;
}

/*
 * Makes a new node of level 0 and writes its row, all in one record.
 *
 * L1: the graph page, then the row's pages.  These are in the map: a page is
 * handed out only when the map has the rows of all its slots (is_reserved(), and
 * trim_vectors() for a build), hints and the free space map lead only to pages
 * handed out, and our copy of the map is as new as that of the hint.
 *
 * In the record the row comes first, because replay goes page by page: who sees
 * the node on a standby must see its row.
 */
static ChsNodeRef
publish_at_once(ChsIndex *index, const ChsNewNode *node, ChsSlotState state,
				uint8 flags)
{
	Size row_bytes = index->meta->row_bytes;
	Buffer rows[MAX_ROW_PAGES];
	ChsNodeRef ref;
	Buffer buffer = chs_slot_find_free(index, 0, &ref.id);
	uint64 offset = (uint64) ref.id * row_bytes;
	int nrows = chs_stream_lock(index, CHS_STREAM_VECTOR, offset, row_bytes,
								MAX_ROW_PAGES, rows);
	bool fresh = PageIsNew(BufferGetPage(buffer));
	Size written PG_USED_FOR_ASSERTS_ONLY;
	ChsSlotHeader *slot;
	ChsWal wal;
	Page page;

	chs_wal_begin(&wal, index);
	written = chs_stream_fill(&wal, CHS_STREAM_VECTOR, offset, node->row,
							  row_bytes, rows, nrows);
	Assert(written == row_bytes);
	page = chs_wal_page(&wal, buffer, fresh);
	if (fresh)
		chs_page_init(page, CHS_PAGE_GRAPH, 0);
	slot = chs_page_slot(page, chs_index_layout(index, 0),
						 ref.id % chs_index_per_page(index, 0));
	ref.version = slot->version;
	memcpy(slot->tid, node->tid, sizeof(slot->tid));
	slot->overflow = 0;
	write_node(index, page, slot, node, state, flags);
	chs_wal_finish(&wal);
	while (nrows > 0)
		UnlockReleaseBuffer(rows[--nrows]);
	UnlockReleaseBuffer(buffer);
	return ref;
}

/*
 * The same for a row that is too large for that, in steps: the slot is claimed
 * with its TID, the row is written behind it, the slot becomes what it is to be.
 * *mine: false if VACUUM took the slot in between, its row being dead.
 */
static ChsNodeRef
publish_in_steps(ChsIndex *index, const ChsNewNode *node, ChsSlotState state,
				 uint8 flags, bool *mine)
{
	ChsNodeRef ref;

	ref.id = chs_slot_claim(index, node->tid, &ref.version);
	CHS_STOP("after-claim");
	chs_stream_write(index, CHS_STREAM_VECTOR,
					 (uint64) ref.id * index->meta->row_bytes, node->row,
					 index->meta->row_bytes);
	*mine = turn_slot(index, ref, CHS_SLOT_RESERVED, node, state, flags);
	return ref;
}

static ChsNodeRef
publish_new(ChsIndex *index, const ChsNewNode *node, ChsSlotState state,
			uint8 flags, bool *mine)
{
	*mine = true;
	CHS_STOP("before-publish");
	if (index->meta->row_bytes > MAX_ROW_AT_ONCE)
		return publish_in_steps(index, node, state, flags, mine);
	return publish_at_once(index, node, state, flags);
}

/* Upper levels have no TID and no row. */
static ChsNodeRef
publish_upper(ChsIndex *index, int level, const ChsNewNode *node)
{
	const ChsSlotLayout *layout = chs_index_layout(index, level);
	ChsNodeRef ref;
	Buffer buffer = chs_slot_find_free(index, level, &ref.id);
	bool fresh = PageIsNew(BufferGetPage(buffer));
	ChsSlotHeader *slot;
	ChsWal wal;
	Page page;

	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, buffer, fresh);
	if (fresh)
		chs_page_init(page, CHS_PAGE_GRAPH, level);
	slot = chs_page_slot(page, layout,
						 ref.id % chs_index_per_page(index, level));
	ref.version = slot->version;
	write_linked(page, slot, layout, node);
	memset(slot->tid, 0, sizeof(slot->tid));
	slot->overflow = 0;
	slot->down = node->down.id;
	slot->down_version = node->down.version;
	slot->state = CHS_SLOT_LIVE;
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(buffer);
	return ref;
}

ChsNodeRef
chs_page_store_publish(ChsStore *base, int level, const ChsNewNode *node)
{
	ChsPageStore *store = (ChsPageStore *) base;
	ChsNodeRef ref = node->existing;
	bool mine;

	if (level > 0)
		return publish_upper(store->index, level, node);
	if (ref.id != CHS_NODE_NONE)
		mine = turn_slot(store->index, ref, CHS_SLOT_UNLINKED, node,
						 CHS_SLOT_LIVE, 0);
	else
		ref = publish_new(store->index, node, CHS_SLOT_LIVE, 0, &mine);
	CHS_STOP("after-publish");
	if (!mine)
		ref.id = CHS_NODE_NONE;
	return ref;
}

ChsNodeRef
chs_page_store_publish_unlinked(ChsPageStore *store, const ChsNewNode *node,
								uint8 flags)
{
	bool mine;
	ChsNodeRef ref = publish_new(store->index, node, CHS_SLOT_UNLINKED, flags,
								 &mine);

	CHS_STOP("after-publish");
	return ref;
}

/*
 * A leftover of the flat phase that turns out to have no place in a graph: says
 * so on its slot, so that scans stop comparing it and leave it to the sweep.
 */
void
chs_page_store_mark_nolink(ChsPageStore *store, ChsNodeRef ref)
{
	ChsIndex *index = store->index;
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 position = ref.id % chs_index_per_page(index, 0);
	Buffer buffer = lock_slot(index, ref.id);
	ChsSlotHeader *slot = chs_page_slot(BufferGetPage(buffer), layout, position);

	if (slot->state == CHS_SLOT_UNLINKED && slot->version == ref.version)
	{
		ChsWal wal;

		chs_wal_begin(&wal, index);
		slot = chs_page_slot(chs_wal_page(&wal, buffer, false), layout,
							 position);
		slot->flags |= CHS_SLOT_NOLINK;
		chs_wal_finish(&wal);
	}
	UnlockReleaseBuffer(buffer);
}

/* ---- further TIDs ---- */

/*
 * One try to add a TID with the node's page locked.  *gone: the node is not
 * there any more.
 */
static ChsAddTid
try_add_tid(ChsIndex *index, ChsNodeRef ref, const ItemPointerData *tid,
			uint32 page, bool *gone)
{
	const ChsSlotLayout *layout = chs_index_layout(index, 0);
	uint32 position = ref.id % chs_index_per_page(index, 0);
	Buffer buffer = lock_slot(index, ref.id);
	ChsSlotHeader *slot = chs_page_slot(BufferGetPage(buffer), layout, position);
	ChsAddTid result = CHS_TID_ADDED;

	*gone = (slot->state != CHS_SLOT_LIVE && slot->state != CHS_SLOT_UNLINKED) ||
			slot->version != ref.version;
	if (*gone)
		result = CHS_TID_ADDED;
	else if (!ItemPointerIsValid(chs_slot_tid(slot)))
	{
		ChsWal wal;

		chs_wal_begin(&wal, index);
		slot = chs_page_slot(chs_wal_page(&wal, buffer, false), layout,
							 position);
		memcpy(slot->tid, tid, sizeof(slot->tid));
		chs_wal_finish(&wal);
	}
	else if (!ItemPointerEquals(chs_slot_tid(slot),
								unconstify(ItemPointerData *, tid)))
		result = chs_overflow_add(index, buffer, position, ref, page, tid);
	UnlockReleaseBuffer(buffer);
	return result;
}

bool
chs_page_store_add_tid(ChsPageStore *store, ChsNodeRef ref, const uint8 *tid)
{
	ItemPointerData pointer;
	uint32 page = CHS_NO_OVERFLOW_PAGE;
	bool gone;

	memcpy(&pointer, tid, sizeof(pointer));
	while (try_add_tid(store->index, ref, &pointer, page, &gone) ==
		   CHS_TID_NEEDS_PAGE)
	{
		CHECK_FOR_INTERRUPTS();
		page = chs_overflow_find_page(store->index);
	}
	return !gone;
}

/*
 * Is the row of a node the same, byte for byte?  With rerank = heap there is
 * none to compare, and 64 bits of hash must do.
 */
static bool
same_row(ChsPageStore *store, ChsNodeRef ref, const ChsNewNode *node)
{
	Size bytes = chs_page_store_row_room(store);
	void *other;
	bool same;

	if (store->index->meta->rerank == CHS_RERANK_HEAP)
	{
		ChsSlotHeader header;

		chs_page_store_header(store, 0, ref.id, &header);
		return header.hash == node->hash;
	}
	other = palloc(bytes);
	same = memcmp(chs_page_store_row(store, ref, other), node->row, bytes) == 0;
	pfree(other);
	return same;
}

bool
chs_page_store_add_duplicate(ChsStore *base, ChsNodeRef to,
							 const ChsNewNode *node)
{
	ChsPageStore *store = (ChsPageStore *) base;

	return same_row(store, to, node) &&
		   chs_page_store_add_tid(store, to, node->tid);
}

/* ---- entry points ---- */

typedef struct EntryChange
{
	int level;
	ChsNodeRef expected;
	ChsNodeRef entry;
} EntryChange;

static bool
change_entry(ChsMetaPage meta, void *arg)
{
	EntryChange *change = arg;
	ChsEntry *entry = &meta->entry[change->level];

	if (entry->id != change->expected.id ||
		(entry->id != CHS_NODE_NONE &&
		 entry->version != change->expected.version))
		return false;
	entry->id = change->entry.id;
	entry->version = change->entry.version;
	return true;
}

bool
chs_page_store_set_entry(ChsStore *base, int level, ChsNodeRef expected,
						 ChsNodeRef entry)
{
	ChsPageStore *store = (ChsPageStore *) base;
	EntryChange change;

	CHS_STOP("before-entry");
	change.level = level;
	change.expected = expected;
	change.entry = entry;
	for (;;)
	{
		const ChsEntry *now = &store->index->meta->entry[level];
		ChsSlotHeader header;

		if (chs_meta_update(store->index, change_entry, &change, false))
			return true;
		change.expected.id = now->id;
		change.expected.version = now->version;
		if (now->id == CHS_NODE_NONE)
			continue;
		if (now->id == entry.id && now->version == entry.version)
			return true;

		/* a dead or vanished entry may be replaced by anybody */
		chs_page_store_header(store, level, now->id, &header);
		if (header.state == CHS_SLOT_LIVE && header.version == now->version)
			return false;
		CHECK_FOR_INTERRUPTS();
	}
}
