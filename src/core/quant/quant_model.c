/*
 * quant_model.c
 *	  What an index fixes before its first code: the mean, and the L1 grid.
 *
 * Separate from encoding because it runs once, over a sample, and because what
 * it makes is on disk until the index is rebuilt: codes of two models cannot
 * be compared.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <float.h>
#include <math.h>

#include "core/quant/quant_pack.h"

/*
 * Rows that decide the L1 grid, at most: a width is a spread, and 2,000 rows
 * give a spread to within 2 %.
 */
#define GRID_ROWS 2000

/*
 * Half-widths of the L1 grid that are tried, in standard deviations of the
 * dimension.  The ends stand for two-valued and for long-tailed dimensions.
 */
static const double grid_reach[] = {1.0, 1.4, 1.75, 2.1, 2.5,
									3.0, 3.6, 4.5,  6.0};

#define GRID_CHOICES ((int) (sizeof(grid_reach) / sizeof(grid_reach[0])))

uint32_t
chs_code_dim(uint32_t dim)
{
	return (dim + CHS_BLOCK_DIMS - 1) / CHS_BLOCK_DIMS * CHS_BLOCK_DIMS;
}

size_t
chs_code_bytes(uint32_t dim, int bits)
{
	if (bits == CHS_BITS_NONE)
		return (size_t) dim * sizeof(float);
	return (size_t) chs_code_dim(dim) * (size_t) bits / 8;
}

void
chs_model_finish(ChsModel *model)
{
	double norm2 = 0;

	for (uint32_t i = 0; i < model->dim; i++)
		norm2 += (double) model->mean[i] * model->mean[i];
	model->code_dim = chs_code_dim(model->dim);
	model->mean_norm2 = (float) norm2;
}

/*
 * What a row is multiplied by before it is averaged: 1, its inverse norm under
 * cosine, or 0 for a row that chs_encode would refuse.
 */
static double
weigh_row(ChsMetric metric, const float *row, uint32_t dim)
{
	double norm2 = 0;

	for (uint32_t i = 0; i < dim; i++)
		norm2 += (double) row[i] * row[i];
	/* written so that NaN fails too */
	if (!(norm2 <= FLT_MAX))
		return 0;
	if (metric != CHS_METRIC_COSINE)
		return 1;
	return norm2 < FLT_MIN ? 0 : 1 / sqrt(norm2);
}

/* Sums of one row's squared errors on every grid that is tried. */
static void
add_grid_errors(const ChsModel *model, const float *row, const double *spread,
				double *errors)
{
	double half = ((1 << model->bits) - 1) / 2.0;

	for (uint32_t i = 0; i < model->dim; i++)
	{
		double x = (double) row[i] - model->mean[i];

		for (int c = 0; c < GRID_CHOICES; c++)
		{
			double step = grid_reach[c] * spread[i] / (half + 0.5);
			double level = step > 0 ? x / step : 0;
			double nearest = floor(level) + 0.5;

			nearest = fmin(fmax(nearest, -half), half);
			errors[(size_t) i * GRID_CHOICES + c] += (x - nearest * step) *
													 (x - nearest * step);
		}
	}
}

/*
 * The width of a level of dimension i: that of the grid with the least squared
 * error.  A dimension that never varies in the sample gets levels so fine that
 * its one value is met almost exactly; what comes later than the sample and
 * differs lies outside the grid, and is accounted for as that (see factors).
 */
static float
choose_step(const ChsModel *model, uint32_t i, double spread,
			const double *errors)
{
	double least = fmax(1e-30, 1e-6 * fabs((double) model->mean[i]));
	int best = 0;

	for (int c = 1; c < GRID_CHOICES; c++)
		if (errors[c] < errors[best])
			best = c;
	return (float) fmax(least,
						grid_reach[best] * spread * 2 / (1 << model->bits));
}

/* Fills step for L1, from the same rows as the mean, which is set. */
static void
train_grid(const ChsModel *model, float *step, const float *rows, size_t n,
		   ChsArena *arena)
{
	uint32_t dim = model->dim;
	double *spread = chs_alloc_zero(arena, dim * sizeof(double));
	double *errors = chs_alloc_zero(arena, (size_t) dim * GRID_CHOICES *
											   sizeof(double));
	size_t stride = n / GRID_ROWS + 1;
	size_t used = 0;

	for (size_t r = 0; r < n; r += stride)
	{
		const float *row = rows + r * dim;

		if (weigh_row(model->metric, row, dim) == 0)
			continue;
		used++;
		for (uint32_t i = 0; i < dim; i++)
		{
			double x = (double) row[i] - model->mean[i];

			spread[i] += x * x;
		}
	}
	for (uint32_t i = 0; i < dim; i++)
		spread[i] = used > 0 ? sqrt(spread[i] / (double) used) : 0;

	for (size_t r = 0; r < n; r += stride)
		if (weigh_row(model->metric, rows + r * dim, dim) != 0)
			add_grid_errors(model, rows + r * dim, spread, errors);

	for (uint32_t i = 0; i < dim; i++)
		step[i] = used == 0 ? 1.0f
							: choose_step(model, i, spread[i],
										  errors + (size_t) i * GRID_CHOICES);
}

void
chs_model_train(ChsModel *model, float *mean, float *step, const float *rows,
				size_t n, ChsArena *arena)
{
	uint32_t dim = model->dim;
	double *sum = chs_alloc_zero(arena, dim * sizeof(double));
	size_t used = 0;

	for (size_t r = 0; r < n; r++)
	{
		const float *row = rows + r * dim;
		double weight = weigh_row(model->metric, row, dim);

		if (weight == 0)
			continue;
		used++;
		for (uint32_t i = 0; i < dim; i++)
			sum[i] += weight * row[i];
	}
	for (uint32_t i = 0; i < dim; i++)
		mean[i] = used > 0 ? (float) (sum[i] / (double) used) : 0.0f;

	model->mean = mean;
	model->step = NULL;
	chs_model_finish(model);
	if (model->metric != CHS_METRIC_L1)
		return;
	model->step = step;
	if (model->bits != CHS_BITS_NONE)
		train_grid(model, step, rows, n, arena);
	else
		/* never used, but the caller may keep it on disk */
		for (uint32_t i = 0; i < dim; i++)
			step[i] = 1.0f;
}
