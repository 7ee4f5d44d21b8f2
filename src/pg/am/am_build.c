/*
 * am_build.c
 *	  Building an index over the rows that a table has: ambuild, ambuildempty.
 *
 * A sample of the table says how many rows there will be and gives the model.
 * Then one scan puts every row into a graph in memory and its exact bytes on
 * their page at once; at the end, or when the memory is full, the graph is
 * written to pages by copying.  Rows that come after that are inserted on the
 * pages as INSERT would do.  Nothing of this is WAL-logged until everything is
 * there: the metapage comes first and is right at every moment, and whatever
 * ends the build early drops the relation.
 *
 * Graph pages and row pages never hold a row twice and a serial build is
 * repeatable: the scan starts at block 0, the sample is seeded, and a node's
 * level is a hash of its TID.
 *
 * The stages have files of their own, see am_build.h.  This one knows neither
 * pages nor processes.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "commands/progress.h"
#include "miscadmin.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

#include "pg/am/am_build.h"

/* ---- one row ---- */

/* The facts of a row that is no node so far. */
static ChsNewNode
describe_row(const ChsBuild *build, const void *row, ItemPointer tid)
{
	const ChsMetaPageData *meta = build->index->meta;
	ChsNewNode node = {.existing.id = CHS_NODE_NONE, .down.id = CHS_NODE_NONE};

	node.tid = (const uint8_t *) tid;
	node.row = row;
	node.hash = chs_row_hash(
		row, chs_row_bytes((ChsRowKind) meta->row_kind, row, meta->dim));
	return node;
}

/*
 * Has the slot of node `id`, in memory, the row of this new node?  What rows
 * are nowhere but in the table is told by their hashes.
 */
static bool
has_row(ChsBuild *build, ChsNodeId id, ChsSlotHeader *slot,
		const ChsNewNode *node)
{
	const ChsSlotLayout *layout = chs_index_layout(build->index, 0);

	if (slot->hash != node->hash)
		return false;
	if (build->index->meta->rerank == CHS_RERANK_CODE)
		return memcmp(chs_slot_code(layout, slot), node->row,
					  layout->code_bytes) == 0;
	return build->row_bytes == 0 || memcmp(chs_build_read_row(build, id),
										   node->row, build->row_bytes) == 0;
}

/* A zeroed slot at the end of an index without a graph. */
static ChsSlotHeader *
append_flat(ChsBuild *build)
{
	if (build->nflat == build->flat_room)
	{
		build->flat_room *= 2;
		build->flat = repalloc_huge(
			build->flat, mul_size(build->flat_room, build->flat_bytes));
	}
	return memset(chs_build_flat_slot(build, build->nflat++), 0,
				  build->flat_bytes);
}

/*
 * Remembers a row of an index without a graph: a further TID of a slot with
 * the same row, or a slot of its own.  There are too few for anything better
 * than comparing their hashes.
 */
static void
add_flat(ChsBuild *build, const void *row, ItemPointer tid)
{
	const ChsSlotLayout *layout = chs_index_layout(build->index, 0);
	ChsBuildShared *shared = build->shared;
	ChsNewNode node = describe_row(build, row, tid);
	ChsNodeRef equal = {0, 0};
	ChsSlotHeader *slot;

	while (equal.id < build->nflat &&
		   !has_row(build, equal.id, chs_build_flat_slot(build, equal.id), &node))
		equal.id++;
	if (equal.id < build->nflat &&
		pg_atomic_read_u32(&shared->ntids) < shared->plan.max_tids)
	{
		chs_build_keep_tid(build, equal, node.tid);
		return;
	}

	slot = append_flat(build);
	slot->state = CHS_SLOT_UNLINKED;
	slot->hash = node.hash;
	memcpy(slot->tid, tid, sizeof(slot->tid));
	if (build->index->meta->rerank == CHS_RERANK_CODE)
		memcpy(chs_slot_code(layout, slot), row, layout->code_bytes);
	if (build->row_bytes > 0)
		chs_build_write_row(build, build->nflat - 1, row);
}

