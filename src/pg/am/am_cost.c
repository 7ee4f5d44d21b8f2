/*
 * am_cost.c
 *	  What a scan costs, so that the planner chooses it when it is best.
 *
 * Separate because it is arithmetic on the planner's structures alone: it
 * reads no page of the index.
 *
 * What a search does
 *	  With a window of w it expands about w nodes (204 at w = 200).  Each shows
 *	  some neighbors not yet seen, about 0.6 m of them while the graph is large
 *	  (10 at m = 16), fewer as the unseen run out:
 *		seen(w) = N (1 - exp(-0.6 m w / N))
 *	  Every seen node is scored by its code.  Emitting x rows takes a window of
 *	  max(ef, x + ef / 2): the search resumes when less than half a window is
 *	  left.  About 1.3 x + 14 vectors are reranked exactly.
 *
 * What that costs
 *	  One unit is taken as 2.5 microseconds.  That is the exchange rate at the
 *	  only close decision there is: a row found by another index, fetched, and
 *	  its TOASTed vector compared takes 7.7 us at 768 dimensions, and the
 *	  planner prices it at about 3.  Through the buffer manager 1,050 codes of
 *	  128 bytes took 212 us and 1,370 of 512 bytes 367 us, both at ef 100; half
 *	  a microsecond of it is put down to each expanded node.  Hence, in the
 *	  planner's own parameters,
 *		expand = 4 cpu_tuple_cost + 4 m cpu_operator_cost	   (0.20 at m = 16)
 *		score  = 4 cpu_index_tuple_cost +
 *				 cpu_operator_cost (16 + code bytes / 32)	   (0.07 .. 0.10)
 *		rerank = 4 cpu_tuple_cost + distance operator +
 *				 cpu_operator_cost bytes of the exact row / 64
 *	  Pages are charged where they cannot be cached: graph pages first in what
 *	  effective_cache_size leaves to this index, then vector pages.  A seq scan
 *	  is not charged for TOASTed vectors at all, so a price per cached page
 *	  would compare a full with an empty bill and choose plans that take many
 *	  times as long.  For the same reason a first window never costs more than
 *	  comparing every vector does, at a seq scan's price.
 *
 * The line
 *	  The planner takes a path's cost to be linear in the rows fetched.  Ours is
 *	  not, so the line goes through two points: the start-up (a first window),
 *	  and the rows that this query will fetch as far as one can tell: the LIMIT
 *	  divided by the part of the rows that pass the other conditions.  A very
 *	  selective condition thus makes the scan long and another plan win.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/relation.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* See "What a search does". */
#define NEW_PER_NEIGHBOR 0.6
#define RERANK_SHARE 1.3
#define RERANK_START 14.0

/* Nodes expanded per upper level by a descent with CHS_DESCENT_WIDTH. */
#define EXPANDED_PER_LEVEL 5.0

/* A row and its TOASTed vector, fetched for rerank = heap: 7.7 us. */
#define HEAP_RERANK_TUPLES 300.0

/* Assumed where column and options do not say. */
#define UNKNOWN_DIM 512
#define USUAL_BITS 4

/* One index as the formulas see it. */
typedef struct CostModel
{
	double rows; /* entries in the index */
	double ef;
	double m;
	double code_bytes;
	double row_bytes; /* exact ones beside the codes */
	bool from_heap;   /* those are in the table */
	double graph_pages;
	double vector_pages;
	double graph_miss;  /* share of page reads that go to disk */
	double vector_miss; /* likewise */
	double loops;       /* how often the scan is repeated */
	Cost page;          /* of one random page from disk */
	Cost expand;
	Cost score;
	Cost rerank;
	Cost compare; /* of one vector in a flat index */
	bool flat;    /* too small for a graph: every scan compares all */
} CostModel;

/*
 * What is in the options and the column's type; needs no page of the index.
 * Options changed since the build make the estimate a little wrong.
 */
static void
read_index(CostModel *model, Oid index_oid)
{
	/* the planner holds a lock */
	Relation index = index_open(index_oid, NoLock);
	const ChsColumnType *type = chs_opclass_get(index)->type;
	ChsOptions *options = chs_options_get(index);
	ChsScanSettings settings;
	int dim = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	int bits = options->bits != 0 ? options->bits : USUAL_BITS;

	if (dim <= 0 || (uint32) dim > type->max_dim)
		dim = UNKNOWN_DIM;
	model->m = options->m;
	chs_options_scan(index, &settings);
	model->ef = settings.ef_search;
	model->from_heap = type->row == CHS_ROW_SPARSE ||
					   options->rerank == CHS_RERANK_HEAP;
	model->code_bytes = (double) chs_row_code_bytes(type->row, (uint32) dim,
													bits);
	model->row_bytes = model->from_heap || type->row == CHS_ROW_BIT
						   ? 0.0
						   : (double) chs_row_fixed_bytes(type->row,
														  (uint32) dim);
	pfree(options);
	index_close(index, NoLock);
}

/* The planner's price of one call of the distance operator. */
static Cost
price_operator(PlannerInfo *root, IndexPath *path)
{
	QualCost cost;

	cost_qual_eval_node(&cost, linitial(path->indexorderbys), root);
	return cost.per_tuple;
}

static void
set_prices(CostModel *model, PlannerInfo *root, IndexPath *path)
{
	model->expand = 4.0 * (cpu_tuple_cost + model->m * cpu_operator_cost);
	model->score = 4.0 * cpu_index_tuple_cost +
				   cpu_operator_cost * (16.0 + model->code_bytes / 32.0);
	model->compare = cpu_index_tuple_cost + price_operator(root, path);
	model->rerank = 4.0 * cpu_tuple_cost + price_operator(root, path) +
					cpu_operator_cost * model->row_bytes / 64.0;
	if (model->from_heap)
	{
		model->compare += cpu_tuple_cost * HEAP_RERANK_TUPLES;
		model->rerank += cpu_tuple_cost * HEAP_RERANK_TUPLES;
	}
	get_tablespace_page_costs(path->indexinfo->reltablespace, &model->page,
							  NULL);
}

