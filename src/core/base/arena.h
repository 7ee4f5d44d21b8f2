/*
 * arena.h
 *	  The caller's allocator: core asks for memory and never gives it back.
 *
 * A call that core makes into a node store may not return (in the backend it
 * can raise an error that jumps over our frames), so core owns nothing that
 * would have to be freed one by one.  In the backend an arena is a memory
 * context, in tests a list of malloc blocks; the owner resets or destroys it
 * as a whole.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ARENA_H
#define CHS_ARENA_H

#include <stddef.h>
#include <string.h>

typedef struct ChsArena ChsArena;

struct ChsArena
{
	/*
	 * Returns `bytes` bytes aligned to 64 (a cache line, and the widest
	 * vector register); never NULL: on failure it does not return.
	 */
	void *(*alloc)(ChsArena *arena, size_t bytes);
};

static inline void *
chs_alloc(ChsArena *arena, size_t bytes)
{
	return arena->alloc(arena, bytes);
}

static inline void *
chs_alloc_zero(ChsArena *arena, size_t bytes)
{
	return memset(arena->alloc(arena, bytes), 0, bytes);
}

#endif /* CHS_ARENA_H */
