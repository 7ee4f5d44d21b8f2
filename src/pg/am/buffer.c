/*
 * buffer.c
 *	  Pinning pages: recent-buffer hints, reading ahead.
 *
 * A graph search reads about a thousand random pages.  Looking a page up in
 * the shared hash table costs two to three times as much as asking whether the
 * buffer that held it last time still does, so every backend keeps a small
 * direct-mapped table block -> buffer per index.  A wrong hint costs one
 * comparison; a right one saves the look-up.  buffer.h reads pages by hints
 * without pinning them at all.
 *
 * The hazard: neither a pin through a hint nor a peek raises the buffer's usage
 * count, so pages that are reached only by hints would look unused to the
 * clock sweep and be evicted first.  Hence the usage count is read each time,
 * and below two the page is pinned once the ordinary way.
 *
 * Nothing here knows what is on a page.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/buffer.h"

/* 1 MB an index: 262,144 entries cover a graph of 2 GB without conflicts. */
#define MAX_HINTS 262144
#define MIN_HINTS 1024

/*
 * Smaller pools are not peeked at: the clock sweep could go round in the time
 * that a process loses its processor for (buffer.h, 2).  8 MB, the least that
 * anybody runs a server with.
 */
#define LEAST_PEEK_POOL 1024

static HTAB *hints_by_index = NULL;

/* Marks what an invalidation concerns; freeing waits for the next acquire. */
static void
invalidate_hints(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	ChsHints *hints;

	(void) arg;
	if (OidIsValid(relid))
	{
		hints = hash_search(hints_by_index, &relid, HASH_FIND, NULL);
		if (hints != NULL)
			hints->stale = true;
		return;
	}
	hash_seq_init(&scan, hints_by_index);
	while ((hints = hash_seq_search(&scan)) != NULL)
		hints->stale = true;
}

static void
create_hints_table(void)
{
	HASHCTL control;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(ChsHints);
	control.hcxt = TopMemoryContext;
	hints_by_index = hash_create("chassis buffer hints", 16, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(invalidate_hints, (Datum) 0);
}

/* Frees the tables of indexes that changed and that nobody uses now. */
static void
drop_stale_hints(void)
{
	HASH_SEQ_STATUS scan;
	ChsHints *hints;

	hash_seq_init(&scan, hints_by_index);
	while ((hints = hash_seq_search(&scan)) != NULL)
	{
		if (!hints->stale || hints->users > 0)
			continue;
		if (hints->buffers != NULL)
			pfree(hints->buffers);
		hash_search(hints_by_index, &hints->relid, HASH_REMOVE, NULL);
	}
}

static void
release_hints(void *arg)
{
	((ChsHints *) arg)->users--;
}

struct ChsHints *
chs_hints_acquire(Relation rel, MemoryContext context)
{
	Oid relid = RelationGetRelid(rel);
	ChsHints *hints;
	MemoryContextCallback *callback;
	uint32 wanted = MIN_HINTS;
	BlockNumber blocks;
	bool found;

	if (RelationUsesLocalBuffers(rel))
		return NULL;
	if (hints_by_index == NULL)
		create_hints_table();
	drop_stale_hints();

	blocks = RelationGetNumberOfBlocks(rel);
	while (wanted < MAX_HINTS && wanted < blocks)
		wanted *= 2;
	hints = hash_search(hints_by_index, &relid, HASH_ENTER, &found);
	/* as it is left if there is no memory for the array */
	if (!found)
		*hints = (ChsHints){.relid = relid};
	/* others keep the struct, nobody the array: it may move under them */
	if (!found || hints->mask + 1 < wanted)
	{
		Buffer *buffers = MemoryContextAllocZero(TopMemoryContext,
												 wanted * sizeof(Buffer));

		if (hints->buffers != NULL)
			pfree(hints->buffers);
		hints->buffers = buffers;
		hints->mask = wanted - 1;
	}
	hints->peeks = NBuffers >= LEAST_PEEK_POOL;
	hints->locator = CHS_REL_LOCATOR(rel);
	hints->stale = false;

	callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));
	callback->func = release_hints;
	callback->arg = hints;
	MemoryContextRegisterResetCallback(context, callback);
	hints->users++;
	return hints;
}

/* Is the buffer so little used that a hint hit would let it be evicted? */
static inline bool
needs_usage(Buffer buffer)
{
	BufferDesc *desc = GetBufferDescriptor(buffer - 1);

	return BUF_STATE_GET_USAGECOUNT(pg_atomic_read_u32(&desc->state)) <
		   CHS_LEAST_USAGE;
}

/* Pins the block if the hint is right; InvalidBuffer if not. */
static inline Buffer
read_by_hint(ChsIndex *index, BlockNumber block)
{
	Buffer buffer = chs_hint_of(index->hints, block);

	/* a tag read without a lock may be wrong, which the call below finds out */
	if (!BufferIsValid(buffer) ||
		!chs_peek_has_tag(index->hints, buffer, block) || needs_usage(buffer))
		return InvalidBuffer;
	if (!ReadRecentBuffer(index->hints->locator, MAIN_FORKNUM, block, buffer))
		return InvalidBuffer;
	pgstat_count_buffer_read(index->rel);
	pgstat_count_buffer_hit(index->rel);
	return buffer;
}

/* Pins the block the ordinary way and takes a hint of where it was. */
static Buffer
read_by_block(ChsIndex *index, BlockNumber block)
{
	Buffer buffer = ReadBuffer(index->rel, block);

	if (index->hints != NULL)
		index->hints->buffers[block & index->hints->mask] = buffer;
	return buffer;
}

Buffer
chs_buffer_read(ChsIndex *index, BlockNumber block)
{
	Buffer buffer = InvalidBuffer;

	if (index->hints != NULL)
		buffer = read_by_hint(index, block);
	return BufferIsValid(buffer) ? buffer : read_by_block(index, block);
}

/*
 * Where two or more blocks are not where they were seen last, the operating
 * system is asked to read them while they are used one after the other; a
 * single one would only be asked for twice.
 */
void
chs_buffer_expect(ChsIndex *index, const BlockNumber *blocks, int n)
{
	const ChsHints *hints = index->hints;
	int missed = 0;

	for (int i = 0; i < n && hints != NULL; i++)
	{
		Buffer buffer = chs_hint_of(hints, blocks[i]);

		if (BufferIsValid(buffer))
			chs_peek_prefetch(buffer);
	}
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < n; i++)
		{
			Buffer buffer = hints == NULL ? InvalidBuffer
										  : chs_hint_of(hints, blocks[i]);

			if (BufferIsValid(buffer) &&
				chs_peek_has_tag(hints, buffer, blocks[i]))
				continue;
			if (round > 0)
				(void) PrefetchBuffer(index->rel, MAIN_FORKNUM, blocks[i]);
			missed++;
		}
		if (missed < 2 || effective_io_concurrency == 0)
			return;
	}
}
