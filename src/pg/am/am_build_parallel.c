/*
 * am_build_parallel.c
 *	  The scan of a build by several processes over one graph.
 *
 * The leader makes one shared memory segment before any worker exists: the
 * sizes, the model, the node store's area.  Then all participants, the leader
 * among them, take blocks from one parallel scan and add their rows to the
 * same graph; nothing else is divided.
 *
 * Whether the graph is in memory or on pages is the phase of a barrier:
 *	  0  in memory
 *	  1  all participants have stopped, one of them flushes
 *	  2  on pages
 * It stays at 0 when the memory lasts; then the leader flushes at the end.  A
 * participant joins the barrier before its first row and leaves it after its
 * last, so that nobody waits for one that has finished or never started.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#ifndef WIN32
#include <dlfcn.h>
#include <sys/statvfs.h>
#endif

#include "access/parallel.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "optimizer/clauses.h"
#include "pgstat.h"
#include "storage/dsm_impl.h"
#include "tcop/tcopprot.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "pg/am/am_build.h"

#define PARALLEL_KEY_SHARED UINT64CONST(0xC5A5000000000001)
#define PARALLEL_KEY_SCAN UINT64CONST(0xC5A5000000000002)
#define PARALLEL_KEY_MODEL UINT64CONST(0xC5A5000000000003)
#define PARALLEL_KEY_AREA UINT64CONST(0xC5A5000000000004)
#define PARALLEL_KEY_QUERY UINT64CONST(0xC5A5000000000005)
#define PARALLEL_KEY_WAL_USAGE UINT64CONST(0xC5A5000000000006)
#define PARALLEL_KEY_BUFFER_USAGE UINT64CONST(0xC5A5000000000007)

/* Phases of the barrier. */
#define PHASE_MEMORY 0
#define PHASE_FLUSH 1

/*
 * A row costs 0.1 to 1 ms, starting a worker some 10 ms: so many rows of few
 * dimensions are worth one; twice as many dimensions as WORK_DIM take about
 * twice as long.  As bits, 10,000 rows of 784 took a third of the time that they
 * took as floats.
 */
#define ROWS_PER_WORKER 2000
#define WORK_DIM 256.0
#define BITS_PER_DIM 8

/*
 * Of the free shared memory we take at most four fifths.  With less than a
 * quarter of what the graph needs, one process with memory of its own is
 * better than several that soon work on pages.
 */
#define SHM_SHARE 0.8
#define SHM_ENOUGH 4

/* How often a leader without work of its own reports progress. */
#define POLL_MS 500

/* The leader's side. */
typedef struct Leader
{
	ParallelContext *context;
	Snapshot snapshot;
	ChsBuildPlan plan;
	int participants;
	ChsBuildShared *shared;
	ParallelTableScanDesc scan;
	WalUsage *wal_usage;
	BufferUsage *buffer_usage;
} Leader;

/* ---- how many ---- */

/* May workers evaluate the index's expressions and predicate? */
static bool
is_safe(Relation rel)
{
	PlannerInfo *root = makeNode(PlannerInfo);

	root->parse = makeNode(Query);
	root->glob = makeNode(PlannerGlobal);
	return is_parallel_safe(root, (Node *) RelationGetIndexExpressions(rel)) &&
		   is_parallel_safe(root, (Node *) RelationGetIndexPredicate(rel));
}

/*
 * The table's parallel_workers option decides, as for any CREATE INDEX, and
 * max_parallel_maintenance_workers limits.  Otherwise the number of rows: the
 * server's own rule counts the table's pages, and the pages of large vectors
 * are not in the table but in its TOAST table.
 */
int
chs_build_workers(const ChsBuild *build, double rows)
{
	int workers = max_parallel_maintenance_workers;
	double dim = build->model.dim;
	int option = RelationGetParallelWorkers(build->heap, -1);

	if (workers == 0 || !IsUnderPostmaster ||
		build->heap->rd_rel->relpersistence == RELPERSISTENCE_TEMP ||
		!is_safe(build->rel))
		return 0;
	if (option >= 0)
		return Min(option, workers);
	if (build->model.row == CHS_ROW_BIT)
		dim /= BITS_PER_DIM;
	rows *= 1.0 + dim / WORK_DIM;
	return (int) Min(rows / ROWS_PER_WORKER, (double) workers);
}

