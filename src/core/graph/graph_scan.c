/*
 * graph_scan.c
 *	  A nearest-neighbour scan that goes on for as long as it is asked.
 *
 * Two stages.  The search works on estimates: windows of ef rows, one after
 * the other, each starting from everything that the earlier ones met and left
 * behind.  Emission works on exact keys: whatever the search met waits in a
 * pool by the lower bound of its key, and a row goes out once no bound in the
 * pool is below its key.  The caller never says how many rows it wants; see
 * "A scan without k" in README.md.
 *
 * Separate from graph_search.c because it keeps its state from call to call,
 * and because only here exact keys are asked for.  It does not know what a
 * row is, nor why the store does not want one returned.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <float.h>
#include <math.h>

#include "core/graph/graph_work.h"

/*
 * Rows reranked at once: at first, then a quarter of those so far between the
 * two limits.  Small batches read fewer vectors that nobody asks for (16 and
 * 8: 17.7 in the mean for ten rows of fashion-mnist; 32 and 16: 32.0), larger
 * ones let the store overlap more reads; a scan that goes on gets larger ones.
 */
#define RERANK_FIRST 16
#define RERANK_LEAST 8
#define RERANK_MOST 32

/* The bound of a row's key lies so many standard deviations below. */
#define BOUND_DEVIATIONS 3.0f

/*
 * Relative rounding of float32 sums, for estimates that claim no error
 * (bits = 32): their exact key may come from another order of summation.
 */
#define BOUND_ROUNDING 1e-6f

/* Tags in the heaps. */
#define TAG_NONE 0
#define TAG_EXPANDED 1 /* rest: its neighbours are known */
#define TAG_ADDED 2    /* exact: came by chs_scan_add */

/* Why there will be no further window. */
typedef enum SearchState
{
	SEARCH_GOES_ON,
	SEARCH_EXHAUSTED, /* all that can be reached was met */
	SEARCH_MEMORY,
	SEARCH_TUPLES
} SearchState;

struct ChsScan
{
	ChsGraph *graph;
	const ChsQuery *query;
	ChsScanParams params;

	/* search */
	SearchState state;
	bool started;
	ChsVisited visited;
	ChsWindow window;
	ChsHeap detour; /* dead nodes not expanded yet, by estimate */
	ChsHeap rest;   /* live nodes that no window has held, by estimate */
	uint64_t seen;  /* live nodes met */

	/* emission */
	ChsHeap pool;         /* met, not reranked, by bound */
	ChsHeap far;          /* the same, those that can hardly be asked for */
	double far_least;     /* no bound in far is smaller */
	ChsHeap exact;        /* reranked or added, not returned, by key */
	ChsVisited returned;  /* gone out, dropped or skipped */
	uint64_t added;       /* by chs_scan_add */
	uint64_t window_rows; /* rows of all windows so far */
	uint64_t taken;       /* graph rows out of pool and exact for good */
	uint64_t taken_added; /* the same of the added ones */
	double last_key;

	ChsScanStats stats;
};

ChsScan *
chs_scan_create(ChsGraph *graph, ChsArena *arena)
{
	ChsScan *scan = chs_alloc_zero(arena, sizeof(*scan));

	scan->graph = graph;
	chs_visited_init(&scan->visited, arena);
	chs_visited_init(&scan->returned, arena);
	chs_window_init(&scan->window, arena);
	chs_heap_init(&scan->detour, arena);
	chs_heap_init(&scan->rest, arena);
	chs_heap_init(&scan->pool, arena);
	chs_heap_init(&scan->far, arena);
	chs_heap_init(&scan->exact, arena);
	return scan;
}

