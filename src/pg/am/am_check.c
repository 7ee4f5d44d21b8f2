/*
 * am_check.c
 *	  SQL function chassis_index_check: is the index what it should be?
 *
 * Two halves.  Here are the invariants of pages, P1 to P11; those of the
 * graph, I1 and on, are core's (graph_check.c) and are tested through a page
 * store like any other.  Whatever is wrong becomes a row.  Nothing on a page is
 * used as a size or a place before it was tested, so that a damaged index is
 * described and not stumbled over; only a page that the server itself refuses
 * (checksum, no such block) raises the server's error.
 *
 *	  P1   the metapage's fields agree with each other and the slot layout with
 *		   dimensions, bits and m
 *	  P2   extents lie in the file, do not overlap, and cover each stream from
 *		   its first page on without a gap
 *	  P3   every page of a stream is empty or of that stream's kind and level,
 *		   with a header that covers its contents
 *	  P4   a slot's state, flags and degree go together and with the phase; none
 *		   is in use beyond the pages handed out
 *	  P5   an overflow list has no cycle and no slot of another node; every
 *		   overflow slot in use is in its owner's list
 *	  P6   a heap TID is valid, lies in the table, and is there once
 *	  P7   the exact vector is finite and has the hash that its slot keeps
 *	  P8   the code is the vector's, to the bit (encoding gives the same bytes
 *		   on every machine), and a node without a place in the graph is one
 *		   that cannot be encoded
 *	  P9   a graph has a model, and its numbers are finite
 *	  P10  dead nodes are there only while the metapage says so
 *	  P11  hints where to insert name pages that were handed out
 *
 * With rerank = heap P7 and P8 do not apply: a row's vector can be read only
 * with a snapshot that sees it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_inspect.h"

PG_FUNCTION_INFO_V1(chassis_index_check);

#define NO_LEVEL (-1)
#define NO_NODE CHS_NODE_NONE

typedef struct Checker
{
	ReturnSetInfo *result;
	Relation rel;
	Relation heap;
	BlockNumber heap_blocks; /* InvalidBlockNumber: not to be tested */
	ChsIndex *index;
	ChsPageStore *store;
	ChsContextArena arena;
	BufferAccessStrategy strategy;
	ChsMetaPageData *meta;
	PGAlignedBlock page;  /* the one being walked */
	PGAlignedBlock other; /* one looked up from there */
	uint64 problems;
	uint64 dead; /* nodes in that state */

	uint8 *overflow_seen; /* a bit per overflow slot */
	uint32 overflow_slots;

	/* every TID with its node, sorted at the end */
	Tuplesortstate *tids;
	TupleTableSlot *put_slot;
	TupleTableSlot *get_slot;

	/* P7, P8; NULL where they do not apply */
	float *vector;
	void *scratch;
	uint8 *code;
} Checker;

static void report_problem(Checker *check, const char *invariant, int level,
						   ChsNodeId node, const char *format, ...)
	pg_attribute_printf(5, 6);

static void
report_problem(Checker *check, const char *invariant, int level,
			   ChsNodeId node, const char *format, ...)
{
	Datum values[4];
	bool isnull[4] = {false, level == NO_LEVEL, node == NO_NODE, false};
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
	check->problems++;
}

/* Reports under P1 unless the condition holds. */
#define EXPECT_META(check, condition, ...)                                    \
	do                                                                        \
	{                                                                         \
		if (!(condition))                                                     \
			report_problem(check, "P1", NO_LEVEL, NO_NODE, __VA_ARGS__);      \
	} while (0)

/* ---- P1: metapage ---- */

static bool
is_bits(uint8 bits)
{
	return bits == 1 || bits == 2 || bits == 4 || bits == 8 ||
		   bits == CHS_BITS_NONE;
}

