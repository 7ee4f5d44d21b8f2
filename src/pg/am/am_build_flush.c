/*
 * am_build_flush.c
 *	  Writes what a build has in memory to pages.
 *
 * Slots in memory and on pages are alike, so this is copying: every level
 * becomes a stream of exactly as many pages as it needs, and the further TIDs
 * of equal vectors become overflow lists without gaps.  What changes are the
 * numbers of nodes: they came as rows did, and leave such that neighbours share
 * pages (core/graph/graph_order.h); whatever names a node is told.  The
 * metapage is changed last and at once; until then it describes an empty index.
 *
 * Nobody else works on the index meanwhile, hence no lock rule is needed;
 * pages are locked because the checkpointer reads them.
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

/* Where one flush has come to in the list of further TIDs. */
typedef struct Flush
{
	ChsBuild *build;
	ChsBuildTid *tids; /* sorted by their nodes' new numbers */
	uint32 ntids;
	uint32 next_tid;  /* first one of a node not written yet */
	uint32 overflows; /* overflow slots given to nodes so far */

	/* of the level that is being written and of that below; see order_level */
	MemoryContext context;
	const ChsOrder *order;
	const ChsOrder *below;
} Flush;

/* Fills an empty slot on a page, that of the node whose new number is `id`. */
typedef void (*FillSlot)(Flush *flush, int level, ChsNodeId id,
						 ChsSlotHeader *slot);

/*
 * A zeroed, initialised and exclusively locked page of a stream; what the
 * block held does not matter.
 */
static Buffer
open_page(ChsIndex *index, int stream, uint32 number, ChsPageKind kind)
{
	Buffer buffer = ReadBufferExtended(index->rel, MAIN_FORKNUM,
									   chs_index_block(index, stream, number),
									   RBM_ZERO_AND_LOCK, NULL);

	chs_page_init(BufferGetPage(buffer), kind,
				  kind == CHS_PAGE_GRAPH ? stream : 0);
	return buffer;
}

static void
close_page(Buffer buffer)
{
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	CHECK_FOR_INTERRUPTS();
}

static inline uint32
pages_for(uint64 items, uint32 per_page)
{
	return (uint32) ((items + per_page - 1) / per_page);
}

/* ---- graph pages ---- */

/* Writes the `count` slots of a level. */
static void
write_level(Flush *flush, int level, uint32 count, FillSlot fill)
{
	ChsIndex *index = flush->build->index;
	const ChsSlotLayout *layout = chs_index_layout(index, level);
	uint32 per_page = chs_index_per_page(index, level);
	uint32 npages = pages_for(count, per_page);

	chs_stream_reserve(index, CHS_STREAM_GRAPH(level), npages, true);
	for (uint32 number = 0; number < npages; number++)
	{
		ChsNodeId first = number * per_page;
		uint32 n = Min(per_page, count - first);
		Buffer buffer = open_page(index, CHS_STREAM_GRAPH(level), number,
								  CHS_PAGE_GRAPH);

		for (uint32 i = 0; i < n; i++)
			fill(flush, level, first + i,
				 chs_page_slot(BufferGetPage(buffer), layout, i));
		chs_page_use(BufferGetPage(buffer),
					 chs_page_slot(BufferGetPage(buffer), layout, n));
		close_page(buffer);
	}
}

/* Gives node `id`, the next in order, the overflow slots it needs. */
static uint32
assign_overflow(Flush *flush, ChsNodeId id)
{
	uint32 first = flush->next_tid;
	uint32 head;

	while (flush->next_tid < flush->ntids &&
		   flush->tids[flush->next_tid].node == id)
		flush->next_tid++;
	if (flush->next_tid == first)
		return 0;

	head = flush->overflows + 1;
	flush->overflows += pages_for(flush->next_tid - first, CHS_OVERFLOW_TIDS);
	return head;
}

/*
 * From the node store.  The layouts differ when vectors serve as codes
 * (bits = 32): in memory they stand in the slot, on disk in their own stream.
 */
