/*
 * store_page.c
 *	  The node store over buffers: reading.
 *
 * Turns node numbers into pages.  What only decides where a search goes next,
 * estimates and neighbour lists, is read by peeks (buffer.h): the slots of one
 * hop are asked for together, scored where they stand, and it is then checked
 * that the buffers still hold those pages.  All other readers, and peeks that
 * failed, have memory and disk told what will be wanted, and then visit one
 * page at a time, pinned, under its share lock.  No call returns with a pin or a lock (L3).  The algorithm above
 * knows nothing of this, and this file knows nothing of the algorithm.
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
#include "pg/am/store_page.h"

/* Nodes whose pages and cache lines are asked for together. */
#define EXPECTED 64

/* Cache lines of a row asked for ahead. */
#define ROW_LINES 8

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

static inline const ChsSlotHeader *
slot_of(ChsPageStore *store, int level, Buffer buffer, ChsNodeId id)
{
	uint32 slot;

	(void) chs_find_page(chs_page_of(store, level), id, &slot);
	return chs_page_slot(BufferGetPage(buffer),
						 chs_index_layout(store->index, level), slot);
}

/* The block of a node's page. */
static inline BlockNumber
block_of(ChsPageStore *store, int level, ChsNodeId id)
{
	uint32 slot;
	uint32 page = chs_find_page(chs_page_of(store, level), id, &slot);

	return chs_index_block(store->index, CHS_STREAM_GRAPH(level), page);
}

/*
 * Has the pages of some nodes read ahead where they are not in the pool, and
 * their slots fetched by the processor where they are, as far as hints tell.
 */
static void
expect_slots(ChsPageStore *store, int level, const ChsNodeId *ids,
			 const uint32 *order, int n, BlockNumber *blocks)
{
	const ChsSlotLayout *layout = chs_index_layout(store->index, level);

	for (int i = 0; i < n; i++)
		blocks[i] = block_of(store, level, ids[order[i]]);
	chs_buffer_expect(store->index, blocks, n);
	for (int i = 0; i < n && store->index->hints != NULL; i++)
	{
		Buffer buffer = chs_hint_of(store->index->hints, blocks[i]);

		if (BufferIsValid(buffer))
			chs_slot_prefetch(layout,
							  slot_of(store, level, buffer, ids[order[i]]));
	}
}

/*
 * Visits n nodes of a level in the order of their pages, each page under its
 * share lock.  Inlined with a constant visitor.
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
	const uint32 *order = sort_positions(store->scratch, ids, n,
										 store->index->context);

	for (int done = 0; done < n; done += EXPECTED)
	{
		BlockNumber blocks[EXPECTED];
		int some = Min(n - done, EXPECTED);

		expect_slots(store, level, ids, order + done, some, blocks);
		for (int i = 0; i < some;)
		{
			Buffer buffer = chs_buffer_read(store->index, blocks[i]);
			int first = i;

			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			for (; i < some && blocks[i] == blocks[first]; i++)
			{
				uint32 position = order[done + i];

				visit(context, (int) position,
					  slot_of(store, level, buffer, ids[position]));
			}
			UnlockReleaseBuffer(buffer);
		}
	}
}

/* Pins and share-locks the page of one node. */
static Buffer
lock_node(ChsPageStore *store, int level, ChsNodeId id)
{
	Buffer buffer = chs_buffer_read(store->index, block_of(store, level, id));

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(store->index->rel, buffer, CHS_PAGE_GRAPH, level);
	return buffer;
}

/* ---- exact rows in their stream ---- */

/* Reads one exact row piece by piece into out. */
static void
read_stream_row(ChsPageStore *store, ChsNodeId id, void *out)
{
	uint32 bytes = store->index->meta->row_bytes;

	chs_stream_read(store->index, CHS_STREAM_VECTOR, (uint64) id * bytes, out,
					bytes);
}

/* Does something with one contiguous exact row. */
typedef void (*RowVisitor)(void *context, int position, const void *row);

/*
 * Hands the row of one node to the visitor: in place under the page's share
 * lock if it stands on one page, else from a copy.
 */
