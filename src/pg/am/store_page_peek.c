/*
 * store_page_peek.c
 *	  The node store over buffers: reading without pin or lock.
 *
 * A search scores a thousand nodes, each on a page of its own, to find out
 * where to go; it returns ten.  The thousand are read by peeks: see buffer.h
 * for what that is and when it is safe.  What could not be read so is left to
 * store_page.c, which pins and locks.
 *
 * Separate because the rules are others than for all other readers: bytes may
 * change while they are looked at, so that nothing read here may be returned,
 * linked, or used as a size.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"

#include "pg/am/am.h"
#include "pg/am/buffer.h"
#include "pg/am/store_page.h"

/*
 * The block of a level's page.  A level that was built and has not grown since
 * stands in one extent, which needs no search.
 */
static inline BlockNumber
find_block(ChsIndex *index, int level, uint32 page)
{
	int stream = CHS_STREAM_GRAPH(level);
	const ChsExtent *extent = &index->map[index->map_start[stream]];

	if (index->map_start[stream + 1] - index->map_start[stream] == 1 &&
		page < index->meta->stream[stream].pages_allocated)
		return extent->start_block + (page - extent->first_page);
	return chs_index_block(index, stream, page);
}

/* The slots of one hop: where they are by the hints, and what is scored. */
typedef struct PeekBatch
{
	BlockNumber blocks[CHS_MAX_DEGREE];
	Buffer buffers[CHS_MAX_DEGREE]; /* InvalidBuffer: not peeked at */
	ChsSlotHeader *slots[CHS_MAX_DEGREE];

	/* those in the graph, and their positions */
	const uint8 *codes[CHS_MAX_DEGREE];
	const ChsFactors *factors[CHS_MAX_DEGREE];
	int places[CHS_MAX_DEGREE];
	int ncodes;
} PeekBatch;

/*
 * Asks the processor for everything that scoring n nodes will read, so that it
 * waits once for all of them.
 */
static inline void
prefetch_batch(ChsPageStore *store, int level, const ChsNodeId *ids, int n,
			   PeekBatch *batch)
{
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	const ChsPageOfNode *by = chs_page_of(store, level);

	for (int i = 0; i < n; i++)
	{
		uint32 slot;
		uint32 page = chs_find_page(by, ids[i], &slot);

		batch->blocks[i] = find_block(store->index, level, page);
		batch->buffers[i] = chs_hint_of(store->index->hints, batch->blocks[i]);
		if (!BufferIsValid(batch->buffers[i]))
			continue;
		chs_peek_prefetch(batch->buffers[i]);
		batch->slots[i] = chs_page_slot(BufferGetPage(batch->buffers[i]),
										layout, slot);
		chs_slot_prefetch(layout, batch->slots[i]);
	}
}

/*
 * Finds out which pages are there and what state their slots are in.  Returns
 * how many are not; their positions are in missed.
 */
static inline int
begin_batch(ChsPageStore *store, int level, const ChsNodeId *ids, int n,
			PeekBatch *batch, ChsScored *out, int *missed)
{
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	int nmissed = 0;

	batch->ncodes = 0;
	for (int i = 0; i < n; i++)
	{
		if (!BufferIsValid(batch->buffers[i]) ||
			!chs_peek_begin(store->index->hints, batch->buffers[i],
							batch->blocks[i]))
		{
			batch->buffers[i] = InvalidBuffer;
			missed[nmissed++] = i;
			continue;
		}
		chs_copy_facts(&out[i], ids[i], batch->slots[i]);
		if (!chs_scored_in_graph(&out[i]))
			continue;
		batch->codes[batch->ncodes] = chs_slot_code(layout, batch->slots[i]);
		batch->factors[batch->ncodes] = chs_slot_factors(layout,
														 batch->slots[i]);
		batch->places[batch->ncodes++] = i;
	}
	return nmissed;
}

