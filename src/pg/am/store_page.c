/*
 * store_page.c
 *	  The node store over buffers: reading.
 *
 * Turns node numbers into pages, pins the pages of one hop as a batch, asks the
 * processor to fetch the slots, and then visits them one page at a time under
 * its share lock.  No call returns with a pin or a lock (L3).  The algorithm
 * above knows nothing of this, and this file knows nothing of the algorithm.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/am/am.h"

/* Cache lines of a slot that are asked for ahead; more would be evicted again. */
#define PREFETCH_LINES 12
#define CACHE_LINE 64

/* What a batch needs, allocated once per store. */
typedef struct ChsPageScratch
{
	int batch_limit;
	int room;              /* of order */
	uint32 *order;         /* positions sorted by node number */
	float *vector;         /* one exact vector */
	ItemPointerData *tids; /* of one node, for rerank from the table */
	int tids_room;
} ChsPageScratch;

/* ---- visiting slots ---- */

/*
 * Called for each node of a batch with its slot, under the page's share lock;
 * position is the node's index in the caller's array.
 */
typedef void (*SlotVisitor)(void *context, int position,
							const ChsSlotHeader *slot);

/* Fills scratch->order with 0 .. n - 1, sorted by ids (few, nearly random). */
static const uint32 *
sort_positions(ChsPageScratch *scratch, const ChsNodeId *ids, int n,
			   MemoryContext context)
{
	uint32 *order;

	if (n > scratch->room)
	{
		scratch->room = Max(n, CHS_MAX_DEGREE);
		scratch->order = MemoryContextAlloc(context,
											scratch->room * sizeof(uint32));
	}
	order = scratch->order;
	for (int i = 0; i < n; i++)
	{
		int j = i;

		while (j > 0 && ids[order[j - 1]] > ids[i])
		{
			order[j] = order[j - 1];
			j--;
		}
		order[j] = (uint32) i;
	}
	return order;
}

/* Asks the processor for the part of a slot that scoring reads. */
static inline void
prefetch_slot(const ChsSlotHeader *slot, const ChsSlotLayout *layout)
{
	const char *start = (const char *) slot;
	uint32 bytes = Min(layout->code + layout->code_bytes,
					   PREFETCH_LINES * CACHE_LINE);

	for (uint32 i = 0; i < bytes; i += CACHE_LINE)
		__builtin_prefetch(start + i);
	__builtin_prefetch(start + bytes - 1);
}

/* One batch: nodes order[0 .. n - 1] stand on at most batch_limit pages. */
typedef struct SlotBatch
{
	int npages;
	BlockNumber blocks[CHS_MAX_PIN_BATCH];
	Buffer buffers[CHS_MAX_PIN_BATCH];
	int first[CHS_MAX_PIN_BATCH + 1]; /* first node of each page */
} SlotBatch;

/* Takes as many nodes as fit a batch; returns how many. */
static int
fill_batch(ChsPageStore *store, int level, const ChsNodeId *ids,
		   const uint32 *order, int n, SlotBatch *batch)
{
	uint32 per_page = chs_index_per_page(store->index, level);
	uint32 page = UINT32_MAX;
	int taken = 0;

	batch->npages = 0;
	for (; taken < n; taken++)
	{
		uint32 this_page = ids[order[taken]] / per_page;

		if (this_page == page)
			continue;
		if (batch->npages == store->scratch->batch_limit)
			break;
		page = this_page;
		batch->blocks[batch->npages] = chs_index_block(
			store->index, CHS_STREAM_GRAPH(level), page);
		batch->first[batch->npages++] = taken;
	}
	batch->first[batch->npages] = taken;
	return taken;
}

static inline const ChsSlotHeader *
slot_of(ChsPageStore *store, int level, Buffer buffer, ChsNodeId id)
{
	return chs_page_slot(BufferGetPage(buffer),
						 chs_index_layout(store->index, level),
						 id % chs_index_per_page(store->index, level));
}

