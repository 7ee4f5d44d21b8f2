/*
 * graph_repair.c
 *	  Reconnects what a removed node held together.
 *
 * VACUUM marks nodes dead, lets every live node with an edge to one look for
 * others, gives an anchor to every node that nobody leads to any more, and
 * only then frees the dead.  Here is what is done for one node; who needs it,
 * and in which order, is VACUUM's business.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_link.h"
#include "core/graph/graph_prune.h"
#include "core/graph/graph_work.h"

/* How far through dead nodes candidates are looked for. */
#define REPAIR_HOPS 3

/* Who lost one neighbour in so many, or more, searches like a new node. */
#define SEARCH_SHARE 4

/*
 * Fetches one node and makes it the centre of an empty pool.  False if it is
 * not live.
 */
static bool
centre_on(ChsGraph *graph, int level, ChsNodeId id, ChsNodeRef *ref)
{
	ChsLinkWork *work = chs_link_work(graph);
	ChsStore *store = graph->store;

	store->ops->fetch(store, level, &id, 1, work->own_mem, &work->own);
	if (work->own.state != CHS_SLOT_LIVE)
		return false;
	chs_pool_start(&work->pool, level, work->own.code, work->own.factors);
	*ref = work->own.ref;
	return true;
}

/*
 * Notes in work->gone the ends of self's list that are not live, and in
 * work->ids the ends that are.  The pool holds all of them afterwards.
 * Returns how many live.  A list longer than it may be is not touched.
 */
static int
split_list(ChsGraph *graph, ChsNodeId self)
{
	ChsLinkWork *work = graph->work->link;
	ChsPool *pool = &work->pool;
	ChsList *list = &work->list;
	int live = 0;

	work->ngone = 0;
	graph->store->ops->list(graph->store, pool->level, self, list);
	if (list->degree > chs_link_capacity(graph, pool->level))
		return 0;
	for (int i = 0; i < list->degree; i++)
		work->ids[i] = CHS_EDGE_NODE(list->edges[i]);
	(void) chs_pool_load(pool, work->ids, list->degree);
	for (int i = 0; i < list->degree; i++)
	{
		int member = chs_pool_find(pool, work->ids[i]);

		if (member < 0 || pool->node[member].state != CHS_SLOT_LIVE)
			work->gone[work->ngone++] = work->ids[i];
		else
			work->ids[live++] = work->ids[i];
	}
	return live;
}

static int
count_live(const ChsPool *pool, int from)
{
	int live = 0;

	for (int i = from; i < pool->n; i++)
		live += pool->node[i].state == CHS_SLOT_LIVE;
	return live;
}

/*
 * Loads what the dead members lead to, hop by hop, until `wanted` live nodes
 * are there, or as many members as a search would give.  More would not
 * improve the choice, and among many dead nodes three hops are thousands.
 */
static void
load_behind_dead(ChsGraph *graph, int wanted)
{
	ChsLinkWork *work = graph->work->link;
	ChsPool *pool = &work->pool;
	ChsStore *store = graph->store;
	ChsNodeId ends[CHS_MAX_DEGREE];
	int own = pool->n;
	int from = 0;

	for (int hop = 0;
		 hop < REPAIR_HOPS && from < pool->n && count_live(pool, own) < wanted;
		 hop++)
	{
		int to = pool->n;

		for (; from < to && pool->n < work->candidates; from++)
		{
			int n;

			if (pool->node[from].state != CHS_SLOT_DEAD)
				continue;
			n = store->ops->neighbors(store, pool->level,
									  pool->node[from].ref.id, ends);
			if (n > work->candidates + CHS_MAX_DEGREE - pool->n)
				n = work->candidates + CHS_MAX_DEGREE - pool->n;
			(void) chs_pool_load(pool, ends, n);
		}
	}
}

/*
 * Loads the nearest live nodes that a search from the entry finds.  Whoever is
 * found that way can be reached, which a neighbour's neighbour need not be.
 */
static void
load_nearest(ChsGraph *graph, int ef)
{
	ChsLinkWork *work = graph->work->link;
	ChsPool *pool = &work->pool;
	const ChsQuery *query = chs_link_view(graph, &pool->centre, work->own.code,
										  work->own.factors);
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	int level = pool->level;
	int n;

	chs_link_found(graph, level);
	n = chs_graph_descend(graph, level, query, starts);
	if (n == 0)
		return;
	n = chs_graph_search_level(graph, level, query, starts, n, ef, false,
							   work->found[level]);
	for (int i = 0; i < n; i++)
		work->search_ids[i] = work->found[level][i].id;
	(void) chs_pool_load(pool, work->search_ids, n);
}

/* Live members other than self and the first `fixed` of order, nearest first,
 * follow those in order.  Returns the new length. */
