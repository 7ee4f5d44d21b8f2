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
#include <string.h>

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

size_t
chs_row_code_bytes(ChsRowKind row, uint32_t dim, int bits)
{
	if (chs_codes_are_rows(row, bits))
		return chs_row_fixed_bytes(row, dim);
	return chs_code_bytes(chs_encoded_dim(row, dim), bits);
}

size_t
chs_model_code_bytes(const ChsModel *model)
{
	return chs_row_code_bytes(model->row, model->dim, model->bits);
}

size_t
chs_model_values(const ChsModel *model)
{
	if (chs_codes_are_rows(model->row, model->bits))
		return 0;
	return (size_t) model->dim * (model->metric == CHS_METRIC_L1 ? 2 : 1);
}

void
chs_model_use(ChsModel *model, const float *values)
{
	size_t n = chs_model_values(model);

	model->mean = n == 0 ? NULL : values;
	model->step = n > model->dim ? values + model->dim : NULL;
	chs_model_finish(model);
}

void
chs_model_finish(ChsModel *model)
{
	double norm2 = 0;

	for (uint32_t i = 0; model->mean != NULL && i < model->dim; i++)
		norm2 += (double) model->mean[i] * model->mean[i];
	model->code_dim = chs_code_dim(model->dim);
	model->mean_norm2 = (float) norm2;
}

/* Squared distances from the mean, in medians, beyond which a row is far out. */
#define FAR_ROWS 100.0f

/* Each round without those found takes the mean nearer to the rest. */
#define FAR_ROUNDS 4

/* What a model is trained on. */
typedef struct Sample
{
	const float *rows;
	size_t n;
	double *weight; /* see weigh_row; 0: the row is left out */
} Sample;

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
train_grid(const ChsModel *model, float *step, const Sample *sample,
		   ChsArena *arena)
{
	uint32_t dim = model->dim;
	double *spread = chs_alloc_zero(arena, dim * sizeof(double));
	double *errors = chs_alloc_zero(arena, (size_t) dim * GRID_CHOICES *
											   sizeof(double));
	size_t stride = sample->n / GRID_ROWS + 1;
	size_t used = 0;

	for (size_t r = 0; r < sample->n; r += stride)
	{
		const float *row = sample->rows + r * dim;

		if (sample->weight[r] == 0)
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

	for (size_t r = 0; r < sample->n; r += stride)
		if (sample->weight[r] != 0)
			add_grid_errors(model, sample->rows + r * dim, spread, errors);

	for (uint32_t i = 0; i < dim; i++)
		step[i] = used == 0 ? 1.0f
							: choose_step(model, i, spread[i],
										  errors + (size_t) i * GRID_CHOICES);
}

/* Squared error of values on a grid of `levels` levels a step apart that has
 * `below` levels below 0. */
static double
sum_grid_errors(const float *values, size_t n, double step, double below,
				double levels)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
	{
		double level = floor(values[i] / step + 0.5);
		double residual;

		level = fmin(fmax(level, -below), levels - 1 - below);
		residual = values[i] - level * step;
		sum += residual * residual;
	}
	return sum;
}

/*
 * The grid of sparse rows: one for all dimensions, with a level at 0, which
 * nearly all values are.  What is not 0 decides its width; a dimension by
 * itself has too few such values in a sample, or none.  Levels below 0 are
 * there if such values are.
 */
static void
train_sparse_grid(const ChsModel *model, float *mean, float *step,
				  const Sample *sample, ChsArena *arena)
{
	size_t n = sample->n;
	size_t stride = n / GRID_ROWS + 1;
	double levels = 1 << model->bits;
	double below = 0;
	double spread = 0;
	double least = -1;
	double best = 1;
	float *values = chs_alloc(arena,
							  (n / stride + 1) * model->dim * sizeof(float));
	size_t used = 0;

	for (size_t r = 0; r < n; r += stride)
	{
		const float *row = sample->rows + r * model->dim;

		if (sample->weight[r] == 0)
			continue;
		for (uint32_t i = 0; i < model->dim; i++)
		{
			if (row[i] == 0)
				continue;
			if (row[i] < 0)
				below = levels / 2 - 1;
			spread += (double) row[i] * row[i];
			values[used++] = row[i];
		}
	}
	spread = used > 0 ? sqrt(spread / (double) used) : 1;
	for (int c = 0; c < GRID_CHOICES; c++)
	{
		double width = grid_reach[c] * spread / (levels - 1 - below);
		double error = sum_grid_errors(values, used, width, below, levels);

		if (least < 0 || error < least)
		{
			least = error;
			best = width;
		}
	}
	for (uint32_t i = 0; i < model->dim; i++)
	{
		step[i] = (float) fmax(best, 1e-30);
		mean[i] = (float) (((levels - 1) / 2 - below) * best);
	}
}

