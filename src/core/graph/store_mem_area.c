/*
 * store_mem_area.c
 *	  Hands out room for nodes in the memory area of store_mem.
 *
 * How large chunks are, how much area so many rows need, and the promises by
 * which several processes know beforehand that a node will fit.  Apart from
 * store_mem.c because nothing here looks into a slot.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _POSIX_C_SOURCE 200112L /* sched_yield */

#include "core/graph/store_mem_area.h"

#include <math.h>
#include <sched.h>
#include <string.h>

/* An area is cut into about this many chunks: under 1 % of it is left over. */
#define AREA_CHUNKS 256

/* Less than this part of a slot may be padding: memory is lent for a while. */
#define PADDING_PARTS 8
#define CHUNK_MIN_SHIFT 4  /* 16 nodes */
#define CHUNK_MAX_SHIFT 16 /* CHS_MEM_CHUNK_NODES */
/* A chunk of an upper level has 1/16 of the nodes of one of level 0. */
#define UPPER_SHIFT 4

#define SPINS 64 /* looks at a spin bit before giving up the processor */

/* Sizes that follow from parameters and area. */
typedef struct Geometry
{
	ChsSlotLayout layout[2];
	uint32_t shift[2];
	uint64_t chunk_bytes[2];
	uint32_t max_chunks[CHS_MAX_LEVELS];
	uint64_t table_bytes; /* all tables */
} Geometry;

static inline uint64_t
round_to_line(uint64_t bytes)
{
	return (bytes + CHS_MEM_LINE - 1) & ~(uint64_t) (CHS_MEM_LINE - 1);
}

static uint64_t
count_chunk_bytes(const ChsMemParams *params, int level, uint64_t nodes)
{
	ChsSlotLayout layout = chs_slot_layout(params->code_bytes, params->m, level);
	uint64_t bytes;

	(void) chs_slot_align(&layout, PADDING_PARTS);
	bytes = round_to_line(nodes * layout.slot_bytes);
	if (level == 0)
		bytes += round_to_line(nodes * params->row_bytes);
	return bytes;
}

/*
 * Chunks are as large as leaves little over at the end of the area.  A level's
 * table could name all of the area; from level 2 on half as much as the level
 * below is enough, for at most every second node goes one level up (m >= 2).
 */
static void
plan_geometry(const ChsMemParams *params, uint64_t bytes, Geometry *plan)
{
	uint32_t shift = CHUNK_MAX_SHIFT;

	while (shift > CHUNK_MIN_SHIFT &&
		   count_chunk_bytes(params, 0, UINT64_C(1) << shift) >
			   bytes / AREA_CHUNKS)
		shift--;
	plan->shift[0] = shift;
	plan->shift[1] = shift > UPPER_SHIFT + 2 ? shift - UPPER_SHIFT : 2;
	for (int kind = 0; kind <= 1; kind++)
	{
		plan->layout[kind] = chs_slot_layout(params->code_bytes, params->m,
											 kind);
		(void) chs_slot_align(&plan->layout[kind], PADDING_PARTS);
		plan->chunk_bytes[kind] = count_chunk_bytes(
			params, kind, UINT64_C(1) << plan->shift[kind]);
	}
	plan->table_bytes = 0;
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		int kind = chs_mem_kind(level);
		uint64_t chunks = bytes / plan->chunk_bytes[kind];
		uint64_t most = CHS_NODE_NONE >> plan->shift[kind];

		if (level > 1)
			chunks >>= level - 1;
		chunks += 1;
		plan->max_chunks[level] = (uint32_t) (chunks < most ? chunks : most);
		plan->table_bytes += round_to_line(plan->max_chunks[level] *
										   sizeof(uint32_t));
	}
}

size_t
chs_mem_fixed_bytes(void)
{
	return round_to_line(sizeof(ChsMemShared));
}

size_t
chs_mem_chunk_bytes(const ChsMemParams *params, int level)
{
	return count_chunk_bytes(params, level, CHS_MEM_CHUNK_NODES);
}

size_t
chs_mem_estimate(const ChsMemParams *params, uint64_t rows)
{
	uint64_t fixed = chs_mem_fixed_bytes();
	uint64_t m = (uint64_t) (params->m < 2 ? 2 : params->m);
	/* geometric law, and six standard deviations of it */
	uint64_t upper = rows / (m - 1) + 6 * (uint64_t) sqrt((double) rows) + 1;
	uint64_t bytes = fixed + count_chunk_bytes(params, 0, rows) +
					 count_chunk_bytes(params, 1, upper);
	Geometry plan;

	/* what is left over at every level's end, and the tables */
	plan_geometry(params, bytes, &plan);
	bytes += plan.table_bytes + plan.chunk_bytes[0] +
			 CHS_MAX_LEVELS * plan.chunk_bytes[1];
	/* a larger area may have larger chunks: twice the share is enough */
	return bytes + bytes / (AREA_CHUNKS / 2) + plan.table_bytes;
}

