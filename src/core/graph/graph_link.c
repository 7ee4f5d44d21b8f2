/*
 * graph_link.c
 *	  Edges into a node: linking back and the anchor.
 *
 * See graph_link.h.  Nothing here holds anything while it decides: a list is
 * copied, a new one proposed, and the store applies it only if the list is
 * still what was copied.  Who loses such a race decides once more on the new
 * list and then gives up, because an edge back is worth little alone: the
 * forward edge stands, and the anchor is asked for until somebody takes it.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_link.h"

#include "core/graph/graph_prune.h"
#include "core/graph/graph_work.h"

/*
 * Tries of one proposal: the first, and one more on a list that had changed.
 */
#define LINK_TRIES 2

/* A wide search, in windows of an ordinary one. */
#define FAR_WINDOWS 8

typedef enum LinkPlan
{
	LINK_NOTHING, /* there already, or not wanted */
	LINK_EDIT,    /* propose it */
	LINK_GONE     /* the owner is not live at the version we know */
} LinkPlan;

ChsLinkWork *
chs_link_work(ChsGraph *graph)
{
	ChsLinkWork *work = graph->work->link;
	ChsArena *arena = graph->arena;
	size_t room;
	int lists = 2 * graph->params.m;

	if (work != NULL)
		return work;
	work = chs_alloc_zero(arena, sizeof(ChsLinkWork));
	work->candidates = graph->params.ef_construction;
	if (work->candidates < lists)
		work->candidates = lists;
	if (work->candidates < CHS_LINK_MIN_WINDOW)
		work->candidates = CHS_LINK_MIN_WINDOW;
	room = (size_t) work->candidates + CHS_MAX_DEGREE;
	work->ids = chs_alloc(arena, room * sizeof(ChsNodeId));
	work->order = chs_alloc(arena, room * sizeof(int));
	work->search_ids = chs_alloc(arena,
								 (size_t) work->candidates * sizeof(ChsNodeId));
	work->own_mem = chs_alloc(arena, chs_node_copy_bytes(graph->store->model));
	work->view_mem = chs_alloc(arena, chs_query_bytes(graph->store->model));
	work->proposals = chs_alloc(arena, (size_t) lists * sizeof(ChsProposal));
	for (int i = 0; i < lists; i++)
	{
		size_t bytes = (size_t) (lists + 1) * sizeof(ChsEdge);

		work->proposals[i].seen = chs_alloc(arena, bytes);
		work->proposals[i].next = chs_alloc(arena, bytes);
	}
	chs_pool_create(&work->pool, graph->store, (int) room, arena);
	graph->work->link = work; /* only now: an allocation may not return */
	return work;
}

void
chs_link_found(ChsGraph *graph, int level)
{
	ChsLinkWork *work = graph->work->link;

	if (work->found[level] == NULL)
		work->found[level] = chs_alloc(
			graph->arena, (size_t) work->candidates * sizeof(ChsScored));
}

/*
 * Codes of an inner product index are those of L2 (of the centred vector; one
 * more factor is stored), so a copy of the model that says L2 is all it takes.
 */
const ChsQuery *
chs_link_view(ChsGraph *graph, const ChsQuery *query, const uint8_t *code,
			  const ChsFactors *factors)
{
	ChsLinkWork *work = graph->work->link;

	if (graph->store->model->metric != CHS_METRIC_IP)
		return query;
	work->view_model = *graph->store->model;
	work->view_model.metric = CHS_METRIC_L2;
	if (query->row == NULL || !chs_query_init(&work->view, work->view_mem,
											  &work->view_model, query->row))
		chs_query_from_code(&work->view, work->view_mem, &work->view_model,
							code, factors);
	return &work->view;
}

int
chs_link_capacity(const ChsGraph *graph, int level)
{
	return level == 0 ? 2 * graph->params.m : graph->params.m;
}

/*
 * Anchors that one list may hold: three quarters of it, so that a node which
 * is the nearest of very many (the first of a cluster) keeps edges of its own
 * choice to route by.
 */
static int
limit_anchors(const ChsGraph *graph, int level)
{
	return (3 * chs_link_capacity(graph, level) + 3) / 4;
}

