/*
 * test_store_mem.c
 *	  The in-memory node store: every operation, its size, several threads.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _POSIX_C_SOURCE 200112L

#include <float.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "core/base/rng.h"
#include "mem_fixture.h"
#include "unit.h"

static const ChsNodeRef none = {CHS_NODE_NONE, 0};

static MemFixture *
create_fixture(int bits, uint32_t count)
{
	return mem_fixture_create(&(MemFixtureParams){.metric = CHS_METRIC_L2,
												  .bits = bits,
												  .dim = 40,
												  .count = count,
												  .clusters = 8,
												  .m = 8,
												  .ef_construction = 40,
												  .seed = 11});
}

/* ---- one thread ---- */

/* What was published is what every reading operation gives back. */
static void
test_read(int bits)
{
	MemFixture *fx = create_fixture(bits, 50);
	ChsStore *store = &fx->mem.store;
	size_t copy_bytes = chs_node_copy_bytes(&fx->model);
	uint8_t *copies = chs_alloc(fx->arena, 50 * copy_bytes);
	uint8_t *code = chs_alloc(fx->arena, copy_bytes);
	void *scratch = chs_alloc(fx->arena, chs_encode_scratch_bytes(&fx->model));
	ChsNodeCopy nodes[50];
	ChsScored scored[50];
	ChsNodeId ids[50];
	ChsNodeRef refs[50];
	double keys[50];
	ChsEdge edges[2] = {0, 0};

	CHECK_EQ(store->ops->capacity(store, 0), 0);
	for (uint32_t row = 0; row < 50; row++)
	{
		edges[0] = row | CHS_EDGE_ANCHOR;
		edges[1] = row / 2;
		refs[row] = mem_fixture_publish(fx, row, edges, 2);
		ids[row] = 49 - row;
		CHECK_EQ(refs[row].id, row);
		CHECK_EQ(refs[row].version, 0);
	}
	CHECK_EQ(store->ops->capacity(store, 0), 50);
	CHECK_EQ(chs_mem_count(&fx->mem, 0), 50);
	mem_fixture_query(fx, 0);
	store->ops->score(store, 0, &fx->query, ids, 50, scored);
	store->ops->fetch(store, 0, ids, 50, copies, nodes);
	store->ops->exact(store, &fx->query, refs, 50, keys);
	for (uint32_t i = 0; i < 50; i++)
	{
		const float *vector = fx->values + (size_t) ids[i] * 40;
		const uint8_t *one_code = code;
		ChsFactors factors;
		const ChsFactors *one = &factors;
		ChsNodeId neighbors[CHS_MAX_DEGREE];
		ChsList list;
		float est;
		float err;

		chs_encode(&fx->model, vector, scratch, code, &factors);
		chs_estimate(&fx->query, &one_code, &one, 1, &est, &err);
		CHECK_EQ(scored[i].id, ids[i]);
		CHECK_EQ(scored[i].state, CHS_SLOT_LIVE);
		CHECK_NEAR(scored[i].est, est, 0);
		CHECK_NEAR(scored[i].err, err, 0);
		CHECK_EQ(nodes[i].ref.id, ids[i]);
		CHECK_EQ(nodes[i].state, CHS_SLOT_LIVE);
		CHECK(memcmp(nodes[i].code, code, chs_code_bytes(40, bits)) == 0);
		CHECK(memcmp(nodes[i].factors, &factors, sizeof(factors)) == 0);
		CHECK((uintptr_t) nodes[i].code % 16 == 0);
		CHECK_NEAR(keys[ids[i]],
				   oracle_key(CHS_METRIC_L2, vector, fx->query.row, 40), 1e-4);
		CHECK_EQ(store->ops->neighbors(store, 0, ids[i], neighbors), 2);
		CHECK_EQ(neighbors[0], ids[i]);
		CHECK_EQ(neighbors[1], ids[i] / 2);
		store->ops->list(store, 0, ids[i], &list);
		CHECK_EQ(list.owner.id, ids[i]);
		CHECK_EQ(list.state, CHS_SLOT_LIVE);
		CHECK_EQ(list.degree, 2);
		CHECK_EQ(list.edges[0], ids[i] | CHS_EDGE_ANCHOR);
		CHECK_EQ(list.edges[1], ids[i] / 2);
	}
	mem_fixture_destroy(fx);
}

