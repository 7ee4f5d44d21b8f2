/*
 * am_insert.c
 *	  Puts one row into an index on pages, whatever phase the index is in.
 *
 * An index begins flat: a few hundred rows are compared faster than they are
 * searched, and no mean can be had of none.  The insert that brings it to
 * flat_limit trains the model from what is there and turns the index into a
 * graph; the nodes from before ("leftovers") are then linked a few at a time
 * by the inserts that follow, or by VACUUM, and until then scans compare them.
 *
 * The hazard in that turn is an insert that still believes in the flat phase.
 * It looks at the metapage again after its node can be seen, and links the
 * node itself if the phase changed meanwhile; so every node that is UNLINKED
 * without the NOLINK flag is either below unlinked_end or about to be linked
 * by its own inserter.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* Leftovers that an ordinary insert links in passing. */
#define LEFTOVERS_PER_INSERT 16

/* Window of the look-up for an equal row when UPDATE left it unchanged. */
#define UNCHANGED_EF 32

/* Memory for the sample that the turn to a graph trains on. */
#define MAX_SAMPLE_BYTES (64 * 1024 * 1024)

struct ChsInserter
{
	ChsIndex *index;
	ChsPageStore *store;
	ChsGraph graph;
	bool graph_ready; /* graph, code, scratch and query_mem are set up */
	uint8 *code;
	void *scratch;
	void *query_mem;
	void *row; /* a leftover's */
};

ChsInserter *
chs_inserter_create(ChsIndex *index)
{
	ChsInserter *inserter = MemoryContextAllocZero(index->context,
												   sizeof(ChsInserter));

	inserter->index = index;
	inserter->store = chs_page_store_create(index);
	inserter->store->store.no_errors = true;
	return inserter;
}

/* Sets up what inserting into a graph needs, once the index has a model. */
static void
prepare_graph(ChsInserter *inserter)
{
	ChsIndex *index = inserter->index;
	ChsGraphParams params;
	ChsArena *arena;

	if (inserter->graph_ready)
		return;
	arena = chs_workspace_acquire(index->context);
	params.m = (int) index->meta->m;
	params.ef_construction = (int) index->meta->ef_construction;
	params.seed = index->meta->seed;
	chs_graph_init(&inserter->graph, &inserter->store->store, &params, arena);
	inserter->code = chs_alloc(arena, chs_model_code_bytes(&index->model));
	inserter->scratch = chs_alloc(arena,
								  chs_encode_scratch_bytes(&index->model));
	inserter->query_mem = chs_alloc(arena, chs_query_bytes(&index->model));
	inserter->row = chs_alloc(arena,
							  Max(chs_page_store_row_room(inserter->store), 1));
	inserter->graph_ready = true;
}

/* A heap TID as a number, for the level draw. */
static uint64
tid_key(const uint8 *tid)
{
	uint64 key = 0;

	memcpy(&key, tid, 6);
	return key;
}

/* Facts of a new node that do not depend on the phase. */
static ChsNewNode
describe_node(const ChsInserter *inserter, const void *row, const uint8 *tid)
{
	const ChsMetaPageData *meta = inserter->index->meta;
	ChsNewNode node;

	memset(&node, 0, sizeof(node));
	node.existing.id = CHS_NODE_NONE;
	node.down.id = CHS_NODE_NONE;
	node.tid = tid;
	node.row = row;
	node.hash = chs_row_hash(
		row, chs_row_bytes((ChsRowKind) meta->row_kind, row, meta->dim));
	return node;
}

/* ---- a graph ---- */

/*
 * Inserts into an index of phase GRAPH: a new node, or (existing) an unlinked
 * slot that turns live.
 */
static void
insert_linked(ChsInserter *inserter, ChsNewNode *node, bool index_unchanged)
{
	ChsIndex *index = inserter->index;
	ChsFactors factors;
	ChsQuery query;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	ChsNodeRef ref;
	int levels;
	int level;

	prepare_graph(inserter);
	if (!chs_encode(&index->model, node->row, inserter->scratch,
					inserter->code, &factors) ||
		!chs_query_init(&query, inserter->query_mem, &index->model, node->row))
	{
		if (node->existing.id != CHS_NODE_NONE)
			chs_page_store_mark_nolink(inserter->store, node->existing);
		else
			(void) chs_page_store_publish_unlinked(inserter->store, node,
												   CHS_SLOT_NOLINK);
		return;
	}
	node->code = inserter->code;
	node->factors = &factors;
	if (index_unchanged && chs_graph_add_duplicate(&inserter->graph, node,
												   &query, UNCHANGED_EF, &ref))
		return;
	levels = inserter->store->store.ops->entries(&inserter->store->store,
												 false, entry);
	level = chs_graph_draw_level(&inserter->graph.params, tid_key(node->tid),
								 levels, chs_index_capacity(index, 0));
	(void) chs_graph_insert(&inserter->graph, node, &query, level, &ref);
}

