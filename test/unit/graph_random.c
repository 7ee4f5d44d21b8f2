/*
 * graph_random.c
 *	  A byte string played as operations on a graph, with what must hold after.
 *
 * See graph_random.h.  The first bytes choose the shape (metric, bits, m,
 * dimensions), the rest are operations with their operands.  Vectors come from
 * few values, so that equal ones and equal distances are common.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "graph_random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "core/base/rng.h"
#include "graph_fixture.h"

#define ROWS 256
#define MAX_INSERTS 400
#define MAX_EF 64

typedef struct Player
{
	const uint8_t *bytes;
	size_t count;
	size_t at;
	uint64_t wrong;
	uint32_t inserts;
	GraphRows rows;
	GraphFixture *fixture;
} Player;

/* The next byte; zeros after the end. */
static uint8_t
read_byte(Player *player)
{
	return player->at < player->count ? player->bytes[player->at++] : 0;
}

static void
complain(Player *player, const char *what)
{
	fprintf(stderr, "byte %zu of %zu: %s\n", player->at, player->count, what);
	player->wrong++;
}

/*
 * Rows from a handful of points.  A quarter are exactly a point, a quarter a
 * multiple of one (equal under cosine), the rest near one.
 */
static void
fill_rows(Player *player, uint32_t dim, uint64_t seed)
{
	ChsRng rng = {seed};
	float points[8][64];

	player->rows = (GraphRows){ROWS, dim, malloc(ROWS * dim * sizeof(float))};
	for (int i = 0; i < 8; i++)
		for (uint32_t j = 0; j < dim; j++)
			points[i][j] = (float) (chs_rng_next(&rng) % 7) - 2.5f;
	for (uint32_t row = 0; row < ROWS; row++)
	{
		uint64_t kind = chs_rng_next(&rng);
		const float *point = points[kind >> 2 & 7];

		for (uint32_t j = 0; j < dim; j++)
		{
			float value = point[j];

			if (kind % 4 == 1)
				value *= (float) (1 + (kind >> 8) % 5);
			else if (kind % 4 > 1)
				value += 0.125f * (float) (chs_rng_next(&rng) % 5);
			player->rows.values[row * dim + j] = value;
		}
	}
}

/* A number below chs_mem_count, or CHS_NODE_NONE of an empty level. */
static ChsNodeId
choose_id(Player *player, int level)
{
	uint32_t count = chs_mem_count(&player->fixture->mem, level);
	uint32_t number = read_byte(player);

	number = number << 8 | read_byte(player);
	return count == 0 ? CHS_NODE_NONE : number % count;
}

static bool
is_live(const Player *player, ChsNodeId id)
{
	return chs_mem_slot(&player->fixture->mem, 0, id)->state == CHS_SLOT_LIVE;
}

static void
play_insert(Player *player)
{
	uint32_t row = read_byte(player);
	ChsNodeRef ref;

	if (player->inserts++ >= MAX_INSERTS)
		return;
	/* every third one may not join an equal node */
	player->fixture->hash_salt = row % 3 == 0 ? player->inserts : 0;
	(void) graph_fixture_insert(player->fixture, row, &ref);
	if (!is_live(player, ref.id))
		complain(player, "insert returned a node that is not live");
}

static void
play_delete(Player *player)
{
	ChsNodeId id = choose_id(player, 0);

	if (id != CHS_NODE_NONE && is_live(player, id))
		graph_fixture_delete(player->fixture, id);
}

/* Does a live or dead node hold an anchor to this one? */
static bool
is_anchored(const Player *player, int level, ChsNodeId id)
{
	ChsMemStore *mem = &player->fixture->mem;
	uint32_t count = chs_mem_count(mem, level);
	ChsList list;

	for (ChsNodeId other = 0; other < count; other++)
	{
		mem->store.ops->list(&mem->store, level, other, &list);
		for (int i = 0; i < list.degree; i++)
			if ((list.edges[i] & ~CHS_EDGE_SPARE) == (id | CHS_EDGE_ANCHOR))
				return true;
	}
	return false;
}

/* Anchors are for those who have none: others would use up the room. */
static void
play_repair(Player *player, bool anchor)
{
	int level = read_byte(player) % 3;
	ChsNodeId id = choose_id(player, level);
	ChsGraph *graph = &player->fixture->graph;

	if (id == CHS_NODE_NONE)
		return;
	if (anchor && !is_anchored(player, level, id))
		(void) chs_graph_anchor(graph, level, id);
	if (!anchor && chs_graph_repair(graph, level, id) &&
		chs_graph_repair(graph, level, id))
		complain(player, "a repaired node needs repair");
}