/* The mean of the sample's rows, weighted as chs_encode would. */
static void
train_mean(const Sample *sample, const ChsModel *model, float *mean, double *sum)
{
	uint32_t dim = model->dim;
	size_t used = 0;

	memset(sum, 0, dim * sizeof(double));
	for (size_t r = 0; r < sample->n; r++)
	{
		const float *row = sample->rows + r * dim;
		double weight = sample->weight[r];

		if (weight == 0)
			continue;
		used++;
		for (uint32_t i = 0; i < dim; i++)
			sum[i] += weight * row[i];
	}
	for (uint32_t i = 0; i < dim; i++)
		mean[i] = used > 0 ? (float) (sum[i] / (double) used) : 0.0f;
}

/*
 * The median of n >= 1 floats, which are reordered (Hoare 1961).  Not qsort:
 * the C library's may allocate memory.
 */
static float
find_median(float *x, size_t n)
{
	size_t middle = n / 2;
	size_t low = 0;
	size_t high = n - 1;

	while (low < high)
	{
		float pivot = x[low + (high - low) / 2];
		size_t i = low;
		size_t j = high;

		for (;;)
		{
			float kept;

			while (x[i] < pivot)
				i++;
			while (x[j] > pivot)
				j--;
			if (i >= j)
				break;
			kept = x[i];
			x[i++] = x[j];
			x[j--] = kept;
		}
		/* now nothing up to j is above the pivot, and nothing behind is below */
		if (middle <= j)
			high = j;
		else
			low = j + 1;
	}
	return x[middle];
}

/*
 * Leaves out rows whose squared distance from the mean is more than FAR_ROWS
 * times the median's, which may itself have been pulled away by them.  True if
 * there were any.  distance and reordered have room for n.
 */
static bool
leave_out_far(Sample *sample, const ChsModel *model, const float *mean,
			  float *distance, float *reordered)
{
	uint32_t dim = model->dim;
	size_t used = 0;
	bool found = false;
	float limit;

	for (size_t r = 0; r < sample->n; r++)
	{
		const float *row = sample->rows + r * dim;
		double sum = 0;

		if (sample->weight[r] == 0)
			continue;
		for (uint32_t i = 0; i < dim; i++)
			sum += ((double) row[i] - mean[i]) * ((double) row[i] - mean[i]);
		distance[r] = (float) fmin(sum, FLT_MAX);
		reordered[used++] = distance[r];
	}
	limit = used > 0 ? find_median(reordered, used) * FAR_ROWS : 0;
	if (limit == 0)
		return false; /* most rows are equal: no measure of far */
	for (size_t r = 0; r < sample->n; r++)
	{
		if (sample->weight[r] == 0 || !(distance[r] > limit))
			continue;
		sample->weight[r] = 0;
		found = true;
	}
	return found;
}

/*
 * A few rows very far from all others must not decide what the codes of all
 * others are made for: one of length 4e6 among 3,000 of length 2 moved the
 * mean so far that these had equal codes (recall@10 0.22; without it 1.00).
 * So rows far out are left out, and are encoded with whatever error that
 * gives.  Under cosine all rows have the same length.
 */
static void
train_without_far(Sample *sample, const ChsModel *model, float *mean,
				  ChsArena *arena)
{
	double *sum = chs_alloc(arena, model->dim * sizeof(double));
	float *distance;
	float *reordered;

	train_mean(sample, model, mean, sum);
	if (model->metric == CHS_METRIC_COSINE || sample->n == 0)
		return;
	distance = chs_alloc(arena, sample->n * sizeof(float));
	reordered = chs_alloc(arena, sample->n * sizeof(float));
	for (int round = 0; round < FAR_ROUNDS; round++)
	{
		if (!leave_out_far(sample, model, mean, distance, reordered))
			return;
		train_mean(sample, model, mean, sum);
	}
}

/* All rows, those that chs_encode would refuse left out already. */
static Sample
make_sample(const ChsModel *model, const float *rows, size_t n, ChsArena *arena)
{
	Sample sample = {.rows = rows, .n = n};

	sample.weight = chs_alloc(arena, (n > 0 ? n : 1) * sizeof(double));
	for (size_t r = 0; r < n; r++)
		sample.weight[r] = weigh_row(model->metric, rows + r * model->dim,
									 model->dim);
	return sample;
}

void
chs_model_train(ChsModel *model, float *mean, float *step, const float *rows,
				size_t n, ChsArena *arena)
{
	Sample sample = make_sample(model, rows, n, arena);

	train_without_far(&sample, model, mean, arena);
	model->mean = mean;
	model->step = NULL;
	chs_model_finish(model);
	if (model->metric != CHS_METRIC_L1)
		return;
	model->step = step;
	if (model->row == CHS_ROW_SPARSE)
	{
		train_sparse_grid(model, mean, step, &sample, arena);
		chs_model_finish(model);
	}
	else if (model->bits != CHS_BITS_NONE)
		train_grid(model, step, &sample, arena);
	else
		/* never used, but the caller may keep it on disk */
		for (uint32_t i = 0; i < model->dim; i++)
			step[i] = 1.0f;
}