static ChsEditResult
try_edit(MemFixture *fx, ChsNodeRef owner, const ChsEdge *seen, int nseen,
		 const ChsEdge *next, int nnext)
{
	ChsEdit edit = {owner, nseen, nnext, seen, next};
	ChsEditResult result;

	fx->mem.store.ops->edit(&fx->mem.store, 0, &edit, 1, &result);
	return result;
}

static void
test_edit(void)
{
	MemFixture *fx = create_fixture(4, 20);
	ChsStore *store = &fx->mem.store;
	ChsEdge a[16] = {1, 2, 3, 4};
	ChsEdge b[16] = {1, 2, 3, 5 | CHS_EDGE_ANCHOR};
	ChsNodeRef owner = mem_fixture_publish(fx, 0, a, 4);
	ChsNodeRef other = {owner.id, 1};
	ChsList list;

	for (uint32_t row = 1; row < 20; row++)
		mem_fixture_publish(fx, row, NULL, 0);
	CHECK_EQ(try_edit(fx, owner, b, 4, a, 2), CHS_EDIT_CHANGED);
	CHECK_EQ(try_edit(fx, owner, a, 3, a, 2), CHS_EDIT_CHANGED);
	CHECK_EQ(try_edit(fx, other, a, 4, b, 4), CHS_EDIT_GONE);
	CHECK_EQ(try_edit(fx, owner, a, 4, b, 4), CHS_EDIT_DONE);
	/* the anchor mark takes part in the comparison */
	a[3] = 5;
	CHECK_EQ(try_edit(fx, owner, a, 4, a, 4), CHS_EDIT_CHANGED);
	store->ops->list(store, 0, owner.id, &list);
	CHECK_EQ(list.degree, 4);
	CHECK(memcmp(list.edges, b, 4 * sizeof(ChsEdge)) == 0);
	for (uint32_t i = 0; i < 16; i++)
		a[i] = 19 - i;
	CHECK_EQ(try_edit(fx, owner, b, 4, a, 16), CHS_EDIT_DONE);
	CHECK_EQ(try_edit(fx, owner, a, 16, NULL, 0), CHS_EDIT_DONE);
	CHECK_EQ(try_edit(fx, owner, NULL, 0, a, 1), CHS_EDIT_DONE);
	chs_mem_set_dead(&fx->mem, 0, owner.id);
	CHECK_EQ(try_edit(fx, owner, a, 1, a, 2), CHS_EDIT_GONE);
	mem_fixture_destroy(fx);
}

