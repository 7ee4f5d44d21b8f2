/*
 * store_mem.h
 *	  A node store in memory: index build, unit tests, fuzzing.
 *
 * Nodes are slots (slot.h) in chunks of up to 65,536, per level; a chunk table
 * holds offsets from the base of one memory area, so that the area can be
 * shared memory mapped at different addresses in several processes.  Threads
 * or processes may read and write at once: a list is changed under a spin bit
 * in its own slot, everything else is published by one release store.
 *
 * It does not know where its memory comes from, nor what a TID is.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_STORE_MEM_H
#define CHS_STORE_MEM_H

#include "core/graph/graph_store.h"

/* The largest chunk; small areas are cut into smaller ones. */
#define CHS_MEM_CHUNK_NODES 65536

/*
 * The shared part, at the start of the area.  Plain old data with no pointer
 * in it; opaque to everybody but store_mem.c.
 */
typedef struct ChsMemShared ChsMemShared;

typedef struct ChsMemParams
{
	int m;
	uint32_t code_bytes; /* model's; where codes are rows the row is kept */
	uint32_t row_bytes;  /* keep exact rows too (tests), or 0 */
} ChsMemParams;

/* A process's handle on the area. */
typedef struct ChsMemStore
{
	ChsStore store; /* first */
	ChsMemShared *shared;

	/*
	 * Exact row of a level-0 node for exact() and add_duplicate()'s
	 * comparison, when the area keeps none; NULL makes exact() use what the
	 * area has and add_duplicate() trust the 64-bit hash.
	 */
	const void *(*row)(void *context, ChsNodeId id);
	void *context;

	/*
	 * add_duplicate() cannot keep more than one TID in a slot: it hands
	 * further ones to this function (under no lock), which must keep them.
	 * NULL: the mem store counts and forgets them (tests).
	 */
	void (*extra_tid)(void *context, ChsNodeRef to, const uint8_t *tid);

	/*
	 * Called by a level-0 publish() with the new number before anybody can see
	 * the node, so that the caller can put the exact row where it belongs.
	 * NULL: nothing to do.
	 */
	void (*place_row)(void *context, ChsNodeId id, const ChsNewNode *node);
} ChsMemStore;

/*
 * Bytes of area for the fixed part, which is the least an area may have, and
 * for one chunk of the largest size of a level.  An area of a given size takes
 * what fits.
 */
extern size_t chs_mem_fixed_bytes(void);
extern size_t chs_mem_chunk_bytes(const ChsMemParams *params, int level);

/* Bytes for about `rows` level-0 nodes with their upper levels. */
extern size_t chs_mem_estimate(const ChsMemParams *params, uint64_t rows);

/*
 * Lays out an empty store in `area` (64-byte aligned, zeroed or not, `bytes`
 * long), and attaches to one that another process laid out.
 */
extern void chs_mem_create(ChsMemStore *mem, void *area, size_t bytes,
						   const ChsMemParams *params, const ChsModel *model);
extern void chs_mem_attach(ChsMemStore *mem, void *area, const ChsModel *model);

/*
 * Room for one more node with levels 0 .. level is promised to the caller;
 * false when the area cannot hold it, and then the store is "full" from then
 * on for everybody.  Level-0 publish() with node->existing.id = CHS_NODE_NONE
 * takes the next number; a promise that was not used (the node turned out to
 * be a duplicate) or only in part is given back with chs_mem_settle, which
 * every chs_mem_promise must be followed by.
 */
extern bool chs_mem_promise(ChsMemStore *mem, int level);
extern void chs_mem_settle(ChsMemStore *mem, int level);
extern bool chs_mem_full(const ChsMemStore *mem);

/* For flushing to pages and for tests: a level's size and one slot. */
extern uint32_t chs_mem_count(const ChsMemStore *mem, int level);
extern ChsSlotHeader *chs_mem_slot(const ChsMemStore *mem, int level,
								   ChsNodeId id);
extern const ChsSlotLayout *chs_mem_layout(const ChsMemStore *mem, int level);

/* For tests: what VACUUM does to a store. */
extern void chs_mem_set_dead(ChsMemStore *mem, int level, ChsNodeId id);
extern void chs_mem_free(ChsMemStore *mem, int level, ChsNodeId id);

#endif /* CHS_STORE_MEM_H */
