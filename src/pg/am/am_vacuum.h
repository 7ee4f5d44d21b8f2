/*
 * am_vacuum.h
 *	  What the files of VACUUM share, and nobody else needs.
 *
 * One VACUUM goes through these; am_vacuum.c strings them together.
 *	  am_vacuum_tids.c    takes the dead rows' TIDs out of the slots
 *	  am_vacuum_repair.c  gives their nodes' neighbours other neighbours
 *	  am_vacuum_anchor.c  makes sure that every live node can be reached
 *	  am_vacuum_free.c    gives slots back, and says where free ones are
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_VACUUM_H
#define CHS_AM_VACUUM_H

#include "pg/am/am.h"

/* One VACUUM of one index, as long as one callback of the access method. */
typedef struct ChsVacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	MemoryContext context; /* "chassis vacuum": everything here */
	ChsIndex *index;

	/* the rows that are dead; pass over TIDs only */
	IndexBulkDeleteCallback dead;
	void *dead_state;
	ItemPointerData *tids; /* scratch: the overflow list of one node */
	int tids_room;
	bool dead_left;      /* some slot is DEAD, whoever left it */
	bool overflow_freed; /* some overflow slot was given back */

	/* the graph; only from chs_vacuum_open_graph on */
	ChsPageStore *store;
	ChsGraph graph;
	ChsContextArena arena;
	MemoryContext node_context; /* reset per node */
	PGAlignedBlock copy;        /* the page being walked */
} ChsVacuum;

/* A set of node numbers of one level. */
typedef struct ChsBits
{
	uint32 n; /* numbers are below this */
	uint64 words[FLEXIBLE_ARRAY_MEMBER];
} ChsBits;

static inline bool
chs_bits_test(const ChsBits *bits, uint32 i)
{
	return (bits->words[i >> 6] >> (i & 63)) & 1;
}

static inline void
chs_bits_set(ChsBits *bits, uint32 i)
{
	bits->words[i >> 6] |= UINT64CONST(1) << (i & 63);
}

static inline void
chs_bits_clear(ChsBits *bits, uint32 i)
{
	bits->words[i >> 6] &= ~(UINT64CONST(1) << (i & 63));
}

/* An empty set in the current memory context. */
extern ChsBits *chs_bits_create(uint32 n);

/* ---- am_vacuum.c ---- */

/*
 * Pages of a level that are in use, by the metapage as it is now: every node
 * that was published before the call stands on one of them.
 */
extern uint32 chs_vacuum_pages(ChsVacuum *vacuum, int level);

/* Between two pages: sleeps if VACUUM is to, lets interrupts through. */
extern void chs_vacuum_delay(ChsVacuum *vacuum);

/*
 * Copies a page of a level to vacuum->copy.  False if no slot of it was ever
 * used.
 */
extern bool chs_vacuum_copy(ChsVacuum *vacuum, int level, uint32 page);

/*
 * Pins a page of a level, without a lock, in VACUUM's own ring of buffers.
 */
extern Buffer chs_vacuum_read(ChsVacuum *vacuum, int level, uint32 page);

/* Says on the metapage that dead nodes may be left, or that none are. */
extern void chs_vacuum_mark_left(ChsVacuum *vacuum, bool left);

/* ---- am_vacuum_tids.c ---- */

/*
 * Asks about every TID of the index and removes the dead ones.  Afterwards no
 * slot has a dead one, and vacuum->dead_left tells whether nodes are DEAD.
 */
extern void chs_vacuum_tids(ChsVacuum *vacuum);

/* ---- am_vacuum_repair.c ---- */

/*
 * Takes all DEAD nodes out of the graph and frees their slots, whoever left
 * them.  Clears CHS_META_DEAD_LEFT at the end.
 */
extern void chs_vacuum_repair(ChsVacuum *vacuum);

/* ---- am_vacuum_anchor.c ---- */

/*
 * Notes what a live node's list holds in place, as the walk of the repair
 * meets it: `held` gets the ends of anchors.
 */
extern void chs_vacuum_note_anchors(const ChsEdge *edges, int n, ChsBits *held);

/*
 * Gives an anchor to every node of `live` that the entry does not reach over
 * anchors; returns how many got one.  held: see above, filled by a walk over
 * all live nodes.
 */
extern uint32 chs_vacuum_anchor(ChsVacuum *vacuum, int level,
								const ChsBits *live, ChsBits *held);

/* ---- am_vacuum_free.c ---- */

/*
 * Makes a slot of an exclusively locked page free, in the image that the
 * caller logs.  Its overflow list was given back before.
 */
extern void chs_vacuum_clear_slot(const ChsSlotLayout *layout,
								  ChsSlotHeader *slot);

/* Frees the DEAD slots of a level that nothing leads to any more. */
extern void chs_vacuum_free_dead(ChsVacuum *vacuum, int level);

/*
 * Tells inserts of a level-0 page with this many free slots.  Called with
 * nothing locked.
 */
extern void chs_vacuum_offer_page(ChsVacuum *vacuum, uint32 page, uint32 nfree);

/* Tells inserts where the first free overflow slot is. */
extern void chs_vacuum_offer_overflow(ChsVacuum *vacuum);

#endif /* CHS_AM_VACUUM_H */
