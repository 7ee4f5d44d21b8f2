/*
 * row_fixture.c
 *	  Seeded rows of every kind, their keys by definition, and their models.
 *
 * See row_fixture.h.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "row_fixture.h"

#include <string.h>

#include "core/base/rng.h"
#include "oracle.h"

/* Roughly normal: the sum of four uniform numbers. */
static float
draw_value(ChsRng *rng)
{
	double sum = -2;

	for (int i = 0; i < 4; i++)
		sum += chs_unit_from_bits(chs_rng_next(rng));
	return (float) sum;
}

/* A row around one of 20 directions, so that some are near each other. */
static void
draw_floats(ChsRng *rng, const RowsParams *params, const float *centre,
			float *out)
{
	for (uint32_t j = 0; j < params->dim; j++)
		out[j] = centre[j] + 0.7f * draw_value(rng);
}

static void *
make_halves(ChsArena *arena, const float *x, uint32_t dim)
{
	ChsHalf *row = chs_alloc(arena, dim * sizeof(ChsHalf));

	for (uint32_t j = 0; j < dim; j++)
		row[j] = chs_half_from_float(x[j]);
	return row;
}

static void *
make_bits(ChsArena *arena, const float *x, uint32_t dim)
{
	uint8_t *row = chs_alloc_zero(arena, (dim + 7) / 8);

	for (uint32_t j = 0; j < dim; j++)
		if (x[j] > 0)
			row[j / 8] |= (uint8_t) (0x80 >> (j % 8));
	return row;
}

ChsSparseRow *
rows_allocate_sparse(ChsArena *arena, uint32_t n)
{
	ChsSparseRow *row = chs_alloc_zero(
		arena, sizeof(ChsSparseRow) + n * (sizeof(int32_t) + sizeof(float)));

	row->n = (int32_t) n;
	return row;
}

/*
 * nnz elements at ascending places, about half of them common to every 40th
 * row, so that there are near ones.
 */
static void *
make_sparse(ChsArena *arena, ChsRng *rng, const RowsParams *params,
			uint32_t group)
{
	uint32_t stride = params->dim / params->nnz;
	ChsSparseRow *row = rows_allocate_sparse(arena, params->nnz);
	float *value = (float *) (row->index + params->nnz);
	ChsRng common = {group};

	for (uint32_t i = 0; i < params->nnz; i++)
	{
		uint64_t own = chs_rng_next(rng);
		uint64_t shared = chs_rng_next(&common);
		bool is_shared = shared % 2 == 0;

		row->index[i] = (int32_t) (i * stride +
								   (is_shared ? shared / 2 : own) % stride);
		value[i] = (is_shared ? 1.0f : 0.5f) * (1.0f + 0.3f * draw_value(rng));
	}
	return row;
}

/* The same row as floats. */
static void
spread(const Rows *rows, uint32_t number, float *out)
{
	const void *row = rows->row[number];
	ChsSparse sparse;

	memset(out, 0, rows->dim * sizeof(float));
	switch (rows->kind)
	{
		case CHS_ROW_FLOAT:
			memcpy(out, row, rows->dim * sizeof(float));
			break;
		case CHS_ROW_HALF:
			for (uint32_t j = 0; j < rows->dim; j++)
				out[j] = chs_half_to_float(((const ChsHalf *) row)[j]);
			break;
		case CHS_ROW_BIT:
			for (uint32_t j = 0; j < rows->dim; j++)
				out[j] = (((const uint8_t *) row)[j / 8] >> (7 - j % 8)) & 1;
			break;
		case CHS_ROW_SPARSE:
			sparse = chs_sparse_row(row);
			for (size_t i = 0; i < sparse.n; i++)
				out[sparse.index[i]] = sparse.value[i];
			break;
	}
}

Rows
rows_make(ChsArena *arena, const RowsParams *params)
{
	Rows rows = {params->kind, params->dim, params->count};
	ChsRng rng = {params->seed};
	size_t bytes = params->dim * sizeof(float);
	float *centres = params->nnz > 0 ? NULL : chs_alloc(arena, 20 * bytes);
	float *x = params->nnz > 0 ? NULL : chs_alloc(arena, bytes);

	for (size_t i = 0; centres != NULL && i < 20 * (size_t) params->dim; i++)
		centres[i] = draw_value(&rng);
	rows.row = chs_alloc(arena, params->count * sizeof(void *));
	for (uint32_t i = 0; i < params->count; i++)
	{
		if (params->kind == CHS_ROW_SPARSE)
		{
			rows.row[i] = make_sparse(arena, &rng, params, i % 40);
			continue;
		}
		draw_floats(&rng, params,
					centres + chs_rng_next(&rng) % 20 * params->dim, x);
		if (params->kind == CHS_ROW_HALF)
			rows.row[i] = make_halves(arena, x, params->dim);
		else if (params->kind == CHS_ROW_BIT)
			rows.row[i] = make_bits(arena, x, params->dim);
		else
			rows.row[i] = memcpy(chs_alloc(arena, bytes), x, bytes);
	}
	if (params->dim <= 4096)
	{
		rows.dense = chs_alloc(arena, params->count * bytes);
		for (uint32_t i = 0; i < params->count; i++)
			spread(&rows, i, rows.dense + (size_t) i * params->dim);
	}
	return rows;
}

/* The key by its definition. */
double
rows_key(const Rows *rows, ChsMetric metric, uint32_t a, uint32_t b)
{
	const float *x = rows->dense + (size_t) a * rows->dim;
	const float *y = rows->dense + (size_t) b * rows->dim;
	double differ = 0;
	double both = 0;
	double either = 0;

	if (rows->kind != CHS_ROW_BIT)
		return oracle_key(metric, x, y, rows->dim);
	for (uint32_t j = 0; j < rows->dim; j++)
	{
		differ += x[j] != y[j];
		both += x[j] > 0 && y[j] > 0;
		either += x[j] > 0 || y[j] > 0;
	}
	if (metric == CHS_METRIC_HAMMING)
		return differ;
	return both > 0 ? 1 - both / either : 1;
}

/* A model of these rows, trained on at most 500 of them. */
ChsModel
rows_train(ChsArena *arena, const Rows *rows, ChsMetric metric, int bits)
{
	uint32_t n = rows->count < 500 ? rows->count : 500;
	ChsModel model = {.metric = metric,
					  .row = rows->kind,
					  .bits = (uint8_t) bits,
					  .dim = chs_encoded_dim(rows->kind, rows->dim),
					  .row_dim = rows->dim,
					  .seed = 11};
	float *values = chs_alloc_zero(arena, (2 * model.dim) * sizeof(float));
	float *sample;

	if (chs_model_values(&model) > 0)
	{
		sample = chs_alloc(arena, n * model.dim * sizeof(float));
		for (uint32_t i = 0; i < n; i++)
		{
			float *place = sample + (size_t) i * model.dim;
			const float *x = chs_row_floats(&model, rows->row[i], place);

			if (x != place)
				memcpy(place, x, model.dim * sizeof(float));
		}
		chs_model_train(&model, values, values + model.dim, sample, n, arena);
	}
	chs_model_use(&model, values);
	return model;
}
