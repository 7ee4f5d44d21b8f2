/*
 * index.c
 *	  An open index: the metapage, the extent map and the model in memory.
 *
 * An operation works on private copies, because a relcache invalidation can
 * free what is cached with the relation at any catalog access.  The metapage is
 * small and read anew whenever its version moved; the model can be large but
 * never changes once written, so that it is cached with the relation.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* What rd_amcache points to: one chunk, freed by the relcache at will. */
typedef struct ModelCache
{
	uint32 magic;
	uint32 nvalues;
	float values[FLEXIBLE_ARRAY_MEMBER]; /* see chs_model_values */
} ModelCache;

static void
report_not_readable(Relation rel, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" cannot be read", RelationGetRelationName(rel)),
			 errdetail_internal("%s", why), errhint("Please REINDEX it.")));
}

/* Are the rows those of the operator class, of sizes that can be? */
static bool
check_rows(const ChsMetaPageData *meta, const ChsColumnType *type)
{
	Size row_bytes = chs_row_fixed_bytes(type->row, meta->dim);

	return meta->row_kind == type->row &&
		   chs_row_allows(type->row, (ChsMetric) meta->metric) &&
		   meta->dim > 0 && meta->dim <= type->max_dim &&
		   meta->model_dim == chs_encoded_dim(type->row, meta->dim) &&
		   meta->rerank <= CHS_RERANK_CODE &&
		   meta->row_bytes == (meta->rerank == CHS_RERANK_INDEX ? row_bytes : 0);
}

/*
 * Do the extents follow one another in the file, none empty, as they were
 * appended?  A block that were two pages' would be locked twice by who holds
 * two pages at a time.
 */
static bool
extents_are_apart(const ChsMetaPageData *meta)
{
	uint64 next_block = meta->next_block;
	uint32 next_page[CHS_STREAM_COUNT];

	for (int s = 0; s < CHS_STREAM_COUNT; s++)
		next_page[s] = meta->stream[s].pages_allocated;
	for (uint32 i = meta->nextents; i-- > 0;)
	{
		const ChsExtent *extent = &meta->extent[i];
		uint32 *end = &next_page[extent->stream % CHS_STREAM_COUNT];

		if (extent->stream >= CHS_STREAM_COUNT || extent->first_page >= *end ||
			(uint64) extent->start_block + (*end - extent->first_page) >
				next_block)
			return false;
		*end = extent->first_page;
		next_block = extent->start_block;
	}
	return next_block > CHS_METAPAGE_BLKNO;
}

/*
 * Is this a metapage whose numbers can be used as sizes and offsets without
 * harm?  Raises an error if not.
 */
static void
check_meta(const ChsIndex *index)
{
	Relation rel = index->rel;
	const ChsMetaPageData *meta = index->meta;

	if (meta->magic != CHS_MAGIC)
		report_not_readable(rel, "Its first page is not a chassis metapage.");
	if (meta->format != CHS_FORMAT_VERSION || meta->features != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has format %u, which this version of "
						"chassis does not know",
						RelationGetRelationName(rel), meta->format),
				 errdetail("Known is format %d without feature flags; the "
						   "index has flags %x.",
						   CHS_FORMAT_VERSION, meta->features),
				 errhint("Upgrade chassis, or REINDEX the index.")));
	if (meta->nextents > CHS_MAX_EXTENTS || meta->m > CHS_MAX_M ||
		!check_rows(meta, index->opclass->type))
		report_not_readable(rel, "Its metapage holds impossible numbers.");
	if (!extents_are_apart(meta))
		report_not_readable(rel, "Its extent map holds impossible numbers.");
	for (int i = 0; i < 2; i++)
	{
		const ChsSlotLayout *layout = &meta->layout[i];

		if (meta->per_page[i] == 0 ||
			layout->slot_bytes < sizeof(ChsSlotHeader) ||
			meta->per_page[i] > chs_slots_per_page(layout->slot_bytes) ||
			layout->max_degree != (uint32) (i == 0 ? 2 * meta->m : meta->m) ||
			(uint64) layout->edges + layout->max_degree * sizeof(ChsEdge) >
				layout->slot_bytes ||
			(uint64) layout->code + layout->code_bytes > layout->slot_bytes ||
			layout->code_bytes != chs_slot_code_bytes((ChsRowKind) meta->row_kind,
													  meta->dim, meta->bits) ||
			(uint64) layout->factors + sizeof(ChsFactors) > layout->slot_bytes)
			report_not_readable(rel, "Its metapage holds an impossible slot "
									 "layout.");
	}
}