/* Prepares a query that is one of the rows. */
static const ChsQuery *
prepare_query(Player *player)
{
	GraphFixture *fixture = player->fixture;

	(void) chs_query_init(&fixture->query, fixture->query_mem, &fixture->model,
						  player->rows.values +
							  (size_t) read_byte(player) * player->rows.dim);
	return &fixture->query;
}

static void
play_search(Player *player)
{
	GraphFixture *fixture = player->fixture;
	const ChsQuery *query = prepare_query(player);
	int ef = 1 + read_byte(player) % MAX_EF;
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	ChsScored found[MAX_EF];
	int n = chs_graph_descend(&fixture->graph, 0, query, starts);

	n = chs_graph_search_level(&fixture->graph, 0, query, starts, n, ef, false,
							   found);
	if (n > ef)
		complain(player, "more results than asked for");
	for (int i = 0; i < n; i++)
	{
		if (!is_live(player, found[i].id))
			complain(player, "a result is not live");
		if (i > 0 && found[i].est < found[i - 1].est)
			complain(player, "results out of order");
		for (int k = 0; k < i; k++)
			if (found[k].id == found[i].id)
				complain(player, "a result is returned twice");
	}
}

/* Reads a scan to its end, or less far. */
static void
play_scan(Player *player)
{
	GraphFixture *fixture = player->fixture;
	ChsArena *arena = arena_malloc_create();
	ChsScan *scan = chs_scan_create(&fixture->graph, arena);
	uint8_t *seen = calloc(chs_mem_count(&fixture->mem, 0) + 1, 1);
	const ChsQuery *query = prepare_query(player);
	uint8_t how = read_byte(player);
	ChsScanParams params = {.ef = 1 + how % 32,
							.order = (ChsScanOrder) (how >> 5 & 1) + 1,
							.max_tuples = 100000,
							.max_memory = 1 << 24};
	int limit = read_byte(player) * 2;
	double last = -INFINITY;
	ChsScanHit hit;

	chs_scan_start(scan, &params, query);
	while (limit-- > 0 && chs_scan_next(scan, &hit) == CHS_SCAN_ROW)
	{
		if (seen[hit.ref.id]++)
			complain(player, "a row is returned twice");
		if (!is_live(player, hit.ref.id))
			complain(player, "a row is not live");
		if (params.order == CHS_SCAN_STRICT && hit.key < last)
			complain(player, "strict order is broken");
		last = hit.key;
	}
	free(seen);
	arena_malloc_destroy(arena);
}

/*
 * What holds at any time: all but I9 (VACUUM moves the entry), I10 and I11
 * (a dead node's edges go when others are repaired).
 */
static void
check_now(Player *player)
{
	for (int i = 1; i <= 8; i++)
	{
		char invariant[3] = {'I', (char) ('0' + i), 0};

		/* an upper node stands on a live one, or is dead itself */
		if (graph_fixture_check(player->fixture, invariant) != 0)
			complain(player, "the graph is not sound");
	}
}

static void
play_one(Player *player)
{
	switch (read_byte(player) % 24)
	{
		case 16:
		case 17:
		case 18:
			play_delete(player);
			break;
		case 19:
			play_repair(player, false);
			break;
		case 20:
			play_repair(player, true);
			break;
		case 21:
			if (read_byte(player) % 4 == 0)
				(void) graph_fixture_vacuum(player->fixture);
			else
				check_now(player);
			break;
		case 22:
			play_search(player);
			break;
		case 23:
			play_scan(player);
			break;
		default:
			play_insert(player);
			break;
	}
}

uint64_t
graph_random_play(const uint8_t *bytes, size_t count)
{
	static const int bits[] = {4, 32, 2, 1, 8};
	static const uint32_t dims[] = {6, 16, 33, 64};
	Player player = {.bytes = bytes, .count = count};
	uint8_t shape = read_byte(&player);
	uint8_t size = read_byte(&player);
	GraphParams params = {.metric = (ChsMetric) (shape % 4),
						  .bits = bits[shape / 4 % 5],
						  .m = 2 + size % 4,
						  .ef_construction = 4 + size / 4 % 32,
						  .room = 4 * MAX_INSERTS};

	fill_rows(&player, dims[size >> 6], shape * UINT64_C(257) + size);
	player.fixture = graph_fixture_create(&params, &player.rows);
	while (player.at < player.count)
		play_one(&player);
	(void) graph_fixture_vacuum(player.fixture);
	if (graph_fixture_check(player.fixture, NULL) != 0)
		complain(&player, "the graph is not sound after VACUUM");
	graph_fixture_destroy(player.fixture);
	graph_rows_free(&player.rows);
	return player.wrong;
}