/* Live to dead to free to another node with the next version. */
static void
test_life(void)
{
	MemFixture *fx = create_fixture(4, 4);
	ChsStore *store = &fx->mem.store;
	ChsEdge edges[1] = {1};
	ChsNodeRef ref = mem_fixture_publish(fx, 0, edges, 1);
	ChsNodeRef second = mem_fixture_publish(fx, 1, edges, 0);
	ChsNodeId ids[CHS_MAX_DEGREE];
	ChsScored scored;
	ChsNodeCopy copy;
	ChsFactors factors = {0};
	ChsNewNode node = {.factors = &factors};
	ChsList list;
	double key;
	uint8_t tid[6] = {1, 2, 3, 4, 5, 6};

	mem_fixture_query(fx, 0);
	CHECK(chs_mem_slot(&fx->mem, 0, second.id)->tid[0] == 1);
	chs_mem_set_dead(&fx->mem, 0, second.id);
	CHECK(chs_mem_slot(&fx->mem, 0, second.id)->tid[0] == 0);
	chs_mem_set_dead(&fx->mem, 0, ref.id);
	store->ops->score(store, 0, &fx->query, &ref.id, 1, &scored);
	CHECK_EQ(scored.state, CHS_SLOT_DEAD);
	CHECK(scored.est < FLT_MAX);
	CHECK_EQ(store->ops->neighbors(store, 0, ref.id, ids), 1);
	store->ops->exact(store, &fx->query, &ref, 1, &key);
	CHECK(isinf(key));

	chs_mem_free(&fx->mem, 0, ref.id);
	store->ops->score(store, 0, &fx->query, &ref.id, 1, &scored);
	CHECK_EQ(scored.state, CHS_SLOT_FREE);
	CHECK_EQ(scored.version, 1);
	CHECK(scored.est == FLT_MAX);
	CHECK_EQ(store->ops->neighbors(store, 0, ref.id, ids), 0);
	store->ops->list(store, 0, ref.id, &list);
	CHECK_EQ(list.state, CHS_SLOT_FREE);
	CHECK_EQ(list.degree, 0);
	store->ops->fetch(store, 0, &ref.id, 1,
					  chs_alloc(fx->arena, chs_node_copy_bytes(&fx->model)),
					  &copy);
	CHECK_EQ(copy.state, CHS_SLOT_FREE);

	node.existing = (ChsNodeRef){ref.id, 1};
	node.tid = tid;
	node.code = chs_alloc_zero(fx->arena, chs_code_bytes(40, 4));
	node.row = fx->values;
	node.hash = 77;
	node = (ChsNewNode){.existing = node.existing,
						.tid = tid,
						.hash = 77,
						.factors = &factors,
						.code = node.code,
						.row = fx->values};
	ref = store->ops->publish(store, 0, &node);
	CHECK_EQ(ref.id, 0);
	CHECK_EQ(ref.version, 1);
	CHECK_EQ(chs_mem_count(&fx->mem, 0), 2);
	store->ops->exact(store, &fx->query, &ref, 1, &key);
	CHECK(!isinf(key));
	ref.version = 0;
	store->ops->exact(store, &fx->query, &ref, 1, &key);
	CHECK(isinf(key));
	CHECK(memcmp(chs_mem_slot(&fx->mem, 0, 0)->tid, tid, 6) == 0);
	mem_fixture_destroy(fx);
}

static void
test_entry(void)
{
	MemFixture *fx = create_fixture(4, 4);
	ChsStore *store = &fx->mem.store;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	ChsNodeRef refs[3];

	CHECK_EQ(store->ops->entries(store, false, entry), 0);
	CHECK_EQ(entry[0].id, CHS_NODE_NONE);
	for (uint32_t row = 0; row < 3; row++)
		refs[row] = mem_fixture_publish(fx, row, NULL, 0);
	CHECK(store->ops->set_entry(store, 0, none, refs[0]));
	CHECK(!store->ops->set_entry(store, 0, none, refs[1]));
	CHECK(!store->ops->set_entry(store, 0, refs[2], refs[1]));
	CHECK(store->ops->set_entry(store, 0, refs[0], refs[1]));
	CHECK_EQ(store->ops->entries(store, true, entry), 1);
	CHECK_EQ(entry[0].id, refs[1].id);
	/* dead, then vanished: whatever is expected, it may be replaced */
	chs_mem_set_dead(&fx->mem, 0, refs[1].id);
	CHECK(store->ops->set_entry(store, 0, none, refs[2]));
	chs_mem_free(&fx->mem, 0, refs[2].id);
	CHECK(store->ops->set_entry(store, 0, refs[1], refs[0]));
	/* a level above counts even when one between has none */
	CHECK(store->ops->set_entry(store, 2, none, refs[0]));
	CHECK_EQ(store->ops->entries(store, true, entry), 3);
	CHECK_EQ(entry[1].id, CHS_NODE_NONE);
	CHECK_EQ(entry[2].id, refs[0].id);
	mem_fixture_destroy(fx);
}

typedef struct Callbacks
{
	MemFixture *fx;
	int extra;
	int placed;
	uint8_t tid;
} Callbacks;

static void
keep_tid(void *context, ChsNodeRef to, const uint8_t *tid)
{
	Callbacks *seen = context;

	seen->extra++;
	seen->tid = tid[0];
	CHECK_EQ(to.id, 1);
}