/* ---- spin bits ---- */

void
chs_mem_lock(uint8_t *bit)
{
	int spins = 0;

	while (__atomic_exchange_n(bit, 1, __ATOMIC_ACQUIRE) != 0)
	{
		while (__atomic_load_n(bit, __ATOMIC_RELAXED) != 0)
		{
			/* the holder may have lost the processor */
			if (++spins >= SPINS)
			{
				sched_yield();
				spins = 0;
			}
		}
	}
}

void
chs_mem_unlock(uint8_t *bit)
{
	__atomic_store_n(bit, 0, __ATOMIC_RELEASE);
}

/* ---- the area ---- */

void
chs_mem_attach(ChsMemStore *mem, void *area, const ChsModel *model)
{
	memset(mem, 0, sizeof(*mem));
	mem->store.ops = &chs_mem_ops;
	mem->store.model = model;
	mem->shared = area;
}

void
chs_mem_create(ChsMemStore *mem, void *area, size_t bytes,
			   const ChsMemParams *params, const ChsModel *model)
{
	ChsMemShared *shared = area;
	Geometry plan;
	uint64_t used = chs_mem_fixed_bytes();

	assert(bytes >= used);
	plan_geometry(params, bytes, &plan);
	memset(shared, 0, sizeof(*shared));
	shared->bytes = bytes;
	shared->params = *params;
	memcpy(shared->layout, plan.layout, sizeof(shared->layout));
	memcpy(shared->shift, plan.shift, sizeof(shared->shift));
	shared->rows = round_to_line((uint64_t) plan.layout[0].slot_bytes
								 << plan.shift[0]);
	/* an area too small for the tables has no room for a node either */
	shared->full = used + plan.table_bytes > bytes;
	for (int level = 0; level < CHS_MAX_LEVELS && !shared->full; level++)
	{
		shared->level[level].table = used / CHS_MEM_LINE;
		shared->level[level].max_chunks = plan.max_chunks[level];
		used += round_to_line(plan.max_chunks[level] * sizeof(uint32_t));
	}
	shared->used = used;
	chs_mem_attach(mem, area, model);
}

/* Adds a chunk to a level; under the area's lock.  False: no room. */
static bool
add_chunk(ChsMemShared *shared, int level)
{
	ChsMemLevel *lev = &shared->level[level];
	uint32_t *table = chs_mem_place(shared, lev->table);
	uint64_t bytes = count_chunk_bytes(
		&shared->params, level,
		UINT64_C(1) << shared->shift[chs_mem_kind(level)]);

	if (lev->nchunks == lev->max_chunks || shared->bytes - shared->used < bytes ||
		shared->used / CHS_MEM_LINE > UINT32_MAX)
		return false;
	memset((char *) shared + shared->used, 0, bytes);
	__atomic_store_n(&table[lev->nchunks],
					 (uint32_t) (shared->used / CHS_MEM_LINE), __ATOMIC_RELEASE);
	lev->nchunks++;
	shared->used += bytes;
	return true;
}

/*
 * Is there room for one more node, besides those there and promised?  A node
 * both published and not yet settled counts twice for a moment, which can only
 * make us careful.
 */
static bool
make_room(ChsMemShared *shared, int level)
{
	ChsMemLevel *lev = &shared->level[level];
	uint64_t wanted = (uint64_t) __atomic_load_n(&lev->count, __ATOMIC_RELAXED) +
					  lev->promised + 1;
	uint64_t room = (uint64_t) lev->nchunks
					<< shared->shift[chs_mem_kind(level)];

	return wanted <= room || add_chunk(shared, level);
}

bool
chs_mem_promise(ChsMemStore *mem, int level)
{
	ChsMemShared *shared = mem->shared;
	bool ok = true;

	if (chs_mem_full(mem))
		return false;
	chs_mem_lock(&shared->lock);
	for (int l = 0; l <= level && ok; l++)
		ok = make_room(shared, l);
	for (int l = 0; l <= level && ok; l++)
		shared->level[l].promised++;
	chs_mem_unlock(&shared->lock);
	if (!ok)
		__atomic_store_n(&shared->full, 1, __ATOMIC_RELEASE);
	return ok;
}

void
chs_mem_settle(ChsMemStore *mem, int level)
{
	ChsMemShared *shared = mem->shared;

	chs_mem_lock(&shared->lock);
	for (int l = 0; l <= level; l++)
	{
		assert(shared->level[l].promised > 0);
		shared->level[l].promised--;
	}
	chs_mem_unlock(&shared->lock);
}

bool
chs_mem_full(const ChsMemStore *mem)
{
	return __atomic_load_n(&mem->shared->full, __ATOMIC_ACQUIRE) != 0;
}
