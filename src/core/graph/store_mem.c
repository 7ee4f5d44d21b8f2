/*
 * store_mem.c
 *	  A node store in memory: index build, unit tests, fuzzing.
 *
 * The operations on nodes; store_mem_area.c makes room for them.
 *
 * Who may touch what, and how:
 *  - A slot that is free or reserved belongs to its publisher, who fills it
 *	  with plain stores and then release-stores its state.  Readers
 *	  acquire-load the state first and leave such a slot alone.
 *  - From then on factors, code and row never change.
 *  - Edges and degree of a published slot change only under the slot's spin
 *	  bit, by release stores.  neighbors() reads them without the bit: it may
 *	  see a mixture of two lists, every member of which is a node, and a search
 *	  needs no more.  list() takes the bit.
 *  - Chunk tables and promises change under the area's own spin bit.
 *
 * Nobody calls out, or allocates, or waits for anything else with a spin bit
 * held, except that a new chunk is zeroed under the area's.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/store_mem_area.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Where the area keeps the exact row of a level-0 node; NULL: nowhere. */
static void *
find_row(const ChsMemShared *shared, ChsNodeId id)
{
	uint32_t index = id & ((UINT32_C(1) << shared->shift[0]) - 1);

	if (shared->params.row_bytes == 0)
		return NULL;
	return chs_mem_chunk(shared, 0, id) + shared->rows +
		   (size_t) index * shared->params.row_bytes;
}

static inline uint8_t
load_state(const ChsSlotHeader *slot)
{
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
}

static inline uint16_t
load_version(const ChsSlotHeader *slot)
{
	return __atomic_load_n(&slot->version, __ATOMIC_RELAXED);
}

static inline bool
routes(uint8_t state)
{
	return state == CHS_SLOT_LIVE || state == CHS_SLOT_DEAD;
}

/* ---- entries ---- */

/* A reference as one word; 0 stands for none. */
static inline uint64_t
pack_ref(ChsNodeRef ref)
{
	if (ref.id == CHS_NODE_NONE)
		return 0;
	return ((uint64_t) ref.version << 32 | ref.id) + 1;
}

static inline ChsNodeRef
unpack_ref(uint64_t word)
{
	if (word == 0)
		return (ChsNodeRef){CHS_NODE_NONE, 0};
	word--;
	return (ChsNodeRef){(ChsNodeId) word, (uint16_t) (word >> 32)};
}

static int
read_entries(ChsStore *store, bool fresh, ChsNodeRef entry[CHS_MAX_LEVELS])
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	int levels = 0;

	(void) fresh; /* nothing is cached */
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		entry[level] = unpack_ref(
			__atomic_load_n(&shared->level[level].entry, __ATOMIC_ACQUIRE));
		if (entry[level].id != CHS_NODE_NONE)
			levels = level + 1;
	}
	return levels;
}

