/*
 * am_scan.h
 *	  What the two halves of a scan share: the search (am_scan.c) and the sweep
 *	  over all slots (am_scan_sweep.c).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_SCAN_H
#define CHS_AM_SCAN_H

#include "core/graph/graph.h"
#include "pg/am/am.h"

/* A sweep's state; made once per scan, used by every rescan. */
typedef struct ChsSweep ChsSweep;

typedef struct ChsSweepParams
{
	const ChsQuery *query; /* NULL: rows in no order, without keys */
	const ChsScan *search; /* leaves out what it returned; NULL: nothing */
	uint64 limit;          /* slots in use to look at, at most */
} ChsSweepParams;

/* Lives in `context`; reads through the store, which must live as long. */
extern ChsSweep *chs_sweep_create(ChsPageStore *store, MemoryContext context);

/*
 * Begins a sweep.  With a query all slots are read and their exact keys
 * computed before this returns.
 */
extern void chs_sweep_start(ChsSweep *sweep, const ChsSweepParams *params);

/*
 * The next node: by key, rows without a comparable key (NaN) last; or in the
 * order of numbers.  False at the end.
 */
extern bool chs_sweep_next(ChsSweep *sweep, ChsScanHit *hit);

/* Gives back what a memory context does not: files of the sort. */
extern void chs_sweep_end(ChsSweep *sweep);

/*
 * Hands to the search, before its first row, the nodes of the flat phase that
 * are not linked yet, with their exact keys.
 */
extern void chs_sweep_leftovers(ChsSweep *sweep, const ChsQuery *query,
								ChsScan *search);

#endif /* CHS_AM_SCAN_H */