static void
check_layout(Checker *check, int which)
{
	const ChsMetaPageData *meta = check->meta;
	uint32 code_bytes = meta->bits == CHS_BITS_NONE
							? 0
							: (uint32) chs_code_bytes(meta->dim, meta->bits);
	ChsSlotLayout layout = chs_slot_layout(code_bytes, (int) meta->m, which);

	EXPECT_META(check,
				memcmp(&layout, &meta->layout[which], sizeof(layout)) == 0,
				"slot layout %d is not that of %u dimensions, bits = %u and "
				"m = %u",
				which, meta->dim, meta->bits, meta->m);
	EXPECT_META(check,
				meta->per_page[which] == CHS_SLOTS_BYTES / layout.slot_bytes,
				"%u slots of layout %d stand on a page, not %u",
				(uint32) (CHS_SLOTS_BYTES / layout.slot_bytes), which,
				meta->per_page[which]);
}

static void
check_streams(Checker *check)
{
	const ChsMetaPageData *meta = check->meta;

	for (int i = 0; i < CHS_STREAM_COUNT; i++)
		EXPECT_META(check,
					meta->stream[i].pages_used <=
						meta->stream[i].pages_allocated,
					"stream %d uses %u pages of %u", i,
					meta->stream[i].pages_used,
					meta->stream[i].pages_allocated);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		uint64 capacity =
			(uint64) meta->stream[CHS_STREAM_GRAPH(level)].pages_used *
			meta->per_page[level == 0 ? 0 : 1];
		ChsNodeId entry = meta->entry[level].id;

		EXPECT_META(check, entry == CHS_NODE_NONE || entry < capacity,
					"the entry of level %d is node %u, but there are " UINT64_FORMAT,
					level, entry, capacity);
	}
}