/* ---- shared memory ---- */

/* Shared memory that may be taken; 0: not known. */
static Size
usable_shared_memory(void)
{
#ifndef WIN32
	const char *directory = NULL;
	struct statvfs state;

	if (dynamic_shared_memory_type == DSM_IMPL_POSIX)
		directory = "/dev/shm";
	else if (dynamic_shared_memory_type == DSM_IMPL_MMAP)
		directory = PG_DYNSHMEM_DIR;
	if (directory != NULL && statvfs(directory, &state) == 0)
		return Max((Size) ((double) state.f_bavail * (double) state.f_frsize *
						   SHM_SHARE),
				   1);
#endif
	return 0;
}

/*
 * Sizes of a shared graph; false, with a NOTICE, when there is so little
 * shared memory that a serial build is better.
 */
static bool
plan_shared(ChsBuild *build, double rows, ChsBuildPlan *plan)
{
	ChsBuildPlan without;

	chs_build_plan(build, rows, 0, &without);
	chs_build_plan(build, rows, usable_shared_memory(), plan);
	if (plan->graph_bytes >= without.graph_bytes / SHM_ENOUGH)
		return true;

	ereport(NOTICE,
			(errmsg("chassis graph is built by one process because shared "
					"memory is short"),
			 errdetail("The graph needs %zu kB; %zu kB can be had.",
					   without.graph_bytes / 1024, plan->graph_bytes / 1024),
			 errhint("Make more shared memory available to the server.")));
	return false;
}

static void
estimate_chunk(ParallelContext *context, Size bytes)
{
	shm_toc_estimate_chunk(&context->estimator, bytes);
	shm_toc_estimate_keys(&context->estimator, 1);
}

static Size
model_bytes(const ChsModel *model)
{
	return mul_size(chs_model_values(model), sizeof(float));
}

static Size
area_bytes(const ChsBuildPlan *plan)
{
	return add_size(plan->graph_bytes, CHS_BUILD_AREA_ALIGN);
}

static void
estimate_all(const ChsBuild *build, const Leader *leader)
{
	ParallelContext *context = leader->context;
	Size workers = (Size) context->nworkers;

	estimate_chunk(context, chs_build_shared_bytes(&leader->plan));
	estimate_chunk(context,
				   table_parallelscan_estimate(build->heap, leader->snapshot));
	estimate_chunk(context, model_bytes(&build->model));
	estimate_chunk(context, area_bytes(&leader->plan));
	estimate_chunk(context, mul_size(sizeof(WalUsage), workers));
	estimate_chunk(context, mul_size(sizeof(BufferUsage), workers));
	if (debug_query_string != NULL)
		estimate_chunk(context, strlen(debug_query_string) + 1);
}

static void *
add_chunk(Leader *leader, uint64 key, Size bytes)
{
	void *chunk = shm_toc_allocate(leader->context->toc, bytes);

	shm_toc_insert(leader->context->toc, key, chunk);
	return chunk;
}

/* Fills the segment. */
static void
fill_segment(ChsBuild *build, Leader *leader, double rows)
{
	Size workers = (Size) leader->context->nworkers;
	void *values;
	void *area;

	leader->shared = add_chunk(leader, PARALLEL_KEY_SHARED,
							   chs_build_shared_bytes(&leader->plan));
	chs_build_shared_init(leader->shared, build, &leader->plan, rows,
						  leader->context->nworkers + 1);
	build->shared = leader->shared;

	leader->scan = add_chunk(
		leader, PARALLEL_KEY_SCAN,
		table_parallelscan_estimate(build->heap, leader->snapshot));
	table_parallelscan_initialize(build->heap, leader->scan, leader->snapshot);

	/* the steps of L1 follow the mean */
	values = add_chunk(leader, PARALLEL_KEY_MODEL, model_bytes(&build->model));
	if (build->model.mean != NULL)
		memcpy(values, build->model.mean, model_bytes(&build->model));

	area = add_chunk(leader, PARALLEL_KEY_AREA, area_bytes(&leader->plan));
	chs_mem_create(&build->mem,
				   chs_build_align_area(area, leader->plan.graph_bytes),
				   leader->plan.graph_bytes, &leader->plan.mem, &build->model);

	leader->wal_usage = add_chunk(leader, PARALLEL_KEY_WAL_USAGE,
								  mul_size(sizeof(WalUsage), workers));
	leader->buffer_usage = add_chunk(leader, PARALLEL_KEY_BUFFER_USAGE,
									 mul_size(sizeof(BufferUsage), workers));
	if (debug_query_string != NULL)
		strcpy(add_chunk(leader, PARALLEL_KEY_QUERY,
						 strlen(debug_query_string) + 1),
			   debug_query_string);
}