static bool
set_entry(ChsStore *store, int level, ChsNodeRef expected, ChsNodeRef entry)
{
	ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	uint64_t *word = &shared->level[level].entry;
	uint64_t present = __atomic_load_n(word, __ATOMIC_ACQUIRE);

	do
	{
		ChsNodeRef ref = unpack_ref(present);

		if (present != pack_ref(expected) && present != 0)
		{
			const ChsSlotHeader *slot = chs_mem_find(shared, level, ref.id);

			if (load_state(slot) == CHS_SLOT_LIVE &&
				load_version(slot) == ref.version)
				return false;
		}
	} while (!__atomic_compare_exchange_n(word, &present, pack_ref(entry), false,
										  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return true;
}

/* ---- reading ---- */

static uint32_t
read_capacity(ChsStore *store, int level)
{
	return chs_mem_count((ChsMemStore *) store, level);
}

static int
read_neighbors(ChsStore *store, int level, ChsNodeId id, ChsNodeId *out)
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	const ChsSlotLayout *layout = &shared->layout[chs_mem_kind(level)];
	ChsSlotHeader *slot = chs_mem_find(shared, level, id);
	const ChsEdge *edges = chs_slot_edges(layout, slot);
	int degree;

	if (!routes(load_state(slot)))
		return 0;
	degree = __atomic_load_n(&slot->degree, __ATOMIC_ACQUIRE);
	/* more than fit are damage, which the checker reports */
	if (degree > (int) layout->max_degree)
		degree = (int) layout->max_degree;
	for (int i = 0; i < degree; i++)
		out[i] = CHS_EDGE_NODE(__atomic_load_n(&edges[i], __ATOMIC_ACQUIRE));
	return degree;
}

static void
score_nodes(ChsStore *store, int level, const ChsQuery *query,
			const ChsNodeId *ids, int n, ChsScored *out)
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	const ChsSlotLayout *layout = &shared->layout[chs_mem_kind(level)];
	ChsSlotHeader *slots[CHS_MAX_DEGREE];
	const uint8_t *codes[CHS_MAX_DEGREE];
	const ChsFactors *factors[CHS_MAX_DEGREE];
	float est[CHS_MAX_DEGREE];
	float err[CHS_MAX_DEGREE];
	int nscored = 0;
	int next = 0;

	for (int i = 0; i < n; i++)
	{
		slots[i] = chs_mem_find(shared, level, ids[i]);
		chs_slot_prefetch(layout, slots[i]);
	}
	for (int i = 0; i < n; i++)
	{
		const ChsSlotHeader *slot = slots[i];

		out[i] = (ChsScored){.id = ids[i],
							 .est = FLT_MAX,
							 .state = load_state(slot),
							 .flags = slot->flags,
							 .version = load_version(slot)};
		if (!routes(out[i].state))
			continue;
		out[i].down = slot->down;
		out[i].down_version = slot->down_version;
		codes[nscored] = chs_slot_code(layout, slots[i]);
		factors[nscored++] = chs_slot_factors(layout, slots[i]);
	}
	if (nscored == 0)
		return;
	chs_estimate(query, codes, factors, nscored, est,
				 store->no_errors ? NULL : err);
	for (int i = 0; i < n && next < nscored; i++)
	{
		if (!routes(out[i].state))
			continue;
		out[i].est = est[next];
		if (!store->no_errors)
			out[i].err = err[next];
		next++;
	}
}

static void
fetch_nodes(ChsStore *store, int level, const ChsNodeId *ids, int n, void *mem,
			ChsNodeCopy *out)
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	const ChsSlotLayout *layout = &shared->layout[chs_mem_kind(level)];
	size_t bytes = chs_node_copy_bytes(store->model);

	for (int i = 0; i < n; i++)
		chs_slot_prefetch(layout, chs_mem_find(shared, level, ids[i]));
	for (int i = 0; i < n; i++)
	{
		ChsSlotHeader *slot = chs_mem_find(shared, level, ids[i]);
		char *copy = (char *) mem + (size_t) i * bytes;
		ChsNodeCopy *node = &out[i];

		memset(node, 0, sizeof(*node));
		node->state = load_state(slot);
		node->ref = (ChsNodeRef){ids[i], load_version(slot)};
		node->factors = (ChsFactors *) copy;
		node->code = (uint8_t *) copy + sizeof(ChsFactors);
		if (node->state == CHS_SLOT_FREE || node->state == CHS_SLOT_RESERVED)
		{
			/* its publisher may be writing there */
			memset(copy, 0, bytes);
			continue;
		}
		node->flags = slot->flags;
		node->down = (ChsNodeRef){slot->down, slot->down_version};
		node->hash = slot->hash;
		memcpy(node->factors, chs_slot_factors(layout, slot),
			   sizeof(ChsFactors));
		memcpy(node->code, chs_slot_code(layout, slot), layout->code_bytes);
	}
}

static void
read_list(ChsStore *store, int level, ChsNodeId id, ChsList *out)
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;
	const ChsSlotLayout *layout = &shared->layout[chs_mem_kind(level)];
	ChsSlotHeader *slot = chs_mem_find(shared, level, id);
	uint32_t copied;

	chs_mem_lock(&slot->lock);
	out->state = load_state(slot);
	out->owner = (ChsNodeRef){id, load_version(slot)};
	out->degree = 0;
	if (routes(out->state))
	{
		out->degree = slot->degree;
		copied = slot->degree < layout->max_degree ? slot->degree
												   : layout->max_degree;
		memcpy(out->edges, chs_slot_edges(layout, slot),
			   copied * sizeof(ChsEdge));
	}
	chs_mem_unlock(&slot->lock);
}