int
chs_link_order(ChsLinkWork *work, const ChsNodeId *ids, int n, ChsNodeId self)
{
	int count = 0;

	for (int i = 0; i < n; i++)
	{
		int member = chs_pool_find(&work->pool, ids[i]);

		if (member >= 0 && ids[i] != self &&
			work->pool.node[member].state == CHS_SLOT_LIVE)
			work->order[count++] = member;
	}
	chs_pool_sort(&work->pool, work->order, count);
	return count;
}

/* Where an edge to `id` is in the list, or -1. */
static int
find_edge(const ChsList *list, ChsNodeId id)
{
	for (int i = 0; i < list->degree; i++)
		if (CHS_EDGE_NODE(list->edges[i]) == id)
			return i;
	return -1;
}

static int
count_anchors(const ChsList *list)
{
	int count = 0;

	for (int i = 0; i < list->degree; i++)
		count += (list->edges[i] & CHS_EDGE_ANCHOR) != 0;
	return count;
}

/*
 * Writes into the proposal what work->list becomes with the new edge; its
 * length, or 0 if the edge is not wanted.
 */
static int
join_list(ChsLinkWork *work, ChsProposal *proposal, ChsEdge self, int capacity)
{
	ChsPool *pool = &work->pool;
	ChsList *list = &work->list;
	ChsNodeId ids[CHS_MAX_DEGREE];
	ChsJoin join = {.owner = proposal->member,
					.n = list->degree,
					.max = capacity,
					.edges = list->edges,
					.members = work->members,
					.self = self};

	for (int i = 0; i < list->degree; i++)
		ids[i] = CHS_EDGE_NODE(list->edges[i]);
	if (!chs_pool_load(pool, ids, list->degree))
		return 0;
	for (int i = 0; i < list->degree; i++)
		work->members[i] = chs_pool_find(pool, ids[i]);
	return chs_prune_join(pool, &join, proposal->next);
}

static LinkPlan
refuse_edge(ChsProposal *proposal)
{
	proposal->anchor = false;
	return LINK_NOTHING;
}

/*
 * Reads the owner's list and writes into the proposal what it should become
 * with an edge to `self`.  Takes proposal->anchor back when this list can hold
 * no more anchors; LINK_NOTHING with proposal->anchor still set means that the
 * anchor is there already.
 */
static LinkPlan
plan_edge(ChsGraph *graph, ChsNodeRef self, ChsProposal *proposal)
{
	ChsLinkWork *work = graph->work->link;
	ChsList *list = &work->list;
	int level = work->pool.level;
	int capacity = chs_link_capacity(graph, level);
	ChsNodeRef owner = work->pool.node[proposal->member].ref;
	int slot;

	graph->store->ops->list(graph->store, level, owner.id, list);
	if (list->state != CHS_SLOT_LIVE || list->owner.version != owner.version)
		return LINK_GONE;
	/* a list longer than it may be is left for the checker to report */
	if (list->degree > capacity)
		return refuse_edge(proposal);
	slot = find_edge(list, self.id);
	if (slot >= 0 && (list->edges[slot] & CHS_EDGE_ANCHOR) != 0)
		return LINK_NOTHING;
	if (count_anchors(list) >= limit_anchors(graph, level))
		proposal->anchor = false;
	if (slot >= 0 && !proposal->anchor)
		return LINK_NOTHING;
	proposal->owner = owner;
	proposal->nseen = list->degree;
	memcpy(proposal->seen, list->edges, proposal->nseen * sizeof(ChsEdge));
	if (slot >= 0)
	{
		proposal->nnext = list->degree;
		memcpy(proposal->next, list->edges, proposal->nseen * sizeof(ChsEdge));
		proposal->next[slot] |= CHS_EDGE_ANCHOR;
		return LINK_EDIT;
	}
	proposal->nnext = join_list(
		work, proposal, self.id | (proposal->anchor ? CHS_EDGE_ANCHOR : 0),
		capacity);
	return proposal->nnext > 0 ? LINK_EDIT : refuse_edge(proposal);
}

static ChsEdit
make_edit(const ChsProposal *proposal)
{
	ChsEdit edit = {.owner = proposal->owner,
					.nseen = proposal->nseen,
					.nnext = proposal->nnext,
					.seen = proposal->seen,
					.next = proposal->next};

	return edit;
}

