/*
 * graph_work.h
 *	  The workspace behind a ChsGraph handle, private to graph_*.c.
 *
 * Allocated once by chs_graph_init and reused by every call on the handle, so
 * that neither a search nor an insert allocates in its steady state.  Each
 * part says who may use it and how long its contents live; a store call may
 * not return, so nothing in here may need to be put back in order afterwards:
 * every user resets what he uses before he starts.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_WORK_H
#define CHS_GRAPH_WORK_H

#include "core/graph/candidates.h"
#include "core/graph/graph.h"
#include "core/graph/visited.h"

/*
 * Workspace of insert, prune, repair and anchor; defined by them and
 * allocated from graph->arena when first needed.
 */
struct ChsLinkWork;

typedef struct ChsGraphWork
{
	/* chs_graph_search_level, for the length of one call */
	ChsVisited visited;
	ChsWindow window;
	ChsHeap detour;   /* dead nodes to pass through */
	ChsScored *found; /* payload of the window's entries, by its `at` */
	int found_room;

	/* what chs_graph_expand hands back, until its next call */
	ChsNodeId ids[CHS_MAX_DEGREE];
	ChsScored scored[CHS_MAX_DEGREE];

	struct ChsLinkWork *link; /* NULL until first used */
} ChsGraphWork;

/* Is this scored node part of the graph (dead nodes are)? */
static inline bool
chs_scored_routes(const ChsScored *node)
{
	return node->state == CHS_SLOT_LIVE || node->state == CHS_SLOT_DEAD;
}

/*
 * Reads the neighbours of `id` that `visited` does not hold yet, puts them
 * into it and scores them.  Returns how many; they are in
 * graph->work->scored[], in the list's order, and may be of any state.
 */
extern int chs_graph_expand(ChsGraph *graph, int level, const ChsQuery *query,
							ChsNodeId id, ChsVisited *visited);

/*
 * Scores those of nstarts references that are still what they name (same
 * version, live or dead) and not yet in `visited`, and puts them into it.
 * Returns how many; they are in graph->work->scored[].  At most
 * CHS_MAX_DEGREE starts.
 */
extern int chs_graph_score_starts(ChsGraph *graph, int level,
								  const ChsQuery *query,
								  const ChsNodeRef *starts, int nstarts,
								  ChsVisited *visited);

/*
 * Takes the next node to expand: the nearest of those in the window that are
 * not expanded and of the dead ones in `detour` (by estimate), as far as these
 * lie before the window's end.  False: the window is complete.
 */
extern bool chs_graph_take_next(ChsWindow *window, ChsHeap *detour,
								ChsNodeId *id);

#endif /* CHS_GRAPH_WORK_H */
