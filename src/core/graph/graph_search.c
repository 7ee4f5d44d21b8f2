/*
 * graph_search.c
 *	  Best-first search of one level, and the descent to it.
 *
 * Separate from graph_scan.c because a search has one answer of known size,
 * while a scan goes on for as long as it is asked.  What both do per expanded
 * node is here, in chs_graph_expand.
 *
 * A level may be changed by others between any two store calls: see "Working
 * on a moving graph" in README.md.
 *
 * Paper: Malkov & Yashunin 2016, algorithms 2 and 5.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_work.h"

/* Tag of a node to pass through in ChsGraphWork.detour: none is needed. */
#define TAG_NONE 0

void
chs_graph_init(ChsGraph *graph, ChsStore *store, const ChsGraphParams *params,
			   ChsArena *arena)
{
	ChsGraphWork *work = chs_alloc_zero(arena, sizeof(*work));

	graph->store = store;
	graph->params = *params;
	graph->arena = arena;
	graph->work = work;
	chs_visited_init(&work->visited, arena);
	chs_window_init(&work->window, arena);
	chs_heap_init(&work->detour, arena);
}

int
chs_graph_expand(ChsGraph *graph, int level, const ChsQuery *query,
				 ChsNodeId id, ChsVisited *visited)
{
	ChsStore *store = graph->store;
	ChsGraphWork *work = graph->work;
	int degree = store->ops->neighbors(store, level, id, work->ids);
	int n = chs_visited_add_list(visited, work->ids, degree);

	if (n > 0)
		store->ops->score(store, level, query, work->ids, n, work->scored);
	return n;
}

int
chs_graph_score_starts(ChsGraph *graph, int level, const ChsQuery *query,
					   const ChsNodeRef *starts, int nstarts,
					   ChsVisited *visited)
{
	ChsStore *store = graph->store;
	ChsGraphWork *work = graph->work;
	uint16_t versions[CHS_MAX_DEGREE];
	int n = 0;
	int valid = 0;

	for (int i = 0; i < nstarts && n < CHS_MAX_DEGREE; i++)
	{
		if (starts[i].id == CHS_NODE_NONE ||
			!chs_visited_add(visited, starts[i].id))
			continue;
		work->ids[n] = starts[i].id;
		versions[n++] = starts[i].version;
	}
	if (n == 0)
		return 0;
	store->ops->score(store, level, query, work->ids, n, work->scored);
	for (int i = 0; i < n; i++)
	{
		if (work->scored[i].version == versions[i] &&
			chs_scored_routes(&work->scored[i]))
			work->scored[valid++] = work->scored[i];
	}
	return valid;
}

/*
 * Offers the first n of work->scored to the window (nodes that may be
 * returned) or to the detour (those that only route).  A node behind a full
 * window can neither be returned nor lead to anything that the search would
 * still expand, so it is forgotten.
 */
static void
offer_scored(ChsGraphWork *work, int n, bool dead)
{
	ChsWindow *window = &work->window;

	for (int i = 0; i < n; i++)
	{
		const ChsScored *node = &work->scored[i];
		ChsRank rank = chs_rank(node->est, node->id);
		ChsRank lost_rank;
		uint32_t at = (uint32_t) window->n;

		if (!chs_scored_routes(node) || !chs_window_admits(window, rank))
			continue;
		if (node->state == CHS_SLOT_DEAD && !dead)
		{
			chs_heap_add(&work->detour, (ChsHeapEntry){node->est, node->id,
													   node->version, TAG_NONE});
			continue;
		}
		/* the payload of the entry that is driven out makes place for it */
		if (window->n == window->capacity)
			at = window->at[window->n - 1];
		chs_window_insert(window, rank, at, &lost_rank, &at);
		work->found[at] = *node;
	}
}

bool
chs_graph_take_next(ChsWindow *window, ChsHeap *detour, ChsNodeId *id)
{
	bool pending = chs_window_pending(window);

	if (detour->n > 0)
	{
		const ChsHeapEntry *dead = chs_heap_min(detour);
		ChsRank rank = chs_rank((float) dead->key, dead->id);

		if (pending ? rank < window->ranks[window->next]
					: chs_window_admits(window, rank))
		{
			*id = chs_heap_pop(detour).id;
			return true;
		}
	}
	if (!pending)
		return false;
	*id = chs_window_expand(window);
	return true;
}

