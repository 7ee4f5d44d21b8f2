/*
 * quant_query.c
 *	  Prepares one query, from a vector or from a code, for many estimates.
 *
 * Everything that does not depend on the code compared with is worked out
 * here: the metric's formula becomes four coefficients, the rotated query
 * becomes int8.  Nothing here touches more than one code.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/quant/quant_internal.h"
#include "core/quant/quant_pack.h"
#include "core/quant/quant_rotate.h"
#include "core/quant/quant_vec.h"

/*
 * 1.5 * 2^23: added to a small float it leaves the nearest integer in the low
 * bits of the sum, in two's complement.
 */
#define ROUNDING_SHIFT 12582912.0f

/*
 * Below this the inverse of the unit would overflow; a query so small is the
 * mean itself as far as floats can tell.
 */
#define LEAST_MAXIMUM 1e-35f

typedef int16_t Words8 __attribute__((vector_size(16)));
typedef Words8 Words8Mem __attribute__((aligned(1), may_alias));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef Bytes16 Bytes16Mem __attribute__((aligned(1), may_alias));

CHS_ALWAYS_INLINE float
round_body(const float *x, uint32_t n, int8_t *q8)
{
	ChsV8 largest = {0};
	float max = 0;
	float inverse;

	for (uint32_t i = 0; i < n; i += 8)
	{
		ChsV8i magnitude = (ChsV8i) CHS_LOAD8(x + i) & INT32_MAX;
		ChsV8i larger = (ChsV8) magnitude > largest;

		largest = CHS_SELECT8(larger, magnitude, largest);
	}
	for (int i = 0; i < 8; i++)
		max = largest[i] > max ? largest[i] : max;
	if (max < LEAST_MAXIMUM)
	{
		memset(q8, 0, n);
		return 0;
	}

	inverse = 127.0f / max;
	for (uint32_t i = 0; i < n; i += 8)
	{
		ChsV8 shifted = CHS_LOAD8(x + i) * CHS_SPLAT8(inverse) +
						CHS_SPLAT8(ROUNDING_SHIFT);
		ChsV8i rounded = (ChsV8i) shifted & 0xff;

		chs_store_bytes((uint8_t *) q8 + i, &rounded);
	}
	return max / 127.0f;
}

static float
round_plain(const float *x, uint32_t n, int8_t *q8)
{
	return round_body(x, n, q8);
}

#if defined(CHS_QUANT_HAVE_AVX2_BODY)
CHS_TARGET_AVX2 static float
round_avx2(const float *x, uint32_t n, int8_t *q8)
{
	return round_body(x, n, q8);
}
#endif

float
chs_round_to_int8(const float *x, uint32_t n, int8_t *q8)
{
#if defined(CHS_QUANT_HAVE_AVX2_BODY)
	if (chs_use_avx2_body())
		return round_avx2(x, n, q8);
#endif
	return round_plain(x, n, q8);
}

/* The arrays of a query lie one after the other in the caller's memory. */
typedef struct Arrays
{
	int8_t *q8;    /* code_dim; where codes are rows: one code */
	float *floats; /* code_dim: the row's, then rotated, or levels */
	float *step;   /* code_dim, L1 only */
} Arrays;

/* Bytes of the first array, a multiple of 64. */
static size_t
first_bytes(const ChsModel *model)
{
	if (chs_codes_are_rows(model->row, model->bits))
		return (chs_model_code_bytes(model) + 63) & ~(size_t) 63;
	return model->code_dim;
}

/* Points into mem; the query starts out with no array set. */
static Arrays
divide_memory(ChsQuery *query, void *mem, const ChsModel *model)
{
	Arrays arrays;
	uint32_t n = model->code_dim;

	memset(query, 0, sizeof(*query));
	query->model = model;
	arrays.q8 = mem;
	arrays.floats = (float *) ((char *) mem + first_bytes(model));
	arrays.step = arrays.floats + n;
	return arrays;
}

size_t
chs_query_bytes(const ChsModel *model)
{
	size_t n = model->code_dim;

	if (model->row == CHS_ROW_BIT)
		return first_bytes(model);
	return first_bytes(model) +
		   n * sizeof(float) * (model->metric == CHS_METRIC_L1 ? 2 : 1);
}