/* Sorts the extents by stream; within a stream they are in page order. */
static void
sort_map(ChsIndex *index)
{
	const ChsMetaPageData *meta = index->meta;
	uint16 next[CHS_STREAM_COUNT];

	memset(index->map_start, 0, sizeof(index->map_start));
	for (uint32 i = 0; i < meta->nextents; i++)
	{
		Assert(meta->extent[i].stream < CHS_STREAM_COUNT);
		index->map_start[meta->extent[i].stream + 1]++;
	}
	for (int s = 0; s < CHS_STREAM_COUNT; s++)
	{
		index->map_start[s + 1] += index->map_start[s];
		next[s] = index->map_start[s];
	}
	for (uint32 i = 0; i < meta->nextents; i++)
		index->map[next[meta->extent[i].stream]++] = meta->extent[i];
}

/* Bytes of a metapage image with its extents. */
static inline Size
meta_bytes(const ChsMetaPageData *meta)
{
	return offsetof(ChsMetaPageData, extent) +
		   Min(meta->nextents, CHS_MAX_EXTENTS) * sizeof(ChsExtent);
}

static ChsIndex *
allocate_index(Relation rel, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ChsIndex *index = palloc0(sizeof(ChsIndex));

	index->rel = rel;
	index->context = context;
	index->meta = palloc0(sizeof(ChsMetaPageData));
	index->map = palloc0(CHS_MAX_EXTENTS * sizeof(ChsExtent));
	index->opclass = chs_opclass_get(rel);
	index->logged = true;
	index->hints = chs_hints_acquire(rel, context);
	MemoryContextSwitchTo(old);
	return index;
}

void
chs_index_set_model(ChsIndex *index, const float *values)
{
	Size bytes;
	float *copy;

	chs_meta_model(index->meta, &index->model);
	bytes = chs_model_values(&index->model) * sizeof(float);
	copy = MemoryContextAlloc(index->context, Max(bytes, 1));
	memcpy(copy, values, bytes);
	chs_model_use(&index->model, copy);
}

void
chs_index_write_model(ChsIndex *index, const ChsModel *model, const float *values)
{
	Size bytes = chs_model_values(model) * sizeof(float);

	if (bytes == 0)
		return;
	chs_stream_reserve(
		index, CHS_STREAM_MODEL,
		(uint32) ((bytes + CHS_BYTES_PER_PAGE - 1) / CHS_BYTES_PER_PAGE), true);
	chs_stream_write(index, CHS_STREAM_MODEL, 0, values, bytes);
}

/*
 * Loads the model from the relation's cache, or from its pages and then into
 * the cache.
 */
static void
load_model(ChsIndex *index)
{
	Relation rel = index->rel;
	ModelCache *cache = (ModelCache *) rel->rd_amcache;
	ChsModel model;
	uint32 nvalues;

	chs_meta_model(index->meta, &model);
	nvalues = (uint32) chs_model_values(&model);
	if (cache == NULL || cache->magic != CHS_MAGIC || cache->nvalues != nvalues)
	{
		Size bytes = (Size) nvalues * sizeof(float);
		float *values = MemoryContextAllocZero(index->context, Max(bytes, 1));

		chs_stream_read(index, CHS_STREAM_MODEL, 0, values, bytes);
		if (rel->rd_amcache != NULL)
			pfree(rel->rd_amcache);
		rel->rd_amcache = NULL;
		cache = MemoryContextAlloc(rel->rd_indexcxt,
								   offsetof(ModelCache, values) + bytes);
		cache->magic = CHS_MAGIC;
		cache->nvalues = nvalues;
		memcpy(cache->values, values, bytes);
		rel->rd_amcache = cache;
		pfree(values);
	}
	chs_index_set_model(index, cache->values);
}