static void
place_row(void *context, ChsNodeId id, const ChsNewNode *node)
{
	Callbacks *seen = context;

	seen->placed++;
	CHECK(node->row == seen->fx->values + (size_t) id * 40);
	/* nobody sees it yet */
	CHECK_EQ(chs_mem_slot(&seen->fx->mem, 0, id)->state, CHS_SLOT_FREE);
}

static const void *
give_vector(void *context, ChsNodeId id)
{
	return ((Callbacks *) context)->fx->values + (size_t) id * 40;
}

/* With vectors in the area, with a callback, and with the hash alone. */
static void
test_duplicate(int source)
{
	MemFixture *fx = create_fixture(4, 4);
	ChsStore *store = &fx->mem.store;
	ChsMemParams params = {8, (uint32_t) chs_code_bytes(40, 4), 0};
	Callbacks seen = {.fx = fx};
	uint8_t tid[6] = {9};
	ChsNewNode node = {.tid = tid, .row = fx->values + 40};
	ChsNodeRef ref;
	float other[40];

	if (source > 0)
		chs_mem_create(&fx->mem, fx->area, fx->area_bytes, &params, &fx->model);
	fx->mem.context = &seen;
	fx->mem.place_row = place_row;
	fx->mem.extra_tid = keep_tid;
	if (source == 1)
		fx->mem.row = give_vector;
	mem_fixture_publish(fx, 0, NULL, 0);
	ref = mem_fixture_publish(fx, 1, NULL, 0);
	CHECK_EQ(seen.placed, 2);
	node.hash = chs_mem_slot(&fx->mem, 0, 1)->hash;
	CHECK(store->ops->add_duplicate(store, ref, &node));
	CHECK_EQ(seen.extra, 1);
	CHECK_EQ(seen.tid, 9);
	memcpy(other, node.row, sizeof(other));
	other[39] += 1.0f;
	node.row = other;
	CHECK_EQ(store->ops->add_duplicate(store, ref, &node), source == 2);
	node.row = fx->values + 40;
	node.hash++;
	CHECK(!store->ops->add_duplicate(store, ref, &node));
	node.hash--;
	ref.version++;
	CHECK(!store->ops->add_duplicate(store, ref, &node));
	ref.version--;
	chs_mem_set_dead(&fx->mem, 0, ref.id);
	CHECK(!store->ops->add_duplicate(store, ref, &node));
	CHECK_EQ(seen.extra, source == 2 ? 2 : 1);
	mem_fixture_destroy(fx);
}

/* ---- size ---- */

/* Publishes nodes whose hash and code tell them apart until the area is full. */
static uint32_t
fill_area(ChsMemStore *mem, const ChsMemParams *params, uint64_t seed)
{
	ChsFactors factors = {0};
	uint8_t *code = calloc(1, params->code_bytes);
	ChsGraphParams law = {params->m, 10, seed};
	uint32_t n = 0;

	for (;;)
	{
		int level = chs_graph_draw_level(&law, n, 8, 1 << 30);
		ChsNewNode node = {
			.existing = none, .factors = &factors, .code = code, .down = none};

		if (!chs_mem_promise(mem, level))
			break;
		for (int l = 0; l <= level; l++)
		{
			node.hash = chs_mix64(chs_mem_count(mem, l) * 16 + (uint64_t) l);
			memset(code, (int) (node.hash & 255), params->code_bytes);
			node.down = mem->store.ops->publish(&mem->store, l, &node);
		}
		chs_mem_settle(mem, level);
		n++;
	}
	free(code);
	return n;
}

/* No slot overlaps another: each still is what was published. */
static void
check_area(const ChsMemStore *mem, const ChsMemParams *params)
{
	uint32_t wrong = 0;

	for (int l = 0; l < CHS_MAX_LEVELS; l++)
	{
		const ChsSlotLayout *layout = chs_mem_layout(mem, l);

		for (uint32_t id = 0; id < chs_mem_count(mem, l); id++)
		{
			ChsSlotHeader *slot = chs_mem_slot(mem, l, id);
			uint64_t hash = chs_mix64(id * 16 + (uint64_t) l);
			const uint8_t *code = chs_slot_code(layout, slot);

			wrong += slot->hash != hash || slot->state != CHS_SLOT_LIVE;
			for (uint32_t i = 0; i < params->code_bytes; i++)
				wrong += code[i] != (hash & 255);
		}
	}
	CHECK_EQ(wrong, 0);
}