/* ---- participants ---- */

void
chs_build_meet(ChsBuild *build)
{
	Barrier *barrier = &build->shared->barrier;

	if (BarrierArriveAndWait(barrier, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN))
		chs_build_flush(build, true);
	BarrierArriveAndWait(barrier, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
}

/* A participant's part of the rows, from joining to leaving. */
static void
participate(ChsBuild *build, ParallelTableScanDesc scan)
{
	ChsBuildShared *shared = build->shared;
	int phase;
	double heap_rows;

	build->parallel = true;
	chs_build_prepare(build);

	phase = BarrierAttach(&shared->barrier);
	if (phase == PHASE_FLUSH)
		BarrierArriveAndWait(&shared->barrier,
							 WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	if (phase != PHASE_MEMORY)
		chs_build_use_pages(build);

	heap_rows = table_index_build_scan(
		build->heap, build->rel, build->info, true, build->leader,
		chs_build_row, build, table_beginscan_parallel(build->heap, scan));

	/*
	 * Not BarrierArriveAndDetach(): the last to leave would move the phase
	 * on, and one that starts late would take that for a flush.
	 */
	BarrierDetach(&shared->barrier);

	SpinLockAcquire(&shared->mutex);
	shared->participants_ended++;
	shared->heap_rows += heap_rows;
	shared->index_rows += build->index_rows;
	shared->broken_hot_chain |= build->info->ii_BrokenHotChain;
	SpinLockRelease(&shared->mutex);
	ConditionVariableSignal(&shared->ended);
	ereport(DEBUG1, (errmsg_internal("chassis build: %s added %.0f rows",
									 build->leader ? "leader" : "worker",
									 build->index_rows)));
}

/* Leader: waits for all participants, showing progress meanwhile. */
static void
wait_for_all(ChsBuildShared *shared, int participants)
{
	ConditionVariablePrepareToSleep(&shared->ended);
	for (;;)
	{
		int ended;

		SpinLockAcquire(&shared->mutex);
		ended = shared->participants_ended;
		SpinLockRelease(&shared->mutex);
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
									 (int64) pg_atomic_read_u64(&shared->rows));
		if (ended == participants)
			break;
		ConditionVariableTimedSleep(&shared->ended, POLL_MS,
									WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();
}

/* ---- leader ---- */

/*
 * The file this code was loaded from.  The bare name would be looked up along
 * dynamic_library_path, which need not lead to the same file, or to any.
 */
static const char *
library_name(void)
{
#ifndef WIN32
	Dl_info info;

	if (dladdr((void *) chs_build_worker, &info) != 0 &&
		info.dli_fname != NULL && is_absolute_path(info.dli_fname))
		return info.dli_fname;
#endif
	return "chassis";
}

/* Ends what begin_parallel() has begun. */
static void
end_parallel(Leader *leader)
{
	if (IsMVCCSnapshot(leader->snapshot))
		UnregisterSnapshot(leader->snapshot);
	DestroyParallelContext(leader->context);
	ExitParallelMode();
}

/* Parallel mode, segment and workers; false if there is no segment left. */
static bool
begin_parallel(ChsBuild *build, Leader *leader, double rows, int workers)
{
	EnterParallelMode();
	leader->context = CreateParallelContext(library_name(), "chs_build_worker",
											workers);
	leader->snapshot = build->info->ii_Concurrent
						   ? RegisterSnapshot(GetTransactionSnapshot())
						   : SnapshotAny;
	estimate_all(build, leader);
	InitializeParallelDSM(leader->context);
	if (leader->context->seg == NULL)
	{
		end_parallel(leader);
		return false;
	}
	fill_segment(build, leader, rows);
	/* If none can be launched the leader does all of it. */
	LaunchParallelWorkers(leader->context);
	leader->participants = leader->context->nworkers_launched + 1;
	return true;
}

bool
chs_build_parallel(ChsBuild *build, double rows, int workers,
				   IndexBuildResult *result)
{
	Leader leader = {0};

	if (!plan_shared(build, rows, &leader.plan) ||
		!begin_parallel(build, &leader, rows, workers))
		return false;

	participate(build, leader.scan);
	/* Raises an error for a worker that died early, before we wait for it. */
	WaitForParallelWorkersToAttach(leader.context);
	wait_for_all(leader.shared, leader.participants);
	WaitForParallelWorkersToFinish(leader.context);
	for (int i = 0; i < leader.context->nworkers_launched; i++)
		InstrAccumParallelQuery(&leader.buffer_usage[i], &leader.wal_usage[i]);

	if (leader.shared->rows_when_flushed < 0)
		chs_build_flush(build, false);
	else
		chs_build_report_full(build);
	result->heap_tuples = leader.shared->heap_rows;
	result->index_tuples = leader.shared->index_rows;
	build->info->ii_BrokenHotChain |= leader.shared->broken_hot_chain;
	end_parallel(&leader);
	build->shared = NULL;
	return true;
}

/* ---- worker ---- */

/* A worker's state from what the leader left in the segment. */
static void
join_build(ChsBuild *build, Relation heap, Relation rel, shm_toc *toc,
		   ChsBuildShared *shared)
{
	IndexInfo *info = BuildIndexInfo(rel);
	ChsModel *model = &build->model;
	float *values = shm_toc_lookup(toc, PARALLEL_KEY_MODEL, false);
	void *area = shm_toc_lookup(toc, PARALLEL_KEY_AREA, false);

	info->ii_Concurrent = shared->concurrent;
	chs_build_begin(build, heap, rel, info, &shared->meta);
	build->shared = shared;
	chs_model_use(model, values);
	chs_index_set_model(build->index, values);
	chs_mem_attach(&build->mem,
				   chs_build_align_area(area, shared->plan.graph_bytes), model);
}

/* Entry point of a worker process. */
void
chs_build_worker(dsm_segment *segment, shm_toc *toc)
{
	ChsBuildShared *shared = shm_toc_lookup(toc, PARALLEL_KEY_SHARED, false);
	WalUsage *wal_usage = shm_toc_lookup(toc, PARALLEL_KEY_WAL_USAGE, false);
	BufferUsage *buffer_usage = shm_toc_lookup(toc, PARALLEL_KEY_BUFFER_USAGE,
											   false);
	/* the locks that index.c is known to hold in the leader */
	LOCKMODE heap_lock = shared->concurrent ? ShareUpdateExclusiveLock
											: ShareLock;
	LOCKMODE index_lock = shared->concurrent ? RowExclusiveLock
											 : AccessExclusiveLock;
	ChsBuild build;
	Relation heap;
	Relation rel;

	debug_query_string = shm_toc_lookup(toc, PARALLEL_KEY_QUERY, true);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	heap = table_open(shared->heap_oid, heap_lock);
	rel = index_open(shared->index_oid, index_lock);

	InstrStartParallelQuery();
	join_build(&build, heap, rel, toc, shared);
	participate(&build, shm_toc_lookup(toc, PARALLEL_KEY_SCAN, false));
	InstrEndParallelQuery(&buffer_usage[ParallelWorkerNumber],
						  &wal_usage[ParallelWorkerNumber]);

	MemoryContextDelete(build.context);
	index_close(rel, index_lock);
	table_close(heap, heap_lock);
}
