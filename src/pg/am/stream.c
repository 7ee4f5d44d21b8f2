/*
 * stream.c
 *	  Growth of streams, and streams of bytes.
 *
 * A stream grows by extents: runs of blocks that the metapage's map assigns to
 * it.  The file is extended sparsely, by writing the last page of the extent
 * only; pages between are zero until first used, and a zero page is a page of
 * free slots or of zero bytes for every reader.
 *
 * New blocks are counted from the map's next_block, never from the end of the
 * file: after a crash the file may be longer than the map knows, and those
 * blocks hold nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* What the pages of a stream are. */
static ChsPageKind
stream_kind(int stream)
{
	switch (stream)
	{
		case CHS_STREAM_VECTOR:
			return CHS_PAGE_VECTOR;
		case CHS_STREAM_OVERFLOW:
			return CHS_PAGE_OVERFLOW;
		case CHS_STREAM_MODEL:
			return CHS_PAGE_MODEL;
		default:
			return CHS_PAGE_GRAPH;
	}
}

static int
stream_level(int stream)
{
	return stream < CHS_MAX_LEVELS ? stream : 0;
}

/*
 * Pages of the next extent.  What an extent has too much is dead weight until
 * rows come, so steps are small: a sixty-fourth of what there is, at least a
 * page.  But the map is finite, and two streams that grow in turn need an
 * entry for each step.  So the steps become larger as the map fills: a third
 * of it lasts for fourfold growth by sixty-fourths, the rest for any size.
 */
static uint32
extent_pages(const ChsMetaPageData *meta, int stream, uint32 missing)
{
	uint32 have = meta->stream[stream].pages_allocated;
	uint32 used = meta->nextents;
	uint32 pages;

	if (used < CHS_MAX_EXTENTS / 3)
		pages = have / 64;
	else if (used < CHS_MAX_EXTENTS / 2)
		pages = have / 8;
	else if (used < CHS_MAX_EXTENTS * 3 / 4)
		pages = have / 4;
	else
		pages = have;
	return Max(Max(pages, 1), missing);
}

/* Makes sure that the file reaches up to and including `last`. */
static void
extend_file(Relation rel, BlockNumber last)
{
	ChsIOBlock zero;

	if (last < RelationGetNumberOfBlocks(rel))
		return;
	memset(zero.data, 0, BLCKSZ);
	smgrextend(RelationGetSmgr(rel), MAIN_FORKNUM, last, zero.data, false);
}

/* Notes the new extent in a metapage image. */
static void
append_extent(ChsIndex *index, ChsMetaPage meta, int stream, uint32 pages)
{
	ChsStreamState *state = &meta->stream[stream];
	ChsExtent *last = meta->nextents > 0 ? &meta->extent[meta->nextents - 1]
										 : NULL;

	/* the newest extent is continued when it ends where this one begins */
	if (last == NULL || last->stream != (uint32) stream ||
		last->start_block + (state->pages_allocated - last->first_page) !=
			meta->next_block)
	{
		meta->extent[meta->nextents].stream = (uint32) stream;
		meta->extent[meta->nextents].first_page = state->pages_allocated;
		meta->extent[meta->nextents].start_block = meta->next_block;
		meta->nextents++;
	}
	state->pages_allocated += pages;
	meta->next_block += pages;
	meta->meta_version++;
}

/*
 * Adds one extent.  The caller holds the relation extension lock, so that
 * nobody else moves next_block.
 *
 * L1: metapage, then the last page of the new extent, which nobody can name
 * before the map does.
 */
static void
add_extent(ChsIndex *index, int stream, uint32 missing, bool exact)
{
	uint32 pages = exact ? missing : extent_pages(index->meta, stream, missing);
	BlockNumber first = index->meta->next_block;
	Buffer meta_buffer;
	Buffer last_buffer;
	ChsWal wal;
	Page page;

	if (index->meta->nextents >= CHS_MAX_EXTENTS ||
		(uint64) first + pages >= (uint64) MaxBlockNumber)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("index \"%s\" cannot grow any further",
							   RelationGetRelationName(index->rel)),
						errhint("REINDEX it, or partition the table.")));
	extend_file(index->rel, first + pages - 1);

	meta_buffer = ReadBuffer(index->rel, CHS_METAPAGE_BLKNO);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	last_buffer = ReadBufferExtended(
		index->rel, MAIN_FORKNUM, first + pages - 1, RBM_ZERO_AND_LOCK, NULL);
	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, meta_buffer, false);
	append_extent(index, CHS_META(page), stream, pages);
	((PageHeader) page)
		->pd_lower = (LocationIndex) (((char *) &CHS_META(page)
										   ->extent[CHS_META(page)->nextents]) -
									  (char *) page);
	page = chs_wal_page(&wal, last_buffer, true);
	chs_page_init(page, stream_kind(stream), stream_level(stream));
	chs_wal_finish(&wal);
	UnlockReleaseBuffer(last_buffer);
	UnlockReleaseBuffer(meta_buffer);
	chs_index_refresh(index);
}