/* Hands the first n proposals to the store, which may group its writes. */
static void
submit_edits(ChsGraph *graph, int n)
{
	ChsLinkWork *work = graph->work->link;

	for (int i = 0; i < n; i++)
		work->edits[i] = make_edit(&work->proposals[i]);
	if (n > 0)
		graph->store->ops->edit(graph->store, work->pool.level, work->edits, n,
								work->results);
}

/* Plans the edge back from one neighbour, as the next proposal if any. */
static void
add_proposal(ChsGraph *graph, ChsNodeRef self, int member, bool *anchor)
{
	ChsLinkWork *work = graph->work->link;
	ChsProposal *proposal = &work->proposals[work->nproposals];
	LinkPlan plan;

	proposal->member = member;
	proposal->anchor = *anchor;
	plan = plan_edge(graph, self, proposal);
	if (plan == LINK_GONE)
		work->gone[work->ngone++] = work->pool.node[member].ref.id;
	else if (proposal->anchor)
		*anchor = false; /* one is enough; if it fails we ask again */
	if (plan == LINK_EDIT)
		work->nproposals++;
}

/*
 * Looks at the results.  Proposals whose list had changed move to the front
 * to be planned again; *anchored if the anchor's edit was applied.  Returns
 * how many moved.
 */
static int
collect_changed(ChsLinkWork *work, bool *anchored)
{
	int changed = 0;

	for (int i = 0; i < work->nproposals; i++)
	{
		ChsProposal proposal = work->proposals[i];

		if (work->results[i] == CHS_EDIT_GONE)
			work->gone[work->ngone++] = proposal.owner.id;
		else if (work->results[i] == CHS_EDIT_DONE)
			*anchored |= proposal.anchor;
		else
		{
			/* swap: each proposal keeps arrays of its own */
			work->proposals[i] = work->proposals[changed];
			work->proposals[changed++] = proposal;
		}
	}
	return changed;
}

/* Plans proposals [0 .. n - 1] again and submits what is left of them. */
static void
retry_changed(ChsGraph *graph, ChsNodeRef self, int n, bool *anchored)
{
	ChsLinkWork *work = graph->work->link;

	for (int i = 0; i < n; i++)
	{
		ChsProposal *proposal = &work->proposals[i];
		ChsEdit edit;
		ChsEditResult result = CHS_EDIT_CHANGED;
		LinkPlan plan = plan_edge(graph, self, proposal);

		if (plan == LINK_EDIT)
		{
			edit = make_edit(proposal);
			graph->store->ops->edit(graph->store, work->pool.level, &edit, 1,
									&result);
		}
		if (plan == LINK_GONE || result == CHS_EDIT_GONE)
			work->gone[work->ngone++] = work->pool.node[proposal->member].ref.id;
		else if (plan == LINK_NOTHING || result == CHS_EDIT_DONE)
			*anchored |= proposal->anchor;
	}
}

bool
chs_link_back(ChsGraph *graph, ChsNodeRef self, const int *order, int n,
			  bool anchor)
{
	ChsLinkWork *work = graph->work->link;
	bool wanted = anchor;
	bool anchored = false;

	work->nproposals = 0;
	work->ngone = 0;
	for (int i = 0; i < n; i++)
		add_proposal(graph, self, order[i], &wanted);
	submit_edits(graph, work->nproposals);
	retry_changed(graph, self, collect_changed(work, &anchored), &anchored);
	if (work->ngone > 0)
		(void) chs_link_change_own(graph, self, NULL, 0);
	if (anchor && !anchored)
		anchored = chs_link_anchor(graph, self, order, n);
	return anchored;
}

/* One neighbour is asked to take the anchor. */
static bool
ask_anchor(ChsGraph *graph, ChsNodeRef self, int member)
{
	ChsLinkWork *work = graph->work->link;
	ChsProposal *proposal = &work->proposals[0];

	for (int i = 0; i < LINK_TRIES; i++)
	{
		LinkPlan plan;

		proposal->member = member;
		proposal->anchor = true;
		plan = plan_edge(graph, self, proposal);
		if (plan == LINK_GONE || !proposal->anchor)
			return false;
		if (plan == LINK_NOTHING)
			return true;
		submit_edits(graph, 1);
		if (work->results[0] != CHS_EDIT_CHANGED)
			return work->results[0] == CHS_EDIT_DONE;
	}
	return false;
}

