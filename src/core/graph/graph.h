/*
 * graph.h
 *	  HNSW over a node store: search, scan, insert, repair, check.
 *
 * Papers: Malkov & Yashunin 2016 (HNSW).  What differs is in README.md, with
 * the numbered invariants I1... that graph_check.c tests.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_H
#define CHS_GRAPH_H

#include "core/base/arena.h"
#include "core/graph/graph_store.h"

/* Candidates that a descent carries from level to level. */
#define CHS_DESCENT_WIDTH 4

typedef struct ChsGraphParams
{
	int m;               /* edges a new node gets above level 0; 2m below */
	int ef_construction; /* window of the search for them */
	uint64_t seed;       /* of the level draw */
} ChsGraphParams;

/*
 * One user's handle: workspace for search and linking, reused from call to
 * call.  Not shared between threads; the store behind it may be.
 */
typedef struct ChsGraph
{
	ChsStore *store;
	ChsGraphParams params;
	ChsArena *arena; /* keeps the workspace; lives as long as the handle */
	struct ChsGraphWork *work;
} ChsGraph;

extern void chs_graph_init(ChsGraph *graph, ChsStore *store,
						   const ChsGraphParams *params, ChsArena *arena);

/* ---- graph_search.c ---- */

/*
 * The ef nodes of a level with the smallest estimated keys that a best-first
 * search meets, nearest first.  Starts from `starts`.  With dead = false only
 * live nodes are returned (dead ones still route).  out has room for ef.
 */
extern int chs_graph_search_level(ChsGraph *graph, int level,
								  const ChsQuery *query,
								  const ChsNodeRef *starts, int nstarts,
								  int ef, bool dead, ChsScored *out);

/*
 * Descends from the top to `level`, carrying CHS_DESCENT_WIDTH candidates, and
 * returns the starting points there (at most CHS_DESCENT_WIDTH; 0 when the
 * level has no linked node).  Re-reads the entries when those it has are free
 * or of another version.
 */
extern int chs_graph_descend(ChsGraph *graph, int level, const ChsQuery *query,
							 ChsNodeRef starts[CHS_DESCENT_WIDTH]);

/* ---- graph_insert.c ---- */

/*
 * The level of a new node: a hash of (seed, key) drawn from the geometric law
 * with 1/ln(m), at most one above the present top and at most log_m(rows).
 */
extern int chs_graph_draw_level(const ChsGraphParams *params, uint64_t key,
								int levels, uint64_t rows);

typedef enum ChsInsertResult
{
	CHS_INSERT_NEW,      /* a node of its own */
	CHS_INSERT_DUPLICATE /* its TID joined a node with the same vector, or
						   * the unlinked slot was linked by another */
} ChsInsertResult;

/*
 * Puts one node into the graph at levels 0 .. level: search, duplicate check,
 * neighbour choice, publish bottom-up, entry, linking back, anchor.  The query
 * is the node's own vector.  *ref: the level-0 node.
 */
extern ChsInsertResult chs_graph_insert(ChsGraph *graph, const ChsNewNode *node,
										const ChsQuery *query, int level,
										ChsNodeRef *ref);

/*
 * Looks only for a node with an equal vector (search with a window of ef) and
 * gives it node's TID.  False when none was found.
 */
extern bool chs_graph_add_duplicate(ChsGraph *graph, const ChsNewNode *node,
									const ChsQuery *query, int ef,
									ChsNodeRef *ref);

/* ---- graph_repair.c ---- */

/*
 * If a live node has an edge to a node that is not live, gives it a new list:
 * candidates are its live neighbours and those found through dead ones, at
 * most three hops away; with fewer than m/2 of them, or more than half of the
 * list lost, a search.  Links back.
 * True if the list was changed.
 */
extern bool chs_graph_repair(ChsGraph *graph, int level, ChsNodeId id);

/*
 * Gives a live node an incoming anchor edge from its nearest neighbour that
 * can take one.  True if done (or the node is the only one of its level).
 */
extern bool chs_graph_anchor(ChsGraph *graph, int level, ChsNodeId id);

/*
 * The same, but only nodes that `may` approves of can give the edge.  Without
 * `far` only those near to the node are asked; with it, as many as it takes.
 * False also when none of those asked could.
 */
extern bool chs_graph_anchor_among(ChsGraph *graph, int level, ChsNodeId id,
								   bool far,
								   bool (*may)(void *context, ChsNodeId id),
								   void *context);

/* ---- graph_scan.c ---- */

typedef enum ChsScanOrder
{
	CHS_SCAN_OFF,     /* end after the first window */
	CHS_SCAN_RELAXED, /* go on; a closer row found late is still returned */
	CHS_SCAN_STRICT   /* go on; such a row is skipped */
} ChsScanOrder;

typedef struct ChsScanParams
{
	int ef;
	ChsScanOrder order;
	uint64_t max_tuples; /* stop searching after seeing so many nodes */
	size_t max_memory;   /* bytes of queues and visited set, about */
} ChsScanParams;

typedef enum ChsScanStatus
{
	CHS_SCAN_ROW,       /* *hit is the next row */
	CHS_SCAN_EXHAUSTED, /* the graph gives no more: sweep the unseen slots */
	CHS_SCAN_MEMORY,    /* memory limit: sweep all that was not returned */
	CHS_SCAN_END        /* nothing more is to be returned */
} ChsScanStatus;

typedef struct ChsScanHit
{
	ChsNodeRef ref;
	double key; /* exact */
} ChsScanHit;

typedef struct ChsScan ChsScan;

/* Counters of one scan, for tests and for those who tune. */
typedef struct ChsScanStats
{
	uint64_t expanded; /* neighbour lists read */
	uint64_t scored;   /* estimates */
	uint64_t reranked; /* exact distances */
} ChsScanStats;

/*
 * A continuous nearest-neighbour scan of level 0 with exact rerank.  All
 * memory comes from the arena, which must live as long as the scan; starting
 * it again with another query reuses that memory.
 */
extern ChsScan *chs_scan_create(ChsGraph *graph, ChsArena *arena);
extern void chs_scan_start(ChsScan *scan, const ChsScanParams *params,
						   const ChsQuery *query);

/*
 * Adds nodes found outside the graph (not yet linked) with their exact keys;
 * before the first chs_scan_next.
 */
extern void chs_scan_add(ChsScan *scan, const ChsNodeRef *nodes,
						 const double *keys, int n);
extern ChsScanStatus chs_scan_next(ChsScan *scan, ChsScanHit *hit);

/* Was this level-0 node returned by chs_scan_next already? */
extern bool chs_scan_returned(const ChsScan *scan, ChsNodeId id);
extern const ChsScanStats *chs_scan_stats(const ChsScan *scan);

/* ---- graph_check.c ---- */

typedef struct ChsProblem
{
	const char *invariant; /* "I1" ... */
	int level;
	ChsNodeId id;
	const char *text; /* valid during the call only */
} ChsProblem;

/*
 * Tests the numbered invariants over all levels and calls report for every
 * violation; returns how many there were.  Meant for a graph that nobody
 * changes at the moment; on a moving one it may report what is in progress.
 */
extern uint64_t chs_graph_check(ChsGraph *graph, ChsArena *arena,
								void (*report)(void *context,
											   const ChsProblem *problem),
								void *context);

#endif /* CHS_GRAPH_H */
