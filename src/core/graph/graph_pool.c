/*
 * graph_pool.c
 *	  Copies of the codes around one node, and estimates among them.
 *
 * See graph_pool.h.  The neighbours of a new node share most of their own
 * neighbours with each other and with the candidates, so remembering a copy
 * saves most of the fetches that linking back would need.  A copy can be out
 * of date: a slot freed and used again since then makes one estimate wrong,
 * which costs one badly chosen edge and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_pool.h"

#include <float.h>

/* Members that come and go: at least one list, more while they are small. */
#define MIN_VISITORS (CHS_MAX_DEGREE + 1)
#define MAX_VISITORS 1024
#define VISITOR_BYTES (512 * 1024)

/* Nodes per fetch(), so that a store can plan with a fixed array. */
#define FETCH_BATCH CHS_MAX_DEGREE

static int
choose_visitors(size_t copy_bytes)
{
	size_t n = VISITOR_BYTES / copy_bytes;

	if (n > MAX_VISITORS)
		return MAX_VISITORS;
	return n < MIN_VISITORS ? MIN_VISITORS : (int) n;
}

void
chs_pool_create(ChsPool *pool, ChsStore *store, int candidates, ChsArena *arena)
{
	size_t query_bytes = chs_query_bytes(store->model);
	size_t capacity;
	uint32_t slots = 64;

	memset(pool, 0, sizeof(*pool));
	pool->store = store;
	pool->copy_bytes = chs_node_copy_bytes(store->model);
	pool->capacity = candidates + choose_visitors(pool->copy_bytes);
	capacity = (size_t) pool->capacity;
	/* at most half full, so that probing stays short */
	while (slots < 2 * capacity)
		slots *= 2;
	pool->table_mask = slots - 1;
	pool->table = chs_alloc_zero(arena, slots * sizeof(uint32_t));
	pool->node = chs_alloc(arena, capacity * sizeof(ChsNodeCopy));
	pool->key = chs_alloc(arena, capacity * sizeof(float));
	pool->copies = chs_alloc(arena, capacity * pool->copy_bytes);
	pool->missing = chs_alloc(arena, capacity * sizeof(ChsNodeId));
	pool->codes = chs_alloc(arena, (capacity + 1) * sizeof(uint8_t *));
	pool->factors = chs_alloc(arena, (capacity + 1) * sizeof(ChsFactors *));
	pool->scratch = chs_alloc(arena, (capacity + 1) * sizeof(float));
	pool->centre_mem = chs_alloc(arena, query_bytes);
	pool->other_mem = chs_alloc(arena, query_bytes);
}

void
chs_pool_start(ChsPool *pool, int level, const uint8_t *code,
			   const ChsFactors *factors)
{
	pool->level = level;
	pool->n = 0;
	pool->kept = 0;
	memset(pool->table, 0, (pool->table_mask + 1) * sizeof(uint32_t));
	pool->centre_code = code;
	pool->centre_factors = factors;
	chs_query_from_code(&pool->centre, pool->centre_mem, pool->store->model,
						code, factors);
}

/* The table's place for this number: taken by it, or empty. */
static uint32_t
probe_table(const ChsPool *pool, ChsNodeId id)
{
	uint32_t at = (id * UINT32_C(2654435769) >> 7) & pool->table_mask;

	while (pool->table[at] != 0 && pool->node[pool->table[at] - 1].ref.id != id)
		at = (at + 1) & pool->table_mask;
	return at;
}

int
chs_pool_find(const ChsPool *pool, ChsNodeId id)
{
	return (int) pool->table[probe_table(pool, id)] - 1;
}

static void
forget_visitors(ChsPool *pool)
{
	pool->n = pool->kept;
	memset(pool->table, 0, (pool->table_mask + 1) * sizeof(uint32_t));
	for (int i = 0; i < pool->n; i++)
		pool->table[probe_table(pool, pool->node[i].ref.id)] = (uint32_t) i + 1;
}

