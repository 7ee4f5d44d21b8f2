/*
 * am_check.c
 *	  SQL function chassis_index_check: is the index what it should be?
 *
 * Two halves.  Here are the invariants of pages, P1 to P11; those of the
 * graph, I1 and on, are core's (graph_check.c) and are tested through a page
 * store like any other.  Whatever is wrong becomes a row.  Nothing on a page
 * is used as a size or a place before it was tested, so that a damaged index
 * is described and not stumbled over; only a page that the server itself
 * refuses (checksum, header) raises the server's error.
 *
 *	  P1   the metapage's fields agree with each other and with the catalog, and
 *		   the slot layout with dimensions, bits and m
 *	  P2   extents lie in the file, do not overlap, and cover each stream from
 *		   its first page on without a gap
 *	  P3   every page of a stream is empty or of that stream's kind and level,
 *		   with a header that covers its contents
 *	  P4   a slot's state, flags and degree go together and with the phase; none
 *		   is in use beyond the pages handed out
 *	  P5   an overflow list has no cycle and no slot of another node; every
 *		   overflow slot in use is in its owner's list
 *	  P6   a heap TID is valid, lies in the table, and is there once
 *	  P7   the exact row is finite and has the hash that its slot keeps
 *	  P8   the code is the row's, to the bit (encoding gives the same bytes
 *		   on every machine), and a node without a place in the graph is one
 *		   that cannot be encoded
 *	  P9   a graph has a model, and its numbers are finite
 *	  P10  dead nodes are there only while the metapage says so
 *	  P11  hints where to insert name pages that were handed out
 *
 * With rerank = heap P7 and P8 do not apply: what the table has can be read only
 * with a snapshot that sees it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_check.h"
#include "pg/am/am_inspect.h"

PG_FUNCTION_INFO_V1(chassis_index_check);

void
chs_check_report(ChsChecker *check, const char *invariant, int level,
				 ChsNodeId node, const char *format, ...)
{
	Datum values[4];
	bool isnull[4] = {false, level == CHS_NO_LEVEL, node == CHS_NO_NODE, false};
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	values[0] = CStringGetTextDatum(invariant);
	values[1] = Int32GetDatum(level);
	values[2] = Int64GetDatum((int64) node);
	values[3] = CStringGetTextDatum(text);
	tuplestore_putvalues(check->result->setResult, check->result->setDesc,
						 values, isnull);
	pfree(DatumGetPointer(values[0]));
	pfree(DatumGetPointer(values[3]));
	check->problems++;
}

/* Reports under P1 unless the condition holds. */
#define EXPECT_META(check, condition, ...) \
	do \
	{ \
		if (!(condition)) \
			chs_check_report(check, "P1", CHS_NO_LEVEL, CHS_NO_NODE, \
							 __VA_ARGS__); \
	} while (0)

/* ---- P1: metapage ---- */

static bool
is_bits(uint8 bits)
{
	return bits == 1 || bits == 2 || bits == 4 || bits == 8 ||
		   bits == CHS_BITS_NONE;
}

static void
check_layout(ChsChecker *check, int which)
{
	const ChsMetaPageData *meta = check->meta;
	uint32 code_bytes = chs_slot_code_bytes((ChsRowKind) meta->row_kind,
											meta->dim, meta->bits);
	ChsSlotLayout layout = chs_page_layout(code_bytes, (int) meta->m, which);
	uint32 per_page = chs_slots_per_page(layout.slot_bytes);

	EXPECT_META(check,
				memcmp(&layout, &meta->layout[which], sizeof(layout)) == 0,
				"slot layout %d is not that of %u dimensions, bits = %u and "
				"m = %u",
				which, meta->dim, meta->bits, meta->m);
	EXPECT_META(check, meta->per_page[which] == per_page,
				"%u slots of layout %d stand on a page, not %u", per_page,
				which, meta->per_page[which]);
}