static void
fill_from_memory(Flush *flush, int level, ChsNodeId id, ChsSlotHeader *slot)
{
	ChsBuild *build = flush->build;
	const ChsOrder *order = flush->order;
	const ChsSlotLayout *from = chs_mem_layout(&build->mem, level);
	const ChsSlotLayout *to = chs_index_layout(build->index, level);
	ChsSlotHeader *node = chs_mem_slot(&build->mem, level, order->node_at[id]);
	const ChsEdge *old_edges = chs_slot_edges(from, node);
	ChsEdge *edges = chs_slot_edges(to, slot);

	Assert(from->max_degree == to->max_degree);
	Assert(to->code_bytes == 0 || to->code_bytes == from->code_bytes);
	*slot = *node;
	slot->lock = 0;
	slot->overflow = level == 0 ? assign_overflow(flush, id) : 0;
	if (level > 0)
		slot->down = flush->below->place_of[node->down];
	memcpy(chs_slot_factors(to, slot), chs_slot_factors(from, node),
		   sizeof(ChsFactors));
	memcpy(chs_slot_code(to, slot), chs_slot_code(from, node), to->code_bytes);
	for (int i = 0; i < node->degree; i++)
	{
		ChsEdge marks = old_edges[i] & (CHS_EDGE_ANCHOR | CHS_EDGE_SPARE);

		edges[i] = marks | order->place_of[CHS_EDGE_NODE(old_edges[i])];
	}
}

static void
fill_from_list(Flush *flush, int level, ChsNodeId id, ChsSlotHeader *slot)
{
	memcpy(slot, chs_build_flat_slot(flush->build, id),
		   flush->build->flat_bytes);
	slot->overflow = assign_overflow(flush, id);
}

/* ---- further TIDs ---- */

static int
compare_tids(const void *a, const void *b)
{
	const ChsBuildTid *left = a;
	const ChsBuildTid *right = b;

	if (left->node != right->node)
		return left->node < right->node ? -1 : 1;
	return ItemPointerCompare(unconstify(ItemPointerData *, &left->tid),
							  unconstify(ItemPointerData *, &right->tid));
}

/*
 * Fills overflow slot `number` with TIDs of one node from *next on, and links
 * it to the following slot if that node has more.
 */
static void
fill_overflow(const Flush *flush, uint32 number, uint32 *next,
			  ChsOverflowData *slot)
{
	const ChsBuildTid *tids = flush->tids;
	ChsNodeId owner = tids[*next].node;

	slot->owner = owner;
	slot->owner_version = 0; /* a build frees no slot */
	slot->used = 1;
	while (slot->ntids < CHS_OVERFLOW_TIDS && *next < flush->ntids &&
		   tids[*next].node == owner)
		slot->tids[slot->ntids++] = tids[(*next)++].tid;
	if (*next < flush->ntids && tids[*next].node == owner)
		slot->next = number + 2; /* the following one's number, plus one */
}

/* Writes the slots that write_level() has assigned, in the same order. */
static void
write_overflow(Flush *flush)
{
	ChsIndex *index = flush->build->index;
	uint32 npages = pages_for(flush->overflows, CHS_OVERFLOW_PER_PAGE);
	uint32 next = 0;

	chs_stream_reserve(index, CHS_STREAM_OVERFLOW, npages, true);
	for (uint32 number = 0; number < npages; number++)
	{
		uint32 first = number * CHS_OVERFLOW_PER_PAGE;
		uint32 n = Min(CHS_OVERFLOW_PER_PAGE, flush->overflows - first);
		Buffer buffer = open_page(index, CHS_STREAM_OVERFLOW, number,
								  CHS_PAGE_OVERFLOW);

		for (uint32 i = 0; i < n; i++)
			fill_overflow(flush, first + i, &next,
						  chs_page_overflow(BufferGetPage(buffer), i));
		chs_page_use(BufferGetPage(buffer),
					 chs_page_overflow(BufferGetPage(buffer), n));
		close_page(buffer);
	}
	Assert(next == flush->ntids);
}

/* ---- the vector stream's end ---- */

/*
 * Change of the metapage: pages that the vector stream reserved and did not
 * use belong to nobody again.  They are the last of the file, for no stream
 * has grown since the vectors began to come.
 */
