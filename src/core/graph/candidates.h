/*
 * candidates.h
 *	  The ordered collections of a search: a sorted window and a growable heap.
 *
 * A best-first search needs the ef best nodes seen and, among them, the best
 * not yet expanded.  One sorted array gives both: its length bounds the
 * search, its first unmarked entry is the next to expand.  Moving the tail of
 * an array beats two heaps up to a window of 400, and costs little beyond; see
 * "What a search costs" in README.md.
 *
 * Everything else, whose size nobody knows beforehand, goes into a ChsHeap.
 *
 * Neither knows of graphs, stores or metrics.  Order is total (key, then node
 * number), so that a search is repeatable.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_CANDIDATES_H
#define CHS_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/graph/slot.h"

/* ---- ranks: (estimate, node number, mark) as one integer ---- */

/*
 * Upper half: the estimate's bits, turned so that integers compare as the
 * floats do.  Lower half: the node number and, in bit 0, a mark that takes no
 * part in the order because numbers are unique.
 */
typedef uint64_t ChsRank;

#define CHS_RANK_MARK ((ChsRank) 1)

static inline ChsRank
chs_rank(float est, ChsNodeId id)
{
	uint32_t bits;

	memcpy(&bits, &est, sizeof(bits));
	/* negative: all bits; positive: the sign bit only */
	bits ^= (uint32_t) - (int32_t) (bits >> 31) | UINT32_C(0x80000000);
	return ((ChsRank) bits << 32) | ((ChsRank) id << 1);
}

static inline ChsNodeId
chs_rank_id(ChsRank rank)
{
	return (ChsNodeId) ((uint32_t) rank >> 1);
}

static inline float
chs_rank_est(ChsRank rank)
{
	uint32_t bits = (uint32_t) (rank >> 32);
	float est;

	bits ^= (bits >> 31) ? UINT32_C(0x80000000) : UINT32_C(0xffffffff);
	memcpy(&est, &bits, sizeof(est));
	return est;
}

/* ---- window ---- */

/*
 * The `capacity` smallest ranks put in, ascending.  at[i] is the caller's
 * word for ranks[i]; expanded entries carry the mark.
 */
typedef struct ChsWindow
{
	ChsArena *arena;
	ChsRank *ranks;
	uint32_t *at;
	int n;
	int capacity;
	int next; /* every entry before this one is expanded */
	int room; /* allocated */
} ChsWindow;

extern void chs_window_init(ChsWindow *window, ChsArena *arena);

/* Empties the window and sets its capacity, at least 1. */
extern void chs_window_reset(ChsWindow *window, int capacity);

/* Would a node of this rank be taken in? */
static inline bool
chs_window_admits(const ChsWindow *window, ChsRank rank)
{
	return window->n < window->capacity || rank < window->ranks[window->n - 1];
}

/*
 * Puts in a rank that chs_window_admits.  If that drives out the last entry,
 * returns true and stores that entry's rank and word.
 */
extern bool chs_window_insert(ChsWindow *window, ChsRank rank, uint32_t at,
							  ChsRank *lost_rank, uint32_t *lost_at);

/* Is there an entry not yet expanded?  If so it is at index window->next. */
static inline bool
chs_window_pending(ChsWindow *window)
{
	while (window->next < window->n &&
		   (window->ranks[window->next] & CHS_RANK_MARK) != 0)
		window->next++;
	return window->next < window->n;
}

/* Marks the entry at window->next as expanded and returns its number. */
static inline ChsNodeId
chs_window_expand(ChsWindow *window)
{
	ChsRank rank = window->ranks[window->next];

	window->ranks[window->next++] = rank | CHS_RANK_MARK;
	return chs_rank_id(rank);
}

/* ---- heap ---- */

typedef struct ChsHeapEntry
{
	double key;
	ChsNodeId id;
	uint16_t version; /* the caller's */
	uint16_t tag;     /* the caller's */
} ChsHeapEntry;

/* A binary heap, smallest (key, id) first. */
typedef struct ChsHeap
{
	ChsArena *arena;
	ChsHeapEntry *entries;
	size_t n;
	size_t room;
	size_t ordered; /* the first so many entries have heap order */
} ChsHeap;

extern void chs_heap_init(ChsHeap *heap, ChsArena *arena);
extern void chs_heap_grow(ChsHeap *heap);

/* Restores the order after appends; called by chs_heap_min and _pop. */
extern void chs_heap_order(ChsHeap *heap);

static inline void
chs_heap_reset(ChsHeap *heap)
{
	heap->n = 0;
	heap->ordered = 0;
}

/*
 * Adds an entry in constant time; it finds its place when the smallest entry
 * is next asked for.  A search adds a thousand nodes before it asks.
 */
static inline void
chs_heap_add(ChsHeap *heap, ChsHeapEntry entry)
{
	if (heap->n == heap->room)
		chs_heap_grow(heap);
	heap->entries[heap->n++] = entry;
}

/* The smallest entry of a heap that is not empty. */
static inline const ChsHeapEntry *
chs_heap_min(ChsHeap *heap)
{
	if (heap->ordered != heap->n)
		chs_heap_order(heap);
	return &heap->entries[0];
}

/* Takes the smallest entry out of a heap that is not empty. */
extern ChsHeapEntry chs_heap_pop(ChsHeap *heap);

#endif /* CHS_CANDIDATES_H */