/*
 * Visits n nodes of a level, each page once.  Inlined with a constant visitor.
 *
 * Pages are not checked here: it would touch two more cache lines of each
 * (22 % of a query's time on 60,000 x 784).  Whatever stands on a wrong page
 * is read within bounds and yields some estimate; the page is checked when
 * the node is expanded, linked or returned.
 */
static pg_attribute_always_inline void
visit_slots(ChsPageStore *store, int level, const ChsNodeId *ids, int n,
			SlotVisitor visit, void *context)
{
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	const uint32 *order = sort_positions(store->scratch, ids, n,
										 store->index->context);
	int done = 0;

	while (done < n)
	{
		SlotBatch batch;
		int taken = fill_batch(store, level, ids, order + done, n - done,
							   &batch);

		chs_buffer_read_batch(store->index, batch.blocks, batch.npages,
							  batch.buffers);
		for (int p = 0; p < batch.npages; p++)
		{
			for (int i = batch.first[p]; i < batch.first[p + 1]; i++)
				prefetch_slot(slot_of(store, level, batch.buffers[p],
									  ids[order[done + i]]),
							  layout);
		}
		for (int p = 0; p < batch.npages; p++)
		{
			Buffer buffer = batch.buffers[p];

			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			for (int i = batch.first[p]; i < batch.first[p + 1]; i++)
			{
				uint32 position = order[done + i];

				visit(context, (int) position,
					  slot_of(store, level, buffer, ids[position]));
			}
			UnlockReleaseBuffer(buffer);
		}
		done += taken;
	}
}

/* Pins and share-locks the page of one node. */
static Buffer
lock_node(ChsPageStore *store, int level, ChsNodeId id)
{
	Buffer buffer = chs_buffer_read(
		store->index,
		chs_index_block(store->index, CHS_STREAM_GRAPH(level),
						id / chs_index_per_page(store->index, level)));

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(store->index->rel, buffer, CHS_PAGE_GRAPH, level);
	return buffer;
}

static inline bool
in_graph(const ChsSlotHeader *slot)
{
	return slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_DEAD;
}

/* ---- exact vectors ---- */

/* Reads one exact vector piece by piece into out. */
void
chs_page_store_vector(ChsPageStore *store, ChsNodeId id, float *out)
{
	uint32 bytes = store->index->meta->vector_bytes;

	chs_stream_read(store->index, CHS_STREAM_VECTOR, (uint64) id * bytes, out,
					bytes);
}

/* The stream pages that a node's vector stands on. */
static inline void
vector_pages(const ChsIndex *index, ChsNodeId id, uint32 *first, uint32 *last)
{
	uint64 start = (uint64) id * index->meta->vector_bytes;

	*first = (uint32) (start / CHS_BYTES_PER_PAGE);
	*last = (uint32) ((start + index->meta->vector_bytes - 1) /
					  CHS_BYTES_PER_PAGE);
}

/* Does something with one contiguous exact vector. */
typedef void (*VectorVisitor)(void *context, int position, const float *x);

/*
 * Hands the vector of one node to the visitor from pinned pages: in place
 * under the page's share lock if it stands on one page, else from a copy.
 */
static void
visit_vector(ChsPageStore *store, ChsNodeId id, const Buffer *buffers,
			 VectorVisitor visit, void *context, int position)
{
	uint32 bytes = store->index->meta->vector_bytes;
	uint32 start = (uint32) (((uint64) id * bytes) % CHS_BYTES_PER_PAGE);
	char *out = (char *) store->scratch->vector;

	for (int i = 0; bytes > 0; i++)
	{
		uint32 piece = Min(bytes, (uint32) CHS_BYTES_PER_PAGE - start);
		Page page = BufferGetPage(buffers[i]);
		const char *data = page + CHS_BYTES_OFFSET + start;

		LockBuffer(buffers[i], BUFFER_LOCK_SHARE);
		chs_page_check(store->index->rel, buffers[i], CHS_PAGE_VECTOR, 0);
		if (piece == store->index->meta->vector_bytes && !PageIsNew(page))
		{
			visit(context, position, (const float *) data);
			LockBuffer(buffers[i], BUFFER_LOCK_UNLOCK);
			return;
		}
		if (PageIsNew(page))
			memset(out, 0, piece);
		else
			memcpy(out, data, piece);
		LockBuffer(buffers[i], BUFFER_LOCK_UNLOCK);
		out += piece;
		bytes -= piece;
		start = 0;
	}
	visit(context, position, store->scratch->vector);
}

