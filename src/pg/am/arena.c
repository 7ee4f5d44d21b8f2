/*
 * arena.c
 *	  Core's allocator over a memory context.
 *
 * Core never frees: the owner of the context resets or deletes it as a whole.
 * An error that jumps over core's frames therefore leaks nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* What core may rely on: a cache line, and the widest vector register. */
#define ARENA_ALIGNMENT 64

/*
 * A chunk of any size.  The palloc'd address is forgotten, which is no loss:
 * nothing is given back one by one.
 */
static void *
allocate_aligned(ChsArena *arena, size_t bytes)
{
	ChsContextArena *self = (ChsContextArena *) arena;
	void *chunk = MemoryContextAllocExtended(
		self->context, add_size(bytes, ARENA_ALIGNMENT - 1), MCXT_ALLOC_HUGE);

	return (void *) TYPEALIGN(ARENA_ALIGNMENT, chunk);
}

void
chs_context_arena_init(ChsContextArena *arena, MemoryContext context)
{
	arena->arena.alloc = allocate_aligned;
	arena->context = context;
}
