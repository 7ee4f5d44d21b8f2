/*
 * page_wal.c
 *	  The only writer of WAL: one atomic change of a few pages at a time.
 *
 * Everything goes through generic WAL, which any server can replay without
 * having the library preloaded; a layer of our own keeps the door open for
 * another kind of record.  It does not know what the pages mean.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/xloginsert.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/am/am.h"

void
chs_wal_begin(ChsWal *wal, ChsIndex *index)
{
	wal->index = index;
	wal->nbuffers = 0;
	wal->state = index->logged ? GenericXLogStart(index->rel) : NULL;
}

Page
chs_wal_page(ChsWal *wal, Buffer buffer, bool full_image)
{
	Assert(wal->nbuffers < MAX_GENERIC_XLOG_PAGES);
	wal->buffers[wal->nbuffers++] = buffer;
	if (wal->state == NULL)
		return BufferGetPage(buffer);
	return GenericXLogRegisterBuffer(wal->state, buffer,
									 full_image ? GENERIC_XLOG_FULL_IMAGE : 0);
}

void
chs_wal_finish(ChsWal *wal)
{
	if (wal->state != NULL)
		GenericXLogFinish(wal->state);
	else
	{
		for (int i = 0; i < wal->nbuffers; i++)
			MarkBufferDirty(wal->buffers[i]);
	}
	wal->state = NULL;
	wal->nbuffers = 0;
}

void
chs_wal_abort(ChsWal *wal)
{
	if (wal->state != NULL)
		GenericXLogAbort(wal->state);
	wal->state = NULL;
	wal->nbuffers = 0;
}

void
chs_wal_log_page(Buffer buffer)
{
	log_newpage_buffer(buffer, true);
}

void
chs_wal_log_relation(Relation rel, ForkNumber fork)
{
	log_newpage_range(rel, fork, 0, RelationGetNumberOfBlocksInFork(rel, fork),
					  true);
}