/* ---- exact rows ---- */

/* The row of a node whoever keeps it, or NULL. */
static const void *
get_row(const ChsMemStore *mem, ChsNodeId id)
{
	const ChsMemShared *shared = mem->shared;
	const ChsModel *model = mem->store.model;
	const void *row = find_row(shared, id);

	if (row == NULL && mem->row != NULL)
		row = mem->row(mem->context, id);
	if (row == NULL && chs_codes_are_rows(model->row, model->bits))
		row = chs_slot_code(&shared->layout[0], chs_mem_find(shared, 0, id));
	return row;
}

/*
 * The key of one node.  With no row to be had the estimate has to do.  A
 * key that overflows is brought back into range: +infinity would say that the
 * node must not be returned.
 */
static double
compute_key(const ChsMemStore *mem, const ChsQuery *query, ChsNodeId id)
{
	const ChsModel *model = mem->store.model;
	const void *row = get_row(mem, id);
	double key;

	if (row == NULL)
	{
		ChsScored scored;

		score_nodes((ChsStore *) mem, 0, query, &id, 1, &scored);
		return scored.est;
	}
	key = chs_row_key(model->row, model->metric, query->row, row, model->dim);
	return key < DBL_MAX ? key : DBL_MAX;
}

static void
compute_exact(ChsStore *store, const ChsQuery *query, const ChsNodeRef *nodes,
			  int n, double *keys)
{
	const ChsMemStore *mem = (const ChsMemStore *) store;

	for (int i = 0; i < n; i++)
	{
		const ChsSlotHeader *slot = chs_mem_find(mem->shared, 0, nodes[i].id);

		keys[i] = INFINITY;
		if (load_state(slot) == CHS_SLOT_LIVE &&
			load_version(slot) == nodes[i].version)
			keys[i] = compute_key(mem, query, nodes[i].id);
	}
}

/* ---- writing ---- */

/* Release: a reader that follows an edge must see the node's chunk zeroed. */
static void
write_edges(ChsSlotHeader *slot, const ChsSlotLayout *layout,
			const ChsEdge *edges, int n)
{
	ChsEdge *out = chs_slot_edges(layout, slot);

	assert(n >= 0 && (uint32_t) n <= layout->max_degree);
	for (int i = 0; i < n; i++)
		__atomic_store_n(&out[i], edges[i], __ATOMIC_RELEASE);
	__atomic_store_n(&slot->degree, (uint16_t) n, __ATOMIC_RELEASE);
}

/* One edit, under the spin bit of the owner's slot. */
static ChsEditResult
apply_edit(ChsSlotHeader *slot, const ChsSlotLayout *layout, const ChsEdit *edit)
{
	if (load_state(slot) != CHS_SLOT_LIVE ||
		load_version(slot) != edit->owner.version)
		return CHS_EDIT_GONE;
	if (slot->degree != edit->nseen)
		return CHS_EDIT_CHANGED;
	/* seen may be NULL for an empty list, which memcmp does not allow */
	if (edit->nseen > 0 && memcmp(chs_slot_edges(layout, slot), edit->seen,
								  (size_t) edit->nseen * sizeof(ChsEdge)) != 0)
		return CHS_EDIT_CHANGED;
	write_edges(slot, layout, edit->next, edit->nnext);
	return CHS_EDIT_DONE;
}

static void
edit_lists(ChsStore *store, int level, const ChsEdit *edits, int n,
		   ChsEditResult *results)
{
	const ChsMemShared *shared = ((ChsMemStore *) store)->shared;

	for (int i = 0; i < n; i++)
	{
		ChsSlotHeader *slot = chs_mem_find(shared, level, edits[i].owner.id);

		chs_mem_lock(&slot->lock);
		results[i] = apply_edit(slot, &shared->layout[chs_mem_kind(level)],
								&edits[i]);
		chs_mem_unlock(&slot->lock);
	}
}

/*
 * A new number must have been promised.  The slot is the caller's alone until
 * its state says live.
 */