/*
 * Which part of the index is not cached.  The index gets a share of the cache
 * like any other relation of the query; its graph pages are read so much more
 * often than its vector pages that they fill the share first.
 */
static void
set_misses(CostModel *model, PlannerInfo *root, double index_pages)
{
	double graph_bytes = model->code_bytes + 2.0 * model->m * sizeof(ChsEdge) +
						 sizeof(ChsSlotHeader) + sizeof(ChsFactors);
	double all_pages = Max(root->total_table_pages, 1.0) + index_pages;
	double cached = effective_cache_size * (index_pages / all_pages);

	model->graph_pages = Max(
		index_pages * graph_bytes / (graph_bytes + model->row_bytes), 1.0);
	model->vector_pages = index_pages - model->graph_pages;
	model->graph_miss = 1.0 - Min(cached / model->graph_pages, 1.0);
	cached -= model->graph_pages;
	model->vector_miss = 0.0;
	if (model->vector_pages >= 1.0)
		model->vector_miss = 1.0 -
							 Min(Max(cached, 0.0) / model->vector_pages, 1.0);
}

/*
 * Pages read from disk when `reads` random ones of `pages` are touched: each
 * page once, over all repetitions of the scan.
 */
static double
read_from_disk(const CostModel *model, double reads, double pages, double miss)
{
	if (miss <= 0.0 || pages < 1.0)
		return 0.0;
	return miss * pages * (1.0 - exp(-reads * model->loops / pages)) /
		   model->loops;
}

/* All of a search that has emitted x rows of a graph. */
static Cost
search_cost(const CostModel *model, double x)
{
	double window = Min(Max(model->ef, x + model->ef / 2.0), model->rows);
	double levels = log(model->rows + 1.0) / log(model->m);
	double expanded = window + levels * EXPANDED_PER_LEVEL;
	double fresh = NEW_PER_NEIGHBOR * model->m;
	double seen = model->rows * (1.0 - exp(-fresh * expanded / model->rows));
	double reranked = Min(RERANK_SHARE * x + RERANK_START, model->rows);

	return expanded * model->expand + seen * model->score +
		   reranked * model->rerank +
		   model->page * (read_from_disk(model, expanded + seen,
										 model->graph_pages, model->graph_miss) +
						  read_from_disk(model, reranked, model->vector_pages,
										 model->vector_miss));
}

/*
 * All vectors compared in the order they stand, so at the price that a seq
 * scan pays for the same (which does not count what TOAST adds for it); then
 * a heap of keys.
 */
static Cost
flat_cost(const CostModel *model, double x)
{
	double height = log(model->rows + 1.0) / M_LN2;

	return model->rows * (model->compare + 2.0 * cpu_operator_cost) +
		   x * height * 2.0 * cpu_operator_cost +
		   model->page *
			   (model->graph_pages * model->graph_miss +
				model->vector_pages * model->vector_miss) /
			   model->loops;
}

static Cost
cost_of_rows(const CostModel *model, double x)
{
	Cost all = flat_cost(model, x);
	Cost first = search_cost(model, 0.0);

	if (model->flat)
		return all;
	return search_cost(model, x) - first + Min(first, all);
}

/*
 * How many entries this query will fetch: its LIMIT, or the part of the result
 * that a cursor is expected to read, over the share of entries whose rows pass
 * the conditions that the index does not know.
 */
static double
expected_fetches(PlannerInfo *root, IndexPath *path, double rows)
{
	double passing = clamp_row_est(path->path.rows);
	double wanted = passing;

	if (root->limit_tuples > 0.0)
		wanted = root->limit_tuples;
	else if (root->tuple_fraction >= 1.0)
		wanted = root->tuple_fraction;
	else if (root->tuple_fraction > 0.0)
		wanted = passing * root->tuple_fraction;
	return Max(Min(wanted / passing, 1.0) * rows, 1.0);
}

void
chscostestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
				double *correlation, double *pages)
{
	IndexOptInfo *info = path->indexinfo;
	CostModel model;
	double fetches;
	Cost arguments;
	Cost slope;

	/* the order is all there is to it */
	if (path->indexorderbys == NIL)
	{
		*startup_cost = get_float8_infinity();
		*total_cost = get_float8_infinity();
		*selectivity = 0.0;
		*correlation = 0.0;
		*pages = 0.0;
		CHS_DISABLE_PATH(&path->path);
		return;
	}

	model.rows = Max(info->tuples, 1.0);
	model.loops = Max(loop_count, 1.0);
	model.flat = model.rows <= chs_flat_limit;
	read_index(&model, info->indexoid);
	set_prices(&model, root, path);
	set_misses(&model, root, Max((double) info->pages, 1.0));

	/* the query vector may be an expression, computed once per scan */
	arguments = index_other_operands_eval_cost(root, path->indexorderbys);
	*startup_cost = arguments + cost_of_rows(&model, 0.0);
	fetches = expected_fetches(root, path, model.rows);
	slope = (arguments + cost_of_rows(&model, fetches) - *startup_cost) /
			fetches;
	*total_cost = *startup_cost + slope * model.rows;

	/*
	 * All entries are returned in the end; with a partial index these are not
	 * all rows of the table.
	 */
	*selectivity = 1.0;
	if (info->rel->tuples > model.rows)
		*selectivity = model.rows / info->rel->tuples;

	/* neighbors in space are strangers in the table */
	*correlation = 0.0;
	*pages = Max((double) info->pages, 1.0);
}
