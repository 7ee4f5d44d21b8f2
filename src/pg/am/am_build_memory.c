/*
 * am_build_memory.c
 *	  Where the rows of a build are kept until they are on pages.
 *
 * Three places: codes and edges in the node store (core/graph/store_mem.h),
 * further TIDs of equal rows in an array beside it, because a slot has room
 * for one, and the exact rows on pages of their own at once, because they are
 * large and not needed for linking.  The first two share what
 * maintenance_work_mem allows.  When either is full the build goes on on
 * pages.
 *
 * Nothing here knows whether the memory is one process's or shared.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#ifndef WIN32
#include <sys/mman.h>
#endif

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/am/am_build.h"

/* The sample's estimate may be low by so much without anybody noticing. */
#define ROWS_MARGIN 1.25
#define ROWS_MARGIN_MORE 1000

/* At most this part of the memory is for further TIDs. */
#define TIDS_SHARE 8
#define TIDS_MIN 2048 /* more than there can be participants */

/* At least the size of any page, on any processor. */
#define HUGE_ALIGN 65536

/*
 * The vector stream grows by a sixteenth, in steps of at most 8 MB: what is
 * too much is given back by the flush, but it must be possible to put other
 * streams there.  All participants round to the same bounds.
 */
#define GROWTH_SHARE 16
#define GROWTH_MAX_PAGES 1024

/* Of the memory for nodes, what the flush needs to put them in order. */
static Size
count_order_bytes(const ChsMemParams *params, Size budget)
{
	ChsSlotLayout layout = chs_slot_layout(params->code_bytes, params->m, 0);

	return budget / (layout.slot_bytes + CHS_ORDER_NODE_BYTES) *
		   CHS_ORDER_NODE_BYTES;
}

void
chs_build_plan(const ChsBuild *build, double rows, Size max_bytes,
			   ChsBuildPlan *plan)
{
	const ChsMetaPageData *meta = build->index->meta;
	Size budget = mul_size(maintenance_work_mem, 1024);
	uint64 nodes = (uint64) Min(rows * ROWS_MARGIN + ROWS_MARGIN_MORE,
								(double) CHS_NODE_NONE);
	Size tid_bytes;
	Size wanted;

	plan->limit = CHS_BUILD_LIMIT_SETTING;
	if (max_bytes > 0 && max_bytes < budget)
	{
		budget = max_bytes;
		plan->limit = CHS_BUILD_LIMIT_SHM;
	}

	plan->max_tids = (uint32) Min(budget / TIDS_SHARE / sizeof(ChsBuildTid),
								  nodes);
	plan->max_tids = Max(plan->max_tids, TIDS_MIN);
	tid_bytes = mul_size(plan->max_tids, sizeof(ChsBuildTid));
	budget = budget > tid_bytes ? budget - tid_bytes : 0;

	plan->mem.m = (int) meta->m;
	plan->mem.code_bytes = (uint32) chs_model_code_bytes(&build->model);
	plan->mem.row_bytes = 0;
	budget -= count_order_bytes(&plan->mem, budget);
	wanted = chs_mem_estimate(&plan->mem, nodes);
	if (wanted <= budget)
	{
		plan->limit = CHS_BUILD_LIMIT_ESTIMATE;
		budget = wanted;
	}
	plan->graph_bytes = Max(budget, chs_mem_fixed_bytes());
}

Size
chs_build_shared_bytes(const ChsBuildPlan *plan)
{
	return add_size(offsetof(ChsBuildShared, tids),
					mul_size(plan->max_tids, sizeof(ChsBuildTid)));
}

