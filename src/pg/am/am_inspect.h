/*
 * am_inspect.h
 *	  What the functions that look into an index share.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_INSPECT_H
#define CHS_AM_INSPECT_H

#include "fmgr.h"
#include "pg/am/am.h"

/* An index opened for inspection, with its table. */
typedef struct ChsInspected
{
	Relation heap;
	Relation rel;
	LOCKMODE lockmode;
} ChsInspected;

/*
 * Opens a chassis index of the caller's own, its table first, both with this
 * lock.  Raises an error for everything else: not an index, not ours,
 * partitioned, another session's, unlogged on a standby, not the owner.
 */
extern ChsInspected chs_inspect_open(Oid relid, LOCKMODE lockmode);

/* Closes both and releases the locks. */
extern void chs_inspect_close(ChsInspected *inspected);

#endif /* CHS_AM_INSPECT_H */
