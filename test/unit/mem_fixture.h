/*
 * mem_fixture.h
 *	  Seeded vectors in an in-memory node store, for the tests of graphs.
 *
 * Two ways to fill it: mem_fixture_link_knn draws edges by brute force and
 * needs no graph code at all, so that search and scan can be tested without
 * trusting an insert; mem_fixture_insert goes through chs_graph_insert.
 * Either way node numbers equal row numbers, as long as no row is a duplicate.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_MEM_FIXTURE_H
#define CHS_MEM_FIXTURE_H

#include "core/graph/graph.h"
#include "core/graph/store_mem.h"

#include "oracle.h"

typedef struct MemFixtureParams
{
	ChsMetric metric;
	int bits;
	uint32_t dim;
	uint32_t count; /* rows */
	int clusters;   /* the rows lie around so many points; 0: uniform */
	int m;
	int ef_construction;
	uint64_t seed;
} MemFixtureParams;

typedef struct MemFixture
{
	MemFixtureParams params;
	ChsArena *arena;
	float *values; /* count rows, then as many query vectors */
	OracleRows rows;
	ChsModel model;
	ChsMemStore mem;
	ChsGraph graph;
	ChsQuery query; /* set by mem_fixture_query */
	void *query_mem;
	void *area;
	size_t area_bytes;
} MemFixture;

extern MemFixture *mem_fixture_create(const MemFixtureParams *params);
extern void mem_fixture_destroy(MemFixture *fixture);

/* Publishes a row at level 0 with the given edges, and links nothing back. */
extern ChsNodeRef mem_fixture_publish(MemFixture *fixture, uint32_t row,
									  const ChsEdge *edges, int nedges);

/*
 * Publishes all rows, each with edges to its k nearest and to the row before
 * and after it, so that all are connected; the entry is row 0.
 */
extern void mem_fixture_link_knn(MemFixture *fixture, int k);

/* Inserts one row through chs_graph_insert, at the level it draws. */
extern ChsInsertResult mem_fixture_insert(MemFixture *fixture, uint32_t row,
										  ChsNodeRef *ref);

/* The number-th query vector, and fixture->query prepared from it. */
extern const float *mem_fixture_query(MemFixture *fixture, uint32_t number);

/* The same query for the oracle. */
extern OracleQuery mem_fixture_oracle(const MemFixture *fixture);

#endif /* CHS_MEM_FIXTURE_H */
