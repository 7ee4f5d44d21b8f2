/*
 * am_scan_sweep.c
 *	  Reading every slot of level 0 instead of searching.
 *
 * A small index has no graph and is always read so.  A large one is when its
 * graph gives no more rows, or the search its memory limit: then whatever was
 * not returned is compared exactly and sorted, so that a scan that nobody
 * stops returns each row once.  Nodes that have no place in a graph (zero norm
 * under cosine) are found in this way only, and come last.
 *
 * Separate from am_scan.c because it looks at pages in their order and knows
 * nothing of queues, windows or rows.
 *
 * Up to work_mem the keys stand in a heap: a LIMIT reads a few rows of a
 * thousand, and a heap is built in linear time and costs nothing to throw
 * away, 10,000 times in a LATERAL join.  Beyond, they go to a tuplesort, which
 * can spill to disk.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

#include "core/graph/candidates.h"
#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_scan.h"

/* Nodes whose exact keys are asked for at a time: the store reads ahead. */
#define SWEEP_BATCH 64

struct ChsSweep
{
	ChsPageStore *store;
	MemoryContext context;
	ChsSweepParams params;
	uint64 looked_at;

	/* a page being read, and where in it */
	Page copy;
	uint32 pages;
	uint32 next_page;
	uint32 next_slot; /* per_page: the copy is used up */
	BufferAccessStrategy strategy;

	/* nodes waiting for their keys */
	int nrefs;
	ChsNodeRef refs[SWEEP_BATCH];
	double keys[SWEEP_BATCH];

	/* the result, in one of two places */
	bool spilling;
	ChsContextArena arena;
	ChsHeap heap;
	Tuplesortstate *sort;
	TupleDesc sort_desc;
	TupleTableSlot *put_slot;
	TupleTableSlot *get_slot;
};

ChsSweep *
chs_sweep_create(ChsPageStore *store, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ChsSweep *sweep = palloc0(sizeof(ChsSweep));

	sweep->store = store;
	sweep->context = context;
	sweep->copy = palloc(BLCKSZ);
	chs_context_arena_init(&sweep->arena, context);
	chs_heap_init(&sweep->heap, &sweep->arena.arena);
	MemoryContextSwitchTo(old);
	return sweep;
}

/* ---- slots in their order ---- */

/*
 * Goes to the first slot of a range of pages.  Relations that would take more
 * than a quarter of the buffer pool are read through a ring, as table scans
 * do, so that the graph stays where it is.
 */
static void
open_pages(ChsSweep *sweep, uint32 first, uint32 end)
{
	sweep->next_page = first;
	sweep->pages = end;
	sweep->next_slot = chs_index_per_page(sweep->store->index, 0);
	sweep->nrefs = 0;
	sweep->looked_at = 0;
	if (sweep->strategy == NULL && end - first > (uint32) NBuffers / 4)
	{
		MemoryContext old = MemoryContextSwitchTo(sweep->context);

		sweep->strategy = GetAccessStrategy(BAS_BULKREAD);
		MemoryContextSwitchTo(old);
	}
}

/* Copies the next page that is not empty; false when there is none. */
static bool
copy_next_page(ChsSweep *sweep)
{
	ChsIndex *index = sweep->store->index;

	while (sweep->next_page < sweep->pages)
	{
		BlockNumber block = chs_index_block(index, CHS_STREAM_GRAPH(0),
											sweep->next_page++);
		const char *problem;

		CHECK_FOR_INTERRUPTS();
		if (!chs_page_copy(index->rel, block, sweep->strategy, sweep->copy))
			continue;
		problem = chs_page_copy_problem(sweep->copy, CHS_PAGE_GRAPH, 0, 0);
		if (problem != NULL)
			ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
							errmsg("index \"%s\" contains an unexpected page at "
								   "block %u",
								   RelationGetRelationName(index->rel), block),
							errdetail_internal("%s", problem),
							errhint("Please REINDEX it.")));
		sweep->next_slot = 0;
		return true;
	}
	return false;
}

/*
 * The next slot that holds rows and was not returned by the search; NULL at
 * the end.  Points into the copy.
 */