static int
append_candidates(ChsLinkWork *work, ChsNodeId self, int fixed)
{
	const ChsPool *pool = &work->pool;
	int n = fixed;

	for (int i = 0; i < pool->n; i++)
	{
		bool listed = pool->node[i].state != CHS_SLOT_LIVE ||
					  pool->node[i].ref.id == self;

		for (int k = 0; k < fixed && !listed; k++)
			listed = work->order[k] == i;
		if (!listed)
			work->order[n++] = i;
	}
	chs_pool_sort(pool, work->order + fixed, n - fixed);
	return n;
}

/* The nodes work->ids[0 .. live - 1], then all other candidates. */
static int
order_candidates(ChsLinkWork *work, ChsNodeId self, int live)
{
	for (int i = 0; i < live; i++)
		work->order[i] = chs_pool_find(&work->pool, work->ids[i]);
	return append_candidates(work, self, live);
}

/*
 * The neighbours that live stay: they were chosen with knowledge of more
 * candidates than are at hand now.  New ones are chosen beside them, at most as
 * many as were lost.  Who lost more than a quarter searches like a new node:
 * with half of 10,000 rows of 128 dimensions deleted at once recall at ef 20 is
 * then 0.973, a rebuild's 0.971; it was 0.959 when only those searched that had
 * lost more than half.  After few deletions hardly anybody does.
 */
bool
chs_graph_repair(ChsGraph *graph, int level, ChsNodeId id)
{
	ChsLinkWork *work = chs_link_work(graph);
	ChsPool *pool = &work->pool;
	ChsNodeRef self;
	bool searches;
	int live;
	int n;

	if (!centre_on(graph, level, id, &self))
		return false;
	live = split_list(graph, id);
	if (work->ngone == 0)
		return false;

	/*
	 * What replaces one neighbour of many stands mostly right behind it.
	 * Measured on 10,000 vectors of 128 dimensions with a tenth deleted: m
	 * candidates instead of ef_construction cost half, same recall.
	 */
	searches = SEARCH_SHARE * work->ngone > live + work->ngone;
	n = 0;
	if (!searches)
	{
		load_behind_dead(graph, graph->params.m);
		n = order_candidates(work, id, live);
	}
	if (searches || n < graph->params.m / 2)
	{
		/* without the dead, so that there is room for all that it finds */
		chs_pool_start(pool, level, work->own.code, work->own.factors);
		(void) chs_pool_load(pool, work->ids, live);
		load_nearest(graph, work->candidates);
		n = order_candidates(work, id, live);
	}
	chs_pool_keep(pool);
	n = chs_prune_select(pool, work->order, n, live, live + work->ngone);
	for (int i = live; i < n; i++)
		work->ids[i] = pool->node[work->order[i]].ref.id;
	if (!chs_link_change_own(graph, self, work->ids + live, n - live))
		return false;
	(void) chs_link_back(graph, self, work->order + live, n - live, false);
	return true;
}

bool
chs_graph_anchor(ChsGraph *graph, int level, ChsNodeId id)
{
	ChsLinkWork *work = chs_link_work(graph);
	ChsPool *pool = &work->pool;
	ChsNodeRef self;
	int n;

	if (!centre_on(graph, level, id, &self))
		return false;
	load_nearest(graph, work->candidates);
	n = append_candidates(work, id, 0);
	chs_pool_keep(pool);
	return n == 0 || chs_link_anchor(graph, self, work->order, n) ||
		   chs_link_anchor_far(graph, self, NULL, NULL);
}

/* Keeps of order[0 .. n - 1] what the caller approves of; how many. */
static int
filter_order(ChsLinkWork *work, int n,
			 bool (*may)(void *context, ChsNodeId id), void *context)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (may(context, work->pool.node[work->order[i]].ref.id))
			work->order[kept++] = work->order[i];
	return kept;
}

/*
 * Mostly one of the node's own neighbours will do, or else a near node that a
 * small window finds.
 */
bool
chs_graph_anchor_among(ChsGraph *graph, int level, ChsNodeId id, bool far,
					   bool (*may)(void *context, ChsNodeId id), void *context)
{
	ChsLinkWork *work = chs_link_work(graph);
	const int windows[] = {0, 2 * graph->params.m, work->candidates};
	int nwindows = far ? 3 : 2;
	ChsNodeRef self;

	for (int i = 0; i < nwindows; i++)
	{
		int n;

		if (!centre_on(graph, level, id, &self))
			return false;
		if (windows[i] == 0)
			(void) split_list(graph, id);
		else
			load_nearest(graph, windows[i]);
		n = append_candidates(work, id, 0);
		chs_pool_keep(&work->pool);
		n = filter_order(work, n, may, context);
		if (chs_link_anchor(graph, self, work->order, n))
			return true;
	}
	return far && chs_link_anchor_far(graph, self, may, context);
}