/* Takes vectors until their pages fill a batch; returns how many (>= 1). */
static int
fill_vector_batch(ChsPageStore *store, const ChsNodeId *ids,
				  const uint32 *order, int n, SlotBatch *batch)
{
	int taken = 0;

	batch->npages = 0;
	for (; taken < n; taken++)
	{
		uint32 first;
		uint32 last;

		vector_pages(store->index, ids[order[taken]], &first, &last);
		if (batch->npages + (int) (last - first) + 1 > CHS_MAX_PIN_BATCH ||
			(taken > 0 && batch->npages + (int) (last - first) + 1 >
							  store->scratch->batch_limit))
			break;
		batch->first[taken] = batch->npages;
		for (uint32 page = first; page <= last; page++)
			batch->blocks[batch->npages++] = chs_index_block(
				store->index, CHS_STREAM_VECTOR, page);
	}
	return taken;
}

/*
 * Visits the exact vectors of n nodes in page order.  A page shared by two
 * vectors is pinned once for each; that costs less than finding out.
 */
static void
visit_vectors(ChsPageStore *store, const ChsNodeId *ids, int n,
			  VectorVisitor visit, void *context)
{
	const uint32 *order = sort_positions(store->scratch, ids, n,
										 store->index->context);
	int done = 0;

	while (done < n)
	{
		SlotBatch batch;
		int taken = fill_vector_batch(store, ids, order + done, n - done,
									  &batch);

		chs_buffer_read_batch(store->index, batch.blocks, batch.npages,
							  batch.buffers);
		for (int i = 0; i < taken; i++)
		{
			ChsNodeId id = ids[order[done + i]];
			uint32 start = (uint32) (((uint64) id *
									  store->index->meta->vector_bytes) %
									 CHS_BYTES_PER_PAGE);
			const char *data = BufferGetPage(batch.buffers[batch.first[i]]) +
							   CHS_BYTES_OFFSET + start;

			/* the processor follows a sequential read from there */
			__builtin_prefetch(data);
			__builtin_prefetch(data + CACHE_LINE);
		}
		for (int i = 0; i < taken; i++)
			visit_vector(store, ids[order[done + i]],
						 batch.buffers + batch.first[i], visit, context,
						 (int) order[done + i]);
		for (int p = 0; p < batch.npages; p++)
			ReleaseBuffer(batch.buffers[p]);
		done += taken;
	}
}

/* ---- score ---- */

typedef struct ScoreContext
{
	const ChsSlotLayout *layout;
	const ChsQuery *query;
	const ChsNodeId *ids;
	ChsScored *out;
	ChsFactors *factors; /* bits = 32: copies, the vectors come later */
} ScoreContext;

/* What a scored node tells apart from its estimate. */
static inline void
copy_facts(ChsScored *scored, ChsNodeId id, const ChsSlotHeader *slot)
{
	scored->est = FLT_MAX;
	scored->err = 0;
	scored->id = id;
	scored->version = slot->version;
	scored->state = slot->state;
	scored->flags = slot->flags;
	scored->down = slot->down;
	scored->down_version = slot->down_version;
	scored->unused = 0;
}

static inline void
score_slot(void *arg, int position, const ChsSlotHeader *slot)
{
	ScoreContext *context = arg;
	ChsScored *scored = &context->out[position];
	const uint8 *code;
	const ChsFactors *factors;

	copy_facts(scored, context->ids[position], slot);
	if (!in_graph(slot))
		return;
	code = chs_slot_code(context->layout, unconstify(ChsSlotHeader *, slot));
	factors = chs_slot_factors(context->layout,
							   unconstify(ChsSlotHeader *, slot));
	chs_estimate(context->query, &code, &factors, 1, &scored->est, &scored->err);
}

