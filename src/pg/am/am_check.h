/*
 * am_check.h
 *	  What the two halves of the checker share: pages and the whole
 *	  (am_check.c), nodes (am_check_nodes.c).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_CHECK_H
#define CHS_AM_CHECK_H

#include "nodes/execnodes.h"
#include "utils/tuplesort.h"

#include "pg/am/am.h"

#define CHS_NO_LEVEL (-1)
#define CHS_NO_NODE CHS_NODE_NONE

/* One run of the checker. */
typedef struct ChsChecker
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
	void *row;
	void *scratch;
	uint8 *code;
} ChsChecker;

/* ---- am_check.c ---- */

/* Adds a row to the result; level and node may be CHS_NO_... */
extern void chs_check_report(ChsChecker *check, const char *invariant,
							 int level, ChsNodeId node, const char *format,
							 ...) pg_attribute_printf(5, 6);

/*
 * Copies a page of a stream to check->page; false if it is empty or was
 * reported as damaged.
 */
extern bool chs_check_read_page(ChsChecker *check, int stream, uint32 page,
								ChsPageKind kind);

/* ---- am_check_nodes.c ---- */

/* P4 to P8 of all levels and lists. */
extern void chs_check_nodes(ChsChecker *check);

#endif /* CHS_AM_CHECK_H */
