/*
 * exact.c
 *	  Exact rows from the table, for indexes that keep none.
 *
 * With rerank = heap the index holds codes only, and the exact distance is
 * that of the value in the table: fetched by its TID with the caller's
 * snapshot, through the HOT chain, and, for an index on an expression, computed
 * as CREATE INDEX computed it.
 *
 * Separate because it is the only code of the access method that reads the
 * table.  It knows neither nodes nor pages.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

typedef struct ChsHeapFetch
{
	Relation heap;
	const ChsColumnType *type;
	uint32 dim;
	Snapshot snapshot;
	IndexFetchTableData *fetch;
	IndexInfo *index_info;
	EState *estate; /* its per-tuple context takes detoasted copies */
	TupleTableSlot *slot;
	MemoryContext context; /* holds the last row */
	void *row;
	Size row_room;
} ChsHeapFetch;

/*
 * Lives in the current memory context, and in resources of the current
 * resource owner: a scan ends it in amendscan, an error with the transaction.
 * The snapshot must stay registered as long.
 */
struct ChsHeapFetch *
chs_heap_fetch_begin(Relation heap, const ChsIndex *index, Snapshot snapshot)
{
	ChsHeapFetch *fetch = palloc0(sizeof(ChsHeapFetch));

	fetch->heap = heap;
	fetch->type = index->opclass->type;
	fetch->dim = index->meta->dim;
	fetch->context = CurrentMemoryContext;
	fetch->snapshot = snapshot;
	fetch->fetch = table_index_fetch_begin(heap);
	fetch->index_info = BuildIndexInfo(index->rel);
	fetch->estate = CreateExecutorState();
	fetch->slot = table_slot_create(heap, NULL);

	/* where FormIndexDatum() looks for the row of an expression */
	GetPerTupleExprContext(fetch->estate)->ecxt_scantuple = fetch->slot;
	return fetch;
}

void
chs_heap_fetch_end(struct ChsHeapFetch *fetch)
{
	ExecDropSingleTupleTableSlot(fetch->slot);
	FreeExecutorState(fetch->estate);
	table_index_fetch_end(fetch->fetch);
	if (fetch->row != NULL)
		pfree(fetch->row);
	pfree(fetch);
}

/* Copies a row: it may stand on a page that is about to be unpinned. */
static void
keep_row(ChsHeapFetch *fetch, const void *row)
{
	Size bytes = chs_row_bytes(fetch->type->row, row, fetch->dim);

	if (bytes > fetch->row_room)
	{
		if (fetch->row != NULL)
			pfree(fetch->row);
		fetch->row = NULL;
		fetch->row = MemoryContextAlloc(fetch->context, bytes);
		fetch->row_room = bytes;
	}
	memcpy(fetch->row, row, bytes);
}

/*
 * Keeps the indexed value of the table row in the slot; false for a NULL, which
 * one that has an index entry does not have unless it is another row by now.
 * Raises an error if the length is not the index's.
 */
static bool
extract_row(ChsHeapFetch *fetch)
{
	MemoryContext old = MemoryContextSwitchTo(
		GetPerTupleMemoryContext(fetch->estate));
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS];

	FormIndexDatum(fetch->index_info, fetch->slot, fetch->estate, values,
				   isnull);
	if (!isnull[0])
		keep_row(fetch, fetch->type->unpack(values[0], fetch->dim));
	MemoryContextSwitchTo(old);
	return !isnull[0];
}

/* The row version at or behind this TID that the snapshot sees. */
static bool
fetch_version(ChsHeapFetch *fetch, const ItemPointerData *tid)
{
	ItemPointerData place = *tid; /* becomes the version's own */
	bool call_again = false;
	bool all_dead = false;

	return table_index_fetch_tuple(fetch->fetch, &place, fetch->snapshot,
								   fetch->slot, &call_again, &all_dead);
}

const void *
chs_heap_fetch_row(struct ChsHeapFetch *fetch, const ItemPointerData *tids,
				   int ntids)
{
	bool found = false;

	for (int i = 0; i < ntids && !found; i++)
	{
		if (!fetch_version(fetch, &tids[i]))
			continue;
		found = extract_row(fetch);
		ExecClearTuple(fetch->slot);
		ResetPerTupleExprContext(fetch->estate);
	}

	/* no pin survives the call */
	table_index_fetch_reset(fetch->fetch);
	return found ? fetch->row : NULL;
}
