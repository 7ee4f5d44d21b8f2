/*
 * am_scan.c
 *	  ambeginscan, amrescan, amgettuple, amendscan.
 *
 * A scan goes through stages: it searches the graph for as long as the
 * executor asks, then sweeps what the search did not return (am_scan_sweep.c);
 * an index too small for a graph is swept at once.  Which node comes next is
 * core's business; here its rows are looked up and handed over one by one.
 *
 * Between two calls no pin and no lock is held.  A node found a while ago may
 * have been removed since, or its slot given to another vector, so its TIDs
 * are copied at the last moment, under its page's lock, and only if the slot
 * still has the version that was scored.  VACUUM may then remove a row that we
 * are about to return; a snapshot that is not MVCC could take the row in its
 * place for it and is refused.
 *
 * Memory: "chassis scan" lives as long as the scan and is used again by every
 * rescan; "chassis scan query" has what belongs to one query.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/relscan.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_scan.h"

typedef enum ScanStage
{
	STAGE_START, /* nothing was read yet for this query */
	STAGE_SEARCH,
	STAGE_SWEEP,
	STAGE_DONE
} ScanStage;

typedef struct ChsScanState
{
	MemoryContext context;
	MemoryContext query_context;
	ScanStage stage;
	ChsScanSettings settings; /* as they were when the query began */

	/* the index as it was opened, in context; NULL: not yet */
	ChsIndex *index;
	uint8 phase; /* ChsPhase for which the rest was made */
	ChsPageStore *store;
	struct ChsHeapFetch *heap; /* rerank = heap only */
	ChsGraph graph;            /* phase GRAPH only, like the next two */
	ChsScan *search;
	void *query_memory;
	ChsSweep *sweep;

	/* the query */
	ChsModel flat_model; /* what exact keys need to know, without codes */
	ChsQuery query;
	const void *row; /* in query_context */
	bool null_query;
	double last_key; /* of the node returned last */

	/* the rows of the present node */
	ItemPointerData *tids;
	int ntids;
	int next_tid;
	int tids_room;
} ChsScanState;

IndexScanDesc
chsbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	ChsScanState *state = palloc0(sizeof(ChsScanState));

	/* the server leaves the values of ORDER BY to the access method */
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0(sizeof(Datum) * norderbys);
		scan->xs_orderbynulls = palloc(sizeof(bool) * norderbys);
		memset(scan->xs_orderbynulls, true, sizeof(bool) * norderbys);
	}
	state->context = AllocSetContextCreate(CurrentMemoryContext, "chassis scan",
										   ALLOCSET_DEFAULT_SIZES);
	state->query_context = AllocSetContextCreate(
		CurrentMemoryContext, "chassis scan query", ALLOCSET_SMALL_SIZES);
	scan->opaque = state;
	return scan;
}

/* Gives back what is not memory. */
static void
release_resources(ChsScanState *state)
{
	if (state->sweep != NULL)
		chs_sweep_end(state->sweep);
	if (state->heap != NULL)
		chs_heap_fetch_end(state->heap);
	state->heap = NULL;
}

/*
 * Takes the new keys and does nothing else: a rescan that is never read (an
 * outer row that joins nothing) should cost nothing.
 */
void
chsrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys,
		  int norderbys)
{
	ChsScanState *state = scan->opaque;

	if (keys != NULL && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys != NULL && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys,
				scan->numberOfOrderBys * sizeof(ScanKeyData));
	if (state->sweep != NULL)
		chs_sweep_end(state->sweep);
	MemoryContextReset(state->query_context);
	state->stage = STAGE_START;
	state->ntids = 0;
	state->next_tid = 0;
}

void
chsendscan(IndexScanDesc scan)
{
	ChsScanState *state = scan->opaque;

	release_resources(state);
	MemoryContextDelete(state->query_context);
	MemoryContextDelete(state->context);
	pfree(state);
	scan->opaque = NULL;
}

/* ---- start of a query ---- */

/* Raises an error for scans that this access method cannot do. */
static void
check_scan(IndexScanDesc scan)
{
	if (scan->numberOfOrderBys != 1)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot scan chassis index without order"),
						errhint("Use ORDER BY with the distance to one vector, and "
								"LIMIT.")));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("non-MVCC snapshots are not supported with chassis "
							   "indexes")));
}

