/*
 * quant_encode.c
 *	  One row to one code and its factors: the path of build and insert.
 *
 * The loops over floats are written once and compiled for the plain processor
 * and for AVX2 (see quant_vec.h), so that one machine never makes two codes of
 * one vector.
 *
 * Papers: Gao & Long 2024 (RaBitQ), Gao et al. 2025 (several bits); README.md
 * says what differs.
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

/* A choice of step and how well its code fits: <c, o> and |c|^2. */
typedef struct Fit
{
	float inv_step;
	float dot;
	float norm2;
} Fit;

/* |x|^2 of dim floats. */
CHS_ALWAYS_INLINE float
norm2_body(const float *x, uint32_t dim)
{
	ChsV8 sum0 = {0};
	ChsV8 sum1 = {0};
	float rest = 0;
	uint32_t i = 0;

	for (; i + 16 <= dim; i += 16)
	{
		ChsV8 a = CHS_LOAD8(x + i);
		ChsV8 b = CHS_LOAD8(x + i + 8);

		sum0 += a * a;
		sum1 += b * b;
	}
	for (; i < dim; i++)
		rest += x[i] * x[i];
	sum0 += sum1;
	return chs_sum8(&sum0) + rest;
}

/* See chs_centre. */
CHS_ALWAYS_INLINE void
centre_body(const ChsModel *model, const float *x, float scale, float weight,
			float *o, ChsCentred *found)
{
	ChsV8 norm2 = {0};
	ChsV8 add = {0};
	float rest_norm2 = 0;
	float rest_add = 0;
	uint32_t i = 0;

	for (; i + 8 <= model->dim; i += 8)
	{
		ChsV8 mean = CHS_LOAD8(model->mean + i);
		ChsV8 value = CHS_LOAD8(x + i) * CHS_SPLAT8(scale) -
					  mean * CHS_SPLAT8(weight);

		norm2 += value * value;
		add += value * mean;
		CHS_STORE8(o + i, value);
	}
	for (; i < model->dim; i++)
	{
		o[i] = x[i] * scale - model->mean[i] * weight;
		rest_norm2 += o[i] * o[i];
		rest_add += o[i] * model->mean[i];
	}
	memset(o + i, 0, (model->code_dim - i) * sizeof(float));
	found->norm2 = chs_sum8(&norm2) + rest_norm2;
	found->add = chs_sum8(&add) + rest_add;
}

/*
 * The levels of a code in lanes: value / step + shift, clamped to low .. top
 * and cut to an integer, is the level; level - centre is the code's c.
 */
typedef struct Grid
{
	float shift;
	float low;
	float top;
	float centre;
} Grid;

/*
 * Up to 4 bits c are the half-integers around 0; at 8 bits they are -127 ..
 * 127, so that a code fits int8 when it is itself the query.
 */
CHS_ALWAYS_INLINE Grid
describe_grid(int bits)
{
	Grid grid;

	grid.top = (float) ((1 << bits) - 1);
	grid.low = bits == 8 ? 1.0f : 0.0f;
	grid.centre = 0.5f * (float) chs_twice_centre(bits);
	grid.shift = grid.centre + 0.5f;
	return grid;
}

#define ROUND_LEVELS(value, inv_step, grid, out) \
	do \
	{ \
		ChsV8 t_ = (value) * (inv_step) + CHS_SPLAT8((grid).shift); \
		t_ = CHS_SELECT8(t_ > CHS_SPLAT8((grid).top), CHS_SPLAT8((grid).top), \
						 t_); \
		t_ = CHS_SELECT8(t_ > CHS_SPLAT8((grid).low), t_, \
						 CHS_SPLAT8((grid).low)); \
		(out) = __builtin_convertvector(t_, ChsV8i); \
	} while (0)

/* How well the code with this step fits; o has n floats. */
CHS_ALWAYS_INLINE void
fit_body(const float *o, uint32_t n, int bits, Fit *fit)
{
	Grid grid = describe_grid(bits);
	ChsV8 inv_step = CHS_SPLAT8(fit->inv_step);
	ChsV8 dot = {0};
	ChsV8 norm2 = {0};

	for (uint32_t i = 0; i < n; i += 8)
	{
		ChsV8 value = CHS_LOAD8(o + i);
		ChsV8i level;
		ChsV8 c;

		ROUND_LEVELS(value, inv_step, grid, level);
		c = __builtin_convertvector(level, ChsV8) - CHS_SPLAT8(grid.centre);
		dot += c * value;
		norm2 += c * c;
	}
	fit->dot = chs_sum8(&dot);
	fit->norm2 = chs_sum8(&norm2);
}