void
chs_scan_start(ChsScan *scan, const ChsScanParams *params, const ChsQuery *query)
{
	ChsStore *store = scan->graph->store;
	uint32_t capacity = store->ops->capacity(store, 0);

	scan->query = query;
	scan->params = *params;
	if (scan->params.ef < 1)
		scan->params.ef = 1;
	scan->state = SEARCH_GOES_ON;
	scan->started = false;
	chs_visited_reset(&scan->visited, capacity);
	chs_visited_reset(&scan->returned, capacity);
	chs_heap_reset(&scan->detour);
	chs_heap_reset(&scan->rest);
	chs_heap_reset(&scan->pool);
	chs_heap_reset(&scan->far);
	scan->far_least = INFINITY;
	chs_heap_reset(&scan->exact);
	scan->seen = 0;
	scan->added = 0;
	scan->window_rows = 0;
	scan->taken = 0;
	scan->taken_added = 0;
	scan->last_key = -INFINITY;
	memset(&scan->stats, 0, sizeof(scan->stats));
}

/* ---- search ---- */

/* Puts a live node into the window, or what that drives out into the rest. */
static void
enter_window(ChsScan *scan, ChsRank rank)
{
	ChsRank lost;
	uint32_t lost_at;

	if (chs_window_admits(&scan->window, rank))
	{
		if (!chs_window_insert(&scan->window, rank, 0, &lost, &lost_at))
			return;
	}
	else
		lost = rank;
	chs_heap_add(
		&scan->rest,
		(ChsHeapEntry){chs_rank_est(lost), chs_rank_id(lost), 0,
					   (lost & CHS_RANK_MARK) ? TAG_EXPANDED : TAG_NONE});
}

/*
 * Puts a live node into the pool.  Most have a bound beyond the end of a full
 * window and are never asked for; they are set aside, or putting the pool in
 * order would be a twelfth of a search (perf, 40,000 x 256, ef 100).
 */
static void
enter_pool(ChsScan *scan, const ChsScored *node)
{
	const ChsWindow *window = &scan->window;
	double bound = node->est - BOUND_DEVIATIONS * node->err -
				   BOUND_ROUNDING * fabsf(node->est);
	ChsHeapEntry entry = {bound, node->id, node->version, TAG_NONE};

	if (window->n == window->capacity &&
		bound > chs_rank_est(window->ranks[window->n - 1]))
	{
		chs_heap_add(&scan->far, entry);
		if (bound < scan->far_least)
			scan->far_least = bound;
		return;
	}
	chs_heap_add(&scan->pool, entry);
}

/* The heap with the smallest bound of the pool; an empty one if there is none. */
static ChsHeap *
find_first(ChsScan *scan)
{
	const ChsHeapEntry *far;
	const ChsHeapEntry *near;

	if (scan->far.n == 0 ||
		(scan->pool.n > 0 && chs_heap_min(&scan->pool)->key < scan->far_least))
		return &scan->pool;
	far = chs_heap_min(&scan->far);
	scan->far_least = far->key;
	if (scan->pool.n == 0)
		return &scan->far;
	near = chs_heap_min(&scan->pool);
	return near->key < far->key || (near->key == far->key && near->id < far->id)
			   ? &scan->pool
			   : &scan->far;
}

/* Takes in the first n nodes of the workspace. */
static void
take_scored(ChsScan *scan, int n)
{
	const ChsScored *scored = scan->graph->work->scored;

	for (int i = 0; i < n; i++)
	{
		const ChsScored *node = &scored[i];

		if (node->state == CHS_SLOT_DEAD)
			chs_heap_add(&scan->detour,
						 (ChsHeapEntry){node->est, node->id, 0, TAG_NONE});
		if (node->state != CHS_SLOT_LIVE)
			continue;
		enter_pool(scan, node);
		enter_window(scan, chs_rank(node->est, node->id));
		scan->seen++;
	}
	scan->stats.scored += (uint64_t) n;
}