static bool
return_vector_pages(ChsMetaPage meta, void *arg)
{
	ChsStreamState *vectors = &meta->stream[CHS_STREAM_VECTOR];
	uint32 used = *(uint32 *) arg;
	const ChsExtent *last;

	vectors->pages_used = used;
	if (meta->nextents == 0 || vectors->pages_allocated <= used)
		return true;
	last = &meta->extent[meta->nextents - 1];
	if (last->stream != CHS_STREAM_VECTOR || last->first_page >= used)
		return true;
	meta->next_block -= vectors->pages_allocated - used;
	vectors->pages_allocated = used;
	return true;
}

/*
 * Gives the vector stream the pages that `nodes` vectors need, and those of
 * the free slots on the last graph page: who takes one of them expects its
 * vector's place to be there.  The blocks given back must read as new: who
 * gets them next may not write all of them.
 */
static void
trim_vectors(ChsBuild *build, uint32 nodes)
{
	ChsIndex *index = build->index;
	uint32 per_page = chs_index_per_page(index, 0);
	uint64 slots = (uint64) pages_for(nodes, per_page) * per_page;
	uint32 used = pages_for(slots * build->row_bytes, CHS_BYTES_PER_PAGE);
	BlockNumber end;

	chs_stream_reserve(index, CHS_STREAM_VECTOR, used, true);
	end = index->meta->next_block;
	chs_meta_update(index, return_vector_pages, &used, false);
	for (BlockNumber block = index->meta->next_block; block < end; block++)
	{
		Buffer buffer = ReadBufferExtended(index->rel, MAIN_FORKNUM, block,
										   RBM_ZERO_AND_LOCK, NULL);

		memset(BufferGetPage(buffer), 0, BLCKSZ);
		close_page(buffer);
	}
}

/* ---- the metapage ---- */

/* What the metapage is told at the end of a flush. */
typedef struct FlushResult
{
	ChsPhase phase;
	int levels;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	uint32 count[CHS_MAX_LEVELS];
	uint32 overflows;
} FlushResult;

/* The page that is not full yet, as the hints for inserts name it. */
static uint32
partial_page(uint32 items, uint32 per_page)
{
	return items % per_page == 0 ? 0 : pages_for(items, per_page);
}

/* Change of the metapage: the index is as flushed. */
static bool
announce_flush(ChsMetaPage meta, void *arg)
{
	const FlushResult *result = (const FlushResult *) arg;

	meta->phase = (uint8) result->phase;
	meta->build_rows = result->count[0];
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		uint32 per_page = meta->per_page[level == 0 ? 0 : 1];
		uint32 partial = partial_page(result->count[level], per_page);

		meta->stream[CHS_STREAM_GRAPH(level)].pages_used = pages_for(
			result->count[level], per_page);
		if (level == 0)
			meta->insert_page[0] = partial;
		else
			meta->insert_page_upper[level] = partial;
		if (level < result->levels)
		{
			meta->entry[level].id = result->entry[level].id;
			meta->entry[level].version = result->entry[level].version;
		}
	}
	meta->stream[CHS_STREAM_OVERFLOW].pages_used = pages_for(
		result->overflows, CHS_OVERFLOW_PER_PAGE);
	meta->insert_page_overflow = partial_page(result->overflows,
											  CHS_OVERFLOW_PER_PAGE);
	/* the model was written whole */
	meta->stream[CHS_STREAM_MODEL].pages_used = meta->stream[CHS_STREAM_MODEL]
													.pages_allocated;
	return true;
}

/* ---- entry points ---- */

/* Tells all participants that the graph is on pages. */
static void
note_flushed(ChsBuildShared *shared)
{
	double rows = (double) pg_atomic_read_u64(&shared->rows);

	SpinLockAcquire(&shared->mutex);
	shared->rows_when_flushed = rows;
	SpinLockRelease(&shared->mutex);
}

static void
begin_flush(Flush *flush, ChsBuild *build)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
								 CHS_BUILD_PHASE_WRITE);
	memset(flush, 0, sizeof(*flush));
	flush->build = build;
	flush->ntids = pg_atomic_read_u32(&build->shared->ntids);
	flush->tids = build->shared->tids;
}

static void
sort_tids(Flush *flush)
{
	qsort(flush->tids, flush->ntids, sizeof(ChsBuildTid), compare_tids);
}

