/*
 * visited.c
 *	  The set of node numbers one search has met.
 *
 * See visited.h.  Here are growth and the change from table to bitmap; the
 * memory of every size once reached is kept and used again.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/visited.h"

/* A table is never smaller: 8 kB hold the numbers of a search at ef 100. */
#define TABLE_MIN_BITS 11

/* The list of touched words covers this share of the bitmap; a fuller bitmap
 * is cleared as a whole, at a cost in proportion to what it holds. */
#define TOUCHED_SHARE 8
#define TOUCHED_MIN 1024

void
chs_visited_init(ChsVisited *set, ChsArena *arena)
{
	memset(set, 0, sizeof(*set));
	set->arena = arena;
}

static void
clear_bitmap(ChsVisited *set)
{
	if (set->touched_lost)
		memset(set->words, 0, (size_t) set->nwords * sizeof(uint64_t));
	else
	{
		for (uint32_t i = 0; i < set->ntouched; i++)
			set->words[set->touched[i]] = 0;
	}
	set->ntouched = 0;
	set->touched_lost = false;
}

/*
 * Makes the bitmap at least large enough for number `id`, keeping what it
 * holds.  A quarter more than asked, so that a growing level does not come
 * here again at once.
 */
static void
grow_bitmap(ChsVisited *set, uint32_t id)
{
	uint32_t nwords = (id >> 6) + 1 + (id >> 8);
	uint32_t room = nwords / TOUCHED_SHARE;
	uint64_t *words;
	uint32_t *touched;

	if (room < TOUCHED_MIN)
		room = TOUCHED_MIN;
	words = chs_alloc_zero(set->arena, (size_t) nwords * sizeof(uint64_t));
	touched = chs_alloc(set->arena, (size_t) room * sizeof(uint32_t));
	if (set->nwords > 0)
	{
		memcpy(words, set->words, (size_t) set->nwords * sizeof(uint64_t));
		memcpy(touched, set->touched, (size_t) set->ntouched * sizeof(uint32_t));
	}
	set->words = words;
	set->nwords = nwords;
	set->touched = touched;
	set->touched_room = room;
}

/* Makes an empty table of 2^bits entries the current one. */
static void
use_table(ChsVisited *set, uint32_t bits)
{
	size_t bytes = sizeof(uint32_t) << bits;

	if (set->tables[bits] == NULL)
		set->tables[bits] = chs_alloc(set->arena, bytes);
	memset(set->tables[bits], 0, bytes);
	set->table = set->tables[bits];
	set->table_bits = bits;
	set->limit = UINT32_C(1) << (bits - 1);
}

/* The entry that holds id, or the empty one where it belongs. */
static uint32_t *
find_entry(const ChsVisited *set, uint32_t id)
{
	uint32_t mask = (UINT32_C(1) << set->table_bits) - 1;
	/* multiplicative hashing (Knuth): the upper bits are the mixed ones */
	uint32_t i = (id * UINT32_C(0x9e3779b1)) >> (32 - set->table_bits);

	while (set->table[i] != 0 && set->table[i] != id + 1)
		i = (i + 1) & mask;
	return &set->table[i];
}

void
chs_visited_reset(ChsVisited *set, uint32_t capacity)
{
	clear_bitmap(set);
	set->capacity = capacity;
	if (capacity > CHS_VISITED_BITMAP_NODES)
	{
		uint32_t bits = TABLE_MIN_BITS;

		/* as large as the last search needed, so that it grows no more */
		while (set->hashed && bits < set->table_bits &&
			   (UINT32_C(1) << (bits - 1)) <= set->count)
			bits++;
		use_table(set, bits);
		set->hashed = true;
	}
	else
	{
		set->hashed = false;
		if (capacity > 0 && (capacity - 1) >> 6 >= set->nwords)
			grow_bitmap(set, capacity - 1);
	}
	set->count = 0;
}

/* Copies a table's numbers into the bitmap and goes on with that. */
static void
change_to_bitmap(ChsVisited *set)
{
	uint32_t entries = UINT32_C(1) << set->table_bits;

	set->hashed = false;
	for (uint32_t i = 0; i < entries; i++)
	{
		if (set->table[i] != 0)
			chs_visited_add(set, set->table[i] - 1);
	}
}

/* Twice the table, or the bitmap if that is no larger. */
static void
grow_table(ChsVisited *set)
{
	const uint32_t *old = set->table;
	uint32_t entries = UINT32_C(1) << set->table_bits;

	if (sizeof(uint32_t) * 2 * (size_t) entries >= set->capacity / 8)
	{
		if ((set->capacity - 1) >> 6 >= set->nwords)
			grow_bitmap(set, set->capacity - 1);
		change_to_bitmap(set);
		return;
	}
	use_table(set, set->table_bits + 1);
	for (uint32_t i = 0; i < entries; i++)
	{
		if (old[i] != 0)
			*find_entry(set, old[i] - 1) = old[i];
	}
}

bool
chs_visited_add_slow(ChsVisited *set, uint32_t id)
{
	uint32_t *entry;

	if (!set->hashed)
	{
		grow_bitmap(set, id);
		return chs_visited_add(set, id);
	}
	entry = find_entry(set, id);
	if (*entry != 0)
		return false;
	*entry = id + 1;
	if (id >= set->capacity)
		set->capacity = id + 1;
	if (++set->count >= set->limit)
		grow_table(set);
	return true;
}

int
chs_visited_add_list_slow(ChsVisited *set, uint32_t *ids, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
	{
		uint32_t id = ids[i];

		if (chs_visited_add(set, id))
			ids[kept++] = id;
	}
	return kept;
}

bool
chs_visited_has_hashed(const ChsVisited *set, uint32_t id)
{
	return *find_entry(set, id) != 0;
}

size_t
chs_visited_bytes(const ChsVisited *set)
{
	if (set->hashed)
		return sizeof(uint32_t) << set->table_bits;
	if (set->touched_lost)
		return (size_t) set->nwords * sizeof(uint64_t);
	return set->ntouched * (sizeof(uint64_t) + sizeof(uint32_t));
}