/* The metapage, copied into check->meta; false if there is no going on. */
static bool
check_meta(Checker *check)
{
	ChsMetaPageData *meta = check->meta;
	const char *problem;
	uint64 before = check->problems;

	(void) chs_page_copy(check->rel, CHS_METAPAGE_BLKNO, NULL,
						 check->page.data);
	problem = chs_page_copy_problem(check->page.data, CHS_PAGE_META, 0, 0);
	EXPECT_META(check, problem == NULL, "block 0: %s", problem);
	if (problem != NULL)
		return false;
	memcpy(meta, CHS_META(check->page.data), sizeof(*meta));
	EXPECT_META(check, meta->magic == CHS_MAGIC,
				"block 0 does not begin with the number of a metapage");
	EXPECT_META(check,
				meta->format == CHS_FORMAT_VERSION && meta->features == 0,
				"format %u with features %x is not known", meta->format,
				meta->features);
	EXPECT_META(check, meta->metric <= CHS_METRIC_L1, "metric %u is unknown",
				meta->metric);
	EXPECT_META(check, is_bits(meta->bits), "bits = %u is impossible",
				meta->bits);
	EXPECT_META(check, meta->dim >= 1 && meta->dim <= CHS_MAX_DIM,
				"%u dimensions are impossible", meta->dim);
	EXPECT_META(check, meta->m >= 1 && meta->m <= CHS_MAX_M,
				"m = %u is impossible", meta->m);
	EXPECT_META(check, meta->nextents <= CHS_MAX_EXTENTS,
				"%u extents are more than fit", meta->nextents);
	EXPECT_META(check, meta->phase <= CHS_PHASE_GRAPH,
				"phase %u is unknown", meta->phase);
	if (check->problems > before)
		return false;

	EXPECT_META(check,
				meta->vector_bytes == (meta->rerank == CHS_RERANK_HEAP
										   ? 0
										   : meta->dim * sizeof(float)),
				"%u bytes a vector do not go with %u dimensions",
				meta->vector_bytes, meta->dim);
	EXPECT_META(check, (meta->flags & ~CHS_META_DEAD_LEFT) == 0,
				"flags %x are unknown", meta->flags);
	EXPECT_META(check, meta->link_cursor <= meta->unlinked_end,
				"leftovers begin at %u and end at %u", meta->link_cursor,
				meta->unlinked_end);
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
extent_length(Checker *check, uint32 i)
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
check_extent_order(Checker *check, Run *runs)
{
	const ChsMetaPageData *meta = check->meta;
	bool begun[CHS_STREAM_COUNT] = {false};

	for (uint32 i = 0; i < meta->nextents; i++)
	{
		const ChsExtent *extent = &meta->extent[i];
		uint64 length = 0;

		if (extent->stream >= CHS_STREAM_COUNT)
			report_problem(check, "P2", NO_LEVEL, NO_NODE,
						   "extent %u is of unknown stream %u", i,
						   extent->stream);
		else
		{
			length = extent_length(check, i);
			if (length == 0)
				report_problem(check, "P2", NO_LEVEL, NO_NODE,
							   "extent %u of stream %u has no pages", i,
							   extent->stream);
			if (!begun[extent->stream] && extent->first_page != 0)
				report_problem(check, "P2", NO_LEVEL, NO_NODE,
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
			report_problem(check, "P2", NO_LEVEL, NO_NODE,
						   "stream %d has %u pages but no extent", stream,
						   meta->stream[stream].pages_allocated);
	}
}

static bool
check_extents(Checker *check)
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
			report_problem(check, "P2", NO_LEVEL, NO_NODE,
						   "the extent of stream %u at block %u overlaps "
						   "what is before it",
						   runs[i].stream, runs[i].start);
		end = Max(end, runs[i].end);
	}
	if (end > meta->next_block)
		report_problem(check, "P2", NO_LEVEL, NO_NODE,
					   "extents reach to block " UINT64_FORMAT
					   ", beyond next_block %u",
					   end, meta->next_block);
	if (meta->next_block > blocks)
		report_problem(check, "P2", NO_LEVEL, NO_NODE,
					   "next_block is %u, but the file has %u blocks",
					   meta->next_block, blocks);
	pfree(runs);
	return check->problems == before;
}

/* ---- P3: pages ---- */

/*
 * Copies a page of a stream to check->page; false if it is empty or was
 * reported.
 */
static bool
read_page(Checker *check, int stream, uint32 page, ChsPageKind kind)
{
	int level = kind == CHS_PAGE_GRAPH ? stream : 0;
	int which = level == 0 ? 0 : 1;
	BlockNumber block = chs_index_block(check->index, stream, page);
	const char *problem;
	Size lower = 0;

	CHECK_FOR_INTERRUPTS();
	if (!chs_page_copy(check->rel, block, check->strategy, check->page.data))
		return false;
	if (kind == CHS_PAGE_GRAPH)
		lower = CHS_SLOTS_OFFSET + (Size) check->meta->per_page[which] *
									   check->meta->layout[which].slot_bytes;
	problem = chs_page_copy_problem(check->page.data, kind, level, lower);
	if (problem == NULL)
		return true;
	report_problem(check, "P3", kind == CHS_PAGE_GRAPH ? level : NO_LEVEL,
				   NO_NODE, "block %u: %s", block, problem);
	return false;
}

/* Pages of bytes have nothing else to be tested one by one. */
static void
check_byte_pages(Checker *check, int stream, ChsPageKind kind)
{
	uint32 pages = check->meta->stream[stream].pages_allocated;

	for (uint32 page = 0; page < pages; page++)
		(void) read_page(check, stream, page, kind);
}

/* ---- P5, P6: rows ---- */

/* Remembers a TID for the test that it is there once. */
static void
keep_tid(Checker *check, ItemPointer tid, ChsNodeId node)
{
	TupleTableSlot *slot = check->put_slot;
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (!ItemPointerIsValid(tid) || (check->heap_blocks != InvalidBlockNumber &&
									 block >= check->heap_blocks))
	{
		report_problem(check, "P6", 0, node,
					   "row pointer (%u,%u) leads out of the table", block,
					   offset);
		return;
	}
	ExecClearTuple(slot);
	slot->tts_values[0] =
		Int64GetDatum((int64) (((uint64) block << 16) | offset));
	slot->tts_values[1] = Int64GetDatum((int64) node);
	slot->tts_isnull[0] = false;
	slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(check->tids, slot);
}

/*
 * The overflow slot with this number, copied; false if it cannot be used as
 * one of this node's.  Marks it as seen.
 */
static bool
read_overflow(Checker *check, ChsNodeRef owner, uint32 number,
			  ChsOverflowData *out)
{
	uint32 position = number - 1;
	BlockNumber block;

	if (position >= check->overflow_slots)
	{
		report_problem(check, "P5", 0, owner.id,
					   "overflow slot %u does not exist", number);
		return false;
	}
	if ((check->overflow_seen[position / 8] & (1 << (position % 8))) != 0)
	{
		report_problem(check, "P5", 0, owner.id,
					   "overflow slot %u is in two lists, or twice in one",
					   number);
		return false;
	}
	check->overflow_seen[position / 8] |= (uint8) (1 << (position % 8));

	block = chs_index_block(check->index, CHS_STREAM_OVERFLOW,
							position / CHS_OVERFLOW_PER_PAGE);
	(void) chs_page_copy(check->rel, block, NULL, check->other.data);
	*out = *chs_page_overflow(check->other.data,
							  position % CHS_OVERFLOW_PER_PAGE);
	if (!out->used || out->owner != owner.id ||
		out->owner_version != owner.version ||
		out->ntids > CHS_OVERFLOW_TIDS)
	{
		report_problem(check, "P5", 0, owner.id,
					   "overflow slot %u is not of this node", number);
		return false;
	}
	return true;
}

/* All rows of a level-0 slot in use. */
static void
check_rows(Checker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	ChsNodeRef owner = {node, slot->version};
	uint32 number = slot->overflow;
	uint64 rows = 0;

	if (ItemPointerIsValid(chs_slot_tid(slot)))
	{
		/* a dead node keeps the bytes of its TID, nobody reads them */
		if (slot->state != CHS_SLOT_DEAD)
			keep_tid(check, chs_slot_tid(slot), node);
	}
	else if (slot->state == CHS_SLOT_RESERVED)
		report_problem(check, "P4", 0, node, "is reserved for no row");
	while (number != 0)
	{
		ChsOverflowData overflow;

		if (!read_overflow(check, owner, number, &overflow))
			return;
		for (int i = 0; i < overflow.ntids; i++)
			keep_tid(check, &overflow.tids[i], node);
		rows += overflow.ntids;
		number = overflow.next;
	}
	if (slot->state == CHS_SLOT_DEAD && rows > 0)
		report_problem(check, "P4", 0, node,
					   "is dead but has " UINT64_FORMAT " rows", rows);
}

/* After all nodes: a slot in use that no list led to belongs to nobody. */
static void
check_overflow_pages(Checker *check)
{
	uint32 pages = check->meta->stream[CHS_STREAM_OVERFLOW].pages_allocated;

	for (uint32 page = 0; page < pages; page++)
	{
		if (!read_page(check, CHS_STREAM_OVERFLOW, page, CHS_PAGE_OVERFLOW))
			continue;
		for (uint32 i = 0; i < CHS_OVERFLOW_PER_PAGE; i++)
		{
			ChsOverflowData *slot = chs_page_overflow(check->page.data, i);
			uint32 position = page * CHS_OVERFLOW_PER_PAGE + i;

			if (slot->used &&
				(check->overflow_seen[position / 8] &
				 (1 << (position % 8))) == 0)
				report_problem(check, "P5", 0, slot->owner,
							   "overflow slot %u names this node, which does "
							   "not list it",
							   position + 1);
		}
	}
}

static void
begin_tids(Checker *check)
{
	TupleDesc desc = CreateTemplateTupleDesc(2);
	AttrNumber columns[] = {1, 2};
	Oid operators[] = {Int8LessOperator, Int8LessOperator};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};

	TupleDescInitEntry(desc, 1, "tid", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "node", INT8OID, -1, 0);
	check->put_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	check->get_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	check->tids = tuplesort_begin_heap(desc, 2, columns, operators, collations,
									   nulls_first, maintenance_work_mem, NULL,
									   CHS_SORT_ONCE);
}