/* The first window: down from the entry, then the starting points. */
static void
open_first_window(ChsScan *scan)
{
	ChsNodeRef starts[CHS_DESCENT_WIDTH];
	int n = chs_graph_descend(scan->graph, 0, scan->query, starts);

	n = chs_graph_score_starts(scan->graph, 0, scan->query, starts, n,
							   &scan->visited);
	take_scored(scan, n);
}

/*
 * A further window: the nearest ef rows of those that no window held.  All
 * rows of the window before are expanded, so it can be forgotten: together
 * the two are what one window twice as large would be.
 */
static void
open_next_window(ChsScan *scan)
{
	ChsRank lost;
	uint32_t lost_at;

	while (scan->window.n < scan->params.ef && scan->rest.n > 0)
	{
		ChsHeapEntry entry = chs_heap_pop(&scan->rest);
		ChsRank rank = chs_rank((float) entry.key, entry.id);

		if (entry.tag == TAG_EXPANDED)
			rank |= CHS_RANK_MARK;
		chs_window_insert(&scan->window, rank, 0, &lost, &lost_at);
	}
}

static size_t
count_bytes(const ChsScan *scan)
{
	return (scan->detour.n + scan->rest.n + scan->pool.n + scan->far.n +
			scan->exact.n) *
			   sizeof(ChsHeapEntry) +
		   chs_visited_bytes(&scan->visited) +
		   chs_visited_bytes(&scan->returned);
}

/*
 * Has the scan reached one of its limits?  Never asked in the first window:
 * ef bounds that one, and a query must get its rows with any setting.
 */
static bool
is_limited(ChsScan *scan)
{
	if (scan->seen >= scan->params.max_tuples)
		scan->state = SEARCH_TUPLES;
	else if (count_bytes(scan) > scan->params.max_memory)
		scan->state = SEARCH_MEMORY;
	return scan->state != SEARCH_GOES_ON;
}

/* Searches until the present window is complete or a limit is reached. */
static void
search_window(ChsScan *scan)
{
	ChsGraph *graph = scan->graph;
	bool first = !scan->started;
	ChsNodeId id;

	chs_window_reset(&scan->window, scan->params.ef);
	scan->started = true;
	if (first)
		open_first_window(scan);
	else
		open_next_window(scan);
	while ((first || !is_limited(scan)) &&
		   chs_graph_take_next(&scan->window, &scan->detour, &id))
	{
		int n = chs_graph_expand(graph, 0, scan->query, id, &scan->visited);

		take_scored(scan, n);
		scan->stats.expanded++;
	}
	scan->window_rows += (uint64_t) scan->window.n;
	if (scan->state == SEARCH_GOES_ON && scan->rest.n == 0 && scan->detour.n == 0)
		scan->state = SEARCH_EXHAUSTED;
}

/*
 * Is it time for a (further) window?  Half of one is kept in hand, because a
 * row of the next may well be nearer than the last of this.
 */
static bool
needs_window(const ChsScan *scan)
{
	if (scan->state != SEARCH_GOES_ON)
		return false;
	if (!scan->started)
		return true;
	if (scan->params.order == CHS_SCAN_OFF)
		return false;
	return scan->taken >= scan->window_rows ||
		   (scan->window_rows - scan->taken) * 2 < (uint64_t) scan->params.ef;
}

/* ---- emission ---- */

/* A row that has its exact key: to wait for its turn, or to be dropped. */
static void
take_exact(ChsScan *scan, ChsNodeRef ref, double key, uint16_t tag)
{
	if (isnan(key))
		key = DBL_MAX; /* a heap cannot order it; last is where it belongs */
	if (key < INFINITY)
	{
		chs_heap_add(&scan->exact,
					 (ChsHeapEntry){key, ref.id, ref.version, tag});
		return;
	}
	chs_visited_add(&scan->returned, ref.id);
	if (tag == TAG_ADDED)
		scan->taken_added++;
	else
		scan->taken++;
}

/*
 * Asks for exact keys of at most n next rows of the pool, the first of which
 * is in `first`.
 */
