/*
 * buffer.h
 *	  Looking at a page without a pin.
 *
 * A graph search reads a few hundred bytes from each of a thousand random
 * pages.  Pinning and locking such a page costs six atomic operations on a
 * cache line that all backends share, which is more than reading the bytes.
 * A peek does neither: it asks the buffer's descriptor whether the page is
 * there, reads, and asks again.
 *
 * What may be read so, and why it is safe:
 *
 *	1. Shared buffers stay mapped as long as the server runs: a load cannot
 *	   fault, whatever stands in the buffer.
 *	2. A buffer is given to another block in this order: header locked, tag
 *	   changed, BM_VALID cleared, header unlocked, bytes overwritten.  A reader
 *	   that sees the wanted tag, then (BM_VALID and no BM_LOCKED), reads, and
 *	   then sees the wanted tag again, has read the wanted block.  Only a buffer
 *	   that went to another block and came back to the very same one between
 *	   two loads would be missed; the usage count of two that a peek asks for
 *	   makes that at least five passes of the clock sweep and two reads.
 *	3. No content lock is held, so what is read may be in the middle of a
 *	   change: a mixture of old and new bytes.  Hence a peek may only decide
 *	   where a search goes and which edges are proposed, by values that are
 *	   checked before use as numbers.  Whatever is returned or written is read
 *	   again under the page's lock (L8, L5), and so is everything that a peek
 *	   could not read.
 *
 * See docs/decisions/0009 for figures.  Nothing here knows what is on a page.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_BUFFER_H
#define CHS_BUFFER_H

#include "storage/buf_internals.h"
#include "storage/bufmgr.h"

#include "core/base/prefetch.h"
#include "pg/compat.h"

/*
 * block -> buffer, direct-mapped by the block's low bits; the descriptor tells
 * whether a hint is right.
 */
typedef struct ChsHints
{
	Oid relid; /* hash key */
	ChsRelLocator locator;
	int users;  /* handles that point here */
	bool stale; /* relcache says the index changed: free when unused */
	bool peeks; /* may pages be read without a pin? */
	uint32 mask;
	Buffer *buffers; /* mask + 1 of them; InvalidBuffer: no hint */
} ChsHints;

/* Below this usage count a page would be evicted soon: see buffer.c. */
#define CHS_LEAST_USAGE 2

static inline Buffer
chs_hint_of(const ChsHints *hints, BlockNumber block)
{
	return hints->buffers[block & hints->mask];
}

/* Asks the processor for a buffer's descriptor. */
static inline void
chs_peek_prefetch(Buffer buffer)
{
	chs_prefetch(GetBufferDescriptor(buffer - 1), 1);
}

/* Is the buffer assigned to this block of the main fork? */
static inline bool
chs_peek_has_tag(const ChsHints *hints, Buffer buffer, BlockNumber block)
{
	const BufferTag *tag = &GetBufferDescriptor(buffer - 1)->tag;

	return tag->blockNum == block && CHS_TAG_FORK(tag) == MAIN_FORKNUM &&
		   CHS_LOCATOR_EQUALS(CHS_TAG_LOCATOR(tag), hints->locator);
}

/* May a peek at the block begin?  buffer: its hint. */
static inline bool
chs_peek_begin(const ChsHints *hints, Buffer buffer, BlockNumber block)
{
	uint32 state;

	if (!chs_peek_has_tag(hints, buffer, block))
		return false;
	/* the tag before the state: a tag is changed under BM_LOCKED */
	pg_read_barrier();
	state = pg_atomic_read_u32(&GetBufferDescriptor(buffer - 1)->state);
	if ((state & (BM_VALID | BM_LOCKED)) != BM_VALID ||
		BUF_STATE_GET_USAGECOUNT(state) < CHS_LEAST_USAGE)
		return false;
	pg_read_barrier();
	return true;
}

/*
 * Was what was read since chs_peek_begin from this block?  Call
 * pg_read_barrier() between the reading and the first of these.
 */
static inline bool
chs_peek_end(const ChsHints *hints, Buffer buffer, BlockNumber block)
{
	return chs_peek_has_tag(hints, buffer, block);
}

#endif /* CHS_BUFFER_H */
