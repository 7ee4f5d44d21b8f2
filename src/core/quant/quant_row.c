/*
 * quant_row.c
 *	  What a row is to the quantizer: its floats.
 *
 * Rows of floats are what they are, halves are widened, sparse rows become
 * dense.  A sparse row of more dimensions than a sketch has is hashed into it:
 * dimension i is added, with the sign that its hash says, to the place that
 * its hash says.  That keeps inner products in the mean; README.md, "Sparse
 * rows", has its error.
 *
 * Papers: Charikar, Chen & Farach-Colton 2002 (count sketch); Weinberger et
 * al. 2009 (feature hashing); Li, Hastie & Church 2006 (using the norms).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/quant/quant_internal.h"

/* Keeps the sketch's hashes apart from the rotation's, of the same seed. */
#define SKETCH_SALT UINT64_C(0x736b657463683031)

/* An index that a damaged row has is left out, so that nothing is written
 * outside of the room. */
static void
spread_sparse(const ChsSparse *sparse, uint32_t dim, float *room)
{
	for (size_t i = 0; i < sparse->n; i++)
		if ((uint32_t) sparse->index[i] < dim)
			room[sparse->index[i]] = sparse->value[i];
}

static void
sketch_sparse(const ChsSparse *sparse, uint32_t dim, uint64_t seed, float *room)
{
	uint64_t salt = chs_mix64(seed ^ SKETCH_SALT);

	for (size_t i = 0; i < sparse->n; i++)
	{
		uint64_t hash = chs_mix64(salt + (uint32_t) sparse->index[i]);
		uint32_t place = (uint32_t) (((hash & UINT32_MAX) * dim) >> 32);

		room[place] += hash >> 63 ? -sparse->value[i] : sparse->value[i];
	}
}

/*
 * Gives the sketch the norm of its row.  What is left to chance is the angle:
 * README.md says by how much that is better.  A row whose elements cancelled
 * each other has to stand somewhere.
 */
static void
restore_norm(const ChsSparse *sparse, uint32_t dim, float *room)
{
	float wanted = chs_norm2(sparse->value, (uint32_t) sparse->n);
	float found = chs_norm2(room, dim);
	float factor;

	if (found < FLT_MIN)
	{
		room[0] = sqrtf(wanted);
		return;
	}
	factor = (float) sqrt((double) wanted / found);
	for (uint32_t i = 0; i < dim; i++)
		room[i] *= factor;
}

const float *
chs_row_floats(const ChsModel *model, const void *row, float *room)
{
	ChsSparse sparse;

	switch (model->row)
	{
		case CHS_ROW_FLOAT:
			return row;
		case CHS_ROW_HALF:
			chs_distance()->half->widen_f16(row, model->dim, room);
			return room;
		case CHS_ROW_SPARSE:
			sparse = chs_sparse_row(row);
			memset(room, 0, model->dim * sizeof(float));
			if (!chs_is_sketched(model))
			{
				spread_sparse(&sparse, model->dim, room);
				return room;
			}
			sketch_sparse(&sparse, model->dim, model->seed, room);
			/* sums of magnitudes want the sketch as it is */
			if (model->metric != CHS_METRIC_L1)
				restore_norm(&sparse, model->dim, room);
			return room;
		case CHS_ROW_BIT:
			break;
	}
	return NULL;
}

bool
chs_row_has_bits(const ChsModel *model, const void *row)
{
	const uint8_t *bytes = row;
	size_t n = chs_row_fixed_bytes(CHS_ROW_BIT, model->dim);

	for (size_t i = 0; i < n; i++)
		if (bytes[i] != 0)
			return true;
	return false;
}