/* Sum of n bytes of -127 .. 127; n is a multiple of 64. */
static int32_t
sum_bytes(const int8_t *q8, uint32_t n)
{
	int32_t total = 0;

	/* in 16 bits for 256 terms a lane: 127 * 256 still fits */
	for (uint32_t i = 0; i < n;)
	{
		uint32_t stop = n - i > 2048 ? i + 2048 : n;
		Words8 sum = {0};

		for (; i < stop; i += 16)
		{
			Words8 pairs = *(const Words8Mem *) (q8 + i);

			/* both bytes of a pair, their signs extended */
			sum += (pairs >> 8) + ((pairs << 8) >> 8);
		}
		for (int lane = 0; lane < 8; lane++)
			total += sum[lane];
	}
	return total;
}

/*
 * Sets the coefficients of the metric's formula (see ChsQuery), but for the
 * parts that only an inner product has.  norm2 is set.
 */
static void
set_formula(ChsQuery *query)
{
	switch (query->model->metric)
	{
		case CHS_METRIC_IP:
			query->key_dot = -1.0f;
			break;
		case CHS_METRIC_COSINE:
			/* of unit vectors, 1 - cosine is half the squared distance */
			query->key_const = 0.5f * query->norm2;
			query->key_norm2 = 0.5f;
			query->key_dot = -1.0f;
			break;
		default:
			query->key_const = query->norm2;
			query->key_norm2 = 1.0f;
			query->key_dot = -2.0f;
			break;
	}
	query->norm = sqrtf(query->norm2);
}

/* Rounds the rotated query and notes what the rounding costs. */
static void
set_rounded(ChsQuery *query, const Arrays *arrays)
{
	uint32_t n = query->model->code_dim;
	float unit = chs_round_to_int8(arrays->floats, n, arrays->q8);

	query->q8 = arrays->q8;
	query->q8_sum = sum_bytes(arrays->q8, n);
	query->dot_unit = 0.5f * unit;
	/* a rounding error is uniform on one unit: its variance is a twelfth */
	query->quant_err = unit * 0.288675135f;
}

/* The query on the grid of an L1 index; x may be arrays->floats. */
static void
set_levels(ChsQuery *query, const Arrays *arrays, const float *x)
{
	const ChsModel *model = query->model;
	double half = ((1 << model->bits) - 1) / 2.0;
	uint32_t i = 0;

	for (; i < model->dim; i++)
	{
		double level = ((double) x[i] - model->mean[i]) / model->step[i] + half;

		arrays->floats[i] = (float) fmin(fmax(level, -FLT_MAX), FLT_MAX);
	}
	for (; i < model->code_dim; i++)
		arrays->floats[i] = 0;
	query->l1.levels = arrays->floats;
}

/* The widths of the levels, padded with zeros. */
static void
set_l1(ChsQuery *query, const Arrays *arrays)
{
	const ChsModel *model = query->model;

	memcpy(arrays->step, model->step, model->dim * sizeof(float));
	memset(arrays->step + model->dim, 0,
		   (model->code_dim - model->dim) * sizeof(float));
	query->l1.step = arrays->step;
	query->l1.code_dim = model->code_dim;
}

/*
 * Centres and rotates a query of a coded index that is not L1.  An inner
 * product splits exactly along any multiple t of the mean, <q, x> =
 * <q - t mean, o> + t <mean, o> + <q, mean>, and only the first part is
 * estimated: t is chosen to make it small.  False when something overflows.
 * x may be arrays->floats.
 */
static bool
set_vector(ChsQuery *query, const Arrays *arrays, const float *x)
{
	const ChsModel *model = query->model;
	ChsCentred found;
	float weight = 1.0f;

	if (model->metric == CHS_METRIC_IP)
	{
		float product = chs_distance()->dot_f32(x, model->mean, model->dim);

		weight = model->mean_norm2 < FLT_MIN ? 0 : product / model->mean_norm2;
		query->key_const = -product;
		query->key_add = -weight;
	}
	chs_centre(model, x, query->scale, weight, arrays->floats, &found);
	if (!(found.norm2 <= FLT_MAX) || !(fabsf(query->key_const) <= FLT_MAX))
		return false;
	query->norm2 = found.norm2;
	set_formula(query);
	chs_rotate(arrays->floats, model->code_dim, model->seed);
	set_rounded(query, arrays);
	return true;
}