static inline void
copy_score_facts(void *arg, int position, const ChsSlotHeader *slot)
{
	ScoreContext *context = arg;

	copy_facts(&context->out[position], context->ids[position], slot);
	context->factors[position] = *chs_slot_factors(
		context->layout, unconstify(ChsSlotHeader *, slot));
}

static void
score_vector(void *arg, int position, const float *x)
{
	ScoreContext *context = arg;
	ChsScored *scored = &context->out[position];
	const uint8 *code = (const uint8 *) x;
	const ChsFactors *factors = &context->factors[position];

	if (scored->state == CHS_SLOT_LIVE || scored->state == CHS_SLOT_DEAD)
		chs_estimate(context->query, &code, &factors, 1, &scored->est,
					 &scored->err);
}

/*
 * The level-0 numbers of nodes of any level, for their exact vectors: those of
 * upper levels are found by following `down`.  With bits = 32 only.  A number
 * that cannot be (a free slot's, a damaged one) becomes 0: any vector will do
 * for a node that is ignored or wrong anyway.
 */
static void
find_base_ids(ChsPageStore *store, int level, const ChsNodeId *ids, int n,
			  ChsNodeId *base)
{
	memcpy(base, ids, n * sizeof(ChsNodeId));
	for (; level > 0; level--)
	{
		uint32 limit = chs_index_capacity(store->index, level - 1);

		for (int i = 0; i < n; i++)
		{
			ChsSlotHeader header;

			chs_page_store_header(store, level, base[i], &header);
			base[i] = header.down < limit ? header.down : 0;
		}
	}
}

static void
score_nodes(ChsStore *base, int level, const ChsQuery *query,
			const ChsNodeId *ids, int n, ChsScored *out)
{
	ChsPageStore *store = (ChsPageStore *) base;
	ScoreContext context;

	context.layout = chs_index_layout(store->index, level);
	context.query = query;
	context.ids = ids;
	context.out = out;
	if (context.layout->code_bytes > 0)
	{
		visit_slots(store, level, ids, n, score_slot, &context);
		return;
	}
	else
	{
		ChsFactors factors[CHS_MAX_DEGREE];
		ChsNodeId vectors[CHS_MAX_DEGREE];

		Assert(n <= CHS_MAX_DEGREE);
		context.factors = factors;
		visit_slots(store, level, ids, n, copy_score_facts, &context);
		find_base_ids(store, level, ids, n, vectors);
		visit_vectors(store, vectors, n, score_vector, &context);
	}
}

/* ---- fetch ---- */

typedef struct FetchContext
{
	const ChsSlotLayout *layout;
	const ChsNodeId *ids;
	ChsNodeCopy *out;
	uint32 vector_bytes;
} FetchContext;

static inline void
fetch_slot(void *arg, int position, const ChsSlotHeader *slot)
{
	FetchContext *context = arg;
	ChsNodeCopy *copy = &context->out[position];
	ChsSlotHeader *source = unconstify(ChsSlotHeader *, slot);

	copy->ref.id = context->ids[position];
	copy->ref.version = slot->version;
	copy->state = slot->state;
	copy->flags = slot->flags;
	copy->down.id = slot->down;
	copy->down.version = slot->down_version;
	copy->hash = slot->hash;
	*copy->factors = *chs_slot_factors(context->layout, source);
	memcpy(copy->code, chs_slot_code(context->layout, source),
		   context->layout->code_bytes);
}

static void
fetch_vector(void *arg, int position, const float *x)
{
	FetchContext *context = arg;

	memcpy(context->out[position].code, x, context->vector_bytes);
}

