/*
 * am_build_sample.c
 *	  A look at some rows before a build: how many there are, and the model.
 *
 * The codes are centred on the mean, so it must be known before the first row
 * is encoded.  Statistics of the planner would not do: they may be missing,
 * and know neither a partial index's rows nor an expression's values.
 *
 * Blocks are visited in steps of the golden section of the table's length.
 * Such a walk meets every block once, any beginning of it is spread evenly
 * over the table, and it needs no memory; so one can stop as soon as there is
 * enough, and rows that lie sorted do not bias the mean.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "commands/progress.h"
#include "miscadmin.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

#include "core/base/rng.h"
#include "pg/am/am_build.h"

/*
 * Rows for a mean: at 4096 its error is 1/64 of the standard deviation of a
 * coordinate, far below one step of a code.  Wide rows make do with fewer.
 */
#define SAMPLE_ROWS 4096
#define SAMPLE_MIN_ROWS 256
#define SAMPLE_BYTES ((Size) 64 * 1024 * 1024)

/* Spread the sample over this many blocks if the table has them. */
#define SAMPLE_BLOCKS 256

/*
 * A scan of one block costs some 30 us to begin.  After so many of them
 * without enough rows (a partial index) go on by the megabyte.
 */
#define SAMPLE_MAX_BLOCKS 4096
#define SAMPLE_RUN_BLOCKS 128

typedef struct RowSampler
{
	ChsBuild *build;
	ChsBuildSample *sample;
	uint32 taken; /* rows of this run of blocks */
	uint32 per_run;
} RowSampler;

static void
take_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		 bool alive, void *state)
{
	RowSampler *sampler = (RowSampler *) state;
	ChsBuildSample *sample = sampler->sample;
	ChsBuild *build = sampler->build;
	Size dim = build->model.dim;
	float *place;
	const float *x;
	MemoryContext old;

	if (isnull[0])
		return;
	sample->seen++;
	if (sampler->taken == sampler->per_run || sample->nrows == sample->max_rows)
		return;
	sampler->taken++;

	sample->nrows++;
	if (sample->rows == NULL)
		return; /* they are only counted */
	place = sample->rows + (sample->nrows - 1) * dim;
	old = MemoryContextSwitchTo(build->per_tuple);
	x = chs_row_floats(&build->model, chs_build_unpack(build, values[0]), place);
	if (x != place)
		memcpy(place, x, dim * sizeof(float));
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->per_tuple);
}

static uint32
greatest_common_divisor(uint32 a, uint32 b)
{
	while (b != 0)
	{
		uint32 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* A step near the golden section of n that meets all of 0 .. n - 1. */
static uint32
walk_step(uint32 n)
{
	uint32 step = (uint32) ((double) n * 0.6180339887498949);

	step = Max(step, 1);
	while (greatest_common_divisor(step, n) != 1)
		step++;
	return step;
}

/*
 * Visits runs of `length` blocks until there are `rows` rows in the sample
 * and no doubt that the index gets a graph, or max_runs runs were visited.
 * Sets seen, visited and complete anew.
 */
static void
visit_runs(RowSampler *sampler, BlockNumber nblocks, BlockNumber length,
		   uint32 max_runs, uint32 rows)
{
	ChsBuildSample *sample = sampler->sample;
	ChsBuild *build = sampler->build;
	const ChsMetaPageData *meta = build->index->meta;
	uint32 nruns = nblocks / length + (nblocks % length != 0);
	uint32 step = walk_step(nruns);
	uint32 run = (uint32) (chs_mix64(meta->seed) % nruns);
	uint32 done = 0;

	sample->seen = 0;
	sample->visited = 0;
	while (done < Min(nruns, max_runs) &&
		   (sample->nrows < rows || sample->seen < meta->flat_limit))
	{
		BlockNumber start = run * length;
		BlockNumber count = Min(length, nblocks - start);

		CHECK_FOR_INTERRUPTS();
		sampler->taken = 0;
		table_index_build_range_scan(build->heap, build->rel, build->info,
									 false, false, false, start, count,
									 take_row, sampler, NULL);
		sample->visited += count;
		run = (uint32) (((uint64) run + step) % nruns);
		done++;
	}
	sample->complete = done == nruns;
}

void
chs_build_sample(ChsBuild *build, ChsBuildSample *sample)
{
	RowSampler sampler = {.build = build, .sample = sample};
	Size row_bytes = mul_size(build->model.dim, sizeof(float));
	Size bytes = Min(SAMPLE_BYTES, mul_size(maintenance_work_mem, 1024));
	BlockNumber nblocks = RelationGetNumberOfBlocks(build->heap);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
								 CHS_BUILD_PHASE_SAMPLE);
	memset(sample, 0, sizeof(*sample));
	sample->complete = true;
	if (nblocks == 0)
		return;

	sample->max_rows = (uint32) Min(bytes / row_bytes, SAMPLE_ROWS);
	sample->max_rows = Max(sample->max_rows, SAMPLE_MIN_ROWS);
	sample->context = AllocSetContextCreate(
		build->context, "chassis build sample", ALLOCSET_DEFAULT_SIZES);
	if (chs_model_values(&build->model) > 0)
		sample->rows = MemoryContextAllocHuge(
			sample->context, mul_size(sample->max_rows, row_bytes));

	sampler.per_run = sample->max_rows / Min(nblocks, SAMPLE_BLOCKS) + 1;
	visit_runs(&sampler, nblocks, 1, SAMPLE_MAX_BLOCKS, sample->max_rows);
	if (!sample->complete && (sample->nrows < SAMPLE_MIN_ROWS ||
							  sample->seen < build->index->meta->flat_limit))
	{
		sampler.per_run = sample->max_rows;
		visit_runs(&sampler, nblocks, SAMPLE_RUN_BLOCKS, PG_UINT32_MAX,
				   SAMPLE_MIN_ROWS);
	}
	sample->expected_rows = (double) sample->seen *
							((double) nblocks / sample->visited);
}

void
chs_build_train(ChsBuild *build, const ChsBuildSample *sample)
{
	ChsModel *model = &build->model;
	Size n = chs_model_values(model);
	float *values = MemoryContextAllocZero(build->context,
										   Max(n, 1) * sizeof(float));
	ChsContextArena arena;

	if (n > 0)
	{
		chs_context_arena_init(&arena, sample->context);
		chs_model_train(model, values, values + model->dim, sample->rows,
						sample->nrows, &arena.arena);
		chs_index_write_model(build->index, model, values);
	}
	chs_model_use(model, values);
	chs_index_set_model(build->index, values);
	MemoryContextDelete(sample->context);
}
