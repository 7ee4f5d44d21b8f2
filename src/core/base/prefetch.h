/*
 * prefetch.h
 *	  Asking the processor for memory that will be read soon.
 *
 * A prefetch has no effect that the C language knows of.  gcc (12, at least)
 * therefore takes a function of nothing but prefetches for one that need not be
 * called, and unless it has put the function into its caller before, leaves the
 * call out without a word.  An empty asm that may not be removed keeps it from
 * that; .ci/check_prefetch.sh counts the instructions that come out.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_PREFETCH_H
#define CHS_PREFETCH_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of a cache line; where lines are longer, a few are asked for twice. */
#define CHS_CACHE_LINE 64

/* Asks for every line of `bytes` bytes from `start`, which need not be mapped. */
static inline void
chs_prefetch(const void *start, size_t bytes)
{
	uintptr_t line = (uintptr_t) start & ~(uintptr_t) (CHS_CACHE_LINE - 1);
	uintptr_t end = (uintptr_t) start + bytes;

	for (; line < end; line += CHS_CACHE_LINE)
		__builtin_prefetch((const void *) line);
	__asm__ volatile("" : : "r"(line));
}

#endif /* CHS_PREFETCH_H */