bool
chs_link_anchor(ChsGraph *graph, ChsNodeRef self, const int *order, int n)
{
	for (int i = 0; i < n; i++)
		if (ask_anchor(graph, self, order[i]))
			return true;
	return false;
}

/*
 * Into work->far what a wide search around the pool's centre finds.  It starts
 * from the level's own entry: a descent can come down among nodes that the
 * entry does not lead to, and find only those.
 */
static int
search_far(ChsGraph *graph)
{
	ChsLinkWork *work = graph->work->link;
	ChsPool *pool = &work->pool;
	const ChsQuery *query = chs_link_view(
		graph, &pool->centre, pool->centre_code, pool->centre_factors);
	ChsNodeRef entry[CHS_MAX_LEVELS];
	int ef = FAR_WINDOWS * work->candidates;

	if (work->far == NULL)
		work->far = chs_alloc(graph->arena, (size_t) ef * sizeof(ChsScored));
	if (graph->store->ops->entries(graph->store, true, entry) <= pool->level)
		return 0;
	return chs_graph_search_level(graph, pool->level, query,
								  &entry[pool->level], 1, ef, false, work->far);
}

bool
chs_link_anchor_far(ChsGraph *graph, ChsNodeRef self,
					bool (*may)(void *context, ChsNodeId id), void *context)
{
	ChsLinkWork *work = graph->work->link;
	ChsPool *pool = &work->pool;
	int nfar = search_far(graph);
	int i = 0;

	while (i < nfar)
	{
		int n = 0;

		for (; i < nfar && n < work->candidates; i++)
			if (may == NULL || may(context, work->far[i].id))
				work->ids[n++] = work->far[i].id;
		chs_pool_start(pool, pool->level, pool->centre_code,
					   pool->centre_factors);
		(void) chs_pool_load(pool, work->ids, n);
		chs_pool_keep(pool);
		n = chs_link_order(work, work->ids, n, self.id);
		if (chs_link_anchor(graph, self, work->order, n))
			return true;
	}
	return false;
}

static bool
contains_id(const ChsNodeId *ids, int n, ChsNodeId id)
{
	for (int i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The new own list, from work->list into `next`; returns its length. */
static int
merge_own(const ChsGraph *graph, const ChsNodeId *add, int nadd, ChsEdge *next)
{
	ChsLinkWork *work = graph->work->link;
	const ChsList *list = &work->list;
	int capacity = chs_link_capacity(graph, work->pool.level);
	int n = 0;

	for (int i = 0; i < list->degree; i++)
		if (!contains_id(work->gone, work->ngone, CHS_EDGE_NODE(list->edges[i])))
			next[n++] = list->edges[i];
	for (int i = 0; i < nadd && n < capacity; i++)
		if (find_edge(list, add[i]) < 0)
			next[n++] = add[i];
	return n;
}

bool
chs_link_change_own(ChsGraph *graph, ChsNodeRef self, const ChsNodeId *add,
					int nadd)
{
	ChsLinkWork *work = graph->work->link;
	ChsList *list = &work->list;
	ChsEdge next[CHS_MAX_DEGREE];

	for (int i = 0; i < LINK_TRIES; i++)
	{
		ChsEdit edit = {.owner = self, .seen = list->edges, .next = next};
		ChsEditResult result;

		graph->store->ops->list(graph->store, work->pool.level, self.id, list);
		if (list->state != CHS_SLOT_LIVE || list->owner.version != self.version ||
			list->degree > chs_link_capacity(graph, work->pool.level))
			return false;
		edit.nseen = list->degree;
		edit.nnext = merge_own(graph, add, nadd, next);
		graph->store->ops->edit(graph->store, work->pool.level, &edit, 1,
								&result);
		if (result != CHS_EDIT_CHANGED)
			return result == CHS_EDIT_DONE;
	}
	return false;
}