static void
rerank_batch(ChsScan *scan, ChsHeap *first, int n)
{
	ChsStore *store = scan->graph->store;
	ChsNodeRef refs[RERANK_MOST];
	double keys[RERANK_MOST];
	int taken = 0;

	do
	{
		ChsHeapEntry entry = chs_heap_pop(first);

		refs[taken++] = (ChsNodeRef){entry.id, entry.version};
		first = find_first(scan);
	} while (taken < n && first->n > 0);
	store->ops->exact(store, scan->query, refs, taken, keys);
	for (int i = 0; i < taken; i++)
		take_exact(scan, refs[i], keys[i], TAG_NONE);
	scan->stats.reranked += (uint64_t) taken;
}

static int
get_batch(const ChsScan *scan)
{
	uint64_t batch = scan->stats.reranked / 4;

	if (scan->stats.reranked == 0)
		return RERANK_FIRST;
	if (batch < RERANK_LEAST)
		return RERANK_LEAST;
	return batch < RERANK_MOST ? (int) batch : RERANK_MOST;
}

/* Reranks until no row of the pool can come before the first exact one. */
static void
settle_first(ChsScan *scan)
{
	ChsHeap *first = find_first(scan);

	while (first->n > 0 &&
		   (scan->exact.n == 0 ||
			chs_heap_min(first)->key <= chs_heap_min(&scan->exact)->key))
	{
		rerank_batch(scan, first, get_batch(scan));
		first = find_first(scan);
	}
}

/* Has everything gone out that may, although more rows are known? */
static bool
is_over(const ChsScan *scan)
{
	if (scan->params.order == CHS_SCAN_OFF)
		return scan->taken + scan->taken_added >=
			   scan->window_rows + scan->added;
	/* the last window's rows are still exact enough in their order */
	return scan->state == SEARCH_MEMORY && scan->taken >= scan->window_rows;
}

static ChsScanStatus
get_final_status(const ChsScan *scan)
{
	if (scan->params.order == CHS_SCAN_OFF)
		return CHS_SCAN_END;
	if (scan->state == SEARCH_MEMORY)
		return CHS_SCAN_MEMORY;
	return scan->state == SEARCH_EXHAUSTED ? CHS_SCAN_EXHAUSTED : CHS_SCAN_END;
}

void
chs_scan_add(ChsScan *scan, const ChsNodeRef *nodes, const double *keys, int n)
{
	for (int i = 0; i < n; i++)
	{
		/* should it be linked in the meantime, the search must not meet it */
		if (!chs_visited_add(&scan->visited, nodes[i].id))
			continue;
		scan->added++;
		take_exact(scan, nodes[i], keys[i], TAG_ADDED);
	}
}

ChsScanStatus
chs_scan_next(ChsScan *scan, ChsScanHit *hit)
{
	for (;;)
	{
		ChsHeapEntry row;

		while (needs_window(scan))
			search_window(scan);
		if (is_over(scan))
			return get_final_status(scan);
		settle_first(scan);
		if (scan->exact.n == 0)
		{
			/* rows that were dropped may have left room for a window */
			if (needs_window(scan))
				continue;
			return get_final_status(scan);
		}
		row = chs_heap_pop(&scan->exact);
		chs_visited_add(&scan->returned, row.id);
		if (row.tag == TAG_ADDED)
			scan->taken_added++;
		else
			scan->taken++;
		if (scan->params.order == CHS_SCAN_STRICT && row.key < scan->last_key)
			continue;
		scan->last_key = row.key;
		hit->ref = (ChsNodeRef){row.id, row.version};
		hit->key = row.key;
		return CHS_SCAN_ROW;
	}
}

bool
chs_scan_returned(const ChsScan *scan, ChsNodeId id)
{
	return chs_visited_has(&scan->returned, id);
}

const ChsScanStats *
chs_scan_stats(const ChsScan *scan)
{
	return &scan->stats;
}