static const ChsSlotHeader *
next_slot(ChsSweep *sweep, ChsNodeId *id)
{
	ChsIndex *index = sweep->store->index;
	uint32 per_page = chs_index_per_page(index, 0);

	while (sweep->looked_at < sweep->params.limit)
	{
		const ChsSlotHeader *slot;

		if (sweep->next_slot >= per_page && !copy_next_page(sweep))
			return NULL;
		*id = (sweep->next_page - 1) * per_page + sweep->next_slot;
		slot = chs_page_slot(sweep->copy, chs_index_layout(index, 0),
							 sweep->next_slot++);
		if (slot->state != CHS_SLOT_LIVE && slot->state != CHS_SLOT_UNLINKED)
			continue;
		if (sweep->params.search != NULL &&
			chs_scan_returned(sweep->params.search, *id))
			continue;
		sweep->looked_at++;
		return slot;
	}
	return NULL;
}

/* ---- keys in order ---- */

/* One result as a row for the sort: its key; number and version in one. */
static void
put_row(ChsSweep *sweep, ChsNodeRef ref, double key)
{
	TupleTableSlot *slot = sweep->put_slot;

	ExecClearTuple(slot);
	slot->tts_values[0] = Float8GetDatum(key);
	slot->tts_values[1] = Int64GetDatum(((int64) ref.id << 16) |
										(int64) ref.version);
	slot->tts_isnull[0] = false;
	slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sweep->sort, slot);
}

static bool
get_row(ChsSweep *sweep, ChsScanHit *hit)
{
	bool isnull;
	int64 ref;

	if (!tuplesort_gettupleslot(sweep->sort, true, false, sweep->get_slot, NULL))
		return false;
	hit->key = DatumGetFloat8(slot_getattr(sweep->get_slot, 1, &isnull));
	ref = DatumGetInt64(slot_getattr(sweep->get_slot, 2, &isnull));
	hit->ref.id = (ChsNodeId) (ref >> 16);
	hit->ref.version = (uint16) (ref & 0xffff);
	return true;
}

/*
 * Starts a sort that may spill.  float8's own order puts NaN last; equal keys
 * come in the order of numbers, so that a repeated scan gives the same rows.
 */
static void
begin_sort(ChsSweep *sweep)
{
	MemoryContext old = MemoryContextSwitchTo(sweep->context);
	AttrNumber columns[] = {1, 2};
	Oid operators[] = {Float8LessOperator, Int8LessOperator};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};

	if (sweep->sort_desc == NULL)
	{
		sweep->sort_desc = CreateTemplateTupleDesc(2);
		TupleDescInitEntry(sweep->sort_desc, 1, "key", FLOAT8OID, -1, 0);
		TupleDescInitEntry(sweep->sort_desc, 2, "node", INT8OID, -1, 0);
		sweep->put_slot = MakeSingleTupleTableSlot(sweep->sort_desc,
												   &TTSOpsVirtual);
		sweep->get_slot = MakeSingleTupleTableSlot(sweep->sort_desc,
												   &TTSOpsMinimalTuple);
	}
	sweep->sort = tuplesort_begin_heap(sweep->sort_desc, 2, columns, operators,
									   collations, nulls_first, work_mem, NULL,
									   CHS_SORT_ONCE);
	MemoryContextSwitchTo(old);
}

/*
 * Keeps one node.  An infinite key is the store's way to say that no row of
 * it is visible; a key that is not a number cannot stand in a heap, and is
 * infinite there.
 */
static void
keep_node(ChsSweep *sweep, ChsNodeRef ref, double key)
{
	ChsHeapEntry entry = {key, ref.id, ref.version, 0};

	if (isinf(key) && key > 0)
		return;
	if (sweep->spilling)
	{
		put_row(sweep, ref, key);
		return;
	}
	if (isnan(key))
		entry.key = HUGE_VAL;
	chs_heap_add(&sweep->heap, entry);
}

static void
compute_keys(ChsSweep *sweep, const ChsQuery *query)
{
	ChsStore *store = &sweep->store->store;

	store->ops->exact(store, query, sweep->refs, sweep->nrefs, sweep->keys);
}