static void
fetch_nodes(ChsStore *base, int level, const ChsNodeId *ids, int n, void *mem,
			ChsNodeCopy *out)
{
	ChsPageStore *store = (ChsPageStore *) base;
	Size bytes = chs_node_copy_bytes(base->model);
	FetchContext context;

	for (int i = 0; i < n; i++)
	{
		out[i].factors = (ChsFactors *) ((char *) mem + i * bytes);
		out[i].code = (uint8 *) (out[i].factors + 1);
	}
	context.layout = chs_index_layout(store->index, level);
	context.ids = ids;
	context.out = out;
	context.vector_bytes = store->index->meta->vector_bytes;
	visit_slots(store, level, ids, n, fetch_slot, &context);
	if (context.layout->code_bytes == 0 && n > 0)
	{
		ChsNodeId *vectors = palloc(n * sizeof(ChsNodeId));

		find_base_ids(store, level, ids, n, vectors);
		visit_vectors(store, vectors, n, fetch_vector, &context);
		pfree(vectors);
	}
}

/* ---- single nodes ---- */

static int
read_neighbors(ChsStore *base, int level, ChsNodeId id, ChsNodeId *out)
{
	ChsPageStore *store = (ChsPageStore *) base;
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	Buffer buffer;
	const ChsSlotHeader *slot;
	int n = 0;

	CHECK_FOR_INTERRUPTS();
	buffer = lock_node(store, level, id);
	slot = slot_of(store, level, buffer, id);
	if (in_graph(slot))
	{
		const ChsEdge *edges = chs_slot_edges(
			layout, unconstify(ChsSlotHeader *, slot));

		n = Min(slot->degree, layout->max_degree);
		for (int i = 0; i < n; i++)
			out[i] = CHS_EDGE_NODE(edges[i]);
	}
	UnlockReleaseBuffer(buffer);
	return n;
}

static void
read_list(ChsStore *base, int level, ChsNodeId id, ChsList *out)
{
	ChsPageStore *store = (ChsPageStore *) base;
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);
	Buffer buffer;
	const ChsSlotHeader *slot;

	CHECK_FOR_INTERRUPTS();
	buffer = lock_node(store, level, id);
	slot = slot_of(store, level, buffer, id);
	out->owner.id = id;
	out->owner.version = slot->version;
	out->state = slot->state;
	out->degree = 0;
	if (in_graph(slot))
		out->degree = slot->degree; /* even if it is damaged: see list() */
	memcpy(out->edges, chs_slot_edges(layout, unconstify(ChsSlotHeader *, slot)),
		   Min((uint32) out->degree, layout->max_degree) * sizeof(ChsEdge));
	UnlockReleaseBuffer(buffer);
}

void
chs_page_store_header(ChsPageStore *store, int level, ChsNodeId id,
					  ChsSlotHeader *header)
{
	Buffer buffer = lock_node(store, level, id);

	*header = *slot_of(store, level, buffer, id);
	UnlockReleaseBuffer(buffer);
}

int
chs_page_store_tids(ChsPageStore *store, ChsNodeRef ref,
					ItemPointerData **tids, int *room)
{
	Buffer buffer = lock_node(store, 0, ref.id);
	const ChsSlotHeader *slot = slot_of(store, 0, buffer, ref.id);
	int n = 0;

	if (*room == 0)
	{
		*room = 8;
		*tids = MemoryContextAlloc(store->index->context,
								   *room * sizeof(ItemPointerData));
	}
	if ((slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_UNLINKED) &&
		slot->version == ref.version)
	{
		ItemPointer tid = chs_slot_tid(unconstify(ChsSlotHeader *, slot));

		if (ItemPointerIsValid(tid))
			(*tids)[n++] = *tid;
		chs_overflow_collect(store->index, ref, slot->overflow, tids, &n, room);
	}
	UnlockReleaseBuffer(buffer);
	return n;
}

int
chs_page_store_find_hash(ChsPageStore *store, uint32 page, uint64 hash,
						 ChsNodeRef *refs, int max)
{
	uint32 per_page = chs_index_per_page(store->index, 0);
	ChsNodeId first = page * per_page;
	Buffer buffer = lock_node(store, 0, first);
	int n = 0;

	for (uint32 i = 0; i < per_page && n < max; i++)
	{
		const ChsSlotHeader *slot = slot_of(store, 0, buffer, first + i);

		if (slot->state == CHS_SLOT_UNLINKED && slot->hash == hash)
		{
			refs[n].id = first + i;
			refs[n++].version = slot->version;
		}
	}
	UnlockReleaseBuffer(buffer);
	return n;
}