/*
 * Gives a number to a row that can have no place in a graph (its norm is zero
 * under cosine, say, or it overflows): the slot is published like any other, but
 * nobody links to it, and scans find it by their final sweep.
 *
 * Such rows are mostly zeros that stand for a missing value, all alike: it is
 * enough to compare with the last one.
 */
static void
add_unlinkable(ChsBuild *build, const ChsNewNode *node)
{
	ChsStore *store = &build->mem.store;
	ChsNodeRef *last = &build->unlinkable;
	ChsSlotHeader *slot;

	if (last->id != CHS_NODE_NONE)
	{
		slot = chs_mem_slot(&build->mem, 0, last->id);
		if (has_row(build, last->id, slot, node))
		{
			chs_build_keep_tid(build, *last, node->tid);
			return;
		}
	}
	*last = store->ops->publish(store, 0, node);
	slot = chs_mem_slot(&build->mem, 0, last->id);
	slot->flags |= CHS_SLOT_NOLINK;
	slot->state = CHS_SLOT_UNLINKED;
}

/* The level of a new node; a hash of its TID, hence repeatable. */
static int
draw_level(ChsBuild *build, ItemPointer tid)
{
	ChsStore *store = &build->mem.store;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	uint64 key = ((uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16) |
				 ItemPointerGetOffsetNumberNoCheck(tid);

	return chs_graph_draw_level(&build->graph.params, key,
								store->ops->entries(store, false, entry),
								(uint64) chs_mem_count(&build->mem, 0) + 1);
}

/* Adds a row to the graph in memory; false if that is full. */
static bool
add_in_memory(ChsBuild *build, const void *row, ItemPointer tid)
{
	ChsNewNode node;
	ChsFactors factors;
	ChsQuery query;
	ChsNodeRef ref;
	bool linkable;
	int level;

	linkable = chs_encode(&build->model, row, build->scratch, build->code,
						  &factors) &&
			   chs_query_init(&query, build->query_mem, &build->model, row);
	level = linkable ? draw_level(build, tid) : 0;
	if (!chs_build_promise(build, level))
		return false;

	node = describe_row(build, row, tid);
	node.factors = &factors;
	node.code = build->code;
	if (linkable)
		(void) chs_graph_insert(&build->graph, &node, &query, level, &ref);
	else
		add_unlinkable(build, &node);

	chs_mem_settle(&build->mem, level);
	return true;
}

/* The memory is full: from now on rows are inserted on pages. */
static void
leave_memory(ChsBuild *build)
{
	if (build->parallel)
		chs_build_meet(build);
	else
	{
		chs_build_flush(build, true);
		MemoryContextReset(build->graph_context);
	}
	chs_build_use_pages(build);
	if (build->leader)
	{
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 CHS_BUILD_PHASE_LOAD);
		chs_build_report_full(build);
	}
}

/* Counts a row that is in the index, for everybody and for those who watch. */
static void
count_row(ChsBuild *build)
{
	uint64 rows;

	build->index_rows++;
	rows = pg_atomic_add_fetch_u64(&build->shared->rows, 1);
	if (build->leader)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
									 (int64) rows);
}

static void
add_row(ChsBuild *build, const void *row, ItemPointer tid)
{
	if (build->flat != NULL)
	{
		add_flat(build, row, tid);
		return;
	}
	if (build->inserter == NULL)
	{
		if (add_in_memory(build, row, tid))
			return;
		leave_memory(build);
	}
	chs_inserter_insert(build->inserter, row, tid, false);
}

void
chs_build_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			  bool alive, void *state)
{
	ChsBuild *build = (ChsBuild *) state;
	MemoryContext old;

	/* Dead rows that some snapshot may see come too (alive = false). */
	if (isnull[0])
		return;

	old = MemoryContextSwitchTo(build->per_tuple);
	add_row(build, chs_build_unpack(build, values[0]), tid);
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->per_tuple);
	count_row(build);
}

/* ---- stages ---- */