static void
keep_batch(ChsSweep *sweep)
{
	compute_keys(sweep, sweep->params.query);
	for (int i = 0; i < sweep->nrefs; i++)
		keep_node(sweep, sweep->refs[i], sweep->keys[i]);
	sweep->nrefs = 0;
}

/* All slots, with keys, into the heap or the sort. */
static void
read_all(ChsSweep *sweep)
{
	uint64 most = (uint64) chs_index_capacity(sweep->store->index, 0);
	const ChsSlotHeader *slot;
	ChsNodeId id;

	sweep->spilling = most * sizeof(ChsHeapEntry) >
					  (uint64) work_mem * UINT64CONST(1024);
	if (sweep->spilling)
		begin_sort(sweep);
	while ((slot = next_slot(sweep, &id)) != NULL)
	{
		sweep->refs[sweep->nrefs++] = (ChsNodeRef){id, slot->version};
		if (sweep->nrefs == SWEEP_BATCH)
			keep_batch(sweep);
	}
	keep_batch(sweep);
	if (sweep->spilling)
		tuplesort_performsort(sweep->sort);
}

/* ---- interface ---- */

void
chs_sweep_start(ChsSweep *sweep, const ChsSweepParams *params)
{
	ChsIndex *index = sweep->store->index;

	chs_sweep_end(sweep);
	sweep->params = *params;
	open_pages(sweep, 0, index->meta->stream[CHS_STREAM_GRAPH(0)].pages_used);
	if (params->query != NULL)
		read_all(sweep);
}

bool
chs_sweep_next(ChsSweep *sweep, ChsScanHit *hit)
{
	ChsHeapEntry entry;

	if (sweep->params.query == NULL)
	{
		const ChsSlotHeader *slot = next_slot(sweep, &hit->ref.id);

		if (slot == NULL)
			return false;
		hit->ref.version = slot->version;
		hit->key = NAN;
		return true;
	}
	if (sweep->spilling)
		return get_row(sweep, hit);
	if (sweep->heap.n == 0)
		return false;
	entry = chs_heap_pop(&sweep->heap);
	hit->ref = (ChsNodeRef){entry.id, entry.version};
	hit->key = isinf(entry.key) && entry.key > 0 ? NAN : entry.key;
	return true;
}

void
chs_sweep_end(ChsSweep *sweep)
{
	if (sweep->sort != NULL)
	{
		/* the slot may point into the sort's memory */
		ExecClearTuple(sweep->get_slot);
		tuplesort_end(sweep->sort);
		sweep->sort = NULL;
	}
	sweep->spilling = false;
	chs_heap_reset(&sweep->heap);
	if (sweep->strategy != NULL)
	{
		FreeAccessStrategy(sweep->strategy);
		sweep->strategy = NULL;
	}
}

void
chs_sweep_leftovers(ChsSweep *sweep, const ChsQuery *query, ChsScan *search)
{
	ChsIndex *index = sweep->store->index;
	uint32 per_page = chs_index_per_page(index, 0);
	uint32 first = index->meta->link_cursor;
	uint32 end = Min(index->meta->unlinked_end, chs_index_capacity(index, 0));
	const ChsSlotHeader *slot;
	ChsNodeId id;

	if (first >= end)
		return;
	sweep->params = (ChsSweepParams){query, NULL, PG_UINT64_MAX};
	open_pages(sweep, first / per_page, (end - 1) / per_page + 1);
	while ((slot = next_slot(sweep, &id)) != NULL)
	{
		/* those that can never be linked come last, from the final sweep */
		if (slot->state != CHS_SLOT_UNLINKED ||
			(slot->flags & CHS_SLOT_NOLINK) != 0)
			continue;
		sweep->refs[sweep->nrefs++] = (ChsNodeRef){id, slot->version};
		if (sweep->nrefs < SWEEP_BATCH)
			continue;
		compute_keys(sweep, query);
		chs_scan_add(search, sweep->refs, sweep->keys, sweep->nrefs);
		sweep->nrefs = 0;
	}
	compute_keys(sweep, query);
	chs_scan_add(search, sweep->refs, sweep->keys, sweep->nrefs);
	sweep->nrefs = 0;
}
