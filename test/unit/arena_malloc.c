/*
 * arena_malloc.c
 *	  A ChsArena over malloc, for unit programs and benchmarks.
 *
 * See arena_malloc.h.  The blocks are remembered in a growing array and not
 * in a header inside each block, because a header in front of the block would
 * hide an underrun from the sanitizers.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include "arena_malloc.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct MallocArena
{
	ChsArena base; /* first, so that a ChsArena * is a MallocArena * */
	void **blocks;
	size_t count;
	size_t capacity;
	size_t bytes;
} MallocArena;

static void
exit_out_of_memory(size_t bytes)
{
	fprintf(stderr, "arena_malloc: out of memory (%zu bytes)\n", bytes);
	exit(2);
}

static void
grow_blocks(MallocArena *arena)
{
	size_t capacity = arena->capacity == 0 ? 64 : arena->capacity * 2;
	void **blocks = realloc(arena->blocks, capacity * sizeof(void *));

	if (blocks == NULL)
		exit_out_of_memory(capacity * sizeof(void *));
	arena->blocks = blocks;
	arena->capacity = capacity;
}

/* ChsArena.alloc: 64-byte aligned, never NULL, also for 0 bytes. */
static void *
alloc_block(ChsArena *base, size_t bytes)
{
	MallocArena *arena = (MallocArena *) base;
	void *block;

	if (arena->count == arena->capacity)
		grow_blocks(arena);
	/* posix_memalign may return NULL for 0 bytes, which we may not */
	if (posix_memalign(&block, 64, bytes == 0 ? 1 : bytes) != 0)
		exit_out_of_memory(bytes);
	arena->blocks[arena->count++] = block;
	arena->bytes += bytes;
	return block;
}

ChsArena *
arena_malloc_create(void)
{
	MallocArena *arena = calloc(1, sizeof(MallocArena));

	if (arena == NULL)
		exit_out_of_memory(sizeof(MallocArena));
	arena->base.alloc = alloc_block;
	return &arena->base;
}

void
arena_malloc_reset(ChsArena *base)
{
	MallocArena *arena = (MallocArena *) base;

	for (size_t i = 0; i < arena->count; i++)
		free(arena->blocks[i]);
	arena->count = 0;
	arena->bytes = 0;
}

void
arena_malloc_destroy(ChsArena *base)
{
	arena_malloc_reset(base);
	free(((MallocArena *) base)->blocks);
	free(base);
}

size_t
arena_malloc_bytes(const ChsArena *base)
{
	return ((const MallocArena *) base)->bytes;
}