void
chs_build_use_pages(ChsBuild *build)
{
	MemoryContext old = MemoryContextSwitchTo(build->context);

	chs_index_refresh(build->index);
	/* there were no pages to have hints of when the build began */
	build->index->hints = chs_hints_acquire(build->rel, build->context);
	build->inserter = chs_inserter_create(build->index);
	MemoryContextSwitchTo(old);
}

void
chs_build_report_full(ChsBuild *build)
{
	ChsBuildShared *shared = build->shared;
	long long rows = (long long) shared->rows_when_flushed;

	if (build->full_reported)
		return;
	build->full_reported = true;

	switch (shared->plan.limit)
	{
		case CHS_BUILD_LIMIT_SETTING:
			ereport(NOTICE,
					(errmsg("chassis graph no longer fits into "
							"maintenance_work_mem after %lld tuples",
							rows),
					 errdetail("Building will take longer from here on."),
					 errhint("Increase maintenance_work_mem to speed up "
							 "builds.")));
			break;
		case CHS_BUILD_LIMIT_SHM:
			ereport(NOTICE,
					(errmsg("chassis graph no longer fits into shared memory "
							"after %lld tuples",
							rows),
					 errdetail("Building will take longer from here on."),
					 errhint("Make more shared memory available to the "
							 "server, or set "
							 "max_parallel_maintenance_workers to 0.")));
			break;
		case CHS_BUILD_LIMIT_ESTIMATE:
			ereport(NOTICE,
					(errmsg("chassis graph no longer fits into its memory "
							"after %lld tuples",
							rows),
					 errdetail("The table has more rows than a sample of it "
							   "suggested; building will take longer from "
							   "here on.")));
			break;
	}
}

void
chs_build_prepare(ChsBuild *build)
{
	const ChsMetaPageData *meta = build->index->meta;
	const ChsModel *model = &build->model;
	ChsGraphParams params = {.m = (int) meta->m,
							 .ef_construction = (int) meta->ef_construction,
							 .seed = meta->seed};
	ChsArena *arena = &build->arena.arena;

	build->code = chs_alloc_zero(arena, chs_model_code_bytes(model));
	build->scratch = chs_alloc(arena, chs_encode_scratch_bytes(model));
	build->query_mem = chs_alloc(arena, chs_query_bytes(model));

	build->unlinkable.id = CHS_NODE_NONE;
	build->mem.context = build;
	build->mem.extra_tid = chs_build_keep_tid;
	if (build->row_bytes > 0)
	{
		build->other = chs_alloc(arena, build->row_bytes);
		build->mem.row = chs_build_read_row;
		build->mem.place_row = chs_build_place_row;
	}
	build->mem.store.no_errors = true;
	chs_graph_init(&build->graph, &build->mem.store, &params, arena);
}

void
chs_build_begin(ChsBuild *build, Relation heap, Relation rel, IndexInfo *info,
				const ChsMetaPageData *meta)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "chassis build", ALLOCSET_DEFAULT_SIZES);

	memset(build, 0, sizeof(*build));
	build->heap = heap;
	build->rel = rel;
	build->info = info;
	build->context = context;
	build->per_tuple = AllocSetContextCreate(context, "chassis build tuple",
											 ALLOCSET_DEFAULT_SIZES);
	build->graph_context = AllocSetContextCreate(context, "chassis build graph",
												 ALLOCSET_DEFAULT_SIZES);
	build->index = chs_index_for_build(rel, context, meta);
	build->row_bytes = meta->row_bytes;
	chs_context_arena_init(&build->arena, context);
	chs_meta_model(meta, &build->model);
}

/* The shared part of a build that is not shared. */
static void
make_private_shared(ChsBuild *build, const ChsBuildPlan *plan, double rows)
{
	build->shared = MemoryContextAllocHuge(build->context,
										   chs_build_shared_bytes(plan));
	chs_build_shared_init(build->shared, build, plan, rows, 1);
}

