/*
 * graph_order.h
 *	  An order of a level's nodes in which neighbours share pages.
 *
 * For whoever writes a graph from memory to pages.  It is separate because an
 * order is made once, from a graph at rest, and nothing else of the graph
 * knows that there are pages.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_ORDER_H
#define CHS_GRAPH_ORDER_H

#include "core/graph/store_mem.h"

/* What an order costs in memory while it is made and used, a node. */
#define CHS_ORDER_NODE_BYTES 10

typedef struct ChsOrder
{
	/* the result, whole when chs_order_page has returned false */
	uint32_t count;     /* nodes of the level */
	ChsNodeId *node_at; /* place -> node */
	uint32_t *place_of; /* node -> place */

	/* private */
	const ChsMemStore *mem;
	int level;
	uint32_t per_page;
	uint32_t placed;  /* nodes that have a place */
	ChsNodeId unseen; /* every node before it has a place */
	ChsNodeId first;  /* of the next page; CHS_NODE_NONE: any */
	uint16_t *pull;   /* by node: weight of edges from the present page */
	ChsNodeId *near;  /* nodes with such an edge */
	uint32_t nnear;
} ChsOrder;

/*
 * Begins to order the nodes of `level` for pages of per_page nodes; the nodes
 * must not change from here on.  Memory comes from `arena` and is used as long
 * as the order is.
 */
extern void chs_order_begin(ChsOrder *order, const ChsMemStore *mem, int level,
							uint32_t per_page, ChsArena *arena);

/*
 * Fills one more page; false when all nodes have places.  By pages, so that the
 * caller can look for cancellation in between.
 */
extern bool chs_order_page(ChsOrder *order);

#endif /* CHS_GRAPH_ORDER_H */
