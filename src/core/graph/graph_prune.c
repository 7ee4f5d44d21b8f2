/*
 * graph_prune.c
 *	  Which neighbours a node keeps.
 *
 * See graph_prune.h.  A neighbour is worth its slot when no other neighbour
 * leads there: that is what both rules test, by comparing distances among the
 * candidates with their distances to the centre.  All of them come from one
 * estimator (code against code); with the search's own keys for one side, sets
 * of near-duplicates fell apart (README.md, "What we tried and dropped").
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/graph/graph_prune.h"

#include <string.h>

/*
 * Removes from order[first .. n - 1] whatever is nearer to the neighbour
 * `chosen` than to the centre.  Returns the new n.
 */
static int
drop_covered(ChsPool *pool, int chosen, int *order, int first, int n)
{
	int left = first;

	chs_pool_compare(pool, chosen, order + first, n - first, false,
					 pool->scratch);
	for (int i = first; i < n; i++)
		if (!(pool->scratch[i - first] < pool->key[order[i]]))
			order[left++] = order[i];
	return left;
}

/*
 * Each neighbour taken strikes out the candidates that it covers, instead of
 * each candidate being held against all neighbours: the same decisions and the
 * same number of estimates, but one prepared query per neighbour (about 16)
 * and not per candidate (about 200), and estimates in long batches.
 */
int
chs_prune_select(ChsPool *pool, int *order, int n, int fixed, int max)
{
	int chosen;

	for (chosen = 0; chosen < n && chosen < max; chosen++)
	{
		int first = chosen + 1 > fixed ? chosen + 1 : fixed;

		if (first < n && chosen + 1 < max)
			n = drop_covered(pool, order[chosen], order, first, n);
	}
	return chosen;
}

/*
 * An edge that may go whatever the distances are: its end is no longer live.
 * Dead ends first would be pointless to order among themselves.
 */
static int
find_lost(const ChsPool *pool, const ChsJoin *join)
{
	for (int i = 0; i < join->n; i++)
		if (pool->node[join->members[i]].state != CHS_SLOT_LIVE)
			return i;
	return -1;
}

/*
 * Whether an edge that is not spare leads to the centre: its end is nearer to
 * both the owner and the centre than these are to each other.  If none does,
 * those to which the new edge leads become spare.  to_owner[i] and to_owner[n]
 * are the keys of the owner with the edges' ends and with the centre.
 */
static bool
mark_spare(const ChsPool *pool, const ChsJoin *join, const float *to_owner,
		   ChsEdge *next)
{
	float centre_key = to_owner[join->n];

	for (int i = 0; i < join->n; i++)
		if ((next[i] & CHS_EDGE_SPARE) == 0 && to_owner[i] < centre_key &&
			pool->key[join->members[i]] < centre_key)
			return true;
	for (int i = 0; i < join->n; i++)
		if (to_owner[i] > centre_key && pool->key[join->members[i]] < to_owner[i])
			next[i] |= CHS_EDGE_SPARE;
	return false;
}

/* The farthest edge that is no anchor and has all bits of `mark`, or -1. */
static int
find_farthest(const ChsJoin *join, const float *to_owner, const ChsEdge *next,
			  ChsEdge mark)
{
	int farthest = -1;

	for (int i = 0; i < join->n; i++)
		if ((next[i] & CHS_EDGE_ANCHOR) == 0 && (next[i] & mark) == mark &&
			(farthest < 0 || to_owner[i] > to_owner[farthest]))
			farthest = i;
	return farthest;
}

/*
 * The slot of a full list for the new edge, or -1.  A spare edge goes for one
 * that is not; among equals the farther one goes.
 */
static int
choose_slot(const ChsJoin *join, const float *to_owner, const ChsEdge *next,
			bool spare)
{
	int slot = find_farthest(join, to_owner, next, CHS_EDGE_SPARE);
	bool anchor = (join->self & CHS_EDGE_ANCHOR) != 0;

	if (slot >= 0 && !spare)
		return slot;
	if (slot < 0 && (!spare || anchor))
		slot = find_farthest(join, to_owner, next, 0);
	if (slot < 0 || anchor || to_owner[slot] > to_owner[join->n])
		return slot;
	return -1;
}

int
chs_prune_join(ChsPool *pool, const ChsJoin *join, ChsEdge *next)
{
	float to_owner[CHS_MAX_DEGREE + 1];
	int slot = find_lost(pool, join);
	int n = join->n;
	bool spare;

	memcpy(next, join->edges, (size_t) n * sizeof(ChsEdge));
	if (slot >= 0)
	{
		/* one that has no code may be among them: nothing is compared */
		slot = n < join->max ? n : slot;
		next[slot] = join->self;
		return slot == n ? n + 1 : n;
	}
	chs_pool_compare(pool, join->owner, join->members, n, true, to_owner);
	spare = mark_spare(pool, join, to_owner, next);
	slot = n < join->max ? n : choose_slot(join, to_owner, next, spare);
	if (slot < 0)
		return 0;
	next[slot] = join->self | (spare ? CHS_EDGE_SPARE : 0);
	return slot == n ? n + 1 : n;
}
