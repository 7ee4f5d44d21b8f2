/*
 * candidates.c
 *	  The ordered collections of a search: a sorted window and a growable heap.
 *
 * See candidates.h.  What every search does per scored node is inline there;
 * here is what moves memory.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/candidates.h"

/* First allocation of a heap: what one search with the usual ef adds. */
#define HEAP_FIRST_ROOM 2048

void
chs_window_init(ChsWindow *window, ChsArena *arena)
{
	memset(window, 0, sizeof(*window));
	window->arena = arena;
}

void
chs_window_reset(ChsWindow *window, int capacity)
{
	if (capacity < 1)
		capacity = 1;
	if (capacity > window->room)
	{
		window->ranks = chs_alloc(window->arena,
								  (size_t) capacity * sizeof(ChsRank));
		window->at = chs_alloc(window->arena,
							   (size_t) capacity * sizeof(uint32_t));
		window->room = capacity;
	}
	window->n = 0;
	window->next = 0;
	window->capacity = capacity;
}

/*
 * Index of the first entry with a larger rank.  The halving has no branch
 * that depends on data: those would be mispredicted half the time.
 */
static int
find_place(const ChsWindow *window, ChsRank rank)
{
	const ChsRank *base = window->ranks;
	int n = window->n;

	while (n > 1)
	{
		int half = n / 2;

		base = base[half - 1] < rank ? base + half : base;
		n -= half;
	}
	return (int) (base - window->ranks) + (n == 1 && base[0] < rank);
}

bool
chs_window_insert(ChsWindow *window, ChsRank rank, uint32_t at,
				  ChsRank *lost_rank, uint32_t *lost_at)
{
	int place = find_place(window, rank);
	bool full = window->n == window->capacity;
	size_t tail;

	if (full)
	{
		window->n--;
		*lost_rank = window->ranks[window->n];
		*lost_at = window->at[window->n];
	}
	tail = (size_t) (window->n - place);
	memmove(window->ranks + place + 1, window->ranks + place,
			tail * sizeof(ChsRank));
	memmove(window->at + place + 1, window->at + place, tail * sizeof(uint32_t));
	window->ranks[place] = rank;
	window->at[place] = at;
	window->n++;
	if (place < window->next)
		window->next = place;
	return full;
}

void
chs_heap_init(ChsHeap *heap, ChsArena *arena)
{
	memset(heap, 0, sizeof(*heap));
	heap->arena = arena;
}

/* Doubles the room; the old block stays with the arena. */
void
chs_heap_grow(ChsHeap *heap)
{
	size_t room = heap->room == 0 ? HEAP_FIRST_ROOM : 2 * heap->room;
	ChsHeapEntry *entries = chs_alloc(heap->arena, room * sizeof(ChsHeapEntry));

	if (heap->n > 0)
		memcpy(entries, heap->entries, heap->n * sizeof(ChsHeapEntry));
	heap->entries = entries;
	heap->room = room;
}

static inline bool
is_before(const ChsHeapEntry *a, const ChsHeapEntry *b)
{
	return a->key < b->key || (a->key == b->key && a->id < b->id);
}

static void
sift_up(ChsHeapEntry *entries, size_t i)
{
	ChsHeapEntry entry = entries[i];

	while (i > 0 && is_before(&entry, &entries[(i - 1) / 2]))
	{
		entries[i] = entries[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	entries[i] = entry;
}

static void
sift_down(ChsHeapEntry *entries, size_t n, size_t i)
{
	ChsHeapEntry entry = entries[i];

	for (;;)
	{
		size_t child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && is_before(&entries[child + 1], &entries[child]))
			child++;
		if (!is_before(&entries[child], &entry))
			break;
		entries[i] = entries[child];
		i = child;
	}
	entries[i] = entry;
}

void
chs_heap_order(ChsHeap *heap)
{
	/* building anew is linear; sifting up k entries is k log n at worst */
	if (heap->n - heap->ordered > heap->ordered / 4)
	{
		for (size_t i = heap->n / 2; i-- > 0;)
			sift_down(heap->entries, heap->n, i);
	}
	else
	{
		for (size_t i = heap->ordered; i < heap->n; i++)
			sift_up(heap->entries, i);
	}
	heap->ordered = heap->n;
}

ChsHeapEntry
chs_heap_pop(ChsHeap *heap)
{
	ChsHeapEntry smallest = *chs_heap_min(heap);

	heap->n--;
	heap->ordered = heap->n;
	if (heap->n > 0)
	{
		heap->entries[0] = heap->entries[heap->n];
		sift_down(heap->entries, heap->n, 0);
	}
	return smallest;
}
