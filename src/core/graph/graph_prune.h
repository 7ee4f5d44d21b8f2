/*
 * graph_prune.h
 *	  Which neighbours a node keeps.
 *
 * Two rules, both pure decisions over the copies in a pool: choosing the list
 * of a node from many candidates, and finding room for one new edge in a list
 * that is full.  What is done with the answer (publish, propose, retry) is
 * decided in graph_link.c, graph_insert.c and graph_repair.c.
 *
 * Papers: Malkov & Yashunin 2016 (HNSW), Algorithm 4.  Why it keeps the graph
 * navigable: README.md, "Choosing neighbours".
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_PRUNE_H
#define CHS_GRAPH_PRUNE_H

#include "core/graph/graph_pool.h"

/*
 * Chooses neighbours for the pool's centre.  `order` has n different members:
 * first `fixed` that are neighbours whatever comes, then candidates, nearest
 * first.  A candidate is taken unless a neighbour taken before is nearer to it
 * than the centre is.  Afterwards order[0 .. result - 1] are the neighbours,
 * the fixed ones first, at most `max` in all; the rest of order is undefined.
 */
extern int chs_prune_select(ChsPool *pool, int *order, int n, int fixed,
							int max);

/* A neighbour list that the pool's centre wants to be in. */
typedef struct ChsJoin
{
	int owner; /* member of the pool */
	int n;     /* edges, at most max */
	int max;   /* at most CHS_MAX_DEGREE */
	const ChsEdge *edges;
	const int *members; /* the edges' ends, as members of the pool */
	ChsEdge self; /* the new edge; an anchor: refused only if nothing can go */
} ChsJoin;

/*
 * Writes the list with the new edge into next, which has room for max, and
 * returns its length; 0 if the list should stay as it is.  All edges keep their
 * places but one that may go to make room, which is never an anchor that leads
 * to a live node.  CHS_EDGE_SPARE is set on those that have become spare.
 */
extern int chs_prune_join(ChsPool *pool, const ChsJoin *join, ChsEdge *next);

#endif /* CHS_GRAPH_PRUNE_H */