static void
reset_search(ChsGraph *graph, int level, int ef)
{
	ChsGraphWork *work = graph->work;

	chs_visited_reset(&work->visited,
					  graph->store->ops->capacity(graph->store, level));
	chs_window_reset(&work->window, ef);
	chs_heap_reset(&work->detour);
	if (ef > work->found_room)
	{
		work->found = chs_alloc(graph->arena, (size_t) ef * sizeof(ChsScored));
		work->found_room = ef;
	}
}

int
chs_graph_search_level(ChsGraph *graph, int level, const ChsQuery *query,
					   const ChsNodeRef *starts, int nstarts, int ef,
					   bool dead, ChsScored *out)
{
	ChsGraphWork *work = graph->work;
	ChsNodeId id;

	if (ef < 1)
		return 0;
	reset_search(graph, level, ef);
	for (int done = 0; done < nstarts; done += CHS_MAX_DEGREE)
	{
		int n = nstarts - done;

		if (n > CHS_MAX_DEGREE)
			n = CHS_MAX_DEGREE;
		n = chs_graph_score_starts(graph, level, query, starts + done, n,
								   &work->visited);
		offer_scored(work, n, dead);
	}
	while (chs_graph_take_next(&work->window, &work->detour, &id))
	{
		int n = chs_graph_expand(graph, level, query, id, &work->visited);

		offer_scored(work, n, dead);
	}
	for (int i = 0; i < work->window.n; i++)
		out[i] = work->found[work->window.at[i]];
	return work->window.n;
}

/*
 * Turns what was found on one level into references to the next: the nodes'
 * counterparts one level below, or the nodes themselves.
 */
static int
take_refs(const ChsScored *found, int n, bool below, ChsNodeRef *refs)
{
	for (int i = 0; i < n; i++)
	{
		refs[i].id = below ? found[i].down : found[i].id;
		refs[i].version = below ? found[i].down_version : found[i].version;
	}
	return n;
}

/*
 * One descent along the given entries.  starts: as chs_graph_descend.  Returns
 * 0 when it came to a level where nothing it knew was valid any more.
 *
 * Every level's own entry joins what comes from above only when that is all
 * stale: it is far away, and would cost a scored node a level.
 */
static int
descend_along(ChsGraph *graph, int level, const ChsQuery *query,
			  const ChsNodeRef *entry, int levels, ChsNodeRef *starts)
{
	ChsGraphWork *work = graph->work;
	ChsScored found[CHS_DESCENT_WIDTH];
	int n = 0;

	for (int l = levels - 1; l > level; l--)
	{
		/* dead nodes are good enough to start from: they route */
		int nfound = chs_graph_search_level(graph, l, query, starts, n,
											CHS_DESCENT_WIDTH, true, found);

		if (nfound == 0)
			nfound = chs_graph_search_level(graph, l, query, &entry[l], 1,
											CHS_DESCENT_WIDTH, true, found);
		n = take_refs(found, nfound, true, starts);
	}
	chs_visited_reset(&work->visited,
					  graph->store->ops->capacity(graph->store, level));
	n = chs_graph_score_starts(graph, level, query, starts, n, &work->visited);
	if (n == 0)
		n = chs_graph_score_starts(graph, level, query, &entry[level], 1,
								   &work->visited);
	return take_refs(work->scored, n, false, starts);
}

int
chs_graph_descend(ChsGraph *graph, int level, const ChsQuery *query,
				  ChsNodeRef starts[CHS_DESCENT_WIDTH])
{
	ChsStore *store = graph->store;
	ChsNodeRef entry[CHS_MAX_LEVELS];

	for (int fresh = 0; fresh <= 1; fresh++)
	{
		int levels = store->ops->entries(store, fresh != 0, entry);
		int n = 0;

		if (levels > level)
			n = descend_along(graph, level, query, entry, levels, starts);
		if (n > 0)
			return n;
	}
	return 0;
}
