/*
 * guard.c
 *	  Memory between two pages without access.
 *
 * Separate from the programs that use it because it needs more of the system
 * than C11 offers.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *
guard_map(size_t *bytes)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
					   -1, 0);

	if (pages == MAP_FAILED ||
		mprotect(pages + page, page, PROT_READ | PROT_WRITE) != 0)
	{
		perror("mmap");
		exit(2);
	}
	*bytes = page;
	return pages + page;
}

void
guard_unmap(void *memory, size_t bytes)
{
	munmap((char *) memory - bytes, 3 * bytes);
}