/* P6: equal TIDs stand side by side now. */
static void
end_tids(Checker *check)
{
	int64 last_tid = -1;
	int64 last_node = -1;

	tuplesort_performsort(check->tids);
	while (tuplesort_gettupleslot(check->tids, true, false, check->get_slot,
								  NULL))
	{
		bool isnull;
		int64 tid = DatumGetInt64(slot_getattr(check->get_slot, 1, &isnull));
		int64 node = DatumGetInt64(slot_getattr(check->get_slot, 2, &isnull));

		if (tid == last_tid)
			report_problem(check, "P6", 0, (ChsNodeId) node,
						   "row (%u,%u) is also in node " INT64_FORMAT,
						   (BlockNumber) (tid >> 16),
						   (OffsetNumber) (tid & 0xffff), last_node);
		last_tid = tid;
		last_node = node;
	}
	ExecDropSingleTupleTableSlot(check->get_slot);
	ExecDropSingleTupleTableSlot(check->put_slot);
	tuplesort_end(check->tids);
}

/* ---- P7, P8: vectors and codes ---- */

static bool
is_finite(const float *x, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		if (!isfinite(x[i]))
			return false;
	}
	return true;
}

/* Code and factors of a slot against what its vector gives now. */
static void
check_code(Checker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	const ChsSlotLayout *layout = &check->meta->layout[0];
	ChsFactors factors;
	bool encoded = chs_encode(&check->index->model, check->vector,
							  check->scratch, check->code, &factors);
	bool nolink = (slot->flags & CHS_SLOT_NOLINK) != 0;

	if (encoded == nolink)
		report_problem(check, "P8", 0, node,
					   nolink ? "is kept out of the graph without a reason"
							  : "has a vector that cannot be encoded");
	if (slot->state != CHS_SLOT_LIVE || !encoded)
		return;
	if (memcmp(chs_slot_factors(layout, slot), &factors, sizeof(factors)) != 0)
		report_problem(check, "P8", 0, node,
					   "factors are not those of its vector");
	if (memcmp(chs_slot_code(layout, slot), check->code,
			   layout->code_bytes) != 0)
		report_problem(check, "P8", 0, node,
					   "code is not that of its vector");
}

