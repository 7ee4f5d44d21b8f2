/*
 * buffer.c
 *	  Pinning pages: recent-buffer hints, batches, reading ahead.
 *
 * A graph search pins about a thousand random pages.  Looking a page up in the
 * shared hash table costs two to three times as much as asking whether the
 * buffer that held it last time still does, so every backend keeps a small
 * direct-mapped table block -> buffer per index.  A wrong hint costs one
 * comparison; a right one saves the look-up.
 *
 * The hazard: a pin through a hint does not raise the buffer's usage count, so
 * pages that are reached only by hints would look unused to the clock sweep
 * and be evicted first.  Hence after a hit the usage count is read, and below
 * two the page is pinned once more the ordinary way.
 *
 * Nothing here knows what is on a page.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* 1 MB an index: 131,072 entries cover a graph of 1 GB without conflicts. */
#define MAX_HINTS 131072
#define MIN_HINTS 1024

typedef struct ChsHint
{
	BlockNumber block;
	Buffer buffer; /* InvalidBuffer: no hint */
} ChsHint;

typedef struct ChsHints
{
	Oid relid; /* hash key */
	ChsRelLocator locator;
	int users;  /* handles that point here */
	bool stale; /* relcache says the index changed: free when unused */
	uint32 mask;
	ChsHint *entries; /* mask + 1 of them */
} ChsHints;

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
		pfree(hints->entries);
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
	bool found;

	if (RelationUsesLocalBuffers(rel))
		return NULL;
	if (hints_by_index == NULL)
		create_hints_table();
	drop_stale_hints();

	while (wanted < MAX_HINTS && wanted < RelationGetNumberOfBlocks(rel))
		wanted *= 2;
	hints = hash_search(hints_by_index, &relid, HASH_ENTER, &found);
	if (!found)
	{
		hints->entries = NULL;
		hints->users = 0;
		hints->mask = 0;
	}
	if (!found || (hints->users == 0 && hints->mask + 1 < wanted))
	{
		ChsHint *entries = MemoryContextAllocZero(TopMemoryContext,
												  wanted * sizeof(ChsHint));

		if (hints->entries != NULL)
			pfree(hints->entries);
		hints->entries = entries;
		hints->mask = wanted - 1;
	}
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

	return BUF_STATE_GET_USAGECOUNT(pg_atomic_read_u32(&desc->state)) < 2;
}

/* Pins the block if the hint is right; InvalidBuffer if not. */
static inline Buffer
read_by_hint(ChsIndex *index, ChsHint *hint, BlockNumber block)
{
	Buffer buffer = hint->buffer;

	if (hint->block != block || !BufferIsValid(buffer))
		return InvalidBuffer;
	if (!ReadRecentBuffer(index->hints->locator, MAIN_FORKNUM, block, buffer))
		return InvalidBuffer;
	if (unlikely(needs_usage(buffer)))
	{
		ReleaseBuffer(buffer);
		return InvalidBuffer;
	}
	pgstat_count_buffer_read(index->rel);
	pgstat_count_buffer_hit(index->rel);
	return buffer;
}

Buffer
chs_buffer_read(ChsIndex *index, BlockNumber block)
{
	ChsHint *hint;
	Buffer buffer;

	if (index->hints == NULL)
		return ReadBuffer(index->rel, block);
	hint = &index->hints->entries[block & index->hints->mask];
	buffer = read_by_hint(index, hint, block);
	if (!BufferIsValid(buffer))
	{
		buffer = ReadBuffer(index->rel, block);
		hint->block = block;
		hint->buffer = buffer;
	}
	return buffer;
}

/*
 * A share of the pool that lets every backend do the same at once; temporary
 * tables have a pool of their own.
 */
int
chs_buffer_batch_limit(const ChsIndex *index)
{
	int share;

	if (RelationUsesLocalBuffers(index->rel))
		share = num_temp_buffers / 4;
	else
		share = NBuffers / (MaxBackends + 8);
	return Max(1, Min(share, CHS_MAX_PIN_BATCH));
}

/*
 * Asks the processor for the descriptors that the hints name: the pool has too
 * many for its caches, and each pin would wait for one.
 */
static inline void
prefetch_descriptors(ChsIndex *index, const BlockNumber *blocks, int n)
{
	if (index->hints == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		Buffer buffer = index->hints->entries[blocks[i] & index->hints->mask].buffer;

		if (BufferIsValid(buffer))
			__builtin_prefetch(GetBufferDescriptor(buffer - 1), 1);
	}
}

void
chs_buffer_read_batch(ChsIndex *index, const BlockNumber *blocks, int n,
					  Buffer *buffers)
{
	int missed = 0;

	Assert(n <= CHS_MAX_PIN_BATCH);
	prefetch_descriptors(index, blocks, n);
	for (int i = 0; i < n; i++)
	{
		buffers[i] = InvalidBuffer;
		if (index->hints != NULL)
			buffers[i] = read_by_hint(
				index, &index->hints->entries[blocks[i] & index->hints->mask],
				blocks[i]);
		missed += !BufferIsValid(buffers[i]);
	}
	if (missed == 0)
		return;

	/* One miss would only be asked for twice. */
	if (missed > 1 && effective_io_concurrency > 0)
	{
		for (int i = 0; i < n; i++)
		{
			if (!BufferIsValid(buffers[i]))
				(void) PrefetchBuffer(index->rel, MAIN_FORKNUM, blocks[i]);
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (!BufferIsValid(buffers[i]))
			buffers[i] = chs_buffer_read(index, blocks[i]);
	}
}