static void
visit_row(ChsPageStore *store, ChsNodeId id, RowVisitor visit, void *context,
		  int position)
{
	ChsIndex *index = store->index;
	uint32 bytes = index->meta->row_bytes;
	uint64 offset = (uint64) id * bytes;
	uint32 start = (uint32) (offset % CHS_BYTES_PER_PAGE);
	Buffer buffer;
	Page page;

	if (start + bytes > CHS_BYTES_PER_PAGE)
	{
		read_stream_row(store, id, store->scratch->row);
		visit(context, position, store->scratch->row);
		return;
	}
	buffer = chs_buffer_read(
		index, chs_index_block(index, CHS_STREAM_VECTOR,
							   (uint32) (offset / CHS_BYTES_PER_PAGE)));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(index->rel, buffer, CHS_PAGE_VECTOR, 0);
	page = BufferGetPage(buffer);
	if (PageIsNew(page))
		memset(store->scratch->row, 0, bytes);
	visit(context, position,
		  PageIsNew(page) ? store->scratch->row
						  : page + CHS_BYTES_OFFSET + start);
	UnlockReleaseBuffer(buffer);
}

/*
 * Has the rows of some nodes read ahead where they are not in the pool, and
 * their beginnings fetched by the processor where they are; it follows a
 * sequential read from there.
 */
static void
expect_rows(ChsPageStore *store, const ChsNodeId *ids, const uint32 *order, int n)
{
	ChsIndex *index = store->index;
	uint32 bytes = index->meta->row_bytes;
	uint32 most = Min(bytes, ROW_LINES * CHS_CACHE_LINE);
	BlockNumber blocks[EXPECTED];

	for (int i = 0; i < n; i++)
		blocks[i] = chs_index_block(
			index, CHS_STREAM_VECTOR,
			(uint32) ((uint64) ids[order[i]] * bytes / CHS_BYTES_PER_PAGE));
	chs_buffer_expect(index, blocks, n);
	for (int i = 0; i < n && index->hints != NULL; i++)
	{
		Buffer buffer = chs_hint_of(index->hints, blocks[i]);
		uint32 start = (uint32) ((uint64) ids[order[i]] * bytes %
								 CHS_BYTES_PER_PAGE);
		const char *data;

		if (!BufferIsValid(buffer))
			continue;
		data = (char *) BufferGetPage(buffer) + CHS_BYTES_OFFSET + start;
		chs_prefetch(data, most);
	}
}

/* Visits the exact rows of n nodes in page order. */
static void
visit_rows(ChsPageStore *store, const ChsNodeId *ids, int n, RowVisitor visit,
		   void *context)
{
	const uint32 *order = sort_positions(store->scratch, ids, n,
										 store->index->context);

	for (int done = 0; done < n; done += EXPECTED)
	{
		int some = Min(n - done, EXPECTED);

		expect_rows(store, ids, order + done, some);
		for (int i = done; i < done + some; i++)
			visit_row(store, ids[order[i]], visit, context, (int) order[i]);
	}
}

/* ---- score ---- */

typedef struct ScoreContext
{
	const ChsSlotLayout *layout;
	const ChsQuery *query;
	const ChsNodeId *ids;
	const int *places; /* where in out a node belongs */
	ChsScored *out;
	ChsFactors *factors; /* bits = 32: copies, the rows come later */
} ScoreContext;

static inline void
score_slot(void *arg, int position, const ChsSlotHeader *slot)
{
	ScoreContext *context = arg;
	ChsScored *scored = &context->out[context->places[position]];
	const uint8 *code;
	const ChsFactors *factors;

	chs_copy_facts(scored, context->ids[position], slot);
	if (!chs_scored_in_graph(scored))
		return;
	code = chs_slot_code(context->layout, unconstify(ChsSlotHeader *, slot));
	factors = chs_slot_factors(context->layout,
							   unconstify(ChsSlotHeader *, slot));
	chs_estimate(context->query, &code, &factors, 1, &scored->est, &scored->err);
}

/* Scores those nodes whose positions are given under their pages' locks. */
static void
score_pinned(ChsPageStore *store, int level, const ChsQuery *query,
			 const ChsNodeId *ids, const int *places, int n, ChsScored *out)
{
	ChsNodeId wanted[CHS_MAX_DEGREE];
	ScoreContext context;

	for (int i = 0; i < n; i++)
		wanted[i] = ids[places[i]];
	context.layout = chs_index_layout(store->index, level);
	context.query = query;
	context.ids = wanted;
	context.places = places;
	context.out = out;
	visit_slots(store, level, wanted, n, score_slot, &context);
}

static void
score_coded(ChsPageStore *store, int level, const ChsQuery *query,
			const ChsNodeId *ids, int n, ChsScored *out)
{
	int places[CHS_MAX_DEGREE];
	int nplaces = n;

	if (chs_can_peek(store))
		nplaces = chs_page_peek_scores(store, level, query, ids, n, out, places);
	else
	{
		for (int i = 0; i < n; i++)
			places[i] = i;
	}
	if (nplaces > 0)
		score_pinned(store, level, query, ids, places, nplaces, out);
}