/* The levels themselves, one byte each. */
CHS_ALWAYS_INLINE void
levels_body(const float *o, uint32_t n, int bits, float inv_step, uint8_t *values)
{
	Grid grid = describe_grid(bits);
	ChsV8 inv = CHS_SPLAT8(inv_step);

	for (uint32_t i = 0; i < n; i += 8)
	{
		ChsV8i level;

		ROUND_LEVELS(CHS_LOAD8(o + i), inv, grid, level);
		chs_store_bytes(values + i, &level);
	}
}

/*
 * The grids tried for a code: half-widths in standard deviations of the
 * rotated vector's coordinates.  Spaced around the optimum for a Gaussian
 * (1.99, 2.68 and 3.94 at 2, 4 and 8 bits), because rotated coordinates are
 * nearly that; five choices come within 1 % (8 bits: 10 %) of the squared
 * error that 2,000 choices reach at 768 dimensions.
 */
#define REACHES 5

static const float reaches_2[REACHES] = {1.70f, 1.85f, 2.00f, 2.15f, 2.30f};
static const float reaches_4[REACHES] = {2.20f, 2.45f, 2.70f, 2.95f, 3.20f};
static const float reaches_8[REACHES] = {3.00f, 3.40f, 3.80f, 4.20f, 4.60f};

/* One bit is the sign: every step gives the same code. */
static const float reaches_1[1] = {1.0f};

/*
 * Chooses the step whose code has the largest cosine with o and writes its
 * levels.  o has n floats and squared length norm2 > 0.
 */
CHS_ALWAYS_INLINE void
quantize_body(const float *o, uint32_t n, int bits, float norm2,
			  uint8_t *values, Fit *best)
{
	const float *reaches = bits == 1   ? reaches_1
						   : bits == 2 ? reaches_2
						   : bits == 4 ? reaches_4
									   : reaches_8;
	float unit = (float) (sqrt((double) n / norm2) * (1 << (bits - 1)));
	double best_fit = -1;

	for (int i = 0; i < (bits == 1 ? 1 : REACHES); i++)
	{
		Fit fit = {unit / reaches[i], 0, 0};
		double squared;

		fit_body(o, n, bits, &fit);
		squared = (double) fit.dot * fit.dot / fit.norm2;
		if (squared > best_fit)
		{
			best_fit = squared;
			*best = fit;
		}
	}
	levels_body(o, n, bits, best->inv_step, values);
}

/* The shared bodies, compiled for the plain processor. */

static float
norm2_plain(const float *x, uint32_t dim)
{
	return norm2_body(x, dim);
}

static void
centre_plain(const ChsModel *model, const float *x, float scale, float weight,
			 float *o, ChsCentred *found)
{
	centre_body(model, x, scale, weight, o, found);
}

static void
quantize_plain(const float *o, uint32_t n, int bits, float norm2,
			   uint8_t *values, Fit *best)
{
	quantize_body(o, n, bits, norm2, values, best);
}

#if defined(CHS_QUANT_HAVE_AVX2_BODY)

/* The same, compiled for AVX2. */

CHS_TARGET_AVX2 static float
norm2_avx2(const float *x, uint32_t dim)
{
	return norm2_body(x, dim);
}

CHS_TARGET_AVX2 static void
centre_avx2(const ChsModel *model, const float *x, float scale, float weight,
			float *o, ChsCentred *found)
{
	centre_body(model, x, scale, weight, o, found);
}

CHS_TARGET_AVX2 static void
quantize_avx2(const float *o, uint32_t n, int bits, float norm2,
			  uint8_t *values, Fit *best)
{
	quantize_body(o, n, bits, norm2, values, best);
}

#else

static inline int
chs_use_avx2_body(void)
{
	return 0;
}

#define norm2_avx2 norm2_plain
#define centre_avx2 centre_plain
#define quantize_avx2 quantize_plain

#endif

float
chs_norm2(const float *x, uint32_t dim)
{
	return chs_use_avx2_body() ? norm2_avx2(x, dim) : norm2_plain(x, dim);
}

void
chs_centre(const ChsModel *model, const float *x, float scale, float weight,
		   float *o, ChsCentred *found)
{
	if (chs_use_avx2_body())
		centre_avx2(model, x, scale, weight, o, found);
	else
		centre_plain(model, x, scale, weight, o, found);
}

bool
chs_input_scale(ChsMetric metric, float norm2, float *scale)
{
	*scale = 1.0f;
	/* written so that NaN fails too */
	if (!(norm2 <= FLT_MAX))
		return false;
	if (metric != CHS_METRIC_COSINE)
		return true;
	/* a denormal square has lost the digits that make a direction */
	if (norm2 < FLT_MIN)
		return false;
	*scale = (float) (1.0 / sqrt((double) norm2));
	return true;
}

/*
 * Steps beyond the outermost level from where on a value counts as outside the
 * grid.  Nearer ones are made up for by those that lie inside the outermost
 * levels, off their middle: that is how the grid was chosen.
 */
