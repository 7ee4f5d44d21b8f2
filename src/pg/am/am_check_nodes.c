/*
 * am_check_nodes.c
 *	  The checker's half that looks at single nodes: their slots, TIDs, rows
 *	  and codes (P4 to P8 of am_check.c).
 *
 * Runs after the pages were found to be what the extent map says, so that
 * rows can be read through the store without raising an error.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_check.h"

/* ---- P5, P6: TIDs ---- */

/* Remembers a TID for the test that it is there once. */
static void
keep_tid(ChsChecker *check, ItemPointer tid, ChsNodeId node)
{
	TupleTableSlot *slot = check->put_slot;
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (!ItemPointerIsValid(tid) || (check->heap_blocks != InvalidBlockNumber &&
									 block >= check->heap_blocks))
	{
		chs_check_report(check, "P6", 0, node,
						 "row pointer (%u,%u) leads out of the table", block,
						 offset);
		return;
	}
	ExecClearTuple(slot);
	slot->tts_values[0] = Int64GetDatum(
		(int64) (((uint64) block << 16) | offset));
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
read_overflow(ChsChecker *check, ChsNodeRef owner, uint32 number,
			  ChsOverflowData *out)
{
	uint32 position = number - 1;
	BlockNumber block;

	if (position >= check->overflow_slots)
	{
		chs_check_report(check, "P5", 0, owner.id,
						 "overflow slot %u does not exist", number);
		return false;
	}
	if ((check->overflow_seen[position / 8] & (1 << (position % 8))) != 0)
	{
		chs_check_report(check, "P5", 0, owner.id,
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
		out->owner_version != owner.version || out->ntids > CHS_OVERFLOW_TIDS)
	{
		chs_check_report(check, "P5", 0, owner.id,
						 "overflow slot %u is not of this node", number);
		return false;
	}
	return true;
}

/* All TIDs of a level-0 slot in use. */
static void
check_tids(ChsChecker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	ChsNodeRef owner = {node, slot->version};
	uint32 number = slot->overflow;
	uint64 rows = 0;

	if (ItemPointerIsValid(chs_slot_tid(slot)))
	{
		keep_tid(check, chs_slot_tid(slot), node);
		rows++;
	}
	else if (slot->state == CHS_SLOT_RESERVED)
		chs_check_report(check, "P4", 0, node, "is reserved for no row");
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
		chs_check_report(check, "P4", 0, node,
						 "is dead but has " UINT64_FORMAT " rows", rows);
}

/* After all nodes: a slot in use that no list led to belongs to nobody. */
static void
check_overflow_pages(ChsChecker *check)
{
	uint32 pages = check->meta->stream[CHS_STREAM_OVERFLOW].pages_allocated;

	for (uint32 page = 0; page < pages; page++)
	{
		if (!chs_check_read_page(check, CHS_STREAM_OVERFLOW, page,
								 CHS_PAGE_OVERFLOW))
			continue;
		for (uint32 i = 0; i < CHS_OVERFLOW_PER_PAGE; i++)
		{
			ChsOverflowData *slot = chs_page_overflow(check->page.data, i);
			uint32 position = page * CHS_OVERFLOW_PER_PAGE + i;

			if (slot->used && (check->overflow_seen[position / 8] &
							   (1 << (position % 8))) == 0)
				chs_check_report(check, "P5", 0, slot->owner,
								 "overflow slot %u names this node, which does "
								 "not list it",
								 position + 1);
		}
	}
}

static void
begin_tids(ChsChecker *check)
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
end_tids(ChsChecker *check)
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
			chs_check_report(check, "P6", 0, (ChsNodeId) node,
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

/* ---- P7, P8: exact rows and codes ---- */

/* Code and factors of a slot against what its row gives now. */
static void
check_code(ChsChecker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	const ChsSlotLayout *layout = &check->meta->layout[0];
	ChsFactors factors;
	bool encoded = chs_encode(&check->index->model, check->row, check->scratch,
							  check->code, &factors);
	bool nolink = (slot->flags & CHS_SLOT_NOLINK) != 0;

	if (encoded == nolink)
		chs_check_report(check, "P8", 0, node,
						 nolink ? "is kept out of the graph without a reason"
								: "has a row that cannot be encoded");
	if (slot->state != CHS_SLOT_LIVE || !encoded)
		return;
	if (memcmp(chs_slot_factors(layout, slot), &factors, sizeof(factors)) != 0)
		chs_check_report(check, "P8", 0, node,
						 "factors are not those of its row");
	if (memcmp(chs_slot_code(layout, slot), check->code, layout->code_bytes) != 0)
		chs_check_report(check, "P8", 0, node, "code is not that of its row");
}

static void
check_row(ChsChecker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	ChsRowKind kind = (ChsRowKind) check->meta->row_kind;
	uint32 dim = check->meta->dim;
	ChsNodeRef ref = {node, slot->version};

	if (check->row == NULL ||
		(slot->state != CHS_SLOT_LIVE && slot->state != CHS_SLOT_UNLINKED))
		return;
	(void) chs_page_store_row(check->store, ref, check->row);
	if (!chs_row_is_finite(kind, check->row, dim))
		chs_check_report(check, "P7", 0, node, "row is not finite");
	else if (chs_row_hash(check->row, chs_row_fixed_bytes(kind, dim)) !=
			 slot->hash)
		chs_check_report(check, "P7", 0, node,
						 "row does not have the hash of its slot");
	else if (check->meta->phase == CHS_PHASE_GRAPH)
		check_code(check, slot, node);
}

/* An upper node's code is that of the node it stands on. */
static void
check_upper_code(ChsChecker *check, ChsSlotHeader *slot, int level,
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
					   chs_index_block(check->index, CHS_STREAM_GRAPH(level - 1),
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
		chs_check_report(check, "P8", level, node,
						 "code is not that of node %u below", slot->down);
}

/* ---- P4: slots ---- */

/* What is wrong with a slot of a level in itself; NULL if nothing. */
static const char *
find_slot_problem(const ChsMetaPageData *meta, const ChsSlotHeader *slot,
				  int level)
{
	const ChsSlotLayout *layout = &meta->layout[level == 0 ? 0 : 1];
	bool in_graph = slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_DEAD;
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
	return NULL;
}

/*
 * A node is unlinked in a graph only as a leftover of the flat phase.  One
 * from elsewhere is legal if its row never came to be: the insert would have
 * linked it next, and crashed.
 */
static void
check_leftover(ChsChecker *check, ChsSlotHeader *slot, ChsNodeId node)
{
	const ChsMetaPageData *meta = check->meta;
	ItemPointerData tid = *chs_slot_tid(slot);

	if (slot->state != CHS_SLOT_UNLINKED ||
		(slot->flags & CHS_SLOT_NOLINK) != 0 || meta->phase != CHS_PHASE_GRAPH ||
		(node >= meta->link_cursor && node < meta->unlinked_end))
		return;
	if (ItemPointerIsValid(&tid) &&
		table_index_fetch_tuple_check(check->heap, &tid, SnapshotSelf, NULL))
		chs_check_report(check, "P4", 0, node,
						 "is unlinked, and nobody is going to link it");
}

static void
check_slot(ChsChecker *check, ChsSlotHeader *slot, int level, ChsNodeId node)
{
	const char *problem = find_slot_problem(check->meta, slot, level);

	if (problem != NULL)
		chs_check_report(check, "P4", level, node, "%s", problem);
	if (slot->state == CHS_SLOT_FREE || slot->state > CHS_SLOT_UNLINKED)
		return;
	check->dead += slot->state == CHS_SLOT_DEAD;
	if (level > 0)
	{
		check_upper_code(check, slot, level, node);
		return;
	}
	check_leftover(check, slot, node);
	check_tids(check, slot, node);
	check_row(check, slot, node);
}

/* P4: slots of pages that nobody was given are free. */
static void
check_unused_page(ChsChecker *check, int level, uint32 page)
{
	uint32 per_page = chs_index_per_page(check->index, level);

	for (uint32 i = 0; i < per_page; i++)
	{
		if (chs_page_slot(check->page.data,
						  chs_index_layout(check->index, level), i)
				->state != CHS_SLOT_FREE)
			chs_check_report(check, "P4", level, page * per_page + i,
							 "is in use on a page that was not handed out");
	}
}

static void
check_level(ChsChecker *check, int level)
{
	const ChsStreamState *stream = &check->meta->stream[CHS_STREAM_GRAPH(level)];
	uint32 per_page = chs_index_per_page(check->index, level);

	for (uint32 page = 0; page < stream->pages_allocated; page++)
	{
		if (!chs_check_read_page(check, CHS_STREAM_GRAPH(level), page,
								 CHS_PAGE_GRAPH))
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

/* ---- all nodes ---- */

void
chs_check_nodes(ChsChecker *check)
{
	begin_tids(check);
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		check_level(check, level);
	check_overflow_pages(check);
	end_tids(check);
}
