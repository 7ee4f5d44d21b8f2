/*
 * mem_fixture.c
 *	  Seeded vectors in an in-memory node store, for the tests of graphs.
 *
 * See mem_fixture.h.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "mem_fixture.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "core/base/rng.h"

/* Width of a cluster against the unit cube it lies in. */
#define CLUSTER_WIDTH 0.2f

/* Uniform in [-1, 1). */
static float
draw_float(ChsRng *rng)
{
	return (float) (2.0 * chs_unit_from_bits(chs_rng_next(rng)) - 1.0);
}

static void
fill_values(MemFixture *fixture)
{
	const MemFixtureParams *params = &fixture->params;
	size_t dim = params->dim;
	int clusters = params->clusters > 0 ? params->clusters : 1;
	float *centres = malloc((size_t) clusters * dim * sizeof(float));
	ChsRng rng = {params->seed};

	for (size_t i = 0; i < (size_t) clusters * dim; i++)
		centres[i] = draw_float(&rng);
	for (size_t row = 0; row < 2 * (size_t) params->count; row++)
	{
		size_t c = chs_rng_next(&rng) % (uint64_t) clusters;
		float *value = fixture->values + row * dim;

		for (size_t j = 0; j < dim; j++)
			value[j] = params->clusters > 0
						   ? centres[c * dim + j] +
								 CLUSTER_WIDTH * draw_float(&rng)
						   : draw_float(&rng);
	}
	free(centres);
}

static void
train_model(MemFixture *fixture)
{
	const MemFixtureParams *params = &fixture->params;
	ChsModel *model = &fixture->model;
	size_t bytes = params->dim * sizeof(float);
	float *mean = chs_alloc(fixture->arena, bytes);
	float *step = chs_alloc(fixture->arena, bytes);

	model->metric = params->metric;
	model->bits = (uint8_t) params->bits;
	model->dim = params->dim;
	model->seed = params->seed;
	model->mean = mean;
	model->step = params->metric == CHS_METRIC_L1 ? step : NULL;
	chs_model_train(model, mean, step, fixture->values, params->count,
					fixture->arena);
}

MemFixture *
mem_fixture_create(const MemFixtureParams *params)
{
	MemFixture *fixture = calloc(1, sizeof(*fixture));
	size_t row_bytes = params->dim * sizeof(float);
	ChsGraphParams graph_params = {.m = params->m,
								   .ef_construction = params->ef_construction,
								   .seed = params->seed};
	ChsMemParams mem_params = {.m = params->m,
							   .row_bytes = (uint32_t) row_bytes};

	fixture->params = *params;
	fixture->arena = arena_malloc_create();
	fixture->values = chs_alloc(fixture->arena, 2 * params->count * row_bytes);
	fill_values(fixture);
	fixture->rows.values = fixture->values;
	fixture->rows.count = params->count;
	fixture->rows.dim = params->dim;
	train_model(fixture);
	mem_params.code_bytes = (uint32_t) chs_code_bytes(params->dim, params->bits);
	fixture->area_bytes = chs_mem_estimate(&mem_params, params->count);
	fixture->area = chs_alloc(fixture->arena, fixture->area_bytes);
	/* not zeroed: the store must not rely on that */
	memset(fixture->area, 0x5a, fixture->area_bytes);
	chs_mem_create(&fixture->mem, fixture->area, fixture->area_bytes,
				   &mem_params, &fixture->model);
	chs_graph_init(&fixture->graph, &fixture->mem.store, &graph_params,
				   fixture->arena);
	fixture->query_mem = chs_alloc(fixture->arena,
								   chs_query_bytes(&fixture->model));
	return fixture;
}

void
mem_fixture_destroy(MemFixture *fixture)
{
	arena_malloc_destroy(fixture->arena);
	free(fixture);
}