static inline void
copy_score_facts(void *arg, int position, const ChsSlotHeader *slot)
{
	ScoreContext *context = arg;

	chs_copy_facts(&context->out[position], context->ids[position], slot);
	context->factors[position] = *chs_slot_factors(
		context->layout, unconstify(ChsSlotHeader *, slot));
}

static void
score_row(void *arg, int position, const void *row)
{
	ScoreContext *context = arg;
	ChsScored *scored = &context->out[position];
	const uint8 *code = row;
	const ChsFactors *factors = &context->factors[position];

	if (chs_scored_in_graph(scored))
		chs_estimate(context->query, &code, &factors, 1, &scored->est,
					 &scored->err);
}

/*
 * The level-0 numbers of nodes of any level, for their exact rows: those of
 * upper levels are found by following `down`.  With bits = 32 only.  A number
 * that cannot be (a free slot's, a damaged one) becomes 0: any row will do
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
	ChsFactors factors[CHS_MAX_DEGREE];
	ChsNodeId rows[CHS_MAX_DEGREE];
	ScoreContext context;

	Assert(n <= CHS_MAX_DEGREE);
	context.layout = chs_index_layout(store->index, level);
	if (context.layout->code_bytes > 0)
	{
		score_coded(store, level, query, ids, n, out);
		return;
	}
	context.query = query;
	context.ids = ids;
	context.out = out;
	context.factors = factors;
	visit_slots(store, level, ids, n, copy_score_facts, &context);
	find_base_ids(store, level, ids, n, rows);
	visit_rows(store, rows, n, score_row, &context);
}

/* ---- fetch ---- */

typedef struct FetchContext
{
	const ChsSlotLayout *layout;
	const ChsNodeId *ids;
	const int *places; /* where in out a node belongs */
	ChsNodeCopy *out;
	uint32 row_bytes;
} FetchContext;

static inline void
fetch_slot(void *arg, int position, const ChsSlotHeader *slot)
{
	FetchContext *context = arg;

	chs_copy_node(&context->out[context->places[position]],
				  context->ids[position], slot, context->layout);
}

/* Fetches those nodes whose positions are given under their pages' locks. */
static void
fetch_pinned(ChsPageStore *store, int level, const ChsNodeId *ids,
			 const int *places, int n, ChsNodeCopy *out)
{
	ChsNodeId wanted[CHS_MAX_DEGREE];
	FetchContext context;

	for (int i = 0; i < n; i++)
		wanted[i] = ids[places[i]];
	context.layout = chs_index_layout(store->index, level);
	context.ids = wanted;
	context.places = places;
	context.out = out;
	visit_slots(store, level, wanted, n, fetch_slot, &context);
}

/* Fetches what slots have of some nodes, at most CHS_MAX_DEGREE. */
static void
fetch_some(ChsPageStore *store, int level, const ChsNodeId *ids, int n,
		   ChsNodeCopy *out)
{
	int places[CHS_MAX_DEGREE];
	int nplaces = n;

	if (chs_can_peek(store))
		nplaces = chs_page_peek_nodes(store, level, ids, n, out, places);
	else
	{
		for (int i = 0; i < n; i++)
			places[i] = i;
	}
	if (nplaces > 0)
		fetch_pinned(store, level, ids, places, nplaces, out);
}

static void
fetch_row(void *arg, int position, const void *row)
{
	FetchContext *context = arg;

	memcpy(context->out[position].code, row, context->row_bytes);
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
	for (int done = 0; done < n; done += CHS_MAX_DEGREE)
		fetch_some(store, level, ids + done, Min(n - done, CHS_MAX_DEGREE),
				   out + done);
	if (chs_index_layout(store->index, level)->code_bytes == 0 && n > 0)
	{
		ChsNodeId *rows = palloc(n * sizeof(ChsNodeId));

		context.out = out;
		context.row_bytes = store->index->meta->row_bytes;
		find_base_ids(store, level, ids, n, rows);
		visit_rows(store, rows, n, fetch_row, &context);
		pfree(rows);
	}
}

/* ---- single nodes ---- */

