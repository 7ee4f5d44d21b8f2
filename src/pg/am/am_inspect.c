/*
 * am_inspect.c
 *	  SQL function chassis_index_info: what an index is and what is in it.
 *
 * Separate from the checker (am_check.c) because it trusts the index: it
 * counts, and judges nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/am/am.h"
#include "pg/am/am_inspect.h"

PG_FUNCTION_INFO_V1(chassis_index_info);

/* ---- opening ---- */

/* Raises an error unless the open relation is an index of ours, in reach. */
static void
check_inspectable(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_indam->ambuild != chsbuild)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("index \"%s\" is not a chassis index", name)));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("index \"%s\" is partitioned and holds no data", name),
				 errhint("Name the indexes of its partitions.")));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot access temporary index \"%s\" of another "
							   "session",
							   name)));
	if (RecoveryInProgress() && !RelationNeedsWAL(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access unlogged index \"%s\" during recovery",
						name)));
}

ChsInspected
chs_inspect_open(Oid relid, LOCKMODE lockmode)
{
	ChsInspected inspected;
	char relkind = get_rel_relkind(relid);
	char *name = get_rel_name(relid);
	Oid heap_oid;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("index with OID %u does not exist", relid)));
	if (relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not an index", name)));

	/* before locking, so that nobody can hold up what is not theirs */
	if (!CHS_OWNS_RELATION(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, name);

	heap_oid = IndexGetRelation(relid, false);
	inspected.lockmode = lockmode;
	inspected.heap = table_open(heap_oid, lockmode);
	inspected.rel = index_open(relid, lockmode);
	check_inspectable(inspected.rel);
	return inspected;
}

void
chs_inspect_close(ChsInspected *inspected)
{
	index_close(inspected->rel, inspected->lockmode);
	table_close(inspected->heap, inspected->lockmode);
}

/* ---- rows of the result ---- */

static void put_info(ReturnSetInfo *result, const char *name,
					 const char *format, ...) pg_attribute_printf(3, 4);

static void
put_info(ReturnSetInfo *result, const char *name, const char *format, ...)
{
	Datum values[2];
	bool isnull[2] = {false, false};
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(text);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

static const char *
name_metric(uint8 metric)
{
	static const char *const names[] = {"l2", "ip",      "cosine",
										"l1", "hamming", "jaccard"};

	return metric < lengthof(names) ? names[metric] : "unknown";
}

static const char *
name_rerank(uint8 rerank)
{
	static const char *const names[] = {"index", "heap", "none"};

	return rerank < lengthof(names) ? names[rerank] : "unknown";
}

/* What was decided when the index was built, and how far it is. */
static void
put_parameters(ReturnSetInfo *result, const ChsIndex *index)
{
	const ChsMetaPageData *meta = index->meta;

	put_info(result, "format", "%u", meta->format);
	put_info(result, "type", "%s", index->opclass->type->name);
	put_info(result, "metric", "%s", name_metric(meta->metric));
	put_info(result, "dimensions", "%u", meta->dim);
	if (meta->model_dim != meta->dim)
		put_info(result, "sketch_dimensions", "%u", meta->model_dim);
	put_info(result, "m", "%u", meta->m);
	put_info(result, "ef_construction", "%u", meta->ef_construction);
	put_info(result, "bits", "%u", meta->bits);
	put_info(result, "rerank", "%s", name_rerank(meta->rerank));
	put_info(result, "seed", UINT64_FORMAT, meta->seed);
	put_info(result, "flat_limit", "%u", meta->flat_limit);
	put_info(result, "slot_bytes", "%u", meta->layout[0].slot_bytes);
	put_info(result, "slots_per_page", "%u", meta->per_page[0]);
	put_info(result, "phase", "%s",
			 meta->phase == CHS_PHASE_GRAPH ? "graph" : "flat");
	put_info(result, "dead_left", "%s",
			 (meta->flags & CHS_META_DEAD_LEFT) != 0 ? "yes" : "no");
}

/* ---- counts ---- */

typedef struct LevelCounts
{
	uint64 states[CHS_SLOT_UNLINKED + 1];
	uint64 unknown; /* of no state that exists */
	uint64 edges;   /* of live nodes */
	uint64 tids;    /* in slots */
} LevelCounts;

typedef struct OverflowCounts
{
	uint64 used;
	uint64 tids;
} OverflowCounts;

static void
count_slot(LevelCounts *counts, ChsSlotHeader *slot, int level)
{
	if (slot->state > CHS_SLOT_UNLINKED)
	{
		counts->unknown++;
		return;
	}
	counts->states[slot->state]++;
	if (slot->state == CHS_SLOT_LIVE)
		counts->edges += slot->degree;
	if (level == 0 &&
		(slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_UNLINKED) &&
		ItemPointerIsValid(chs_slot_tid(slot)))
		counts->tids++;
}

/* Slots of all pages of a level that were ever handed out. */
static void
count_level(ChsIndex *index, int level, BufferAccessStrategy strategy,
			LevelCounts *counts)
{
	PGAlignedBlock copy;
	uint32 pages = index->meta->stream[CHS_STREAM_GRAPH(level)].pages_used;
	uint32 per_page = chs_index_per_page(index, level);

	memset(counts, 0, sizeof(*counts));
	for (uint32 page = 0; page < pages; page++)
	{
		BlockNumber block = chs_index_block(index, CHS_STREAM_GRAPH(level),
											page);

		CHECK_FOR_INTERRUPTS();
		if (!chs_page_copy(index->rel, block, strategy, copy.data))
		{
			counts->states[CHS_SLOT_FREE] += per_page;
			continue;
		}
		for (uint32 i = 0; i < per_page; i++)
			count_slot(
				counts,
				chs_page_slot(copy.data, chs_index_layout(index, level), i),
				level);
	}
}

static void
count_overflow(ChsIndex *index, BufferAccessStrategy strategy,
			   OverflowCounts *counts)
{
	PGAlignedBlock copy;
	uint32 pages = index->meta->stream[CHS_STREAM_OVERFLOW].pages_used;

	memset(counts, 0, sizeof(*counts));
	for (uint32 page = 0; page < pages; page++)
	{
		BlockNumber block = chs_index_block(index, CHS_STREAM_OVERFLOW, page);

		CHECK_FOR_INTERRUPTS();
		if (!chs_page_copy(index->rel, block, strategy, copy.data))
			continue;
		for (uint32 i = 0; i < CHS_OVERFLOW_PER_PAGE; i++)
		{
			ChsOverflowData *slot = chs_page_overflow(copy.data, i);

			if (!slot->used)
				continue;
			counts->used++;
			counts->tids += slot->ntids;
		}
	}
}

static void
put_level(ReturnSetInfo *result, const ChsMetaPageData *meta, int level,
		  const LevelCounts *counts)
{
	static const char *const names[] = {"free", "reserved", "live", "dead",
										"unlinked"};
	uint64 live = counts->states[CHS_SLOT_LIVE];

	for (int state = 0; state <= CHS_SLOT_UNLINKED; state++)
	{
		/* nothing above level 0 is ever unlinked */
		if (level == 0 || state != CHS_SLOT_UNLINKED)
			put_info(result, psprintf("level_%d_%s", level, names[state]),
					 UINT64_FORMAT, counts->states[state]);
	}
	if (counts->unknown > 0)
		put_info(result, psprintf("level_%d_unknown", level), UINT64_FORMAT,
				 counts->unknown);
	put_info(result, psprintf("level_%d_average_degree", level), "%.1f",
			 live == 0 ? 0.0 : (double) counts->edges / (double) live);
	if (meta->entry[level].id == CHS_NODE_NONE)
		put_info(result, psprintf("level_%d_entry", level), "none");
	else
		put_info(result, psprintf("level_%d_entry", level), "%u",
				 meta->entry[level].id);
}

/* Levels that have pages; all of them are counted before any is shown. */
static void
put_counts(ReturnSetInfo *result, ChsIndex *index)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	const ChsMetaPageData *meta = index->meta;
	LevelCounts counts[CHS_MAX_LEVELS];
	OverflowCounts overflow;
	int levels = 0;

	for (int level = 0; level < CHS_MAX_LEVELS; level++)
	{
		if (meta->stream[CHS_STREAM_GRAPH(level)].pages_used > 0)
			levels = level + 1;
		count_level(index, level, strategy, &counts[level]);
	}
	count_overflow(index, strategy, &overflow);
	FreeAccessStrategy(strategy);

	put_info(result, "levels", "%d", levels);
	put_info(result, "heap_tids", UINT64_FORMAT, counts[0].tids + overflow.tids);
	put_info(result, "overflow_slots", UINT64_FORMAT, overflow.used);
	for (int level = 0; level < levels; level++)
		put_level(result, meta, level, &counts[level]);
}

/* ---- size ---- */

static void
put_pages(ReturnSetInfo *result, const char *kind, uint64 pages)
{
	put_info(result, psprintf("pages_%s", kind), UINT64_FORMAT, pages);
	put_info(result, psprintf("bytes_%s", kind), UINT64_FORMAT, pages * BLCKSZ);
}

/*
 * Pages by what they are for, used or not; "unassigned" ones belong to no
 * extent, as a crash in the middle of growing leaves them.
 */
static void
put_sizes(ReturnSetInfo *result, ChsIndex *index)
{
	const ChsMetaPageData *meta = index->meta;
	BlockNumber blocks = RelationGetNumberOfBlocks(index->rel);
	uint64 graph = 0;
	uint64 upper = 0;

	graph = meta->stream[CHS_STREAM_GRAPH(0)].pages_allocated;
	for (int level = 1; level < CHS_MAX_LEVELS; level++)
		upper += meta->stream[CHS_STREAM_GRAPH(level)].pages_allocated;
	put_info(result, "extents", "%u", meta->nextents);
	put_pages(result, "total", blocks);
	put_pages(result, "meta", 1);
	put_pages(result, "graph", graph);
	put_pages(result, "upper", upper);
	put_pages(result, "vector", meta->stream[CHS_STREAM_VECTOR].pages_allocated);
	put_pages(result, "overflow",
			  meta->stream[CHS_STREAM_OVERFLOW].pages_allocated);
	put_pages(result, "model", meta->stream[CHS_STREAM_MODEL].pages_allocated);
	put_pages(result, "unassigned",
			  blocks > meta->next_block ? blocks - meta->next_block : 0);
}

/*
 * chassis_index_info(regclass): rows (name, value).  Reads every graph and
 * overflow page once; blocks nobody.
 */
Datum
chassis_index_info(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ChsInspected inspected;
	ChsIndex *index;

	CHS_MATERIALIZE_SRF(fcinfo);
	inspected = chs_inspect_open(PG_GETARG_OID(0), AccessShareLock);
	index = chs_index_open(inspected.rel, CurrentMemoryContext);
	put_parameters(result, index);
	put_counts(result, index);
	put_sizes(result, index);
	chs_inspect_close(&inspected);
	return (Datum) 0;
}
