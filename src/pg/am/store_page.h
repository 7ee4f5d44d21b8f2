/*
 * store_page.h
 *	  What the files of the node store over buffers share, and nobody else needs.
 *
 * How a node number becomes a place on a page, what a search learns from a
 * slot, and the two readers that do without pin and lock (store_page_peek.c).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_STORE_PAGE_H
#define CHS_STORE_PAGE_H

#include <float.h>

#include "pg/am/am.h"
#include "pg/am/buffer.h"

/*
 * Division by the slots of a page, as a product: page = id * inverse >> shift.
 * Exact for 31-bit numbers (inverse is 2^shift / per_page rounded up, with
 * 2^shift >= 2^31 * per_page), and a quarter of a division's time.
 */
typedef struct ChsPageOfNode
{
	uint64 inverse;
	int shift;
	uint32 per_page;
} ChsPageOfNode;

/* What a store needs, allocated once per store. */
typedef struct ChsPageScratch
{
	int room;              /* of order */
	uint32 *order;         /* positions sorted by node number */
	void *row;             /* one exact row */
	ItemPointerData *tids; /* of one node, for rerank from the table */
	int tids_room;
	ChsPageOfNode page_of[2]; /* level 0, levels above */
} ChsPageScratch;

/* The stream page that a node stands on, and which slot there it has. */
static inline uint32
chs_find_page(const ChsPageOfNode *by, ChsNodeId id, uint32 *slot)
{
	uint32 page = (uint32) ((id * by->inverse) >> by->shift);

	*slot = id - page * by->per_page;
	return page;
}

static inline const ChsPageOfNode *
chs_page_of(const ChsPageStore *store, int level)
{
	return &store->scratch->page_of[level == 0 ? 0 : 1];
}

/* Is the node in the graph: does it route? */
static inline bool
chs_slot_in_graph(const ChsSlotHeader *slot)
{
	return slot->state == CHS_SLOT_LIVE || slot->state == CHS_SLOT_DEAD;
}

/* What a scored node tells apart from its estimate. */
static inline void
chs_copy_facts(ChsScored *scored, ChsNodeId id, const ChsSlotHeader *slot)
{
	scored->est = FLT_MAX;
	scored->err = 0;
	scored->id = id;
	scored->version = slot->version;
	scored->state = slot->state;
	scored->flags = slot->flags;
	scored->down = slot->down;
	scored->down_version = slot->down_version;
	scored->unused = 0;
}

static inline bool
chs_scored_in_graph(const ChsScored *scored)
{
	return scored->state == CHS_SLOT_LIVE || scored->state == CHS_SLOT_DEAD;
}

/*
 * Copies a node's neighbours, marks removed; returns how many.  The slot may be
 * changing: its degree is read once.
 */
static inline int
chs_copy_neighbors(const ChsSlotLayout *layout, const ChsSlotHeader *slot,
				   ChsNodeId *out)
{
	const ChsEdge *edges = chs_slot_edges(layout,
										  unconstify(ChsSlotHeader *, slot));
	uint32 degree = *(const volatile uint16 *) &slot->degree;

	if (!chs_slot_in_graph(slot))
		return 0;
	degree = Min(degree, layout->max_degree);
	for (uint32 i = 0; i < degree; i++)
		out[i] = CHS_EDGE_NODE(edges[i]);
	return (int) degree;
}

/* A node as its slot has it; copy->factors and ->code name the places for them. */
static inline void
chs_copy_node(ChsNodeCopy *copy, ChsNodeId id, const ChsSlotHeader *slot,
			  const ChsSlotLayout *layout)
{
	ChsSlotHeader *source = unconstify(ChsSlotHeader *, slot);

	copy->ref.id = id;
	copy->ref.version = slot->version;
	copy->state = slot->state;
	copy->flags = slot->flags;
	copy->down.id = slot->down;
	copy->down.version = slot->down_version;
	copy->hash = slot->hash;
	*copy->factors = *chs_slot_factors(layout, source);
	memcpy(copy->code, chs_slot_code(layout, source), layout->code_bytes);
}

/* May this index be read by peeks?  Temporary tables' buffers are our own. */
static inline bool
chs_can_peek(const ChsPageStore *store)
{
	return store->index->hints != NULL && store->index->hints->peeks;
}

/* ---- store_page_peek.c ---- */

/*
 * Scores nodes where they stand, without pin or lock.  Fills missed with the
 * positions that could not be read so and returns how many.  The index has
 * codes, and chs_can_peek said yes.
 */
extern int chs_page_peek_scores(ChsPageStore *store, int level,
								const ChsQuery *query, const ChsNodeId *ids,
								int n, ChsScored *out, int *missed);

/*
 * Copies nodes as chs_copy_node does, without pin or lock; missed and the result
 * as above.
 */
extern int chs_page_peek_nodes(ChsPageStore *store, int level,
							   const ChsNodeId *ids, int n, ChsNodeCopy *out,
							   int *missed);

/*
 * Copies a node's neighbours, marks removed, and returns how many; -1 if the
 * page must be read under its lock.
 */
extern int chs_page_peek_neighbors(ChsPageStore *store, int level,
								   ChsNodeId id, ChsNodeId *out);

#endif /* CHS_STORE_PAGE_H */