static int
read_neighbors(ChsStore *base, int level, ChsNodeId id, ChsNodeId *out)
{
	ChsPageStore *store = (ChsPageStore *) base;
	Buffer buffer;
	int n = -1;

	CHECK_FOR_INTERRUPTS();
	if (chs_can_peek(store))
		n = chs_page_peek_neighbors(store, level, id, out);
	if (n >= 0)
		return n;
	buffer = lock_node(store, level, id);
	n = chs_copy_neighbors(chs_index_layout(store->index, level),
						   slot_of(store, level, buffer, id), out);
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
	if (chs_slot_in_graph(slot))
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

Size
chs_page_store_row_room(const ChsPageStore *store)
{
	const ChsMetaPageData *meta = store->index->meta;

	return meta->rerank == CHS_RERANK_CODE ? meta->layout[0].code_bytes
										   : meta->row_bytes;
}

/* The row that is the code of a node's slot, copied under the page's lock. */
static void
read_code(ChsPageStore *store, ChsNodeId id, void *out)
{
	const ChsSlotLayout *layout = chs_index_layout(store->index, 0);
	Buffer buffer = lock_node(store, 0, id);
	const ChsSlotHeader *slot = slot_of(store, 0, buffer, id);

	memcpy(out, chs_slot_code(layout, unconstify(ChsSlotHeader *, slot)),
		   layout->code_bytes);
	UnlockReleaseBuffer(buffer);
}

/* The row in the table behind any of a node's TIDs; NULL if none is seen. */
static const void *
fetch_from_heap(ChsPageStore *store, ChsNodeRef ref)
{
	ChsPageScratch *scratch = store->scratch;
	int ntids = chs_page_store_tids(store, ref, &scratch->tids,
									&scratch->tids_room);

	return chs_heap_fetch_row(store->heap, scratch->tids, ntids);
}

const void *
chs_page_store_row(ChsPageStore *store, ChsNodeRef ref, void *out)
{
	switch ((ChsRerank) store->index->meta->rerank)
	{
		case CHS_RERANK_HEAP:
			return fetch_from_heap(store, ref);
		case CHS_RERANK_CODE:
			read_code(store, ref.id, out);
			break;
		case CHS_RERANK_INDEX:
			read_stream_row(store, ref.id, out);
			break;
	}
	return out;
}

typedef struct ExactContext
{
	const ChsQuery *query;
	const ChsSlotLayout *layout;
	double *keys;
} ExactContext;

static void
compute_key(void *arg, int position, const void *row)
{
	ExactContext *context = arg;
	const ChsModel *model = context->query->model;
	double key = chs_row_key(model->row, model->metric, context->query->row,
							 row, model->dim);

	/* infinity means "do not return"; a sum that overflowed is only far */
	if (isinf(key))
		key = key > 0 ? DBL_MAX : -DBL_MAX;
	context->keys[position] = key;
}

static inline void
compute_key_of_code(void *arg, int position, const ChsSlotHeader *slot)
{
	ExactContext *context = arg;

	compute_key(
		arg, position,
		chs_slot_code(context->layout, unconstify(ChsSlotHeader *, slot)));
}

/* Exact keys from the table; a node no row of which is visible is left out. */
static void
exact_from_heap(ChsPageStore *store, const ChsNodeRef *nodes, int n,
				ExactContext *context)
{
	for (int i = 0; i < n; i++)
	{
		const void *row = fetch_from_heap(store, nodes[i]);

		if (row != NULL)
			compute_key(context, i, row);
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
	context.layout = chs_index_layout(store->index, 0);
	context.keys = keys;
	if (store->index->meta->rerank == CHS_RERANK_HEAP)
	{
		exact_from_heap(store, nodes, n, &context);
		return;
	}
	while (n > 0)
	{
		int some = Min(n, (int) lengthof(ids));

		for (int i = 0; i < some; i++)
			ids[i] = nodes[i].id;
		if (store->index->meta->rerank == CHS_RERANK_CODE)
			visit_slots(store, 0, ids, some, compute_key_of_code, &context);
		else
			visit_rows(store, ids, some, compute_key, &context);
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

static ChsPageOfNode
make_page_of(uint32 per_page)
{
	ChsPageOfNode by = {0, 31, per_page};

	while ((UINT64CONST(1) << (by.shift - 31)) < per_page)
		by.shift++;
	by.inverse = ((UINT64CONST(1) << by.shift) + per_page - 1) / per_page;
	return by;
}

ChsPageStore *
chs_page_store_create(ChsIndex *index)
{
	MemoryContext old = MemoryContextSwitchTo(index->context);
	ChsPageStore *store = palloc0(sizeof(ChsPageStore));

	store->store.ops = &page_store_ops;
	store->store.model = &index->model;
	store->index = index;
	store->scratch = palloc0(sizeof(ChsPageScratch));
	store->scratch->row = palloc(Max(index->meta->row_bytes, 1));
	for (int i = 0; i < 2; i++)
		store->scratch->page_of[i] = make_page_of(index->meta->per_page[i]);
	MemoryContextSwitchTo(old);
	return store;
}