/* What publish and insert are given; code and factors stay with the arena. */
static ChsNewNode
encode_row(MemFixture *fixture, uint32_t row)
{
	const ChsModel *model = &fixture->model;
	ChsArena *arena = fixture->arena;
	ChsFactors *factors = chs_alloc(arena, sizeof(*factors));
	uint8_t *code = chs_alloc(arena, chs_code_bytes(model->dim, model->bits));
	void *scratch = chs_alloc(arena, chs_encode_scratch_bytes(model));
	uint8_t *tid = chs_alloc_zero(arena, 6);
	ChsNewNode node = {.existing = {CHS_NODE_NONE, 0}};

	node.row = fixture->values + (size_t) row * model->dim;
	chs_encode(model, node.row, scratch, code, factors);
	memcpy(tid, &row, sizeof(row));
	node.tid = tid;
	node.code = code;
	node.factors = factors;
	node.down.id = CHS_NODE_NONE;
	node.hash = chs_row_hash(node.row, model->dim * sizeof(float));
	return node;
}

ChsNodeRef
mem_fixture_publish(MemFixture *fixture, uint32_t row, const ChsEdge *edges,
					int nedges)
{
	ChsStore *store = &fixture->mem.store;
	ChsNewNode node = encode_row(fixture, row);
	ChsNodeRef ref;
	bool promised = chs_mem_promise(&fixture->mem, 0);

	assert(promised);
	(void) promised;
	node.edges = edges;
	node.nedges = nedges;
	ref = store->ops->publish(store, 0, &node);
	chs_mem_settle(&fixture->mem, 0);
	return ref;
}

void
mem_fixture_link_knn(MemFixture *fixture, int k)
{
	uint32_t count = fixture->params.count;
	OracleHit *hits = malloc(((size_t) k + 1) * sizeof(OracleHit));
	ChsEdge *edges = malloc(((size_t) k + 3) * sizeof(ChsEdge));
	ChsNodeRef none = {CHS_NODE_NONE, 0};
	ChsNodeRef entry = {0, 0};

	for (uint32_t row = 0; row < count; row++)
	{
		OracleQuery query = {&fixture->rows, fixture->params.metric,
							 fixture->values + (size_t) row * fixture->rows.dim};
		size_t found = oracle_search(&query, (size_t) k + 1, hits);
		uint32_t before = (row + count - 1) % count;
		uint32_t after = (row + 1) % count;
		int n = 0;

		edges[n++] = before;
		edges[n++] = after;
		for (size_t i = 0; i < found; i++)
		{
			if (hits[i].row != row && hits[i].row != before &&
				hits[i].row != after && n < k + 2)
				edges[n++] = hits[i].row;
		}
		mem_fixture_publish(fixture, row, edges, n);
	}
	fixture->mem.store.ops->set_entry(&fixture->mem.store, 0, none, entry);
	free(edges);
	free(hits);
}

ChsInsertResult
mem_fixture_insert(MemFixture *fixture, uint32_t row, ChsNodeRef *ref)
{
	ChsMemStore *mem = &fixture->mem;
	ChsNodeRef entry[CHS_MAX_LEVELS];
	int levels = mem->store.ops->entries(&mem->store, true, entry);
	int level = chs_graph_draw_level(&fixture->graph.params, row, levels,
									 chs_mem_count(mem, 0) + 1);
	ChsNewNode node = encode_row(fixture, row);
	void *query_mem = chs_alloc(fixture->arena,
								chs_query_bytes(&fixture->model));
	ChsQuery query;
	ChsInsertResult result;
	bool promised = chs_mem_promise(mem, level);

	assert(promised);
	(void) promised;
	chs_query_init(&query, query_mem, &fixture->model, node.row);
	result = chs_graph_insert(&fixture->graph, &node, &query, level, ref);
	chs_mem_settle(mem, level);
	return result;
}

const float *
mem_fixture_query(MemFixture *fixture, uint32_t number)
{
	const float *vector = fixture->values +
						  ((size_t) fixture->params.count + number) *
							  fixture->params.dim;

	chs_query_init(&fixture->query, fixture->query_mem, &fixture->model, vector);
	return vector;
}

OracleQuery
mem_fixture_oracle(const MemFixture *fixture)
{
	return (OracleQuery){&fixture->rows, fixture->params.metric,
						 fixture->query.row};
}