static void
test_small_area(void)
{
	const size_t sizes[] = {4096, 65536, 1 << 20, 5000000};
	ChsMemParams params = {16, 384, 0};
	ChsModel model = {.bits = 4, .dim = 768};

	for (int i = 0; i < 4; i++)
	{
		ChsArena *arena = arena_malloc_create();
		void *area = chs_alloc(arena, sizes[i]);
		ChsSlotLayout layout = chs_slot_layout(384, 16, 0);
		uint64_t most = sizes[i] / ((layout.slot_bytes + 63u) & ~63u);
		ChsMemStore mem;
		uint32_t n;

		memset(area, 0xff, sizes[i]);
		chs_mem_create(&mem, area, sizes[i], &params, &model);
		CHECK(!chs_mem_full(&mem) || sizes[i] < 65536);
		n = fill_area(&mem, &params, 3);
		CHECK(chs_mem_full(&mem));
		CHECK(!chs_mem_promise(&mem, 0));
		CHECK_EQ(n, chs_mem_count(&mem, 0));
		/* levels above take a sixteenth; fixed part and last chunks */
		if (sizes[i] >= 1 << 20)
			CHECK(n >= most * 84 / 100);
		check_area(&mem, &params);
		arena_malloc_destroy(arena);
	}
}

/* The estimate holds what it was asked for, and not much more. */
static void
test_estimate(int m, uint32_t vector_bytes)
{
	const uint64_t rows[] = {0, 1, 17, 1000, 40000};
	ChsMemParams params = {m, 8, vector_bytes};
	ChsModel model = {.bits = 1, .dim = 64};

	for (int i = 0; i < 5; i++)
	{
		ChsArena *arena = arena_malloc_create();
		size_t bytes = chs_mem_estimate(&params, rows[i]);
		void *area = chs_alloc(arena, bytes);
		ChsMemStore mem;
		uint32_t n;

		chs_mem_create(&mem, area, bytes, &params, &model);
		n = fill_area(&mem, &params, 5);
		CHECK(n >= rows[i]);
		if (rows[i] >= 40000)
			CHECK(n <= rows[i] + rows[i] / 10);
		check_area(&mem, &params);
		arena_malloc_destroy(arena);
	}
}

/* A promise given back is room again; a settled one is not counted twice. */
static void
test_promise(void)
{
	ChsMemParams params = {16, 384, 0};
	ChsModel model = {.bits = 4, .dim = 768};
	ChsArena *arena = arena_malloc_create();
	size_t bytes = 1 << 20;
	void *area = chs_alloc(arena, bytes);
	ChsMemStore mem;
	uint32_t n;

	chs_mem_create(&mem, area, bytes, &params, &model);
	for (int i = 0; i < 100000; i++)
	{
		if (!chs_mem_promise(&mem, 3))
			break;
		chs_mem_settle(&mem, 3);
	}
	CHECK(!chs_mem_full(&mem));
	for (int i = 0; i < 500; i++)
		CHECK(chs_mem_promise(&mem, 0));
	for (int i = 0; i < 500; i++)
		chs_mem_settle(&mem, 0);
	n = fill_area(&mem, &params, 3);
	CHECK(n > 1000);
	arena_malloc_destroy(arena);
}