#define L1_OUTSIDE 1.0

/*
 * Codes of an L1 index: each dimension on its own grid.  The vector's values
 * are finite.
 */
static bool
encode_l1(const ChsModel *model, const float *vector, uint8_t *values,
		  ChsFactors *factors)
{
	double top = (1 << model->bits) - 1;
	double err2 = 0;
	double outside = 0;
	/* of sparse rows the factor is the sum of all residuals */
	double far = model->row == CHS_ROW_SPARSE ? 0 : L1_OUTSIDE;

	memset(values, 0, model->code_dim);
	for (uint32_t i = 0; i < model->dim; i++)
	{
		double level = ((double) vector[i] - model->mean[i]) / model->step[i] +
					   top / 2;
		double nearest = fmin(fmax(floor(level + 0.5), 0.0), top);
		double residual = fabs(level - nearest) * model->step[i];

		values[i] = (uint8_t) nearest;
		err2 += residual * residual;
		if (fabs(level - nearest) > far)
			outside += residual;
	}
	factors->err = (float) sqrt(err2);
	factors->add = (float) outside;
	return true;
}

/*
 * Codes of the other metrics.  o is scratch for code_dim floats, values for as
 * many bytes.  False when the centred vector's norm overflows.
 */
static bool
encode_rotated(const ChsModel *model, const float *vector, float scale,
			   float *o, uint8_t *values, ChsFactors *factors)
{
	uint32_t n = model->code_dim;
	ChsCentred found;
	Fit fit;
	double cos2;

	chs_centre(model, vector, scale, 1.0f, o, &found);
	if (!(found.norm2 <= FLT_MAX) || !(fabsf(found.add) <= FLT_MAX))
		return false;
	if (model->metric == CHS_METRIC_IP || chs_is_sketched(model))
		factors->add = found.add;

	/*
	 * The mean itself, or nearer to it than a float's square can tell: the
	 * scale stays 0, the code counts for nothing.
	 */
	memset(values, chs_twice_centre(model->bits) / 2, n);
	if (found.norm2 < FLT_MIN)
		return true;

	chs_rotate(o, n, model->seed);
	if (chs_use_avx2_body())
		quantize_avx2(o, n, model->bits, found.norm2, values, &fit);
	else
		quantize_plain(o, n, model->bits, found.norm2, values, &fit);

	cos2 = (double) fit.dot / fit.norm2 * fit.dot / found.norm2;
	cos2 = fmin(cos2, 1.0);
	factors->norm2 = found.norm2;
	factors->scale = (float) ((double) found.norm2 / fit.dot);
	factors->err = (float) sqrt(found.norm2 * (1 - cos2) /
								(cos2 * (double) (n - 1)));
	return true;
}

/* Bit strings are their codes. */
static bool
encode_bits(const ChsModel *model, const void *row, uint8_t *code)
{
	memcpy(code, row, chs_model_code_bytes(model));
	return model->metric != CHS_METRIC_JACCARD || chs_row_has_bits(model, row);
}

/* Codes of a row that is, or becomes, floats; scratch as chs_encode has it. */
static bool
encode_floats(const ChsModel *model, const void *row, void *scratch,
			  uint8_t *code, ChsFactors *factors)
{
	float *o = scratch;
	uint8_t *values = (uint8_t *) (o + model->code_dim);
	const float *x = chs_row_floats(model, row, o);
	float scale;
	bool ok;

	if (!chs_input_scale(model->metric, chs_norm2(x, model->dim), &scale))
		return false;
	if (model->bits == CHS_BITS_NONE)
	{
		factors->scale = scale;
		memcpy(code, row, chs_model_code_bytes(model));
		return true;
	}
	/* x may be o: each value is read before its place is written */
	if (model->metric == CHS_METRIC_L1)
		ok = encode_l1(model, x, values, factors);
	else
		ok = encode_rotated(model, x, scale, o, values, factors);
	if (ok)
		chs_pack_values(values, model->code_dim, model->bits, code);
	return ok;
}

size_t
chs_encode_scratch_bytes(const ChsModel *model)
{
	if (model->row == CHS_ROW_BIT)
		return 64;
	return (size_t) model->code_dim * (sizeof(float) + 1);
}

bool
chs_encode(const ChsModel *model, const void *row, void *scratch,
		   uint8_t *code, ChsFactors *factors)
{
	bool ok;

	memset(factors, 0, sizeof(*factors));
	if (model->row == CHS_ROW_BIT)
		ok = encode_bits(model, row, code);
	else
		ok = encode_floats(model, row, scratch, code, factors);
	if (!ok)
	{
		memset(factors, 0, sizeof(*factors));
		memset(code, 0, chs_model_code_bytes(model));
	}
	return ok;
}