static void
check_streams(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;

	for (int i = 0; i < CHS_STREAM_COUNT; i++)
		EXPECT_META(
			check, meta->stream[i].pages_used <= meta->stream[i].pages_allocated,
			"stream %d uses %u pages of %u", i, meta->stream[i].pages_used,
			meta->stream[i].pages_allocated);
	EXPECT_META(check,
				(uint64) meta->stream[CHS_STREAM_GRAPH(0)].pages_used *
						meta->per_page[0] * meta->row_bytes <=
					(uint64) meta->stream[CHS_STREAM_VECTOR].pages_allocated *
						CHS_BYTES_PER_PAGE,
				"the vector stream has no room for all nodes");
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		uint64 capacity = (uint64) meta->stream[CHS_STREAM_GRAPH(level)].pages_used *
						  meta->per_page[level == 0 ? 0 : 1];
		ChsNodeId entry = meta->entry[level].id;

		EXPECT_META(
			check, entry == CHS_NODE_NONE || entry < capacity,
			"the entry of level %d is node %u, but there are " UINT64_FORMAT,
			level, entry, capacity);
	}
}

/* Kind, dimensions and places of the rows; true if they can be. */
static bool
check_rows(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;
	const ChsColumnType *type = chs_opclass_get(check->rel)->type;
	uint64 before = check->problems;

	EXPECT_META(check, meta->row_kind == type->row,
				"rows are of kind %u, those of the operator class of %d",
				meta->row_kind, type->row);
	EXPECT_META(check,
				meta->metric <= CHS_METRIC_JACCARD &&
					chs_row_allows(type->row, (ChsMetric) meta->metric),
				"metric %u is unknown", meta->metric);
	EXPECT_META(check, meta->dim >= 1 && meta->dim <= type->max_dim,
				"%u dimensions are impossible", meta->dim);
	EXPECT_META(check, meta->rerank <= CHS_RERANK_CODE, "rerank %u is unknown",
				meta->rerank);
	return check->problems == before;
}

/* What the catalog says of the index; a changed one would need a rebuild. */
static void
check_catalog(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;
	int32 dim = TupleDescAttr(RelationGetDescr(check->rel), 0)->atttypmod;
	ChsMetric metric = chs_opclass_get(check->rel)->metric;

	EXPECT_META(check, dim < 0 || meta->dim == (uint32) dim,
				"the column has %d dimensions, the index %u", dim, meta->dim);
	EXPECT_META(check, meta->metric == metric,
				"the operator class has metric %d, the index %u", metric,
				meta->metric);
}

/* The metapage, copied into check->meta; false if there is no going on. */
static bool
check_meta(ChsChecker *check)
{
	ChsMetaPageData *meta = check->meta;
	const char *problem;
	uint64 before = check->problems;
	ChsRowKind kind;

	(void) chs_page_copy(check->rel, CHS_METAPAGE_BLKNO, NULL, check->page.data);
	problem = chs_page_copy_problem(check->page.data, CHS_PAGE_META, 0, 0);
	EXPECT_META(check, problem == NULL, "block 0: %s", problem);
	if (problem != NULL)
		return false;
	memcpy(meta, CHS_META(check->page.data), sizeof(*meta));
	EXPECT_META(check, meta->magic == CHS_MAGIC,
				"block 0 does not begin with the number of a metapage");
	EXPECT_META(check, meta->format == CHS_FORMAT_VERSION && meta->features == 0,
				"format %u with features %x is not known", meta->format,
				meta->features);
	EXPECT_META(check, is_bits(meta->bits), "bits = %u is impossible",
				meta->bits);
	EXPECT_META(check, meta->m >= 1 && meta->m <= CHS_MAX_M,
				"m = %u is impossible", meta->m);
	EXPECT_META(check, meta->nextents <= CHS_MAX_EXTENTS,
				"%u extents are more than fit", meta->nextents);
	EXPECT_META(check, meta->phase <= CHS_PHASE_GRAPH, "phase %u is unknown",
				meta->phase);
	if (!check_rows(check) || check->problems > before)
		return false;

	kind = (ChsRowKind) meta->row_kind;
	EXPECT_META(check,
				meta->row_bytes == (meta->rerank == CHS_RERANK_INDEX
										? chs_row_fixed_bytes(kind, meta->dim)
										: 0),
				"%u bytes a row do not go with %u dimensions", meta->row_bytes,
				meta->dim);
	EXPECT_META(check, meta->model_dim == chs_encoded_dim(kind, meta->dim),
				"%u of %u dimensions are encoded", meta->model_dim, meta->dim);
	EXPECT_META(check, (meta->flags & ~CHS_META_DEAD_LEFT) == 0,
				"flags %x are unknown", meta->flags);
	EXPECT_META(check, meta->link_cursor <= meta->unlinked_end,
				"leftovers begin at %u and end at %u", meta->link_cursor,
				meta->unlinked_end);
	check_catalog(check);
	check_layout(check, 0);
	check_layout(check, 1);
	check_streams(check);
	return check->problems == before;
}