/*
 * A slot may change while it is read.  The code and the factors of a node never
 * do as long as it is in the graph; a slot that is freed or taken meanwhile
 * gives some estimate for a version that will not be returned (L8), or for a
 * row whose insert is not over, which no snapshot in use now can see.
 */
int
chs_page_peek_scores(ChsPageStore *store, int level, const ChsQuery *query,
					 const ChsNodeId *ids, int n, ChsScored *out, int *missed)
{
	PeekBatch batch;
	float est[CHS_MAX_DEGREE];
	float err[CHS_MAX_DEGREE];
	int nmissed;

	prefetch_batch(store, level, ids, n, &batch);
	nmissed = begin_batch(store, level, ids, n, &batch, out, missed);
	chs_estimate(query, batch.codes, batch.factors, batch.ncodes, est,
				 store->store.no_errors ? NULL : err);
	for (int i = 0; i < batch.ncodes; i++)
	{
		out[batch.places[i]].est = est[i];
		if (!store->store.no_errors)
			out[batch.places[i]].err = err[i];
	}
	pg_read_barrier();
	for (int i = 0; i < n; i++)
	{
		if (BufferIsValid(batch.buffers[i]) &&
			!chs_peek_end(store->index->hints, batch.buffers[i], batch.blocks[i]))
			missed[nmissed++] = i;
	}
	return nmissed;
}

/*
 * What a live node's slot says besides its TIDs and edges never changes, so a
 * slot that is in the same state and version after it was copied as before gave
 * the copy that a reader under the lock would have got; but for the instant in
 * which it turns live, when the code may still be another's.  That makes for a
 * poor choice of edges, which are proposed to lists under the lock (L5), and
 * for nothing worse: the code itself goes nowhere.
 */
int
chs_page_peek_nodes(ChsPageStore *store, int level, const ChsNodeId *ids,
					int n, ChsNodeCopy *out, int *missed)
{
	const ChsHints *hints = store->index->hints;
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	PeekBatch batch;
	int nmissed = 0;

	prefetch_batch(store, level, ids, n, &batch);
	for (int i = 0; i < n; i++)
	{
		const volatile ChsSlotHeader *slot;

		if (!BufferIsValid(batch.buffers[i]) ||
			!chs_peek_begin(hints, batch.buffers[i], batch.blocks[i]))
		{
			missed[nmissed++] = i;
			continue;
		}
		slot = batch.slots[i];
		chs_copy_node(&out[i], ids[i], batch.slots[i], layout);
		pg_read_barrier();
		if (!chs_peek_end(hints, batch.buffers[i], batch.blocks[i]) ||
			slot->state != out[i].state || slot->version != out[i].ref.version)
			missed[nmissed++] = i;
	}
	return nmissed;
}

/*
 * A list that is being changed is read as it stands, which the graph allows
 * for; a number that the level may not have is left to the reader under the
 * lock, who knows whether the level has grown or the page is damaged.
 */
int
chs_page_peek_neighbors(ChsPageStore *store, int level, ChsNodeId id,
						ChsNodeId *out)
{
	const ChsHints *hints = store->index->hints;
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	uint32 slot;
	uint32 page = chs_find_page(chs_page_of(store, level), id, &slot);
	BlockNumber block = find_block(store->index, level, page);
	Buffer buffer = chs_hint_of(hints, block);
	uint32 largest = 0;
	int n;

	if (!BufferIsValid(buffer) || !chs_peek_begin(hints, buffer, block) ||
		!chs_page_is(BufferGetPage(buffer), CHS_PAGE_GRAPH, level))
		return -1;
	n = chs_copy_neighbors(
		layout, chs_page_slot(BufferGetPage(buffer), layout, slot), out);
	pg_read_barrier();
	if (!chs_peek_end(hints, buffer, block))
		return -1;
	for (int i = 0; i < n; i++)
		largest = Max(largest, out[i]);
	return n == 0 || largest < chs_index_capacity(store->index, level) ? n : -1;
}