/* Links one slot if it is an unlinked one that has a place in the graph. */
static void
link_slot(ChsInserter *inserter, ChsNodeId id)
{
	ChsSlotHeader header;
	ChsNewNode node;
	const void *row;

	chs_page_store_header(inserter->store, 0, id, &header);
	if (header.state != CHS_SLOT_UNLINKED ||
		(header.flags & CHS_SLOT_NOLINK) != 0)
		return;
	prepare_graph(inserter);
	row = chs_page_store_row(inserter->store, (ChsNodeRef){id, header.version},
							 inserter->row);
	if (row == NULL)
		return; /* no row is left of it: the node is about to go */
	node = describe_node(inserter, row, header.tid);
	node.existing.id = id;
	node.existing.version = header.version;
	insert_linked(inserter, &node, false);
}

/* ---- leftovers ---- */

typedef struct CursorMove
{
	uint32 from;
	uint32 to;
} CursorMove;

/* Another backend may have linked the same leftovers: then it moved on. */
static bool
move_cursor(ChsMetaPage meta, void *arg)
{
	CursorMove *move = arg;

	if (meta->link_cursor != move->from)
		return false;
	meta->link_cursor = move->to;
	return true;
}

void
chs_inserter_link_leftovers(ChsInserter *inserter, int limit)
{
	ChsMetaPageData *meta = inserter->index->meta;
	CursorMove move;

	if (meta->phase != CHS_PHASE_GRAPH || meta->link_cursor >= meta->unlinked_end)
		return;
	move.from = meta->link_cursor;
	move.to = (uint32) Min((uint64) move.from + limit, meta->unlinked_end);
	for (uint32 id = move.from; id < move.to; id++)
		link_slot(inserter, id);

	/* moved after the work: a crash in between repeats it, harmlessly */
	(void) chs_meta_update(inserter->index, move_cursor, &move, false);
}

/* ---- from flat to graph ---- */

/* Change of the metapage that makes a flat index a graph. */
static bool
start_graph(ChsMetaPage meta, void *arg)
{
	(void) arg;
	if (meta->phase == CHS_PHASE_GRAPH)
		return false;
	meta->phase = CHS_PHASE_GRAPH;
	meta->link_cursor = 0;
	/* all slots handed out so far: whoever takes one later reads this first */
	meta->unlinked_end = meta->stream[CHS_STREAM_GRAPH(0)].pages_used *
						 meta->per_page[0];
	return true;
}

/*
 * Collects the floats of up to max unlinked slots' rows; returns how many.
 * `row` has room for one row.
 */
static uint32
collect_sample(ChsInserter *inserter, const ChsModel *model, void *row,
			   float *rows, uint32 max)
{
	uint32 capacity = chs_index_capacity(inserter->index, 0);
	uint32 n = 0;

	for (ChsNodeId id = 0; id < capacity && n < max; id++)
	{
		float *place = rows + (Size) n * model->dim;
		ChsSlotHeader header;
		const void *found;
		const float *x;

		chs_page_store_header(inserter->store, 0, id, &header);
		if (header.state != CHS_SLOT_UNLINKED)
			continue;
		found = chs_page_store_row(inserter->store,
								   (ChsNodeRef){id, header.version}, row);
		if (found == NULL)
			continue;
		x = chs_row_floats(model, found, place);
		if (x != place)
			memcpy(place, x, model->dim * sizeof(float));
		n++;
	}
	return n;
}

/*
 * Trains the model on what is in the index; returns its values, palloc'd.  No
 * lock is held: with rerank = heap the rows are read from the table, which may
 * take locks (TOAST) and run the functions of an expression.
 */
static float *
train_model(ChsInserter *inserter, ChsModel *model)
{
	ChsIndex *index = inserter->index;
	float *values = palloc0(chs_model_values(model) * sizeof(float));
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "chassis model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Size row_bytes = model->dim * sizeof(float);
	uint32 max = (uint32) Max(
		1, Min(MAX_SAMPLE_BYTES / row_bytes, chs_index_capacity(index, 0)));
	float *rows = MemoryContextAllocHuge(context, max * row_bytes);
	void *row = palloc(Max(chs_page_store_row_room(inserter->store), 1));
	ChsContextArena arena;

	chs_context_arena_init(&arena, context);
	chs_model_train(model, values, values + model->dim, rows,
					collect_sample(inserter, model, row, rows, max),
					&arena.arena);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return values;
}

/*
 * Turns a flat index into a graph, unless another backend just did.  The
 * relation extension lock keeps a second one from writing another model to
 * the same pages; whoever comes second has trained in vain.
 */