/* Makes everything that is used again by all rescans. */
static void
open_index(IndexScanDesc scan, ChsScanState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);
	ChsIndex *index = chs_index_open(scan->indexRelation, state->context);
	const ChsMetaPageData *meta = index->meta;

	state->index = index;
	state->phase = meta->phase;
	state->store = chs_page_store_create(index);
	state->sweep = chs_sweep_create(state->store, state->context);
	chs_meta_model(meta, &state->flat_model);
	if (meta->rerank == CHS_RERANK_HEAP)
		state->heap = chs_heap_fetch_begin(scan->heapRelation, index,
										   scan->xs_snapshot);
	state->store->heap = state->heap;

	if (meta->phase == CHS_PHASE_GRAPH)
	{
		ChsGraphParams params;
		ChsArena *arena;

		params.m = (int) meta->m;
		params.ef_construction = (int) meta->ef_construction;
		params.seed = meta->seed;
		arena = chs_workspace_acquire(state->context);
		chs_graph_init(&state->graph, &state->store->store, &params, arena);
		state->search = chs_scan_create(&state->graph, arena);
		state->query_memory = chs_alloc(arena, chs_query_bytes(&index->model));
	}
	MemoryContextSwitchTo(old);
}

/*
 * The index as it is now: everything that was in it when the snapshot was
 * taken will be found.  An index that has become a graph since the last rescan
 * is opened anew, once in its life.
 */
static void
refresh_index(IndexScanDesc scan, ChsScanState *state)
{
	if (state->index != NULL)
	{
		chs_index_refresh(state->index);
		if (state->index->meta->phase == state->phase)
			return;
		release_resources(state);
		state->sweep = NULL;
		state->search = NULL;
		state->tids = NULL;
		state->tids_room = 0;
		MemoryContextReset(state->context);
	}
	open_index(scan, state);
}

/*
 * Takes the query from the scan key, as a copy: the key's value may go before
 * the next rescan.  Raises the operator's error if its length is not the
 * column's.
 */
static void
read_query(ChsScanState *state, ScanKey key)
{
	const ChsColumnType *type = state->index->opclass->type;
	uint32 dim = state->index->meta->dim;
	const void *row;
	Size bytes;

	state->null_query = (key->sk_flags & SK_ISNULL) != 0;
	if (state->null_query)
		return;
	row = type->unpack(key->sk_argument, dim);
	bytes = chs_row_bytes(type->row, row, dim);
	state->row = memcpy(palloc(bytes), row, bytes);
	chs_query_exact(&state->query, &state->flat_model, state->row);
}

/*
 * Does the distance to this query order anything?  Not to NULL, nor to a
 * vector without direction under cosine: that is NaN for every row.
 */
static bool
query_orders(const ChsScanState *state)
{
	const ChsModel *model = &state->flat_model;

	return !state->null_query &&
		   !isnan(chs_row_key(model->row, model->metric, state->row,
							  state->row, model->dim));
}

static void
start_sweep(ChsScanState *state, const ChsScan *search, uint64 limit)
{
	ChsSweepParams params;

	params.query = query_orders(state) ? &state->query : NULL;
	params.search = search;
	params.limit = limit;
	chs_sweep_start(state->sweep, &params);
	state->stage = STAGE_SWEEP;
}

/*
 * Sets the query up for a search; false if there is no graph, or its codes
 * cannot be compared with this query: no direction, or so large that
 * estimates overflow.
 */
static bool
prepare_search(ChsScanState *state)
{
	if (state->phase != CHS_PHASE_GRAPH || !query_orders(state))
		return false;
	if (chs_query_init(&state->query, state->query_memory,
					   &state->index->model, state->row))
		return true;

	/* exact keys need no estimate: the sweep goes on with what they need */
	chs_query_exact(&state->query, &state->flat_model, state->row);
	return false;
}