static void
check_vector(Checker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	uint32 dim = check->meta->dim;

	if (check->vector == NULL ||
		(slot->state != CHS_SLOT_LIVE && slot->state != CHS_SLOT_UNLINKED))
		return;
	chs_page_store_vector(check->store, node, check->vector);
	if (!is_finite(check->vector, dim))
		report_problem(check, "P7", 0, node, "vector is not finite");
	else if (chs_vector_hash(check->vector, dim) != slot->hash)
		report_problem(check, "P7", 0, node,
					   "vector does not have the hash of its slot");
	else if (check->meta->phase == CHS_PHASE_GRAPH)
		check_code(check, slot, node);
}

/* An upper node's code is that of the node it stands on. */
static void
check_upper_code(Checker *check, ChsSlotHeader *slot, int level,
				 ChsNodeId node)
{
	const ChsSlotLayout *above = chs_index_layout(check->index, level);
	const ChsSlotLayout *below = chs_index_layout(check->index, level - 1);
	uint32 per_page = chs_index_per_page(check->index, level - 1);
	ChsSlotHeader *base;

	/* a wrong `down` is I8's to report */
	if (slot->state != CHS_SLOT_LIVE ||
		slot->down >= chs_index_capacity(check->index, level - 1))
		return;
	if (!chs_page_copy(check->rel,
					   chs_index_block(check->index,
									   CHS_STREAM_GRAPH(level - 1),
									   slot->down / per_page),
					   NULL, check->other.data))
		return;
	base = chs_page_slot(check->other.data, below, slot->down % per_page);
	if (base->version != slot->down_version || base->state != CHS_SLOT_LIVE)
		return;
	if (memcmp(chs_slot_code(above, slot), chs_slot_code(below, base),
			   above->code_bytes) != 0 ||
		memcmp(chs_slot_factors(above, slot), chs_slot_factors(below, base),
			   sizeof(ChsFactors)) != 0)
		report_problem(check, "P8", level, node,
					   "code is not that of node %u below", slot->down);
}

/* ---- P4: slots ---- */

