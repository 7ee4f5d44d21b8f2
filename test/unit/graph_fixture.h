/*
 * graph_fixture.h
 *	  A graph over an in-memory store that rows come to and go from.
 *
 * For the tests of insert, repair and check: rows in an order of the test's
 * choice, several handles on one store, deletion with what VACUUM does, reuse
 * of slots, and recall against the oracle.  The tests of search and scan have
 * mem_fixture.h, which needs no insert.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_FIXTURE_H
#define CHS_GRAPH_FIXTURE_H

#include "core/graph/graph.h"
#include "core/graph/store_mem.h"

typedef struct GraphParams
{
	ChsMetric metric;
	int bits;
	int m;
	int ef_construction;
	uint32_t room; /* nodes that the store must hold, over all time */
} GraphParams;

/* `count` rows of `dim` floats. */
typedef struct GraphRows
{
	uint32_t count;
	uint32_t dim;
	float *values;
} GraphRows;

typedef struct GraphFixture
{
	GraphParams params;
	const GraphRows *rows;
	ChsArena *arena;
	ChsModel model;
	ChsMemStore mem;
	ChsGraph graph;
	void *area;
	uint64_t hash_salt; /* rows of different salt are never duplicates */
	ChsNodeId *unused;  /* freed level-0 slots */
	uint32_t nunused;
	ChsQuery query; /* of graph_fixture_search */
	void *query_mem;
	void *encode_mem; /* scratch and code of graph_fixture_insert */
	uint8_t *code;
} GraphFixture;

/*
 * Rows that look like embeddings: `latent` directions of falling weight plus
 * a little noise, so that neighbourhoods mean something.
 */
extern GraphRows graph_rows_latent(uint32_t count, uint32_t dim, int latent,
								   uint64_t seed);

/*
 * Near-duplicates: count / size clusters of `size` rows around points of norm
 * about sqrt(dim), each row off by 5 %; cluster after cluster, or shuffled.
 */
extern GraphRows graph_rows_clusters(uint32_t count, uint32_t dim, uint32_t size,
									 bool shuffled, uint64_t seed);
extern void graph_rows_free(GraphRows *rows);

/* An empty graph.  The model is trained on the rows, which must outlive it. */
extern GraphFixture *graph_fixture_create(const GraphParams *params,
										  const GraphRows *rows);
extern void graph_fixture_destroy(GraphFixture *fixture);

/*
 * Another handle on the same store, for another thread, with an arena of its
 * own.  Destroyed like the first, and before it.
 */
extern GraphFixture *graph_fixture_attach(GraphFixture *fixture);

/* Inserts one row; its number is the node's TID. */
extern ChsInsertResult graph_fixture_insert(GraphFixture *fixture,
											uint32_t row, ChsNodeRef *ref);

/* A new node for this row: valid until the next call on the fixture. */
extern ChsNewNode graph_fixture_node(GraphFixture *fixture, uint32_t row,
									 ChsFactors *factors);

/* Inserts rows first .. first + count - 1; the node numbers go to nowhere. */
extern void graph_fixture_insert_rows(GraphFixture *fixture, uint32_t first,
									  uint32_t count);

/* The row of a level-0 node. */
extern uint32_t graph_fixture_row(const GraphFixture *fixture, ChsNodeId id);

/* Marks one level-0 node dead, with all that stands on it. */
extern void graph_fixture_delete(GraphFixture *fixture, ChsNodeId id);

/* What VACUUM does after marking: repair, anchor, free.  Returns the number
 * of nodes that needed an anchor. */
extern uint32_t graph_fixture_vacuum(GraphFixture *fixture);

/* Violations of this invariant (NULL: of all), described on stderr. */
extern uint64_t graph_fixture_check(GraphFixture *fixture,
									const char *invariant);

/* Average recall@10 of a search of level 0 whose results are all reranked,
 * over the live nodes, with `count` rows of `queries`. */
extern double graph_fixture_recall(GraphFixture *fixture,
								   const GraphRows *queries, uint32_t count,
								   int ef);

/* How much longer than usual tests should run (CHASSIS_STRESS, 1). */
extern uint32_t graph_stress(void);

#endif /* CHS_GRAPH_FIXTURE_H */
