/*
 * graph_fixture.c
 *	  A graph over an in-memory store that rows come to and go from.
 *
 * See graph_fixture.h.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_fixture.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "core/base/rng.h"
#include "oracle.h"

#define RECALL_K 10
#define MAX_EF 400

/* ---- rows ---- */

/* A normal variate: Box and Muller 1958, one of the pair. */
static float
draw_normal(ChsRng *rng)
{
	double u = chs_unit_from_bits(chs_rng_next(rng));
	double v = chs_unit_from_bits(chs_rng_next(rng));

	return (float) (sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

static GraphRows
allocate_rows(uint32_t count, uint32_t dim)
{
	GraphRows rows = {count, dim, malloc((size_t) count * dim * sizeof(float))};

	assert(rows.values != NULL);
	return rows;
}

GraphRows
graph_rows_latent(uint32_t count, uint32_t dim, int latent, uint64_t seed)
{
	GraphRows rows = allocate_rows(count, dim);
	/* the directions are the same for every seed: queries need them too */
	ChsRng directions = {1};
	ChsRng rng = {chs_mix64(seed)};
	float *basis = malloc((size_t) latent * dim * sizeof(float));
	float *weights = malloc((size_t) latent * sizeof(float));

	for (size_t i = 0; i < (size_t) latent * dim; i++)
		basis[i] = draw_normal(&directions);
	for (uint32_t row = 0; row < count; row++)
	{
		for (int k = 0; k < latent; k++)
			weights[k] = draw_normal(&rng) * (1.5f - (float) k / latent);
		for (uint32_t j = 0; j < dim; j++)
		{
			/* a mean that is not zero, as embeddings have */
			float sum = 1.0f + 0.3f * draw_normal(&rng);

			for (int k = 0; k < latent; k++)
				sum += weights[k] * basis[(size_t) k * dim + j];
			rows.values[(size_t) row * dim + j] = sum;
		}
	}
	free(basis);
	free(weights);
	return rows;
}

static void
shuffle_rows(GraphRows *rows, ChsRng *rng)
{
	for (uint32_t i = rows->count - 1; i > 0; i--)
	{
		uint32_t k = (uint32_t) (chs_rng_next(rng) % (i + 1));

		for (uint32_t j = 0; j < rows->dim; j++)
		{
			float *a = &rows->values[(size_t) i * rows->dim + j];
			float *b = &rows->values[(size_t) k * rows->dim + j];
			float held = *a;

			*a = *b;
			*b = held;
		}
	}
}

GraphRows
graph_rows_clusters(uint32_t count, uint32_t dim, uint32_t size, bool shuffled,
					uint64_t seed)
{
	GraphRows rows = allocate_rows(count, dim);
	ChsRng rng = {chs_mix64(seed)};
	float *centre = malloc(dim * sizeof(float));

	for (uint32_t row = 0; row < count; row++)
	{
		for (uint32_t j = 0; j < dim && row % size == 0; j++)
			centre[j] = draw_normal(&rng);
		for (uint32_t j = 0; j < dim; j++)
			rows.values[(size_t) row * dim + j] = centre[j] +
												  0.05f * draw_normal(&rng);
	}
	if (shuffled)
		shuffle_rows(&rows, &rng);
	free(centre);
	return rows;
}

void
graph_rows_free(GraphRows *rows)
{
	free(rows->values);
	rows->values = NULL;
}

uint32_t
graph_stress(void)
{
	const char *text = getenv("CHASSIS_STRESS");
	long factor = text == NULL ? 1 : strtol(text, NULL, 10);

	return factor < 1 ? 1 : (uint32_t) factor;
}

/* ---- the graph ---- */

static void
train_model(GraphFixture *fixture)
{
	const GraphRows *rows = fixture->rows;
	ChsModel *model = &fixture->model;
	float *mean = chs_alloc_zero(fixture->arena, rows->dim * sizeof(float));
	float *step = chs_alloc_zero(fixture->arena, rows->dim * sizeof(float));

	model->metric = fixture->params.metric;
	model->bits = (uint8_t) fixture->params.bits;
	model->dim = rows->dim;
	model->seed = 42;
	model->mean = mean;
	model->step = model->metric == CHS_METRIC_L1 ? step : NULL;
	chs_model_train(model, mean, step, rows->values, rows->count,
					fixture->arena);
}

/* What every handle has of its own. */
static void
allocate_scratch(GraphFixture *fixture)
{
	const ChsModel *model = &fixture->model;
	ChsGraphParams params = {.m = fixture->params.m,
							 .ef_construction = fixture->params.ef_construction,
							 .seed = 7};

	fixture->query_mem = chs_alloc(fixture->arena, chs_query_bytes(model));
	fixture->encode_mem = chs_alloc(fixture->arena,
									chs_encode_scratch_bytes(model));
	fixture->code = chs_alloc(fixture->arena,
							  chs_code_bytes(model->dim, model->bits));
	chs_graph_init(&fixture->graph, &fixture->mem.store, &params,
				   fixture->arena);
}

GraphFixture *
graph_fixture_create(const GraphParams *params, const GraphRows *rows)
{
	GraphFixture *fixture = calloc(1, sizeof(*fixture));
	ChsMemParams mem = {
		.m = params->m,
		.code_bytes = (uint32_t) chs_code_bytes(rows->dim, params->bits),
		.row_bytes = rows->dim * (uint32_t) sizeof(float)};
	size_t bytes = chs_mem_estimate(&mem, params->room);

	fixture->params = *params;
	fixture->rows = rows;
	fixture->arena = arena_malloc_create();
	train_model(fixture);
	fixture->area = chs_alloc(fixture->arena, bytes);
	fixture->unused = chs_alloc(fixture->arena,
								params->room * sizeof(ChsNodeId));
	chs_mem_create(&fixture->mem, fixture->area, bytes, &mem, &fixture->model);
	allocate_scratch(fixture);
	return fixture;
}

GraphFixture *
graph_fixture_attach(GraphFixture *fixture)
{
	GraphFixture *other = calloc(1, sizeof(*other));

	*other = *fixture;
	other->arena = arena_malloc_create();
	other->nunused = 0;
	chs_mem_attach(&other->mem, fixture->area, &fixture->model);
	allocate_scratch(other);
	return other;
}

void
graph_fixture_destroy(GraphFixture *fixture)
{
	arena_malloc_destroy(fixture->arena);
	free(fixture);
}

ChsNewNode
graph_fixture_node(GraphFixture *fixture, uint32_t row, ChsFactors *factors)
{
	const ChsModel *model = &fixture->model;
	static const uint8_t no_tid[6];
	ChsNewNode node = {.existing = {CHS_NODE_NONE, 0},
					   .down = {CHS_NODE_NONE, 0}};

	node.row = fixture->rows->values + (size_t) row * model->dim;
	(void) chs_encode(model, node.row, fixture->encode_mem, fixture->code,
					  factors);
	node.tid = no_tid;
	node.code = fixture->code;
	node.factors = factors;
	node.hash = fixture->hash_salt ^
				chs_row_hash(node.row, model->dim * sizeof(float));
	return node;
}

ChsInsertResult
graph_fixture_insert(GraphFixture *fixture, uint32_t row, ChsNodeRef *ref)
{
	ChsMemStore *mem = &fixture->mem;
	ChsFactors factors;
	ChsNewNode node = graph_fixture_node(fixture, row, &factors);
	ChsNodeRef entry[CHS_MAX_LEVELS];
	int levels = mem->store.ops->entries(&mem->store, true, entry);
	int level = chs_graph_draw_level(&fixture->graph.params, row, levels,
									 chs_mem_count(mem, 0) + 1);
	uint8_t tid[6] = {0};
	ChsInsertResult result;
	bool promised = chs_mem_promise(mem, level);

	assert(promised);
	(void) promised;
	memcpy(tid, &row, sizeof(row));
	node.tid = tid;
	if (fixture->nunused > 0)
	{
		ChsNodeId id = fixture->unused[fixture->nunused - 1];

		node.existing.id = id;
		node.existing.version = chs_mem_slot(mem, 0, id)->version;
	}
	(void) chs_query_init(&fixture->query, fixture->query_mem, &fixture->model,
						  node.row);
	result = chs_graph_insert(&fixture->graph, &node, &fixture->query, level,
							  ref);
	if (result == CHS_INSERT_NEW && fixture->nunused > 0)
		fixture->nunused--;
	chs_mem_settle(mem, level);
	return result;
}

void
graph_fixture_insert_rows(GraphFixture *fixture, uint32_t first, uint32_t count)
{
	ChsNodeRef ref;

	for (uint32_t row = first; row < first + count; row++)
		(void) graph_fixture_insert(fixture, row, &ref);
}

uint32_t
graph_fixture_row(const GraphFixture *fixture, ChsNodeId id)
{
	uint32_t row;

	memcpy(&row, chs_mem_slot(&fixture->mem, 0, id)->tid, sizeof(row));
	return row;
}

/* ---- deletion ---- */

static bool
is_state(const GraphFixture *fixture, int level, ChsNodeId id, uint8_t state)
{
	return chs_mem_slot(&fixture->mem, level, id)->state == state;
}

/* The live node of a level that stands on this node of the level below. */
static ChsNodeId
find_upper(const GraphFixture *fixture, int level, ChsNodeId below)
{
	uint32_t count = chs_mem_count(&fixture->mem, level);

	for (ChsNodeId id = 0; id < count; id++)
		if (is_state(fixture, level, id, CHS_SLOT_LIVE) &&
			chs_mem_slot(&fixture->mem, level, id)->down == below)
			return id;
	return CHS_NODE_NONE;
}

void
graph_fixture_delete(GraphFixture *fixture, ChsNodeId id)
{
	for (int level = 0; level < CHS_MAX_LEVELS && id != CHS_NODE_NONE; level++)
	{
		ChsNodeId upper = level + 1 < CHS_MAX_LEVELS
							  ? find_upper(fixture, level + 1, id)
							  : CHS_NODE_NONE;

		chs_mem_set_dead(&fixture->mem, level, id);
		id = upper;
	}
}

/* The entry must live; a level of dead nodes only has none. */
static void
move_entry(GraphFixture *fixture, int level)
{
	ChsStore *store = &fixture->mem.store;
	uint32_t count = chs_mem_count(&fixture->mem, level);
	ChsNodeRef entry[CHS_MAX_LEVELS];
	ChsNodeRef next = {CHS_NODE_NONE, 0};

	(void) store->ops->entries(store, true, entry);
	if (entry[level].id == CHS_NODE_NONE ||
		is_state(fixture, level, entry[level].id, CHS_SLOT_LIVE))
		return;
	for (ChsNodeId id = 0; id < count && next.id == CHS_NODE_NONE; id++)
		if (is_state(fixture, level, id, CHS_SLOT_LIVE))
			next = (ChsNodeRef){
				id, chs_mem_slot(&fixture->mem, level, id)->version};
	(void) store->ops->set_entry(store, level, entry[level], next);
}

/* The live nodes of a level that anchors lead to, from the entry. */
typedef struct Tree
{
	GraphFixture *fixture;
	int level;
	uint8_t *reached;
	ChsNodeId *queue;
	uint32_t head;
	uint32_t tail;
} Tree;

static void
add_to_tree(Tree *tree, ChsNodeId id)
{
	if (tree->reached[id])
		return;
	tree->reached[id] = 1;
	tree->queue[tree->tail++] = id;
}

static void
follow_anchors(Tree *tree)
{
	ChsStore *store = &tree->fixture->mem.store;
	ChsList list;

	while (tree->head < tree->tail)
	{
		store->ops->list(store, tree->level, tree->queue[tree->head++], &list);
		for (int i = 0; list.state == CHS_SLOT_LIVE && i < list.degree; i++)
			if ((list.edges[i] & CHS_EDGE_ANCHOR) != 0)
				add_to_tree(tree, CHS_EDGE_NODE(list.edges[i]));
	}
}

static bool
is_in_tree(void *context, ChsNodeId id)
{
	return ((Tree *) context)->reached[id] != 0;
}

/*
 * Anchors every live node that no chain of anchors leads to.  Nodes whose
 * surroundings are all outside the tree get their turn in a later pass.
 */
static uint32_t
anchor_level(GraphFixture *fixture, int level)
{
	uint32_t count = chs_mem_count(&fixture->mem, level);
	Tree tree = {.fixture = fixture, .level = level};
	ChsNodeRef entry[CHS_MAX_LEVELS];
	uint32_t total = 0;
	uint32_t before;

	(void) fixture->mem.store.ops->entries(&fixture->mem.store, true, entry);
	if (entry[level].id == CHS_NODE_NONE)
		return 0;
	tree.reached = calloc(count, 1);
	tree.queue = malloc(count * sizeof(ChsNodeId));
	add_to_tree(&tree, entry[level].id);
	follow_anchors(&tree);
	do
	{
		before = total;
		for (ChsNodeId id = 0; id < count; id++)
		{
			if (tree.reached[id] ||
				!is_state(fixture, level, id, CHS_SLOT_LIVE) ||
				!chs_graph_anchor_among(&fixture->graph, level, id, true,
										is_in_tree, &tree))
				continue;
			total++;
			add_to_tree(&tree, id);
			follow_anchors(&tree);
		}
	} while (total > before);
	free(tree.reached);
	free(tree.queue);
	return total;
}

static void
free_dead(GraphFixture *fixture, int level)
{
	uint32_t count = chs_mem_count(&fixture->mem, level);

	for (ChsNodeId id = 0; id < count; id++)
	{
		if (!is_state(fixture, level, id, CHS_SLOT_DEAD))
			continue;
		chs_mem_free(&fixture->mem, level, id);
		if (level == 0)
			fixture->unused[fixture->nunused++] = id;
	}
}

uint32_t
graph_fixture_vacuum(GraphFixture *fixture)
{
	uint32_t anchored = 0;

	for (int level = CHS_MAX_LEVELS - 1; level >= 0; level--)
		move_entry(fixture, level);
	for (int level = CHS_MAX_LEVELS - 1; level >= 0; level--)
	{
		uint32_t count = chs_mem_count(&fixture->mem, level);

		for (ChsNodeId id = 0; id < count; id++)
			(void) chs_graph_repair(&fixture->graph, level, id);
		anchored += anchor_level(fixture, level);
		free_dead(fixture, level);
	}
	return anchored;
}

/* ---- verdicts ---- */

typedef struct Tally
{
	const char *invariant;
	uint64_t count;
} Tally;

static void
tally_problem(void *context, const ChsProblem *problem)
{
	Tally *tally = context;

	if (tally->invariant != NULL &&
		strcmp(tally->invariant, problem->invariant) != 0)
		return;
	if (tally->count++ < 3)
		fprintf(stderr, "%s level %d node %u: %s\n", problem->invariant,
				problem->level, problem->id, problem->text);
}

uint64_t
graph_fixture_check(GraphFixture *fixture, const char *invariant)
{
	ChsArena *arena = arena_malloc_create();
	Tally tally = {invariant, 0};

	(void) chs_graph_check(&fixture->graph, arena, tally_problem, &tally);
	arena_malloc_destroy(arena);
	return tally.count;
}

/* The rows of live nodes in one piece, and where each node's row is there. */
static OracleRows
collect_live(const GraphFixture *fixture, float *values, uint32_t *place)
{
	uint32_t count = chs_mem_count(&fixture->mem, 0);
	uint32_t dim = fixture->rows->dim;
	OracleRows live = {values, 0, dim};

	for (ChsNodeId id = 0; id < count; id++)
	{
		if (!is_state(fixture, 0, id, CHS_SLOT_LIVE))
			continue;
		memcpy(values + live.count * dim,
			   fixture->rows->values +
				   (size_t) graph_fixture_row(fixture, id) * dim,
			   dim * sizeof(float));
		place[id] = (uint32_t) live.count++;
	}
	return live;
}

/* The nearest RECALL_K of a search's results by exact keys. */
static size_t
rerank(const OracleQuery *query, const ChsScored *found, int n,
	   const uint32_t *place, uint32_t *out)
{
	double keys[RECALL_K];
	size_t count = 0;

	for (int i = 0; i < n; i++)
	{
		uint32_t row = place[found[i].id];
		size_t dim = query->rows->dim;
		double key = oracle_key(query->metric, query->vector,
								query->rows->values + row * dim, dim);
		size_t at = count < RECALL_K ? count++ : RECALL_K;

		for (; at > 0 && key < keys[at - 1]; at--)
		{
			if (at == RECALL_K)
				continue;
			keys[at] = keys[at - 1];
			out[at] = out[at - 1];
		}
		if (at < RECALL_K)
		{
			keys[at] = key;
			out[at] = row;
		}
	}
	return count;
}

double
graph_fixture_recall(GraphFixture *fixture, const GraphRows *queries,
					 uint32_t count, int ef)
{
	uint32_t nodes = chs_mem_count(&fixture->mem, 0);
	float *values = malloc((size_t) nodes * fixture->rows->dim * sizeof(float));
	uint32_t *place = malloc(nodes * sizeof(uint32_t));
	OracleRows live = collect_live(fixture, values, place);
	double sum = 0;

	assert(ef <= MAX_EF);
	for (uint32_t i = 0; i < count; i++)
	{
		const float *vector = queries->values + (size_t) i * queries->dim;
		OracleQuery query = {&live, fixture->params.metric, vector};
		ChsNodeRef starts[CHS_DESCENT_WIDTH];
		ChsScored found[MAX_EF];
		uint32_t rows[RECALL_K];
		OracleHit exact[RECALL_K];
		size_t k = oracle_search(&query, RECALL_K, exact);
		int n;

		(void) chs_query_init(&fixture->query, fixture->query_mem,
							  &fixture->model, vector);
		n = chs_graph_descend(&fixture->graph, 0, &fixture->query, starts);
		n = chs_graph_search_level(&fixture->graph, 0, &fixture->query, starts,
								   n, ef, false, found);
		sum += oracle_recall(&query, exact, k, rows,
							 rerank(&query, found, n, place, rows));
	}
	free(values);
	free(place);
	return sum / count;
}