/* So few rows that comparing them all is quicker than any graph. */
static double
build_flat(ChsBuild *build, const ChsBuildSample *sample)
{
	const ChsMetaPageData *meta = build->index->meta;
	ChsBuildPlan plan = {0};
	double heap_rows;

	plan.max_tids = (uint32) sample->seen;
	make_private_shared(build, &plan, sample->expected_rows);
	build->flat_bytes = sizeof(ChsSlotHeader);
	if (meta->rerank == CHS_RERANK_CODE)
		build->flat_bytes = MAXALIGN(meta->layout[0].code +
									 meta->layout[0].code_bytes);
	build->flat_room = (uint32) Max(sample->seen, 16);
	build->flat = MemoryContextAllocHuge(
		build->context, mul_size(build->flat_room, build->flat_bytes));
	if (build->row_bytes > 0)
		build->other = MemoryContextAlloc(build->context, build->row_bytes);
	heap_rows = table_index_build_scan(build->heap, build->rel, build->info,
									   false, true, chs_build_row, build, NULL);
	chs_build_flush_flat(build);
	return heap_rows;
}

/* The whole build in this process. */
static double
build_serial(ChsBuild *build, double rows)
{
	ChsBuildPlan plan;
	void *area;
	double heap_rows;

	chs_build_plan(build, rows, 0, &plan);
	make_private_shared(build, &plan, rows);
	/* Address space only, until the nodes come. */
	area = MemoryContextAllocHuge(
		build->graph_context, add_size(plan.graph_bytes, CHS_BUILD_AREA_ALIGN));
	chs_mem_create(&build->mem, chs_build_align_area(area, plan.graph_bytes),
				   plan.graph_bytes, &plan.mem, &build->model);
	chs_build_prepare(build);

	/* No synchronized scan: it would not start at block 0. */
	heap_rows = table_index_build_scan(build->heap, build->rel, build->info,
									   false, true, chs_build_row, build, NULL);
	if (build->inserter == NULL)
		chs_build_flush(build, false);
	return heap_rows;
}

/* Everything between the metapage and the WAL. */
static void
build_rows(ChsBuild *build, IndexBuildResult *result)
{
	ChsBuildSample sample;
	double rows;
	int workers;

	chs_build_sample(build, &sample);
	rows = sample.expected_rows;
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, (int64) rows);

	if (sample.complete &&
		(sample.seen == 0 || sample.seen < build->index->meta->flat_limit))
	{
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 CHS_BUILD_PHASE_LOAD);
		result->heap_tuples = build_flat(build, &sample);
		result->index_tuples = build->index_rows;
		return;
	}

	chs_build_train(build, &sample);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
								 CHS_BUILD_PHASE_LOAD);
	workers = chs_build_workers(build, rows);
	if (workers > 0 && chs_build_parallel(build, rows, workers, result))
		return;

	result->heap_tuples = build_serial(build, rows);
	result->index_tuples = build->index_rows;
}

IndexBuildResult *
chsbuild(Relation heap, Relation index, IndexInfo *indexInfo)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	ChsMetaPageData *meta = palloc0(sizeof(ChsMetaPageData));
	ChsBuild build;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data",
			 RelationGetRelationName(index));

	chs_meta_fill(meta, index);
	chs_meta_create(index, MAIN_FORKNUM, meta);
	chs_build_begin(&build, heap, index, indexInfo, meta);
	build.leader = true;
	build_rows(&build, result);

	if (RelationNeedsWAL(index))
	{
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
									 CHS_BUILD_PHASE_LOG);
		chs_wal_log_relation(index, MAIN_FORKNUM);
	}

	MemoryContextDelete(build.context);
	pfree(meta);
	return result;
}

/* What an unlogged index is reset to after a crash: an empty one. */
void
chsbuildempty(Relation index)
{
	ChsMetaPageData *meta = palloc0(sizeof(ChsMetaPageData));

	chs_meta_fill(meta, index);
	chs_meta_create(index, INIT_FORKNUM, meta);
	pfree(meta);
}

char *
chsbuildphasename(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case CHS_BUILD_PHASE_SAMPLE:
			return "sampling rows";
		case CHS_BUILD_PHASE_LOAD:
			return "loading tuples";
		case CHS_BUILD_PHASE_WRITE:
			return "writing pages";
		case CHS_BUILD_PHASE_LOG:
			return "writing WAL";
		default:
			return NULL;
	}
}
