/*
 * graph_insert.c
 *	  Puts a node into the graph: search, choose, publish, link back.
 *
 * The order is what makes a crash or an error at any point harmless.  All
 * searching comes first; then each level, from the bottom, is published, made
 * the entry if there is none, and linked.  A node cut off in the middle lacks
 * upper levels or edges into it, which costs recall until VACUUM looks for
 * nodes without incoming edges, and breaks nothing.
 *
 * Paper: Malkov & Yashunin 2016, Algorithm 1.  What differs is in README.md,
 * "Insert".
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_link.h"
#include "core/graph/graph_prune.h"
#include "core/graph/graph_work.h"

#include "core/base/rng.h"

/*
 * Candidates carried down to the node's own levels.  More than a query
 * carries: a node that comes down in the wrong place is linked there for good.
 * Rows that arrive cluster by cluster (200 x 200 near-duplicates, queries with
 * a width of 16) gave recall 0.949 with 4 and 0.981 with 32; the time is lost
 * in that of the wide search that follows.
 */
#define INSERT_WIDTH 32

/*
 * Powers of m and not logarithms, so that the same key has the same level on
 * every machine.
 */
int
chs_graph_draw_level(const ChsGraphParams *params, uint64_t key, int levels,
					 uint64_t rows)
{
	double u = chs_unit_from_bits(chs_mix64(key ^ chs_mix64(params->seed)));
	double share = 1.0;
	uint64_t m = params->m < 2 ? 2 : (uint64_t) params->m;
	int level = 0;

	while (level < levels && level < CHS_MAX_LEVELS - 1 && rows >= m)
	{
		share /= (double) m;
		if (u > share)
			break;
		rows /= m;
		level++;
	}
	return level;
}

/*
 * Starting points at `level`: where the nearest nodes found one level above
 * stand, or else what a descent of its own comes to.
 */
static int
find_starts(ChsGraph *graph, int level, bool above, const ChsQuery *query,
			ChsNodeRef *starts)
{
	ChsLinkWork *work = graph->work->link;
	int n = 0;

	if (!above)
		return chs_graph_descend(graph, level, query, starts);
	for (int i = 0; i < work->nfound[level + 1] && n < INSERT_WIDTH; i++)
	{
		const ChsScored *node = &work->found[level + 1][i];

		starts[n].id = node->down;
		starts[n++].version = node->down_version;
	}
	return n;
}

/* Fills work->found[level] with the ef nearest live nodes of one level. */
static void
search_level(ChsGraph *graph, int level, bool above, int ef,
			 const ChsQuery *query)
{
	ChsLinkWork *work = graph->work->link;
	ChsNodeRef starts[INSERT_WIDTH];
	int n;

	chs_link_found(graph, level);
	work->nfound[level] = 0;
	n = find_starts(graph, level, above, query, starts);
	if (n > 0)
		work->nfound[level] = chs_graph_search_level(
			graph, level, query, starts, n, ef, false, work->found[level]);
	/* what stood below may have gone since */
	if (work->nfound[level] == 0 && above)
		search_level(graph, level, false, ef, query);
}

/*
 * All searches of one insert, from the top: narrow ones where the node will
 * not be, wide ones for its neighbours where it will.
 */
static void
search_levels(ChsGraph *graph, int levels, int level, const ChsQuery *query)
{
	ChsLinkWork *work = graph->work->link;
	int top = levels - 1 > level ? levels - 1 : level;
	bool above = false;

	for (int l = top; l >= 0; l--)
	{
		int ef = l > level ? INSERT_WIDTH : work->candidates;

		search_level(graph, l, above, ef, query);
		above = work->nfound[l] > 0;
	}
}

/*
 * Brings the found nodes into the pool, whose centre is the new node, and
 * orders those that still are what was found.  They stay for linking back.
 */
