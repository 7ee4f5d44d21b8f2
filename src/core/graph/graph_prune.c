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
find_lost(const ChsPool *pool, const ChsFullList *list)
{
	for (int i = 0; i < list->n; i++)
		if (pool->node[list->members[i]].state != CHS_SLOT_LIVE)
			return i;
	return -1;
}

/*
 * to_owner[i] and to_owner[n] are the keys of the owner with the edges' ends
 * and with the centre.
 */
static int
choose_slot(const ChsPool *pool, const ChsFullList *list, const float *to_owner)
{
	float centre_key = to_owner[list->n];
	int farthest = -1;
	int covered = -1;

	for (int i = 0; i < list->n; i++)
	{
		float to_centre = pool->key[list->members[i]];
		bool farther = to_owner[i] > centre_key;

		/* one who is nearer to the owner leads to the centre already */
		if (!list->must && to_owner[i] < centre_key && to_centre < centre_key)
			return -1;
		if (list->edges[i] & CHS_EDGE_ANCHOR)
			continue;
		if (farthest < 0 || to_owner[i] > to_owner[farthest])
			farthest = i;
		/* the centre would lead to this one */
		if (farther && to_centre < to_owner[i] &&
			(covered < 0 || to_owner[i] > to_owner[covered]))
			covered = i;
	}
	if (covered >= 0)
		return covered;
	if (farthest >= 0 && (list->must || to_owner[farthest] > centre_key))
		return farthest;
	return -1;
}

int
chs_prune_replace(ChsPool *pool, const ChsFullList *list)
{
	float to_owner[CHS_MAX_DEGREE + 1];
	int slot = find_lost(pool, list);

	if (slot >= 0)
		return slot;
	chs_pool_compare(pool, list->owner, list->members, list->n, true, to_owner);
	return choose_slot(pool, list, to_owner);
}
