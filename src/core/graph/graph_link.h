/*
 * graph_link.h
 *	  Edges into a node: linking back, the anchor, and the workspace for them.
 *
 * Shared by insert and repair.  The rules that pick an edge are in
 * graph_prune.c; this is where they meet a store that others change at the
 * same time: copy a list, decide, propose, and look at what became of it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_LINK_H
#define CHS_GRAPH_LINK_H

#include "core/graph/graph.h"
#include "core/graph/graph_pool.h"

/* Window of a search for neighbours when ef_construction and 2m are less. */
#define CHS_LINK_MIN_WINDOW 32

/* One edge back in the making. */
typedef struct ChsProposal
{
	int member;    /* the owner, a member that the pool keeps */
	bool anchor;   /* the edge is to be the anchor */
	ChsEdge *seen; /* room for a full list */
	ChsEdge *next; /* likewise */
	int nseen;
	int nnext;
	ChsNodeRef owner;
} ChsProposal;

typedef struct ChsLinkWork
{
	int candidates; /* the window of the search for neighbours */
	ChsPool pool;   /* around the node being linked */

	/* result of the search at each level, allocated when first used */
	ChsScored *found[CHS_MAX_LEVELS];
	int nfound[CHS_MAX_LEVELS];

	ChsNodeId *ids;        /* [candidates + CHS_MAX_DEGREE] */
	int *order;            /* likewise: members, nearest first */
	ChsNodeId *search_ids; /* [candidates] */
	ChsModel view_model;   /* see chs_link_view */
	ChsQuery view;
	void *view_mem;
	ChsNodeCopy own;             /* the pool's centre, when it was fetched */
	void *own_mem;               /* its factors and code */
	ChsList list;                /* of one neighbour */
	int members[CHS_MAX_DEGREE]; /* its ends */

	ChsProposal *proposals; /* [2m] */
	int nproposals;
	ChsEdit edits[CHS_MAX_DEGREE];
	ChsEditResult results[CHS_MAX_DEGREE];
	ChsScored *far; /* of chs_link_anchor_far, NULL until needed */
	ChsNodeId gone[CHS_MAX_DEGREE]; /* neighbours that vanished */
	int ngone;
} ChsLinkWork;

/* The handle's workspace, allocated by the first call. */
extern ChsLinkWork *chs_link_work(ChsGraph *graph);

/* Sees to it that work->found[level] has room for work->candidates. */
extern void chs_link_found(ChsGraph *graph, int level);

/*
 * The query to search with for a node's neighbourhood, and for a node with an
 * equal vector: `query`, which stands for that node, unless the metric is the
 * inner product, under which the nearest of a vector are the long ones and
 * not those around it.  Then one by L2 from query->row, or else from the
 * code; valid until the next call.
 */
extern const ChsQuery *chs_link_view(ChsGraph *graph, const ChsQuery *query,
									 const uint8_t *code,
									 const ChsFactors *factors);

/* Edges that a list of this level may hold. */
extern int chs_link_capacity(const ChsGraph *graph, int level);

/*
 * Members that live (and are not `self`) of the last chs_pool_load of ids,
 * into order, nearest first.  Returns how many.
 */
extern int chs_link_order(ChsLinkWork *work, const ChsNodeId *ids, int n,
						  ChsNodeId self);

/*
 * The pool's centre has been published as `self` with edges to the members
 * order[0 .. n - 1] (nearest first, kept ones): proposes the edges back.  With `anchor`,
 * the nearest of them that can takes its edge as an anchor.  Edges to
 * neighbours that vanished are taken out of self's own list.  True if the
 * anchor was set.
 */
extern bool chs_link_back(ChsGraph *graph, ChsNodeRef self, const int *order,
						  int n, bool anchor);

/*
 * Makes one of the members order[0 .. n - 1] (nearest first, kept ones) take an
 * anchor edge to the pool's centre `self`.  False if none could.
 */
extern bool chs_link_anchor(ChsGraph *graph, ChsNodeRef self, const int *order,
							int n);

/*
 * The same from the nodes that a much wider search finds, when all near ones
 * hold as many anchors as they may (hundreds of equal vectors); `may`, if not
 * NULL, says which of them can be asked.  The pool keeps its centre but not its
 * members.
 */
extern bool chs_link_anchor_far(ChsGraph *graph, ChsNodeRef self,
								bool (*may)(void *context, ChsNodeId id),
								void *context);

/*
 * Replaces self's own list: what is in it now, less the ends in
 * work->gone, plus `add` as far as there is room.  False if self is not live
 * at that version any more or others kept changing the list.
 */
extern bool chs_link_change_own(ChsGraph *graph, ChsNodeRef self,
								const ChsNodeId *add, int nadd);

#endif /* CHS_GRAPH_LINK_H */