/*
 * Lists the numbers that are not members, each once, in `missing`.  They are
 * entered in the table at once (that is what finds repetitions), so the
 * members they become must be filled right after.
 */
static int
enter_missing(ChsPool *pool, const ChsNodeId *ids, int n)
{
	int count = 0;

	for (int i = 0; i < n; i++)
	{
		uint32_t at = probe_table(pool, ids[i]);

		if (pool->table[at] != 0)
			continue;
		pool->missing[count] = ids[i];
		pool->node[pool->n + count].ref.id = ids[i];
		count++;
		pool->table[at] = (uint32_t) (pool->n + count);
	}
	return count;
}

/* How many of these are not members, repetitions counted. */
static int
count_missing(const ChsPool *pool, const ChsNodeId *ids, int n)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += chs_pool_find(pool, ids[i]) < 0;
	return count;
}

/* Fills members from first on: copies and keys. */
static void
fetch_members(ChsPool *pool, int first, int count)
{
	ChsStore *store = pool->store;

	for (int done = 0; done < count; done += FETCH_BATCH)
	{
		int n = count - done < FETCH_BATCH ? count - done : FETCH_BATCH;
		int at = first + done;

		store->ops->fetch(store, pool->level, pool->missing + done, n,
						  pool->copies + (size_t) at * pool->copy_bytes,
						  pool->node + at);
	}
	for (int i = 0; i < count; i++)
	{
		pool->codes[i] = pool->node[first + i].code;
		pool->factors[i] = pool->node[first + i].factors;
	}
	chs_estimate(&pool->centre, pool->codes, pool->factors, count,
				 pool->key + first, NULL);
	/* a slot that is not in use has any bytes for a code */
	for (int i = first; i < first + count; i++)
		if (pool->node[i].state != CHS_SLOT_LIVE)
			pool->key[i] = FLT_MAX;
}

bool
chs_pool_load(ChsPool *pool, const ChsNodeId *ids, int n)
{
	int first;
	int count;

	if (pool->n + count_missing(pool, ids, n) > pool->capacity)
	{
		forget_visitors(pool);
		if (pool->n + count_missing(pool, ids, n) > pool->capacity)
			return false;
	}
	first = pool->n;
	count = enter_missing(pool, ids, n);
	pool->n += count;
	fetch_members(pool, first, count);
	return true;
}

void
chs_pool_keep(ChsPool *pool)
{
	pool->kept = pool->n;
}

void
chs_pool_compare(ChsPool *pool, int from, const int *others, int n,
				 bool with_centre, float *out)
{
	for (int k = 0; k < n; k++)
	{
		pool->codes[k] = pool->node[others[k]].code;
		pool->factors[k] = pool->node[others[k]].factors;
	}
	if (with_centre)
	{
		pool->codes[n] = pool->centre_code;
		pool->factors[n] = pool->centre_factors;
		n++;
	}
	chs_query_from_code(&pool->other, pool->other_mem, pool->store->model,
						pool->node[from].code, pool->node[from].factors);
	chs_estimate(&pool->other, pool->codes, pool->factors, n, out, NULL);
}

static bool
comes_before(const ChsPool *pool, int a, int b)
{
	if (pool->key[a] != pool->key[b])
		return pool->key[a] < pool->key[b];
	return pool->node[a].ref.id < pool->node[b].ref.id;
}

/*
 * Shell sort with Ciura's gaps (2001): the input is a search result and so
 * nearly in order, and the C library's qsort may allocate memory.
 */
void
chs_pool_sort(const ChsPool *pool, int *order, int n)
{
	static const int gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};

	for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++)
	{
		for (int i = gaps[g]; i < n; i++)
		{
			int item = order[i];
			int j = i;

			for (; j >= gaps[g] && comes_before(pool, item, order[j - gaps[g]]);
				 j -= gaps[g])
				order[j] = order[j - gaps[g]];
			order[j] = item;
		}
	}
}