/* Distances only: a copy of the area at another address is the same store. */
static void
test_moved_area(void)
{
	MemFixture *fx = create_fixture(4, 200);
	void *copy = chs_alloc(fx->arena, fx->area_bytes);
	ChsMemStore moved;
	ChsScored a;
	ChsScored b;
	ChsNodeRef entry[CHS_MAX_LEVELS];

	mem_fixture_link_knn(fx, 6);
	memcpy(copy, fx->area, fx->area_bytes);
	chs_mem_attach(&moved, copy, &fx->model);
	mem_fixture_query(fx, 0);
	CHECK_EQ(chs_mem_count(&moved, 0), 200);
	CHECK_EQ(moved.store.ops->entries(&moved.store, true, entry), 1);
	for (uint32_t id = 0; id < 200; id++)
	{
		fx->mem.store.ops->score(&fx->mem.store, 0, &fx->query, &id, 1, &a);
		moved.store.ops->score(&moved.store, 0, &fx->query, &id, 1, &b);
		CHECK(a.est == b.est);
		CHECK((char *) chs_mem_slot(&moved, 0, id) >= (char *) copy);
		CHECK((char *) chs_mem_slot(&moved, 0, id) <
			  (char *) copy + fx->area_bytes);
	}
	mem_fixture_destroy(fx);
}

/* ---- two threads ---- */

#define THREADS 2
#define THREAD_ROUNDS 20000
#define THREAD_ROWS 1500

typedef struct Worker
{
	MemFixture *fx;
	int number;
	int step; /* atomic */
	uint64_t wrong;
} Worker;