void
chs_build_shared_init(ChsBuildShared *shared, const ChsBuild *build,
					  const ChsBuildPlan *plan, double rows,
					  int participants_max)
{
	memset(shared, 0, offsetof(ChsBuildShared, tids));
	shared->heap_oid = RelationGetRelid(build->heap);
	shared->index_oid = RelationGetRelid(build->rel);
	shared->concurrent = build->info->ii_Concurrent;
	shared->participants_max = participants_max;
	shared->expected_rows = rows;
	shared->plan = *plan;
	shared->meta = *build->index->meta;

	BarrierInit(&shared->barrier, 0);
	ConditionVariableInit(&shared->ended);
	SpinLockInit(&shared->mutex);
	shared->rows_when_flushed = -1;
	pg_atomic_init_u64(&shared->rows, 0);
	pg_atomic_init_u32(&shared->ntids, 0);
}

void *
chs_build_align_area(void *area, Size bytes)
{
	char *start = (char *) TYPEALIGN(CHS_BUILD_AREA_ALIGN, area);

#ifdef MADV_HUGEPAGE
	/*
	 * A search touches a thousand places at random, so that address
	 * translation is felt: huge pages save 6 % of a build of 25,000 rows of
	 * 784 dimensions.  If they cannot be had nothing is lost.
	 */
	if (bytes >= 2 * HUGE_ALIGN)
	{
		char *from = (char *) TYPEALIGN(HUGE_ALIGN, start);

		(void) madvise(from, TYPEALIGN_DOWN(HUGE_ALIGN, start + bytes - from),
					   MADV_HUGEPAGE);
	}
#endif
	return start;
}

bool
chs_build_promise(ChsBuild *build, int level)
{
	ChsBuildShared *shared = build->shared;

	/*
	 * One row adds one TID at most, and every participant is busy with one
	 * row at most, so that as many free entries are enough for all of them.
	 * The number only grows: what one finds full all do.
	 */
	if (pg_atomic_read_u32(&shared->ntids) + (uint32) shared->participants_max >
		shared->plan.max_tids)
		return false;
	return chs_mem_promise(&build->mem, level);
}

/* Hook: one more TID for a node in memory. */
void
chs_build_keep_tid(void *context, ChsNodeRef to, const uint8_t *tid)
{
	ChsBuildShared *shared = ((ChsBuild *) context)->shared;
	uint32 i = pg_atomic_fetch_add_u32(&shared->ntids, 1);

	if (i >= shared->plan.max_tids)
		elog(ERROR, "too many equal vectors in a build");
	shared->tids[i].node = to.id;
	memcpy(&shared->tids[i].tid, tid, sizeof(ItemPointerData));
}

/*
 * Hook: an exact row, for the comparison that follows equal hashes.  Valid
 * until the next call.
 */
const void *
chs_build_read_row(void *context, ChsNodeId id)
{
	ChsBuild *build = (ChsBuild *) context;

	chs_stream_read(build->index, CHS_STREAM_VECTOR,
					(uint64) id * build->row_bytes, build->other,
					build->row_bytes);
	return build->other;
}

/* Makes sure that the vector stream covers `pages` pages. */
static void
reserve_vector_pages(ChsIndex *index, uint32 pages)
{
	uint32 step = Min(pages / GROWTH_SHARE, GROWTH_MAX_PAGES);

	if (pages <= index->meta->stream[CHS_STREAM_VECTOR].pages_allocated)
		return;
	step = Max(step, 1);
	chs_stream_reserve(index, CHS_STREAM_VECTOR,
					   (pages + step - 1) / step * step, true);
}

/* Writes the exact row of node `id` to its place. */
void
chs_build_write_row(ChsBuild *build, ChsNodeId id, const void *row)
{
	uint64 offset = (uint64) id * build->row_bytes;
	uint64 end = offset + build->row_bytes;

	reserve_vector_pages(build->index, (uint32) ((end + CHS_BYTES_PER_PAGE - 1) /
												 CHS_BYTES_PER_PAGE));
	chs_stream_write(build->index, CHS_STREAM_VECTOR, offset, row,
					 build->row_bytes);
}

/* Hook: a node is about to be seen by others; its row must be there. */
void
chs_build_place_row(void *context, ChsNodeId id, const ChsNewNode *node)
{
	chs_build_write_row((ChsBuild *) context, id, node->row);
}