bool
chs_query_init(ChsQuery *query, void *mem, const ChsModel *model, const void *row)
{
	Arrays arrays = divide_memory(query, mem, model);
	const float *x;

	query->row = row;
	if (chs_codes_are_rows(model->row, model->bits))
		query->code = row;
	if (model->row == CHS_ROW_BIT)
		return model->metric != CHS_METRIC_JACCARD ||
			   chs_row_has_bits(model, row);

	x = chs_row_floats(model, row, arrays.floats);
	query->row_norm2 = chs_norm2(x, model->dim);
	if (!chs_input_scale(model->metric, query->row_norm2, &query->scale))
		return false;
	if (model->bits == CHS_BITS_NONE)
		return true;
	if (model->metric == CHS_METRIC_L1)
	{
		set_levels(query, &arrays, x);
		set_l1(query, &arrays);
		return true;
	}
	return set_vector(query, &arrays, x);
}

void
chs_query_exact(ChsQuery *query, const ChsModel *model, const void *row)
{
	memset(query, 0, sizeof(*query));
	query->model = model;
	query->row = row;
}

/*
 * A code's own values as int8, exactly: 2 c, which is odd and at most 15, up
 * to 4 bits, and c at 8 bits.
 */
static void
set_code(ChsQuery *query, const Arrays *arrays, const uint8_t *code, float scale)
{
	const ChsModel *model = query->model;
	uint32_t n = model->code_dim;
	uint8_t centre = (uint8_t) (chs_twice_centre(model->bits) / 2);
	uint8_t *bytes = (uint8_t *) arrays->q8;

	chs_unpack_values(code, n, model->bits, bytes);
	for (uint32_t i = 0; i < n; i += 16)
	{
		Bytes16 u = *(const Bytes16Mem *) (bytes + i);

		if (model->bits == 8)
			/* 0 is no level; -128 must not come out of a torn page */
			u = u - centre - (Bytes16) (u == 0);
		else
			u = u + u - (uint8_t) (2 * centre + 1);
		*(Bytes16Mem *) (bytes + i) = u;
	}
	query->q8 = arrays->q8;
	query->q8_sum = sum_bytes(arrays->q8, n);
	query->dot_unit = (model->bits == 8 ? 0.5f : 0.25f) * scale;
}

/* The levels of a code, as a query of an L1 index. */
static void
set_code_levels(ChsQuery *query, const Arrays *arrays, const uint8_t *code)
{
	const ChsModel *model = query->model;
	uint8_t *bytes = (uint8_t *) arrays->q8;

	chs_unpack_values(code, model->code_dim, model->bits, bytes);
	for (uint32_t i = 0; i < model->code_dim; i++)
		arrays->floats[i] = (float) bytes[i];
	query->l1.levels = arrays->floats;
	set_l1(query, arrays);
}

void
chs_query_from_code(ChsQuery *query, void *mem, const ChsModel *model,
					const uint8_t *code, const ChsFactors *factors)
{
	Arrays arrays = divide_memory(query, mem, model);

	query->from_code = true;
	query->scale = factors->scale;
	query->code_err = factors->err;
	if (chs_codes_are_rows(model->row, model->bits))
	{
		memcpy(arrays.q8, code, chs_model_code_bytes(model));
		query->code = arrays.q8;
		return;
	}
	if (model->metric == CHS_METRIC_L1)
	{
		set_code_levels(query, &arrays, code);
		return;
	}

	query->norm2 = factors->norm2;
	set_formula(query);
	if (model->metric == CHS_METRIC_IP)
	{
		query->key_const = -(factors->add + model->mean_norm2);
		query->key_add = -1.0f;
	}
	set_code(query, &arrays, code, factors->scale);
}