static void
turn_into_graph(ChsInserter *inserter)
{
	ChsIndex *index = inserter->index;
	ChsModel model;
	float *values = NULL;

	chs_meta_model(index->meta, &model);
	if (chs_model_values(&model) > 0)
		values = train_model(inserter, &model);

	LockRelationForExtension(index->rel, ExclusiveLock);
	chs_index_refresh(index);
	if (index->meta->phase == CHS_PHASE_FLAT)
	{
		if (values != NULL)
			chs_index_write_model(index, &model, values);
		(void) chs_meta_update(index, start_graph, NULL, false);
	}
	UnlockRelationForExtension(index->rel, ExclusiveLock);
	if (values != NULL)
		pfree(values);
}

/* ---- flat ---- */

/*
 * Gives the TID to an unlinked node with an equal row.  There are few
 * nodes, and their hashes stand on few pages.
 */
static bool
add_to_equal(ChsInserter *inserter, const ChsNewNode *node)
{
	ChsIndex *index = inserter->index;
	uint32 pages = index->meta->stream[CHS_STREAM_GRAPH(0)].pages_used;
	ChsStore *store = &inserter->store->store;

	for (uint32 page = 0; page < pages; page++)
	{
		ChsNodeRef equal[8];
		int n = chs_page_store_find_hash(inserter->store, page, node->hash,
										 equal, lengthof(equal));

		while (n > 0)
		{
			if (store->ops->add_duplicate(store, equal[--n], node))
				return true;
		}
	}
	return false;
}

/* Inserts into an index of phase FLAT. */
static void
insert_flat(ChsInserter *inserter, ChsNewNode *node)
{
	ChsIndex *index = inserter->index;
	ChsNodeRef ref;

	if (add_to_equal(inserter, node))
		return;
	ref = chs_page_store_publish_unlinked(inserter->store, node, 0);
	chs_index_refresh(index);
	if (index->meta->phase == CHS_PHASE_GRAPH)
		link_slot(inserter, ref.id);
	else if (ref.id + 1 >= index->meta->flat_limit)
		turn_into_graph(inserter);
}

void
chs_inserter_insert(ChsInserter *inserter, const void *row, ItemPointer tid,
					bool index_unchanged)
{
	ChsIndex *index = inserter->index;
	ChsNewNode node = describe_node(inserter, row, (const uint8 *) tid);

	chs_index_refresh(index);
	if (index->meta->phase == CHS_PHASE_FLAT)
	{
		insert_flat(inserter, &node);
		return;
	}
	insert_linked(inserter, &node, index_unchanged);
	chs_inserter_link_leftovers(inserter, LEFTOVERS_PER_INSERT);
}

/* ---- aminsert ---- */

/* What one statement's inserts share; lives in ii_Context. */
typedef struct InsertState
{
	ChsIndex *index;
	ChsInserter *inserter;
	MemoryContext per_row;
} InsertState;

static InsertState *
get_insert_state(Relation rel, IndexInfo *info)
{
	InsertState *state = info->ii_AmCache;
	MemoryContext context;

	if (state != NULL)
		return state;
	context = AllocSetContextCreate(info->ii_Context, "chassis insert",
									ALLOCSET_DEFAULT_SIZES);
	state = MemoryContextAllocZero(context, sizeof(InsertState));
	state->per_row = AllocSetContextCreate(context, "chassis insert row",
										   ALLOCSET_DEFAULT_SIZES);
	state->index = chs_index_open(rel, context);
	state->inserter = chs_inserter_create(state->index);
	info->ii_AmCache = state;
	return state;
}

bool
chsinsert(Relation rel, Datum *values, bool *isnull, ItemPointer heap_tid,
		  Relation heap, IndexUniqueCheck checkUnique, bool indexUnchanged,
		  IndexInfo *indexInfo)
{
	InsertState *state;
	ChsIndex *index;
	MemoryContext old;
	const void *row;
	SnapshotData not_dead;

	if (isnull[0])
		return false;
	state = get_insert_state(rel, indexInfo);
	index = state->index;
	index->rel = rel;
	old = MemoryContextSwitchTo(state->per_row);
	row = index->opclass->type->unpack(values[0], index->meta->dim);
	if (index->meta->rerank == CHS_RERANK_HEAP)
	{
		/* rows that nobody can see may have lost their out-of-line values */
		InitNonVacuumableSnapshot(not_dead, GlobalVisTestFor(heap));
		state->inserter->store->heap = chs_heap_fetch_begin(heap, index,
															&not_dead);
	}
	chs_inserter_insert(state->inserter, row, heap_tid, indexUnchanged);
	if (state->inserter->store->heap != NULL)
		chs_heap_fetch_end(state->inserter->store->heap);
	state->inserter->store->heap = NULL;
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->per_row);
	return false;
}