bool
chs_index_refresh(ChsIndex *index)
{
	Buffer buffer = chs_buffer_read(index, CHS_METAPAGE_BLKNO);
	ChsMetaPage meta;
	bool changed;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	chs_page_check(index->rel, buffer, CHS_PAGE_META, 0);
	meta = CHS_META(BufferGetPage(buffer));
	changed = index->meta->magic != CHS_MAGIC ||
			  index->meta->meta_version != meta->meta_version;
	if (changed)
		memcpy(index->meta, meta, meta_bytes(meta));
	else
	{
		/* hints do not raise the version */
		memcpy(index->meta->insert_page, meta->insert_page,
			   offsetof(ChsMetaPageData, next_block) -
				   offsetof(ChsMetaPageData, insert_page));
	}
	UnlockReleaseBuffer(buffer);
	if (!changed)
		return false;

	check_meta(index);
	sort_map(index);
	if (index->meta->phase == CHS_PHASE_GRAPH && index->model.bits == 0 &&
		index->logged)
		load_model(index);
	return true;
}

ChsIndex *
chs_index_open(Relation rel, MemoryContext context)
{
	ChsIndex *index = allocate_index(rel, context);

	chs_index_refresh(index);
	return index;
}

ChsIndex *
chs_index_for_build(Relation rel, MemoryContext context,
					const ChsMetaPageData *meta)
{
	ChsIndex *index = allocate_index(rel, context);

	index->logged = false;
	memcpy(index->meta, meta, meta_bytes(meta));
	sort_map(index);
	return index;
}

/* Looks a page up in the map we have. */
static bool
find_block(const ChsIndex *index, int stream, uint32 page, BlockNumber *block)
{
	int low = index->map_start[stream];
	int high = index->map_start[stream + 1];

	if (page >= index->meta->stream[stream].pages_allocated || low == high)
		return false;
	/* the last extent that begins at or before the page */
	while (high - low > 1)
	{
		int middle = (low + high) / 2;

		if (index->map[middle].first_page <= page)
			low = middle;
		else
			high = middle;
	}
	*block = index->map[low].start_block + (page - index->map[low].first_page);
	return true;
}

BlockNumber
chs_index_block(ChsIndex *index, int stream, uint32 page)
{
	BlockNumber block;

	if (likely(find_block(index, stream, page, &block)))
		return block;
	chs_index_refresh(index);
	if (find_block(index, stream, page, &block))
		return block;
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" refers to a page outside of its map",
					RelationGetRelationName(index->rel)),
			 errdetail("Page %u of stream %d was asked for; it has %u.", page,
					   stream, index->meta->stream[stream].pages_allocated),
			 errhint("Please REINDEX it.")));
	return InvalidBlockNumber; /* not reached */
}

bool
chs_index_page_of_block(ChsIndex *index, int stream, BlockNumber block,
						uint32 *page)
{
	int end = index->map_start[stream + 1];

	for (int i = index->map_start[stream]; i < end; i++)
	{
		const ChsExtent *extent = &index->map[i];
		uint32 next = i + 1 < end ? index->map[i + 1].first_page
								  : index->meta->stream[stream].pages_allocated;

		if (block >= extent->start_block &&
			block - extent->start_block < next - extent->first_page)
		{
			*page = extent->first_page + (block - extent->start_block);
			return true;
		}
	}
	return false;
}