static int
load_found(ChsGraph *graph, int level, ChsNodeId self)
{
	ChsLinkWork *work = graph->work->link;
	const ChsScored *found = work->found[level];
	int nfound = work->nfound[level];
	int n = 0;

	for (int i = 0; i < nfound; i++)
		work->ids[i] = found[i].id;
	/* the pool was made for so many */
	(void) chs_pool_load(&work->pool, work->ids, nfound);
	if (work->pool.kept == 0)
		chs_pool_keep(&work->pool);
	for (int i = 0; i < nfound; i++)
	{
		int member = chs_pool_find(&work->pool, found[i].id);

		if (member >= 0 &&
			work->pool.node[member].ref.version == found[i].version)
			work->ids[n++] = found[i].id;
	}
	return chs_link_order(work, work->ids, n, self);
}

/* Level 0: the TID goes to a node with an equal vector, if there is one. */
static bool
join_duplicate(ChsGraph *graph, const ChsNewNode *node, int n, ChsNodeRef *ref)
{
	ChsLinkWork *work = graph->work->link;

	for (int i = 0; i < n; i++)
	{
		const ChsNodeCopy *other = &work->pool.node[work->order[i]];

		if (other->hash == node->hash &&
			graph->store->ops->add_duplicate(graph->store, other->ref, node))
		{
			*ref = other->ref;
			return true;
		}
	}
	return false;
}

/* Is the level's entry, as far as we know it, fit to be one? */
static bool
entry_lives(ChsGraph *graph, int level, ChsNodeRef entry)
{
	ChsLinkWork *work = graph->work->link;

	if (entry.id == CHS_NODE_NONE)
		return false;
	graph->store->ops->list(graph->store, level, entry.id, &work->list);
	return work->list.state == CHS_SLOT_LIVE &&
		   work->list.owner.version == entry.version;
}

/*
 * The new node found nobody and another became the entry meanwhile: search
 * from that one, and write the edges into the list that was published empty.
 * Returns how many members of work->order are neighbours now.
 */
static int
search_again(ChsGraph *graph, const ChsQuery *query, ChsNodeRef self)
{
	ChsLinkWork *work = graph->work->link;
	int level = work->pool.level;
	int n;

	search_level(graph, level, false, work->candidates, query);
	n = load_found(graph, level, self.id);
	n = chs_prune_select(&work->pool, work->order, n, 0,
						 chs_link_capacity(graph, level));
	for (int i = 0; i < n; i++)
		work->ids[i] = work->pool.node[work->order[i]].ref.id;
	work->ngone = 0;
	if (n > 0 && !chs_link_change_own(graph, self, work->ids, n))
		return 0;
	return n;
}

/* What all levels of one insert share. */
typedef struct Insertion
{
	const ChsNewNode *node;
	const ChsQuery *query;
	ChsNodeRef entry[CHS_MAX_LEVELS]; /* as seen before the search */
	ChsNodeRef below;                 /* what was published one level below */
} Insertion;

static ChsNodeRef
publish_level(ChsGraph *graph, const Insertion *insertion, int n)
{
	ChsLinkWork *work = graph->work->link;
	ChsNewNode node = *insertion->node;
	ChsEdge edges[CHS_MAX_DEGREE];

	for (int i = 0; i < n; i++)
		edges[i] = work->pool.node[work->order[i]].ref.id;
	node.edges = edges;
	node.nedges = n;
	node.down = insertion->below;
	if (work->pool.level > 0)
		node.existing.id = CHS_NODE_NONE;
	return graph->store->ops->publish(graph->store, work->pool.level, &node);
}

/*
 * Nobody that the search found can hold an edge to the published node: while
 * it was slow, VACUUM removed them all.  What is there now is asked; if that
 * is nothing, the node becomes the entry.
 */
static void
link_late(ChsGraph *graph, int level, const Insertion *insertion, ChsNodeRef self)
{
	ChsLinkWork *work = graph->work->link;
	ChsNodeRef nobody = {CHS_NODE_NONE, 0};
	int n;

	/* copies of nodes that are gone must not pass for their successors */
	chs_pool_start(&work->pool, level, insertion->node->code,
				   insertion->node->factors);
	if (graph->store->ops->set_entry(graph->store, level, nobody, self))
		return;
	n = search_again(graph, insertion->query, self);
	(void) chs_link_back(graph, self, work->order, n, n > 0);
}