/* ---- P2: extents ---- */

/* An extent with its length, for sorting by place. */
typedef struct Run
{
	BlockNumber start;
	uint64 end;
	uint32 stream;
} Run;

static int
compare_runs(const void *a, const void *b)
{
	BlockNumber x = ((const Run *) a)->start;
	BlockNumber y = ((const Run *) b)->start;

	return x < y ? -1 : x > y;
}

/* Pages of extent i: up to the stream's next extent, or to its end. */
static uint64
extent_length(ChsChecker *check, uint32 i)
{
	const ChsMetaPageData *meta = check->meta;
	const ChsExtent *extent = &meta->extent[i];
	uint64 end = meta->stream[extent->stream].pages_allocated;

	for (uint32 j = i + 1; j < meta->nextents; j++)
	{
		if (meta->extent[j].stream != extent->stream)
			continue;
		end = meta->extent[j].first_page;
		break;
	}
	return end > extent->first_page ? end - extent->first_page : 0;
}

/* Every stream begins at its page 0 and goes up; fills runs. */
static void
check_extent_order(ChsChecker *check, Run *runs)
{
	const ChsMetaPageData *meta = check->meta;
	bool begun[CHS_STREAM_COUNT] = {false};

	for (uint32 i = 0; i < meta->nextents; i++)
	{
		const ChsExtent *extent = &meta->extent[i];
		uint64 length = 0;

		if (extent->stream >= CHS_STREAM_COUNT)
			chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
							 "extent %u is of unknown stream %u", i,
							 extent->stream);
		else
		{
			length = extent_length(check, i);
			if (length == 0)
				chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
								 "extent %u of stream %u has no pages", i,
								 extent->stream);
			if (!begun[extent->stream] && extent->first_page != 0)
				chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
								 "stream %u begins with page %u",
								 extent->stream, extent->first_page);
			begun[extent->stream] = true;
		}
		runs[i] = (Run){extent->start_block, extent->start_block + length,
						extent->stream};
	}
	for (int stream = 0; stream < CHS_STREAM_COUNT; stream++)
	{
		if (!begun[stream] && meta->stream[stream].pages_allocated > 0)
			chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
							 "stream %d has %u pages but no extent", stream,
							 meta->stream[stream].pages_allocated);
	}
}

static bool
check_extents(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;
	BlockNumber blocks = RelationGetNumberOfBlocks(check->rel);
	uint64 before = check->problems;
	uint64 end = CHS_METAPAGE_BLKNO + 1;
	Run *runs = palloc((meta->nextents + 1) * sizeof(Run));

	check_extent_order(check, runs);
	qsort(runs, meta->nextents, sizeof(Run), compare_runs);
	for (uint32 i = 0; i < meta->nextents; i++)
	{
		if (runs[i].start < end)
			chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
							 "the extent of stream %u at block %u overlaps "
							 "what is before it",
							 runs[i].stream, runs[i].start);
		end = Max(end, runs[i].end);
	}
	if (end > meta->next_block)
		chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
						 "extents reach to block " UINT64_FORMAT
						 ", beyond next_block %u",
						 end, meta->next_block);
	if (meta->next_block > blocks)
		chs_check_report(check, "P2", CHS_NO_LEVEL, CHS_NO_NODE,
						 "next_block is %u, but the file has %u blocks",
						 meta->next_block, blocks);
	pfree(runs);
	return check->problems == before;
}

/* ---- P3: pages ---- */

/*
 * The block of a stream's page, by the extents as they were checked: the
 * index cannot be opened before its pages are known to be sound.
 */
static BlockNumber
find_block(const ChsMetaPageData *meta, int stream, uint32 page)
{
	BlockNumber block = InvalidBlockNumber;

	for (uint32 i = 0; i < meta->nextents; i++)
	{
		const ChsExtent *extent = &meta->extent[i];

		/* in the order of pages: the last that begins before it has it */
		if (extent->stream == (uint32) stream && extent->first_page <= page)
			block = extent->start_block + (page - extent->first_page);
	}
	return block;
}

