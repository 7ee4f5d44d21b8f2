/*
 * graph_pool.h
 *	  Copies of the codes around one node, and estimates among them.
 *
 * Choosing neighbours, linking back and repair all ask the same thing: how far
 * are these few hundred nodes from a node in the middle (the centre), and from
 * each other?  A pool fetches each code once, remembers its key to the centre
 * and compares codes in batches.  Every key that leaves a pool is an estimate
 * of code against code: keys of another estimator must not be mixed in.
 *
 * It does not know why somebody asks, and never changes the graph.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_POOL_H
#define CHS_GRAPH_POOL_H

#include "core/base/arena.h"
#include "core/graph/graph_store.h"

typedef struct ChsPool
{
	ChsStore *store;
	int level;
	int capacity;
	int n;             /* members */
	int kept;          /* the first of them stay when room is needed */
	ChsNodeCopy *node; /* [capacity] */
	float *key;        /* [capacity] to the centre; FLT_MAX if not live */

	/* private */
	ChsQuery centre;
	void *centre_mem;
	const uint8_t *centre_code;
	const ChsFactors *centre_factors;
	ChsQuery other;
	void *other_mem;
	char *copies; /* [capacity], copy_bytes each */
	size_t copy_bytes;
	uint32_t *table; /* id -> member + 1, open addressing */
	uint32_t table_mask;
	ChsNodeId *missing;         /* [capacity] scratch of one load */
	const uint8_t **codes;      /* [capacity + 1] scratch of one compare */
	const ChsFactors **factors; /* likewise */
	float *scratch;             /* likewise */
} ChsPool;

/*
 * Room for `candidates` members that stay and at least CHS_MAX_DEGREE + 1
 * that come and go.  Memory from the arena, for the life of the pool.
 */
extern void chs_pool_create(ChsPool *pool, ChsStore *store, int candidates,
							ChsArena *arena);

/*
 * Empties the pool and sets its centre; code and factors are kept by
 * reference and must last until the next start.
 */
extern void chs_pool_start(ChsPool *pool, int level, const uint8_t *code,
						   const ChsFactors *factors);

/*
 * Makes the n nodes members, fetching those that are not.  When the room is
 * used up, members after the first `kept` are forgotten, and their indexes
 * with them: look indexes up after the load.  False, with nothing fetched,
 * when there are more than fit beside those kept.
 */
extern bool chs_pool_load(ChsPool *pool, const ChsNodeId *ids, int n);

/* From now on all present members stay. */
extern void chs_pool_keep(ChsPool *pool);

/* The member with this number, or -1. */
extern int chs_pool_find(const ChsPool *pool, ChsNodeId id);

/*
 * out[k] = key of members others[k] and `from`, and, if with_centre, out[n]
 * that of the centre and `from`.  One query is prepared per call, so ask for
 * many at once.
 */
extern void chs_pool_compare(ChsPool *pool, int from, const int *others, int n,
							 bool with_centre, float *out);

/*
 * Orders indexes of members by key to the centre, nearest first; equal keys
 * by node number, so that a seeded build repeats.
 */
extern void chs_pool_sort(const ChsPool *pool, int *order, int n);

#endif /* CHS_GRAPH_POOL_H */
