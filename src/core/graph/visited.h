/*
 * visited.h
 *	  The set of node numbers one search has met.
 *
 * Asked once per edge.  On most levels it is a bitmap, whose words in use are
 * listed so that the next search clears those and no more.  On a very large
 * level a bitmap costs more memory than a search's thousand numbers deserve,
 * and a cache and a TLB miss for each of them; there it is a small hash table,
 * until that would be larger than the bitmap.
 *
 * It knows nothing of graphs.  Numbers may be larger than the capacity given
 * at reset: a level grows while it is searched.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_VISITED_H
#define CHS_VISITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"

/*
 * Levels up to this size use the bitmap from the start: half a megabyte.  The
 * table takes twice the time of a bitmap that large, and the same as one of
 * four times its size (README.md, "What a search costs").
 */
#define CHS_VISITED_BITMAP_NODES (4u << 20)

typedef struct ChsVisited
{
	ChsArena *arena;
	bool hashed; /* which of the two is in use */

	/* bitmap: all words are 0 but the listed ones */
	uint64_t *words;
	uint32_t nwords;
	uint32_t *touched;
	uint32_t ntouched;
	uint32_t touched_room;
	bool touched_lost; /* the list was too short: clear everything */

	/* hash: entries are number + 1, 0 is empty; open addressing */
	uint32_t *table;
	uint32_t table_bits;
	uint32_t limit;       /* entries at which it grows */
	uint32_t *tables[32]; /* by table_bits, kept for reuse */

	uint32_t count;    /* numbers in the set, when hashed */
	uint32_t capacity; /* given at reset, or larger */
} ChsVisited;

extern void chs_visited_init(ChsVisited *set, ChsArena *arena);

/*
 * Empties the set.  Cost is in proportion to what was in it, not to capacity,
 * which is about how large the numbers will be.
 */
extern void chs_visited_reset(ChsVisited *set, uint32_t capacity);

/* Bytes that the present contents occupy, about. */
extern size_t chs_visited_bytes(const ChsVisited *set);

/* The parts of those below that are rarely taken or long. */
extern bool chs_visited_add_slow(ChsVisited *set, uint32_t id);
extern int chs_visited_add_list_slow(ChsVisited *set, uint32_t *ids, int n);
extern bool chs_visited_has_hashed(const ChsVisited *set, uint32_t id);

/* Puts a number (< 2^31) in; false if it was there already. */
static inline bool
chs_visited_add(ChsVisited *set, uint32_t id)
{
	uint32_t word = id >> 6;
	uint64_t bit = UINT64_C(1) << (id & 63);
	uint64_t old;

	if (set->hashed || word >= set->nwords)
		return chs_visited_add_slow(set, id);
	old = set->words[word];
	if (old & bit)
		return false;
	if (old == 0)
	{
		if (set->ntouched < set->touched_room)
			set->touched[set->ntouched++] = word;
		else
			set->touched_lost = true;
	}
	set->words[word] = old | bit;
	return true;
}

/*
 * Puts n numbers (< 2^31) in, and moves those that were not there to the front,
 * in their order; returns how many.  Without a branch on what is in the set:
 * two thirds of a list are new, which nobody can predict.
 */
static inline int
chs_visited_add_list(ChsVisited *set, uint32_t *ids, int n)
{
	uint32_t largest = 0;
	int kept = 0;

	for (int i = 0; i < n; i++)
		largest = ids[i] > largest ? ids[i] : largest;
	if (set->hashed || (largest >> 6) >= set->nwords ||
		(uint32_t) n > set->touched_room)
		return chs_visited_add_list_slow(set, ids, n);
	if (set->ntouched + (uint32_t) n > set->touched_room)
	{
		set->touched_lost = true;
		set->ntouched = 0;
	}
	for (int i = 0; i < n; i++)
	{
		uint32_t id = ids[i];
		uint64_t old = set->words[id >> 6];

		set->words[id >> 6] = old | UINT64_C(1) << (id & 63);
		set->touched[set->ntouched] = id >> 6;
		set->ntouched += old == 0;
		ids[kept] = id;
		kept += (int) (~(old >> (id & 63)) & 1);
	}
	return kept;
}

static inline bool
chs_visited_has(const ChsVisited *set, uint32_t id)
{
	if (set->hashed)
		return chs_visited_has_hashed(set, id);
	return (id >> 6) < set->nwords &&
		   ((set->words[id >> 6] >> (id & 63)) & 1) != 0;
}

#endif /* CHS_VISITED_H */
