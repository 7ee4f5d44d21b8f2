/*
 * page_wal.c
 *	  The only writer of WAL: one atomic change of a few pages at a time.
 *
 * Every change is generic WAL, which any server can replay without having the
 * library preloaded; a finished build is images of pages.  Two ways to write
 * it: chs_wal_begin lends copies of the pages and has the server find out what
 * was changed, byte by byte; chs_wal_edit writes the same kind of record from
 * what the caller says.  The second is for links back, some twenty pages an
 * insert: docs/decisions/0017.  Neither knows what the pages mean.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/rmgr.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* ---- changes that the server finds ---- */

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

/* ---- changes that the caller names ---- */

void
chs_wal_edit_begin(ChsWalEdit *edit, ChsIndex *index, const Buffer *buffers,
				   int npages)
{
	Assert(npages <= MAX_GENERIC_XLOG_PAGES);
	/* a build logs at its end; the server's functions know by themselves what
	 * is unlogged or temporary */
	edit->logged = index->logged && RelationNeedsWAL(index->rel);
	edit->npages = npages;
	for (int i = 0; i < npages; i++)
	{
		edit->buffers[i] = buffers[i];
		edit->bytes[i] = 0;
	}
	if (edit->logged)
		XLogBeginInsert();
	START_CRIT_SECTION();
}

/*
 * A fragment is what generic_redo() reads: two bytes of offset, two of length,
 * the bytes (access/transam/generic_xlog.c, the same in 14 to 18).
 */
void
chs_wal_edited(ChsWalEdit *edit, int page, const void *start, uint16 bytes)
{
	uint16 offset = (uint16) ((const char *) start -
							  (const char *) BufferGetPage(edit->buffers[page]));
	char *fragment = edit->fragments[page] + edit->bytes[page];

	Assert(chs_wal_edit_has_room(edit, page, CHS_WAL_FRAGMENT_HEADER + bytes));
	/* generic_redo() clears what lies behind */
	Assert(offset + bytes <=
		   ((PageHeader) BufferGetPage(edit->buffers[page]))->pd_lower);
	memcpy(fragment, &offset, sizeof(offset));
	memcpy(fragment + sizeof(offset), &bytes, sizeof(bytes));
	memcpy(fragment + CHS_WAL_FRAGMENT_HEADER, start, bytes);
	edit->bytes[page] += CHS_WAL_FRAGMENT_HEADER + bytes;
}

/* Registers the pages that were changed, and says how many they are. */
static int
register_edited(ChsWalEdit *edit, Buffer *registered)
{
	int n = 0;

	for (int i = 0; i < edit->npages; i++)
	{
		if (edit->bytes[i] == 0)
			continue;
		MarkBufferDirty(edit->buffers[i]);
		if (edit->logged)
		{
			XLogRegisterBuffer(n, edit->buffers[i],
							   REGBUF_STANDARD | CHS_REGBUF_EDITED);
			XLogRegisterBufData(n, edit->fragments[i], edit->bytes[i]);
		}
		registered[n++] = edit->buffers[i];
	}
	return n;
}

void
chs_wal_edit_end(ChsWalEdit *edit)
{
	Buffer registered[MAX_GENERIC_XLOG_PAGES];
	int n = register_edited(edit, registered);

	if (edit->logged)
	{
		if (n > 0)
		{
			XLogRecPtr lsn = XLogInsert(RM_GENERIC_ID, 0);

			for (int i = 0; i < n; i++)
				PageSetLSN(BufferGetPage(registered[i]), lsn);
		}
		else
			XLogResetInsertion();
	}
	END_CRIT_SECTION();
}

/* ---- pages that were written without WAL ---- */

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