/* What is wrong with a slot of a level in itself; NULL if nothing. */
static const char *
find_slot_problem(const ChsMetaPageData *meta, const ChsSlotHeader *slot,
				  int level, ChsNodeId node)
{
	const ChsSlotLayout *layout = &meta->layout[level == 0 ? 0 : 1];
	bool in_graph =
		slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_DEAD;
	bool nolink = (slot->flags & CHS_SLOT_NOLINK) != 0;

	if (slot->state > CHS_SLOT_UNLINKED)
		return "has an unknown state";
	if (slot->state == CHS_SLOT_FREE)
		return NULL; /* what else it holds is nobody's */
	if ((slot->flags & ~CHS_SLOT_NOLINK) != 0 || slot->lock != 0 ||
		slot->unused != 0)
		return "has unknown flags";
	if (in_graph && meta->phase == CHS_PHASE_FLAT)
		return "is in the graph before there is one";
	if (in_graph && slot->degree > layout->max_degree)
		return "has more edges than its slot has room for";
	if (slot->state != CHS_SLOT_UNLINKED)
		return nolink ? "has no place in the graph and is not unlinked" : NULL;
	if (level > 0)
		return "is unlinked above level 0";
	if (!nolink && meta->phase == CHS_PHASE_GRAPH &&
		(node < meta->link_cursor || node >= meta->unlinked_end))
		return "is unlinked, and nobody is going to link it";
	return NULL;
}

static void
check_slot(Checker *check, ChsSlotHeader *slot, int level, ChsNodeId node)
{
	const char *problem =
		find_slot_problem(check->meta, slot, level, node);

	if (problem != NULL)
		report_problem(check, "P4", level, node, "%s", problem);
	if (slot->state == CHS_SLOT_FREE || slot->state > CHS_SLOT_UNLINKED)
		return;
	check->dead += slot->state == CHS_SLOT_DEAD;
	if (level > 0)
	{
		check_upper_code(check, slot, level, node);
		return;
	}
	check_rows(check, slot, node);
	check_vector(check, slot, node);
}

/* P4: slots of pages that nobody was given are free. */
static void
check_unused_page(Checker *check, int level, uint32 page)
{
	uint32 per_page = chs_index_per_page(check->index, level);

	for (uint32 i = 0; i < per_page; i++)
	{
		if (chs_page_slot(check->page.data,
						  chs_index_layout(check->index, level), i)
				->state != CHS_SLOT_FREE)
			report_problem(check, "P4", level, page * per_page + i,
						   "is in use on a page that was not handed out");
	}
}

static void
check_level(Checker *check, int level)
{
	const ChsStreamState *stream =
		&check->meta->stream[CHS_STREAM_GRAPH(level)];
	uint32 per_page = chs_index_per_page(check->index, level);

	for (uint32 page = 0; page < stream->pages_allocated; page++)
	{
		if (!read_page(check, CHS_STREAM_GRAPH(level), page, CHS_PAGE_GRAPH))
			continue;
		if (page >= stream->pages_used)
		{
			check_unused_page(check, level, page);
			continue;
		}
		for (uint32 i = 0; i < per_page; i++)
			check_slot(check,
					   chs_page_slot(check->page.data,
									 chs_index_layout(check->index, level), i),
					   level, page * per_page + i);
	}
}

/* ---- P9, P10, P11 ---- */

static void
check_model(Checker *check)
{
	const ChsMetaPageData *meta = check->meta;
	const ChsIndex *index = check->index;

	if (meta->phase != CHS_PHASE_GRAPH || meta->bits == CHS_BITS_NONE)
		return;
	if (!is_finite(index->mean, meta->dim))
		report_problem(check, "P9", NO_LEVEL, NO_NODE,
					   "the model's mean is not finite");
	for (uint32 i = 0; index->step != NULL && i < meta->dim; i++)
	{
		if (isfinite(index->step[i]) && index->step[i] > 0)
			continue;
		report_problem(check, "P9", NO_LEVEL, NO_NODE,
					   "the model's step %u is not a positive number", i);
		break;
	}
}

static void
check_hint(Checker *check, int stream, uint32 hint)
{
	if (hint > check->meta->stream[stream].pages_used)
		report_problem(check, "P11", NO_LEVEL, NO_NODE,
					   "inserts of stream %d go to page %u of %u", stream,
					   hint - 1, check->meta->stream[stream].pages_used);
}