/* Where the contents of a page that is full end. */
static Size
contents_end(const ChsMetaPageData *meta, ChsPageKind kind, int level)
{
	int which = level == 0 ? 0 : 1;

	if (kind == CHS_PAGE_GRAPH)
		return chs_slots_offset(meta->layout[which].slot_bytes) +
			   (Size) meta->per_page[which] * meta->layout[which].slot_bytes;
	if (kind == CHS_PAGE_OVERFLOW)
		return CHS_SLOTS_OFFSET +
			   CHS_OVERFLOW_PER_PAGE * sizeof(ChsOverflowData);
	return CHS_BYTES_OFFSET + CHS_BYTES_PER_PAGE;
}

bool
chs_check_read_page(ChsChecker *check, int stream, uint32 page, ChsPageKind kind)
{
	int level = kind == CHS_PAGE_GRAPH ? stream : 0;
	BlockNumber block = find_block(check->meta, stream, page);
	const char *problem;

	CHECK_FOR_INTERRUPTS();
	if (!chs_page_copy(check->rel, block, check->strategy, check->page.data))
		return false;
	problem = chs_page_copy_problem(check->page.data, kind, level,
									contents_end(check->meta, kind, level));
	if (problem == NULL)
		return true;
	chs_check_report(check, "P3", kind == CHS_PAGE_GRAPH ? level : CHS_NO_LEVEL,
					 CHS_NO_NODE, "block %u: %s", block, problem);
	return false;
}

static void
check_pages(ChsChecker *check, int stream, ChsPageKind kind)
{
	uint32 pages = check->meta->stream[stream].pages_allocated;

	for (uint32 page = 0; page < pages; page++)
		(void) chs_check_read_page(check, stream, page, kind);
}

/* ---- P9, P10, P11 ---- */

static void
check_model(ChsChecker *check)
{
	const ChsModel *model = &check->index->model;

	if (check->meta->phase != CHS_PHASE_GRAPH)
		return;
	if (model->mean != NULL &&
		!chs_row_is_finite(CHS_ROW_FLOAT, model->mean, model->dim))
		chs_check_report(check, "P9", CHS_NO_LEVEL, CHS_NO_NODE,
						 "the model's mean is not finite");
	for (uint32 i = 0; model->step != NULL && i < model->dim; i++)
	{
		if (isfinite(model->step[i]) && model->step[i] > 0)
			continue;
		chs_check_report(check, "P9", CHS_NO_LEVEL, CHS_NO_NODE,
						 "the model's step %u is not a positive number", i);
		break;
	}
}

static void
check_hint(ChsChecker *check, int stream, uint32 hint)
{
	if (hint > check->meta->stream[stream].pages_used)
		chs_check_report(check, "P11", CHS_NO_LEVEL, CHS_NO_NODE,
						 "inserts of stream %d go to page %u of %u", stream,
						 hint - 1, check->meta->stream[stream].pages_used);
}

static void
check_hints(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;

	for (int i = 0; i < CHS_INSERT_PAGES; i++)
		check_hint(check, CHS_STREAM_GRAPH(0), meta->insert_page[i]);
	for (int level = 1; level < CHS_MAX_LEVELS; level++)
		check_hint(check, CHS_STREAM_GRAPH(level),
				   meta->insert_page_upper[level]);
	check_hint(check, CHS_STREAM_OVERFLOW, meta->insert_page_overflow);
}

/* ---- all of it ---- */

/*
 * What is needed beyond the metapage, which was found in order.  False, and
 * P9 reported, if the model cannot even be read.
 */
