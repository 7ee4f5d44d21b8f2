/*
 * store_mem_area.h
 *	  The inside of the memory area of store_mem: places and spin bits.
 *
 * Private to store_mem.c, which reads and writes nodes, and store_mem_area.c,
 * which hands out room for them.  The area starts with ChsMemShared, then come
 * the levels' chunk tables, then chunks of either kind (level 0, upper levels)
 * in the order in which they were needed.  All places are kept as distances
 * from the start of the area, in cache lines.
 *
 * The __atomic builtins stand in for <stdatomic.h> because slots are plain
 * bytes that are also written to disk; an _Atomic member would say otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_STORE_MEM_AREA_H
#define CHS_STORE_MEM_AREA_H

#include "core/base/prefetch.h"
#include "core/graph/store_mem.h"

#define CHS_MEM_LINE CHS_CACHE_LINE /* the unit of places */

typedef struct ChsMemLevel
{
	uint32_t count;      /* atomic; slots below it were handed out */
	uint32_t promised;   /* area lock: nodes that may still come */
	uint32_t nchunks;    /* area lock */
	uint32_t max_chunks; /* length of the table */
	uint64_t table;      /* place of uint32_t[max_chunks], in lines */
	uint64_t entry;      /* atomic, packed by store_mem.c */
} ChsMemLevel;

struct ChsMemShared
{
	uint64_t bytes; /* of the area */
	uint64_t used;  /* area lock */
	ChsMemParams params;
	ChsSlotLayout layout[2]; /* level 0, upper levels */
	uint32_t shift[2];       /* log2 of a chunk's nodes */
	uint64_t rows;           /* in a level-0 chunk: place of the exact rows */
	uint64_t duplicates;     /* atomic: TIDs forgotten */
	uint8_t lock;            /* the area's spin bit */
	uint8_t full;            /* atomic */
	ChsMemLevel level[CHS_MAX_LEVELS];
};

extern const ChsStoreOps chs_mem_ops; /* store_mem.c */

/* Which of the two kinds of chunks a level has. */
static inline int
chs_mem_kind(int level)
{
	return level == 0 ? 0 : 1;
}

static inline void *
chs_mem_place(const ChsMemShared *shared, uint64_t lines)
{
	return (char *) shared + lines * CHS_MEM_LINE;
}

/* Start of the chunk that holds `id`, a number below the level's count. */
static inline char *
chs_mem_chunk(const ChsMemShared *shared, int level, ChsNodeId id)
{
	const uint32_t *table = chs_mem_place(shared, shared->level[level].table);
	uint32_t chunk = id >> shared->shift[chs_mem_kind(level)];

	return chs_mem_place(shared,
						 __atomic_load_n(&table[chunk], __ATOMIC_RELAXED));
}

static inline ChsSlotHeader *
chs_mem_find(const ChsMemShared *shared, int level, ChsNodeId id)
{
	int kind = chs_mem_kind(level);
	uint32_t index = id & ((UINT32_C(1) << shared->shift[kind]) - 1);

	return (ChsSlotHeader *) (chs_mem_chunk(shared, level, id) +
							  (size_t) index * shared->layout[kind].slot_bytes);
}

extern void chs_mem_lock(uint8_t *bit);
extern void chs_mem_unlock(uint8_t *bit);

#endif /* CHS_STORE_MEM_AREA_H */