static void
start_search(ChsScanState *state)
{
	ChsScanParams params;

	params.ef = state->settings.ef_search;
	params.order = (ChsScanOrder) state->settings.iterative_scan;
	params.max_tuples = (uint64) state->settings.max_scan_tuples;
	params.max_memory = (Size) Min((double) work_mem * 1024.0 *
									   state->settings.scan_mem_multiplier,
								   (double) (SIZE_MAX / 2));
	chs_scan_start(state->search, &params, &state->query);
	chs_sweep_leftovers(state->sweep, &state->query, state->search);
	state->stage = STAGE_SEARCH;
}

/* First call after a rescan. */
static void
start_query(IndexScanDesc scan, ChsScanState *state)
{
	check_scan(scan);
	pgstat_count_index_scan(scan->indexRelation);
	CHS_COUNT_INDEX_SEARCH(scan);

	refresh_index(scan, state);
	read_query(state, scan->orderByData);
	chs_options_scan(scan->indexRelation, &state->settings);
	state->last_key = -HUGE_VAL;
	if (prepare_search(state))
		start_search(state);
	else
		start_sweep(state, NULL, PG_UINT64_MAX);
}

/* ---- nodes ---- */

/*
 * The search has no more: what it did not return is swept, as far as
 * max_scan_tuples allows.
 */
static void
sweep_rest(ChsScanState *state)
{
	uint64 scored = chs_scan_stats(state->search)->scored;
	uint64 allowed = (uint64) state->settings.max_scan_tuples;
	uint64 limit = PG_UINT64_MAX;

	if (allowed != INT_MAX)
		limit = allowed > scored ? allowed - scored : 0;
	start_sweep(state, state->search, limit);
}

/* The next node of whatever stage the scan is in; false at its end. */
static bool
next_node(ChsScanState *state, ChsScanHit *hit)
{
	while (state->stage == STAGE_SEARCH)
	{
		switch (chs_scan_next(state->search, hit))
		{
			case CHS_SCAN_ROW:
				return true;
			case CHS_SCAN_EXHAUSTED:
			case CHS_SCAN_MEMORY:
				sweep_rest(state);
				break;
			case CHS_SCAN_END:
				state->stage = STAGE_DONE;
				break;
		}
	}
	while (state->stage == STAGE_SWEEP)
	{
		if (!chs_sweep_next(state->sweep, hit))
			state->stage = STAGE_DONE;
		else if (state->settings.iterative_scan != CHS_SCAN_STRICT ||
				 !(hit->key < state->last_key))
			return true; /* one without a key is not out of order */
	}
	return false;
}

/*
 * Fetches the rows of the next node that has any; false at the end of the
 * scan.
 */
static bool
fetch_node(IndexScanDesc scan, ChsScanState *state)
{
	ChsScanHit hit;

	state->ntids = 0;
	state->next_tid = 0;
	while (state->ntids == 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (!next_node(state, &hit))
			break;
		state->ntids = chs_page_store_tids(state->store, hit.ref, &state->tids,
										   &state->tids_room);
	}

	/* also at the end: the rows that are missing may be too old to be there */
	CHS_TEST_OLD_SNAPSHOT(scan->xs_snapshot, scan->indexRelation);
	if (state->ntids == 0)
		return false;
	state->last_key = hit.key;
	return true;
}

/* What the operator would return for the present node's rows. */
static void
store_distance(IndexScanDesc scan, const ChsScanState *state)
{
	static Oid types[] = {FLOAT8OID};
	IndexOrderByDistance distance;
	double key = state->last_key;

	distance.isnull = state->null_query;
	if (key >= DBL_MAX)
		distance.value = get_float8_infinity(); /* a sum that overflowed */
	else
		distance.value = chs_distance_value(state->flat_model.metric, key);
	index_store_float8_orderby_distances(scan, types, &distance, false);
}

bool
chsgettuple(IndexScanDesc scan, ScanDirection dir)
{
	ChsScanState *state = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(state->query_context);
	bool found;

	Assert(ScanDirectionIsForward(dir));
	if (state->stage == STAGE_START)
		start_query(scan, state);
	found = state->next_tid < state->ntids;
	if (!found && state->stage != STAGE_DONE)
		found = fetch_node(scan, state);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;

	scan->xs_heaptid = state->tids[state->next_tid++];
	scan->xs_recheck = false;
	store_distance(scan, state);
	return true;
}