static bool
open_store(ChsChecker *check)
{
	const ChsMetaPageData *meta = check->meta;
	ChsModel model;
	uint64 model_bytes;
	uint64 model_pages;

	chs_meta_model(meta, &model);
	model_bytes = (uint64) chs_model_values(&model) * sizeof(float);
	model_pages = (model_bytes + CHS_BYTES_PER_PAGE - 1) / CHS_BYTES_PER_PAGE;
	if (meta->phase == CHS_PHASE_GRAPH &&
		meta->stream[CHS_STREAM_MODEL].pages_allocated < model_pages)
	{
		chs_check_report(check, "P9", CHS_NO_LEVEL, CHS_NO_NODE,
						 "the model has %u pages and needs " UINT64_FORMAT,
						 meta->stream[CHS_STREAM_MODEL].pages_allocated,
						 model_pages);
		return false;
	}
	check->index = chs_index_open(check->rel, CurrentMemoryContext);
	check->store = chs_page_store_create(check->index);
	chs_context_arena_init(&check->arena, CurrentMemoryContext);
	check->overflow_slots = meta->stream[CHS_STREAM_OVERFLOW].pages_allocated *
							CHS_OVERFLOW_PER_PAGE;
	check->overflow_seen = MemoryContextAllocExtended(
		CurrentMemoryContext, check->overflow_slots / 8 + 1,
		MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (meta->rerank != CHS_RERANK_HEAP)
	{
		check->row = palloc(chs_page_store_row_room(check->store));
		if (meta->phase == CHS_PHASE_GRAPH)
		{
			check->scratch = chs_alloc(
				&check->arena.arena,
				chs_encode_scratch_bytes(&check->index->model));
			check->code = palloc(chs_model_code_bytes(&model));
		}
	}
	return true;
}

/* Core's findings, as rows. */
static void
report_from_graph(void *context, const ChsProblem *problem)
{
	chs_check_report(context, problem->invariant, problem->level, problem->id,
					 "%s", problem->text);
	CHECK_FOR_INTERRUPTS();
}

/* I1 and on. */
static void
check_graph(ChsChecker *check)
{
	ChsGraphParams params;
	ChsGraph graph;

	if (check->meta->phase != CHS_PHASE_GRAPH)
		return;
	params.m = (int) check->meta->m;
	params.ef_construction = (int) check->meta->ef_construction;
	params.seed = check->meta->seed;
	chs_graph_init(&graph, &check->store->store, &params, &check->arena.arena);
	(void) chs_graph_check(&graph, &check->arena.arena, report_from_graph,
						   check);
}

/* P3 of all pages; false if one is damaged. */
static bool
check_page_kinds(ChsChecker *check)
{
	uint64 before = check->problems;

	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		check_pages(check, CHS_STREAM_GRAPH(level), CHS_PAGE_GRAPH);
	check_pages(check, CHS_STREAM_VECTOR, CHS_PAGE_VECTOR);
	check_pages(check, CHS_STREAM_OVERFLOW, CHS_PAGE_OVERFLOW);
	check_pages(check, CHS_STREAM_MODEL, CHS_PAGE_MODEL);
	return check->problems == before;
}

/*
 * In the order in which one part relies on another.  Rows, lists and the
 * graph are read through code that raises an error for a page of another
 * kind: it is not called when there is one.
 */
static void
check_all(ChsChecker *check)
{
	if (!check_meta(check) || !check_extents(check))
		return;
	check_hints(check);
	if (!check_page_kinds(check))
	{
		chs_check_report(check, "P3", CHS_NO_LEVEL, CHS_NO_NODE,
						 "nodes were not checked because pages are damaged");
		return;
	}
	if (!open_store(check))
		return;
	check_model(check);
	chs_check_nodes(check);
	if (check->dead > 0 && (check->meta->flags & CHS_META_DEAD_LEFT) == 0)
		chs_check_report(check, "P10", CHS_NO_LEVEL, CHS_NO_NODE,
						 UINT64_FORMAT " dead nodes wait for a VACUUM that "
									   "does not know of them",
						 check->dead);
	check_graph(check);
}

/*
 * chassis_index_check(regclass): one row (invariant, level, node, problem) for
 * each violation, none for a sound index.  Keeps writers out meanwhile; on a
 * standby that is not possible, and changes being replayed may be reported as
 * problems.
 */
Datum
chassis_index_check(PG_FUNCTION_ARGS)
{
	ChsChecker *check = palloc0(sizeof(ChsChecker));
	ChsInspected inspected;

	CHS_MATERIALIZE_SRF(fcinfo);
	inspected = chs_inspect_open(
		PG_GETARG_OID(0), RecoveryInProgress() ? AccessShareLock : ShareLock);
	check->result = (ReturnSetInfo *) fcinfo->resultinfo;
	check->rel = inspected.rel;
	check->heap = inspected.heap;
	check->heap_blocks = InvalidBlockNumber;
	if (check->heap->rd_rel->relam == HEAP_TABLE_AM_OID)
		check->heap_blocks = RelationGetNumberOfBlocks(check->heap);
	check->meta = palloc(sizeof(ChsMetaPageData));
	check->strategy = GetAccessStrategy(BAS_BULKREAD);
	check_all(check);
	FreeAccessStrategy(check->strategy);
	chs_inspect_close(&inspected);
	return (Datum) 0;
}
