/*
 * graph_order.c
 *	  An order of a level's nodes in which neighbours share pages.
 *
 * Numbers given as rows come say nothing about where a node lies, so each of
 * the nodes of a hop is on a page of its own.  Here a page begins with a node
 * and takes, again and again, the one that most edges of the page lead to;
 * what would have come next begins the following page.  So a hop reads fewer
 * pages, and pages that are read together lie together.
 *
 * Greedy and in one pass, because it must not be felt in a build: every node
 * adds to the weights of its neighbours once, and choosing looks at those that
 * have some, a few hundred.
 *
 * Papers: Wei et al. 2016 (Gorder) on orders by shared neighbours; Wang et
 * al. 2024 (Starling) on filling the blocks of a graph index.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_order.h"

/* An edge that the choice of neighbours took says more than a spare one. */
#define PULL_CHOSEN 2
#define PULL_SPARE 1

#define NO_PLACE UINT32_MAX

void
chs_order_begin(ChsOrder *order, const ChsMemStore *mem, int level,
				uint32_t per_page, ChsArena *arena)
{
	uint32_t count = chs_mem_count(mem, level);
	size_t most = (size_t) per_page * chs_mem_layout(mem, level)->max_degree;

	memset(order, 0, sizeof(*order));
	order->count = count;
	order->mem = mem;
	order->level = level;
	order->per_page = per_page;
	order->first = CHS_NODE_NONE;
	order->node_at = chs_alloc(arena, count * sizeof(ChsNodeId));
	order->place_of = chs_alloc(arena, count * sizeof(uint32_t));
	order->pull = chs_alloc_zero(arena, count * sizeof(uint16_t));
	order->near = chs_alloc(arena,
							(most < count ? most : count) * sizeof(ChsNodeId));
	for (uint32_t i = 0; i < count; i++)
		order->place_of[i] = NO_PLACE;
}

/* Gives a node the next place, and weight to what it leads to. */
static void
place_node(ChsOrder *order, ChsNodeId id)
{
	const ChsSlotLayout *layout = chs_mem_layout(order->mem, order->level);
	ChsSlotHeader *slot = chs_mem_slot(order->mem, order->level, id);
	const ChsEdge *edges = chs_slot_edges(layout, slot);

	order->place_of[id] = order->placed;
	order->node_at[order->placed++] = id;
	for (int i = 0; i < slot->degree; i++)
	{
		ChsNodeId to = CHS_EDGE_NODE(edges[i]);

		if (order->place_of[to] != NO_PLACE)
			continue;
		if (order->pull[to] == 0)
			order->near[order->nnear++] = to;
		order->pull[to] += edges[i] & CHS_EDGE_SPARE ? PULL_SPARE : PULL_CHOSEN;
	}
}

/*
 * Takes the node with the largest weight out of those near, the one met first
 * among equals; CHS_NODE_NONE when there is none.
 */
static ChsNodeId
take_nearest(ChsOrder *order)
{
	ChsNodeId best;
	uint32_t at = 0;

	if (order->nnear == 0)
		return CHS_NODE_NONE;
	for (uint32_t i = 1; i < order->nnear; i++)
	{
		if (order->pull[order->near[i]] > order->pull[order->near[at]])
			at = i;
	}
	best = order->near[at];
	order->near[at] = order->near[--order->nnear];
	order->pull[best] = 0;
	return best;
}

/* The first node, by number, that has no place. */
static ChsNodeId
take_any(ChsOrder *order)
{
	while (order->place_of[order->unseen] != NO_PLACE)
		order->unseen++;
	return order->unseen;
}

/* Forgets what the page that is full now leads to. */
static void
end_page(ChsOrder *order)
{
	for (uint32_t i = 0; i < order->nnear; i++)
		order->pull[order->near[i]] = 0;
	order->nnear = 0;
}

bool
chs_order_page(ChsOrder *order)
{
	uint32_t left = order->count - order->placed;
	uint32_t n = left < order->per_page ? left : order->per_page;
	ChsNodeId id = order->first;

	for (uint32_t i = 0; i < n; i++)
	{
		if (id == CHS_NODE_NONE)
			id = take_any(order);
		place_node(order, id);
		id = take_nearest(order);
	}
	order->first = id;
	end_page(order);
	return order->placed < order->count;
}