static void
check_hints(Checker *check)
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
open_store(Checker *check)
{
	const ChsMetaPageData *meta = check->meta;
	uint64 model_bytes = (uint64) meta->dim * sizeof(float) *
						 (meta->metric == CHS_METRIC_L1 ? 2 : 1);
	uint64 model_pages =
		(model_bytes + CHS_BYTES_PER_PAGE - 1) / CHS_BYTES_PER_PAGE;

	if (meta->phase == CHS_PHASE_GRAPH && meta->bits != CHS_BITS_NONE &&
		meta->stream[CHS_STREAM_MODEL].pages_allocated < model_pages)
	{
		report_problem(check, "P9", NO_LEVEL, NO_NODE,
					   "the model has %u pages and needs " UINT64_FORMAT,
					   meta->stream[CHS_STREAM_MODEL].pages_allocated,
					   model_pages);
		return false;
	}
	check->index = chs_index_open(check->rel, CurrentMemoryContext);
	check->store = chs_page_store_create(check->index);
	chs_context_arena_init(&check->arena, CurrentMemoryContext);
	check->overflow_slots =
		meta->stream[CHS_STREAM_OVERFLOW].pages_allocated *
		CHS_OVERFLOW_PER_PAGE;
	check->overflow_seen = MemoryContextAllocExtended(
		CurrentMemoryContext, check->overflow_slots / 8 + 1,
		MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (meta->rerank == CHS_RERANK_INDEX)
	{
		check->vector = palloc(meta->dim * sizeof(float));
		if (meta->phase == CHS_PHASE_GRAPH)
		{
			check->scratch =
				chs_alloc(&check->arena.arena,
						  chs_encode_scratch_bytes(&check->index->model));
			check->code = palloc(chs_code_bytes(meta->dim, meta->bits));
		}
	}
	return true;
}

/* Core's findings, as rows. */
static void
report_from_graph(void *context, const ChsProblem *problem)
{
	report_problem(context, problem->invariant, problem->level, problem->id,
				   "%s", problem->text);
	CHECK_FOR_INTERRUPTS();
}

/*
 * I1 and on.  Through the store a page of another kind raises an error, so
 * this is not begun when there are such pages.
 */
static void
check_graph(Checker *check, uint64 damaged)
{
	ChsGraphParams params;
	ChsGraph graph;

	if (check->meta->phase != CHS_PHASE_GRAPH)
		return;
	if (damaged > 0)
	{
		report_problem(check, "P3", NO_LEVEL, NO_NODE,
					   "the graph was not checked because pages are damaged");
		return;
	}
	params.m = (int) check->meta->m;
	params.ef_construction = (int) check->meta->ef_construction;
	params.seed = check->meta->seed;
	chs_graph_init(&graph, &check->store->store, &params,
				   &check->arena.arena);
	(void) chs_graph_check(&graph, &check->arena.arena, report_from_graph,
						   check);
}

/*
 * Kinds first: what follows reads vectors and lists through code that raises
 * an error for a page of another kind.  Returns how many pages are damaged.
 */
static uint64
check_page_kinds(Checker *check)
{
	uint64 before = check->problems;

	check_byte_pages(check, CHS_STREAM_VECTOR, CHS_PAGE_VECTOR);
	check_byte_pages(check, CHS_STREAM_MODEL, CHS_PAGE_MODEL);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		check_byte_pages(check, CHS_STREAM_GRAPH(level), CHS_PAGE_GRAPH);
	check_byte_pages(check, CHS_STREAM_OVERFLOW, CHS_PAGE_OVERFLOW);
	return check->problems - before;
}

static void
check_all(Checker *check)
{
	uint64 damaged;

	if (!check_meta(check) || !check_extents(check) || !open_store(check))
		return;
	damaged = check_page_kinds(check);
	if (damaged == 0)
	{
		begin_tids(check);
		for (int level = 0; level < CHS_MAX_LEVELS; level++)
			check_level(check, level);
		check_overflow_pages(check);
		end_tids(check);
		if (check->dead > 0 &&
			(check->meta->flags & CHS_META_DEAD_LEFT) == 0)
			report_problem(check, "P10", NO_LEVEL, NO_NODE,
						   UINT64_FORMAT " dead nodes wait for a VACUUM that "
										 "does not know of them",
						   check->dead);
	}
	check_model(check);
	check_hints(check);
	check_graph(check, damaged);
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
	Checker *check = palloc0(sizeof(Checker));
	ChsInspected inspected;

	CHS_MATERIALIZE_SRF(fcinfo);
	inspected = chs_inspect_open(
		PG_GETARG_OID(0),
		RecoveryInProgress() ? AccessShareLock : ShareLock);
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