/* ---- exact ---- */

typedef struct ExactContext
{
	const ChsQuery *query;
	double *keys;
} ExactContext;

static void
compute_key(void *arg, int position, const float *x)
{
	ExactContext *context = arg;
	const ChsModel *model = context->query->model;
	double key = chs_distance_key(model->metric, context->query->vector, x,
								  model->dim);

	/* infinity means "do not return"; a sum that overflowed is only far */
	if (isinf(key))
		key = key > 0 ? DBL_MAX : -DBL_MAX;
	context->keys[position] = key;
}

/* Exact keys from the rows themselves; a node no row of which is visible is
 * left out. */
static void
exact_from_heap(ChsPageStore *store, const ChsNodeRef *nodes, int n,
				ExactContext *context)
{
	ChsPageScratch *scratch = store->scratch;

	for (int i = 0; i < n; i++)
	{
		int ntids = chs_page_store_tids(store, nodes[i], &scratch->tids,
										&scratch->tids_room);

		if (chs_heap_fetch_vector(store->heap, scratch->tids, ntids,
								  scratch->vector, store->index->meta->dim))
			compute_key(context, i, scratch->vector);
		else
			context->keys[i] = HUGE_VAL;
	}
}

static void
exact_keys(ChsStore *base, const ChsQuery *query, const ChsNodeRef *nodes,
		   int n, double *keys)
{
	ChsPageStore *store = (ChsPageStore *) base;
	ChsNodeId ids[64];
	ExactContext context;

	context.query = query;
	context.keys = keys;
	if (store->index->meta->vector_bytes == 0)
	{
		exact_from_heap(store, nodes, n, &context);
		return;
	}
	while (n > 0)
	{
		int some = Min(n, (int) lengthof(ids));

		for (int i = 0; i < some; i++)
			ids[i] = nodes[i].id;
		visit_vectors(store, ids, some, compute_key, &context);
		nodes += some;
		context.keys += some;
		n -= some;
	}
}

/* ---- entries, capacity, creation ---- */

static int
read_entries(ChsStore *base, bool fresh, ChsNodeRef entry[CHS_MAX_LEVELS])
{
	ChsPageStore *store = (ChsPageStore *) base;
	int levels = 0;

	if (fresh)
		chs_index_refresh(store->index);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		entry[level].id = store->index->meta->entry[level].id;
		entry[level].version = store->index->meta->entry[level].version;
		if (entry[level].id != CHS_NODE_NONE)
			levels = level + 1;
	}
	return levels;
}

static uint32
read_capacity(ChsStore *base, int level)
{
	return chs_index_capacity(((ChsPageStore *) base)->index, level);
}

static const ChsStoreOps page_store_ops = {
	.entries = read_entries,
	.capacity = read_capacity,
	.neighbors = read_neighbors,
	.score = score_nodes,
	.fetch = fetch_nodes,
	.list = read_list,
	.edit = chs_page_store_edit,
	.exact = exact_keys,
	.publish = chs_page_store_publish,
	.add_duplicate = chs_page_store_add_duplicate,
	.set_entry = chs_page_store_set_entry,
};

ChsPageStore *
chs_page_store_create(ChsIndex *index)
{
	MemoryContext old = MemoryContextSwitchTo(index->context);
	ChsPageStore *store = palloc0(sizeof(ChsPageStore));

	store->store.ops = &page_store_ops;
	store->store.model = &index->model;
	store->index = index;
	store->scratch = palloc0(sizeof(ChsPageScratch));
	store->scratch->batch_limit = chs_buffer_batch_limit(index);
	store->scratch->vector = palloc(index->meta->dim * sizeof(float));
	MemoryContextSwitchTo(old);
	return store;
}