static ChsNodeRef
publish_node(ChsStore *store, int level, const ChsNewNode *node)
{
	ChsMemStore *mem = (ChsMemStore *) store;
	ChsMemShared *shared = mem->shared;
	const ChsSlotLayout *layout = &shared->layout[chs_mem_kind(level)];
	bool is_new = level > 0 || node->existing.id == CHS_NODE_NONE;
	ChsNodeId id = is_new ? __atomic_fetch_add(&shared->level[level].count, 1,
											   __ATOMIC_ACQ_REL)
						  : node->existing.id;
	ChsSlotHeader *slot = chs_mem_find(shared, level, id);
	void *row = level == 0 ? find_row(shared, id) : NULL;

	if (level == 0 && node->tid != NULL)
		memcpy(slot->tid, node->tid, sizeof(slot->tid));
	slot->down = level > 0 ? node->down.id : 0;
	slot->down_version = level > 0 ? node->down.version : 0;
	slot->hash = node->hash;
	memcpy(chs_slot_factors(layout, slot), node->factors, sizeof(ChsFactors));
	memcpy(chs_slot_code(layout, slot), node->code, layout->code_bytes);
	if (row != NULL && node->row != NULL)
		memcpy(row, node->row, shared->params.row_bytes);
	write_edges(slot, layout, node->edges, node->nedges);
	if (level == 0 && is_new && mem->place_row != NULL)
		mem->place_row(mem->context, id, node);
	__atomic_store_n(&slot->state, (uint8_t) CHS_SLOT_LIVE, __ATOMIC_RELEASE);
	return (ChsNodeRef){id, load_version(slot)};
}

static bool
add_duplicate(ChsStore *store, ChsNodeRef to, const ChsNewNode *node)
{
	ChsMemStore *mem = (ChsMemStore *) store;
	const ChsSlotHeader *slot = chs_mem_find(mem->shared, 0, to.id);
	const ChsModel *model = store->model;
	const void *row;

	if (load_state(slot) != CHS_SLOT_LIVE ||
		load_version(slot) != to.version || slot->hash != node->hash)
		return false;
	row = get_row(mem, to.id);
	if (row != NULL && node->row != NULL &&
		!chs_row_equal(model->row, row, node->row, model->dim))
		return false;
	if (mem->extra_tid != NULL)
		mem->extra_tid(mem->context, to, node->tid);
	else
		__atomic_fetch_add(&mem->shared->duplicates, 1, __ATOMIC_RELAXED);
	return true;
}

const ChsStoreOps chs_mem_ops = {
	.entries = read_entries,
	.capacity = read_capacity,
	.neighbors = read_neighbors,
	.score = score_nodes,
	.fetch = fetch_nodes,
	.list = read_list,
	.edit = edit_lists,
	.exact = compute_exact,
	.publish = publish_node,
	.add_duplicate = add_duplicate,
	.set_entry = set_entry,
};

/* ---- slots ---- */

uint32_t
chs_mem_count(const ChsMemStore *mem, int level)
{
	return __atomic_load_n(&mem->shared->level[level].count, __ATOMIC_ACQUIRE);
}

ChsSlotHeader *
chs_mem_slot(const ChsMemStore *mem, int level, ChsNodeId id)
{
	return chs_mem_find(mem->shared, level, id);
}

const ChsSlotLayout *
chs_mem_layout(const ChsMemStore *mem, int level)
{
	return &mem->shared->layout[chs_mem_kind(level)];
}

void
chs_mem_set_dead(ChsMemStore *mem, int level, ChsNodeId id)
{
	ChsSlotHeader *slot = chs_mem_find(mem->shared, level, id);

	chs_mem_lock(&slot->lock);
	memset(slot->tid, 0, sizeof(slot->tid));
	__atomic_store_n(&slot->state, (uint8_t) CHS_SLOT_DEAD, __ATOMIC_RELEASE);
	chs_mem_unlock(&slot->lock);
}

void
chs_mem_free(ChsMemStore *mem, int level, ChsNodeId id)
{
	ChsSlotHeader *slot = chs_mem_find(mem->shared, level, id);

	chs_mem_lock(&slot->lock);
	__atomic_store_n(&slot->version, (uint16_t) (slot->version + 1),
					 __ATOMIC_RELAXED);
	__atomic_store_n(&slot->degree, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->state, (uint8_t) CHS_SLOT_FREE, __ATOMIC_RELEASE);
	chs_mem_unlock(&slot->lock);
}