/*
 * Orders the nodes of the next level up, and keeps the order of the one before
 * it.  In flush->context, all of which goes when the flush is over: the levels
 * above the first are a fifteenth of it together.
 */
static void
order_level(Flush *flush, int level)
{
	ChsIndex *index = flush->build->index;
	ChsContextArena arena;
	ChsOrder *order = MemoryContextAlloc(flush->context, sizeof(ChsOrder));

	chs_context_arena_init(&arena, flush->context);
	chs_order_begin(order, &flush->build->mem, level,
					chs_index_per_page(index, level), &arena.arena);
	while (chs_order_page(order))
		CHECK_FOR_INTERRUPTS();
	flush->below = flush->order;
	flush->order = order;
}

/* Tells what is kept outside the slots of level 0 its nodes' new numbers. */
static void
renumber_rows(Flush *flush)
{
	for (uint32 i = 0; i < flush->ntids; i++)
		flush->tids[i].node = flush->order->place_of[flush->tids[i].node];
	sort_tids(flush);
	chs_build_move_rows(flush->build, flush->order);
}

/* Writes the overflow lists and then, last of all, the metapage. */
static void
end_flush(Flush *flush, FlushResult *result)
{
	ChsBuild *build = flush->build;

	write_overflow(flush);
	result->overflows = flush->overflows;
	chs_meta_update(build->index, announce_flush, result, false);
	note_flushed(build->shared);
}

/*
 * Reserves pages for the rows that are still to come, so that the streams
 * lie in one piece and do not grow by quarters.
 */
static void
reserve_rest(ChsBuild *build, uint32 nodes)
{
	ChsBuildShared *shared = build->shared;
	ChsIndex *index = build->index;
	uint32 per_page = chs_index_per_page(index, 0);
	double done = Max(shared->rows_when_flushed, 1);
	/* a little more than the sample promised; equal vectors as so far */
	double total = Max(nodes, 1) * (shared->expected_rows * 1.02 / done);
	uint32 npages;

	if (total <= nodes || total >= CHS_NODE_NONE)
		return;
	/* each participant fills a page of its own */
	npages = pages_for((uint64) total, per_page) +
			 (uint32) shared->participants_max;
	chs_stream_reserve(index, CHS_STREAM_GRAPH(0), npages, true);
	chs_stream_reserve(index, CHS_STREAM_VECTOR,
					   pages_for((uint64) npages * per_page * build->row_bytes,
								 CHS_BYTES_PER_PAGE),
					   true);
}

/* Writes one level of the graph in memory; they come in ascending order. */
static void
flush_level(Flush *flush, int level, FlushResult *result)
{
	uint32 count = chs_mem_count(&flush->build->mem, level);

	result->count[level] = count;
	if (count == 0)
		return;
	order_level(flush, level);
	if (level == 0)
		renumber_rows(flush);
	if (level < result->levels)
		result->entry[level].id = flush->order->place_of[result->entry[level].id];
	write_level(flush, level, count, fill_from_memory);
}

void
chs_build_flush(ChsBuild *build, bool more)
{
	ChsStore *store = &build->mem.store;
	FlushResult result = {.phase = CHS_PHASE_GRAPH};
	Flush flush;

	begin_flush(&flush, build);
	flush.context = AllocSetContextCreate(build->context, "chassis build order",
										  ALLOCSET_DEFAULT_SIZES);
	/* other participants have moved the end of the vector stream */
	chs_index_refresh(build->index);
	trim_vectors(build, chs_mem_count(&build->mem, 0));
	result.levels = store->ops->entries(store, true, result.entry);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		flush_level(&flush, level, &result);
	end_flush(&flush, &result);
	MemoryContextDelete(flush.context);
	if (more)
		reserve_rest(build, result.count[0]);
}

void
chs_build_flush_flat(ChsBuild *build)
{
	FlushResult result = {.phase = CHS_PHASE_FLAT};
	Flush flush;

	if (build->nflat == 0)
		return;
	begin_flush(&flush, build);
	sort_tids(&flush);
	trim_vectors(build, build->nflat);
	result.count[0] = build->nflat;
	write_level(&flush, 0, build->nflat, fill_from_list);
	end_flush(&flush, &result);
}
