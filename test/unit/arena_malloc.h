/*
 * arena_malloc.h
 *	  A ChsArena over malloc, for unit programs and benchmarks.
 *
 * Every allocation is a block of its own, of exactly the size asked for, so
 * that AddressSanitizer and valgrind see an overrun by one byte.  Running out
 * of memory ends the program: the contract of ChsArena allows no NULL.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ARENA_MALLOC_H
#define CHS_ARENA_MALLOC_H

#include <stddef.h>

#include "core/base/arena.h"

/* An empty arena, owned by the caller until arena_malloc_destroy(). */
extern ChsArena *arena_malloc_create(void);

/* Frees all blocks; the arena can be used again. */
extern void arena_malloc_reset(ChsArena *arena);

/* Frees all blocks and the arena itself. */
extern void arena_malloc_destroy(ChsArena *arena);

/* Bytes handed out since the creation or the last reset. */
extern size_t arena_malloc_bytes(const ChsArena *arena);

#endif /* CHS_ARENA_MALLOC_H */