static void
run_workers(MemFixture *fx, void *(*work)(void *), Worker *workers)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
	{
		workers[i] = (Worker){.fx = fx, .number = i};
		CHECK_EQ(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* The list without `edge`, or with it at the end; the length of the result. */
static int
toggle_edge(const ChsList *list, ChsEdge edge, ChsEdge *next)
{
	int n = 0;

	for (int i = 0; i < list->degree; i++)
	{
		if (list->edges[i] != edge)
			next[n++] = list->edges[i];
	}
	if (n == list->degree)
		next[n++] = edge;
	return n;
}

/*
 * Adds its own edge to node 0 and takes it away in turns; it must always find
 * what it left.
 */
static void *
toggle_edges(void *arg)
{
	Worker *worker = arg;
	ChsStore *store = &worker->fx->mem.store;
	ChsEdge own = (ChsEdge) worker->number + 1;

	for (int round = 0; round < THREAD_ROUNDS;)
	{
		ChsNodeId neighbors[CHS_MAX_DEGREE];
		ChsEdge next[CHS_MAX_DEGREE];
		ChsList list;
		ChsEditResult result;
		ChsEdit edit = {.seen = list.edges, .next = next};
		int degree = store->ops->neighbors(store, 0, 0, neighbors);

		for (int k = 0; k < degree; k++)
			worker->wrong += neighbors[k] < 1 || neighbors[k] > THREADS;
		store->ops->list(store, 0, 0, &list);
		edit.owner = list.owner;
		edit.nseen = list.degree;
		edit.nnext = toggle_edge(&list, own, next);
		worker->wrong += (edit.nnext > edit.nseen) != (round % 2 == 0);
		store->ops->edit(store, 0, &edit, 1, &result);
		if (result == CHS_EDIT_DONE)
			round++;
	}
	return NULL;
}

/* No edit is lost when two change the same list. */
static void
test_concurrent_edit(void)
{
	MemFixture *fx = create_fixture(4, 4);
	Worker workers[THREADS];
	ChsList list;

	mem_fixture_publish(fx, 0, NULL, 0);
	run_workers(fx, toggle_edges, workers);
	fx->mem.store.ops->list(&fx->mem.store, 0, 0, &list);
	CHECK_EQ(list.degree, 0);
	CHECK_EQ(workers[0].wrong + workers[1].wrong, 0);
	mem_fixture_destroy(fx);
}

/* Empties node 0's list, telling before and after. */
static void *
empty_list(void *arg)
{
	Worker *worker = arg;
	ChsEdge seen = 0;

	__atomic_store_n(&worker->step, 1, __ATOMIC_SEQ_CST);
	worker->wrong += try_edit(worker->fx, (ChsNodeRef){0, 0}, &seen, 1, NULL,
							  0) != CHS_EDIT_DONE;
	__atomic_store_n(&worker->step, 2, __ATOMIC_SEQ_CST);
	return NULL;
}

/* While somebody holds the spin bit a list cannot change. */
static void
test_spin_bit(void)
{
	MemFixture *fx = create_fixture(4, 4);
	Worker worker = {.fx = fx};
	ChsEdge edge = 0;
	ChsSlotHeader *slot;
	pthread_t thread;

	mem_fixture_publish(fx, 0, &edge, 1);
	slot = chs_mem_slot(&fx->mem, 0, 0);
	__atomic_store_n(&slot->lock, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(pthread_create(&thread, NULL, empty_list, &worker), 0);
	while (__atomic_load_n(&worker.step, __ATOMIC_SEQ_CST) == 0)
		sched_yield();
	/* time enough for one that does not wait, and no harm if it is not */
	for (int i = 0; i < 10000; i++)
		sched_yield();
	CHECK_EQ(__atomic_load_n(&worker.step, __ATOMIC_SEQ_CST), 1);
	CHECK_EQ(__atomic_load_n(&slot->degree, __ATOMIC_SEQ_CST), 1);
	__atomic_store_n(&slot->lock, 0, __ATOMIC_SEQ_CST);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(worker.wrong, 0);
	CHECK_EQ(slot->degree, 0);
	CHECK_EQ(slot->lock, 0);
	mem_fixture_destroy(fx);
}

/* Inserts every second row with a graph handle of its own. */
static void *
insert_rows(void *arg)
{
	Worker *worker = arg;
	MemFixture own = *worker->fx;

	own.arena = arena_malloc_create();
	chs_graph_init(&own.graph, &worker->fx->mem.store,
				   &worker->fx->graph.params, own.arena);
	own.mem = worker->fx->mem;
	for (uint32_t row = (uint32_t) worker->number;
		 row < worker->fx->params.count; row += THREADS)
	{
		ChsNodeRef ref;

		worker->wrong += mem_fixture_insert(&own, row, &ref) != CHS_INSERT_NEW;
	}
	arena_malloc_destroy(own.arena);
	return NULL;
}

static void
report_problem(void *context, const ChsProblem *problem)
{
	(void) context;
	fprintf(stderr, "%s: level %d, node %u: %s\n", problem->invariant,
			problem->level, (unsigned) problem->id, problem->text);
}

static void
test_concurrent_insert(void)
{
	MemFixture *fx = create_fixture(4, THREAD_ROWS);
	Worker workers[THREADS];
	uint32_t found[10];
	double recall = 0.0;

	run_workers(fx, insert_rows, workers);
	CHECK_EQ(workers[0].wrong + workers[1].wrong, 0);
	CHECK_EQ(chs_mem_count(&fx->mem, 0), THREAD_ROWS);
	CHECK_EQ(chs_graph_check(&fx->graph, fx->arena, report_problem, NULL), 0);
	for (uint32_t q = 0; q < 50; q++)
	{
		ChsScan *scan = chs_scan_create(&fx->graph, fx->arena);
		ChsScanParams params = {60, CHS_SCAN_RELAXED, UINT64_MAX, SIZE_MAX};
		OracleQuery query;
		OracleHit exact[10];
		ChsScanHit hit;
		size_t n = 0;

		mem_fixture_query(fx, q);
		query = mem_fixture_oracle(fx);
		oracle_search(&query, 10, exact);
		chs_scan_start(scan, &params, &fx->query);
		while (n < 10 && chs_scan_next(scan, &hit) == CHS_SCAN_ROW)
			memcpy(&found[n++], chs_mem_slot(&fx->mem, 0, hit.ref.id)->tid, 4);
		recall += oracle_recall(&query, exact, 10, found, n) / 50;
	}
	CHECK(recall > 0.97);
	mem_fixture_destroy(fx);
}

int
main(void)
{
	chs_distance();
	chs_quant();
	test_read(4);
	test_read(1);
	test_read(CHS_BITS_NONE);
	test_edit();
	test_life();
	test_entry();
	for (int source = 0; source <= 2; source++)
		test_duplicate(source);
	test_small_area();
	test_estimate(16, 0);
	test_estimate(2, 64);
	test_promise();
	test_moved_area();
	test_spin_bit();
	test_concurrent_edit();
	test_concurrent_insert();
	return unit_summary("store_mem");
}