/*
 * The work on one level after the searches.  False when, on level 0, the TID
 * joined another node, or the unlinked slot was linked by another meanwhile:
 * then insertion->below is that one.
 */
static bool
insert_level(ChsGraph *graph, int level, Insertion *insertion)
{
	ChsLinkWork *work = graph->work->link;
	ChsStore *store = graph->store;
	const ChsNewNode *node = insertion->node;
	ChsNodeRef nobody = {CHS_NODE_NONE, 0};
	ChsNodeRef self;
	bool anchored;
	int n;

	chs_pool_start(&work->pool, level, node->code, node->factors);
	n = load_found(graph, level, CHS_NODE_NONE);
	/* an unlinked slot that turns live keeps its TIDs where they are */
	if (level == 0 && node->existing.id == CHS_NODE_NONE &&
		join_duplicate(graph, node, n, &insertion->below))
		return false;
	n = chs_prune_select(&work->pool, work->order, n, 0,
						 chs_link_capacity(graph, level));
	self = publish_level(graph, insertion, n);
	if (self.id == CHS_NODE_NONE)
	{
		/* Linked by another: a second time would lead it to itself. */
		insertion->below = node->existing;
		return false;
	}
	insertion->below = self;
	/*
	 * A node that found nobody must become the entry, or find the entry.
	 * Never expect a certain one: that would depose it alive.
	 */
	if ((n == 0 || !entry_lives(graph, level, insertion->entry[level])) &&
		!store->ops->set_entry(store, level, nobody, self) && n == 0)
		n = search_again(graph, insertion->query, self);
	anchored = chs_link_back(graph, self, work->order, n, n > 0);
	if (n > 0 && !anchored)
	{
		/* none of the neighbours could: any of the candidates, then */
		n = load_found(graph, level, self.id);
		if (!chs_link_anchor(graph, self, work->order, n) &&
			!chs_link_anchor_far(graph, self, NULL, NULL))
			link_late(graph, level, insertion, self);
	}
	return true;
}

ChsInsertResult
chs_graph_insert(ChsGraph *graph, const ChsNewNode *node,
				 const ChsQuery *query, int level, ChsNodeRef *ref)
{
	ChsStore *store = graph->store;
	Insertion insertion = {.node = node};
	int levels;

	chs_link_work(graph);
	query = chs_link_view(graph, query, node->code, node->factors);
	insertion.query = query;
	levels = store->ops->entries(store, false, insertion.entry);
	for (int l = levels; l < CHS_MAX_LEVELS; l++)
		insertion.entry[l].id = CHS_NODE_NONE;
	search_levels(graph, levels, level, query);
	insertion.below.id = CHS_NODE_NONE;
	insertion.below.version = 0;
	for (int l = 0; l <= level; l++)
	{
		if (!insert_level(graph, l, &insertion))
		{
			*ref = insertion.below;
			return CHS_INSERT_DUPLICATE;
		}
		if (l == 0)
			*ref = insertion.below;
	}
	return CHS_INSERT_NEW;
}

bool
chs_graph_add_duplicate(ChsGraph *graph, const ChsNewNode *node,
						const ChsQuery *query, int ef, ChsNodeRef *ref)
{
	ChsLinkWork *work = chs_link_work(graph);
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	int n;

	query = chs_link_view(graph, query, node->code, node->factors);
	if (ef > work->candidates)
		ef = work->candidates;
	chs_link_found(graph, 0);
	n = chs_graph_descend(graph, 0, query, starts);
	if (n == 0)
		return false;
	work->nfound[0] = chs_graph_search_level(graph, 0, query, starts, n, ef,
											 false, work->found[0]);
	chs_pool_start(&work->pool, 0, node->code, node->factors);
	n = load_found(graph, 0, CHS_NODE_NONE);
	return join_duplicate(graph, node, n, ref);
}