void
chs_stream_reserve(ChsIndex *index, int stream, uint32 pages, bool exact)
{
	ChsStreamState *state = &index->meta->stream[stream];

	if (state->pages_allocated >= pages)
		return;
	LockRelationForExtension(index->rel, ExclusiveLock);
	chs_index_refresh(index);
	if (state->pages_allocated < pages)
		add_extent(index, stream, pages - state->pages_allocated, exact);
	UnlockRelationForExtension(index->rel, ExclusiveLock);
}

/* ---- streams of bytes ---- */

/* The piece of a byte range that stands on one page. */
typedef struct Piece
{
	uint32 page;
	uint32 start; /* offset within the page's data */
	Size bytes;
} Piece;

static inline Piece
piece_at(uint64 offset, Size left)
{
	Piece piece;

	piece.page = (uint32) (offset / CHS_BYTES_PER_PAGE);
	piece.start = (uint32) (offset % CHS_BYTES_PER_PAGE);
	piece.bytes = Min(left, CHS_BYTES_PER_PAGE - piece.start);
	return piece;
}

void
chs_stream_read(ChsIndex *index, int stream, uint64 offset, void *data,
				Size bytes)
{
	char *out = data;

	while (bytes > 0)
	{
		Piece piece = piece_at(offset, bytes);
		Buffer buffer = chs_buffer_read(
			index, chs_index_block(index, stream, piece.page));
		Page page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		chs_page_check(index->rel, buffer, stream_kind(stream), 0);
		if (PageIsNew(page))
			memset(out, 0, piece.bytes);
		else
			memcpy(out, page + CHS_BYTES_OFFSET + piece.start, piece.bytes);
		UnlockReleaseBuffer(buffer);
		out += piece.bytes;
		offset += piece.bytes;
		bytes -= piece.bytes;
	}
}

int
chs_stream_lock(ChsIndex *index, int stream, uint64 offset, Size bytes,
				int max, Buffer *buffers)
{
	int n = 0;

	while (bytes > 0 && n < max)
	{
		Piece piece = piece_at(offset, bytes);
		Buffer buffer = chs_buffer_read(
			index, chs_index_block(index, stream, piece.page));

		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		chs_page_check(index->rel, buffer, stream_kind(stream), 0);
		buffers[n++] = buffer;
		offset += piece.bytes;
		bytes -= piece.bytes;
	}
	return n;
}

Size
chs_stream_fill(ChsWal *wal, int stream, uint64 offset, const void *data,
				Size bytes, const Buffer *buffers, int n)
{
	Size written = 0;

	for (int i = 0; i < n; i++)
	{
		Piece piece = piece_at(offset + written, bytes - written);
		bool fresh = PageIsNew(BufferGetPage(buffers[i]));
		Page page = chs_wal_page(wal, buffers[i], fresh);
		char *start = (char *) page + CHS_BYTES_OFFSET + piece.start;

		if (fresh)
			chs_page_init(page, stream_kind(stream), 0);
		memcpy(start, (const char *) data + written, piece.bytes);
		chs_page_use(page, start + piece.bytes);
		written += piece.bytes;
	}
	return written;
}

/* One record's worth of chs_stream_write(); returns the bytes written. */
static Size
write_record(ChsIndex *index, int stream, uint64 offset, const char *data,
			 Size bytes)
{
	Buffer buffers[MAX_GENERIC_XLOG_PAGES];
	int n = chs_stream_lock(index, stream, offset, bytes,
							MAX_GENERIC_XLOG_PAGES, buffers);
	Size written;
	ChsWal wal;

	chs_wal_begin(&wal, index);
	written = chs_stream_fill(&wal, stream, offset, data, bytes, buffers, n);
	chs_wal_finish(&wal);
	while (n > 0)
		UnlockReleaseBuffer(buffers[--n]);
	return written;
}

void
chs_stream_write(ChsIndex *index, int stream, uint64 offset, const void *data,
				 Size bytes)
{
	const char *in = data;

	while (bytes > 0)
	{
		Size written = write_record(index, stream, offset, in, bytes);

		in += written;
		offset += written;
		bytes -= written;
	}
}
