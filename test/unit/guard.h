/*
 * guard.h
 *	  Memory that ends the program when one byte beside it is touched.
 *
 * For programs that prove what a kernel does not read.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_UNIT_GUARD_H
#define CHS_UNIT_GUARD_H

#include <stddef.h>

/* A readable page between two without access; *bytes: how long it is. */
extern void *guard_map(size_t *bytes);

extern void guard_unmap(void *memory, size_t bytes);

#endif /* CHS_UNIT_GUARD_H */
