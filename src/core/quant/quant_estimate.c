/*
 * quant_estimate.c
 *	  Estimated keys of many codes against one prepared query.
 *
 * The kernels give integers; this file turns them into keys and standard
 * deviations.  It must not know which instruction set made the integers.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/quant/quant.h"

#include <float.h>
#include <math.h>

#include "core/quant/quant_internal.h"

/* Codes a kernel call takes at most: its sums stay on the stack. */
#define CHUNK 64

/* What takes part in an order must be a number. */
static inline float
replace_not_finite(float key)
{
	return fabsf(key) <= FLT_MAX ? key : FLT_MAX;
}

/*
 * The standard deviation of an estimated key.  g is the estimated <o, q>.
 *
 * The code errs only across o, so what counts of the query is its part across
 * o, which is no longer than q and no longer than the distance from q to o.
 * The latter is itself estimated, hence the two err terms.
 */
static inline float
estimate_error(const ChsQuery *query, const ChsFactors *f, float g)
{
	/* double: squares of small vectors' errors would underflow */
	double n2 = f->norm2;
	double err2 = (double) f->err * f->err;
	double dims = query->model->code_dim - 1;
	double apart2 = query->norm2 + n2 - 2.0 * g;
	double reach = f->err + sqrt(err2 + (apart2 > 0 ? apart2 : 0));
	double variance;

	if (reach > query->norm)
		reach = query->norm;
	variance = err2 * reach * reach;
	/* |s c|^2 = |o|^2 / cos^2: the code's length, on which q8 is rounded */
	variance += (n2 + err2 * dims) * query->quant_err *
				(double) query->quant_err;
	variance += n2 * query->code_err * (double) query->code_err;
	return fabsf(query->key_dot) * (float) sqrt(variance);
}

/* Keys of the coded metrics from the kernel's sums. */
static void
finish_dots(const ChsQuery *query, const int32_t *sums,
			const ChsFactors *const *factors, int n, float *est, float *err)
{
	int32_t centre_sum = chs_twice_centre(query->model->bits) * query->q8_sum;

	for (int i = 0; i < n; i++)
	{
		const ChsFactors *f = factors[i];
		float g = query->dot_unit * f->scale *
				  (float) (2 * sums[i] - centre_sum);

		est[i] = replace_not_finite(
			query->key_const + query->key_norm2 * f->norm2 +
			query->key_add * f->add + query->key_dot * g);
		if (err != NULL)
			err[i] = replace_not_finite(estimate_error(query, f, g));
	}
}

/* Calls the kernel of the model's bits, a chunk of codes at a time. */
static void
estimate_dots(const ChsQuery *query, const uint8_t *const *codes,
			  const ChsFactors *const *factors, int n, float *est, float *err)
{
	const ChsQuantKernels *kernels = chs_quant();
	uint32_t code_dim = query->model->code_dim;
	int32_t sums[CHUNK];

	for (int i = 0; i < n; i += CHUNK)
	{
		int part = n - i < CHUNK ? n - i : CHUNK;

		switch (query->model->bits)
		{
			case 1:
				kernels->dot_u1(query->q8, codes + i, part, code_dim, sums);
				break;
			case 2:
				kernels->dot_u2(query->q8, codes + i, part, code_dim, sums);
				break;
			case 4:
				kernels->dot_u4(query->q8, codes + i, part, code_dim, sums);
				break;
			default:
				kernels->dot_u8(query->q8, codes + i, part, code_dim, sums);
				break;
		}
		finish_dots(query, sums, factors + i, part, est + i,
					err == NULL ? NULL : err + i);
	}
}

/*
 * L1.  Rows that are not sparse: where the query lies within a code's level, |q - x| of an x anywhere in
 * the level is a^2 + 1/4 in the mean, a + w^2 with w = 1/2 - a; elsewhere it
 * is a, in the mean exactly.  What x has outside the grid is nearly always
 * farther from the query and is added.
 *
 * All this takes x as independent of the query.  It is not when the two are
 * near-duplicates, or share an exact value such as 0 in many dimensions: the
 * true key may then be lower by all that stands within levels, the near sum,
 * and by twice what lies outside.  NEAR_SHARE of that is added to the standard
 * deviation, so that three of them cover it with a margin of a quarter.
 *
 * Sparse rows: nearly all values are 0, where a level stands, and nothing is
 * between levels but what the factors say: the true key differs by at most the
 * sum of the residuals, a third of which is added to the standard deviation.
 */
#define NEAR_SHARE (1 / 2.4)
#define RESIDUAL_SHARE (1 / 3.0)

static void
estimate_l1(const ChsQuery *query, const uint8_t *const *codes,
			const ChsFactors *const *factors, int n, float *est, float *err)
{
	const ChsQuantKernels *kernels = chs_quant();
	bool sparse = query->model->row == CHS_ROW_SPARSE;
	int bits = query->model->bits;

	for (int i = 0; i < n; i++)
	{
		const ChsFactors *f = factors[i];
		float sums[CHS_L1_SUMS];
		float key;
		double shared;

		kernels->l1_levels(&query->l1, codes[i], bits, sums);
		/* between codes the difference of levels alone: 0 for equal codes */
		key = query->from_code || sparse ? sums[CHS_L1_LEVELS]
										 : sums[CHS_L1_KEY] + f->add;
		est[i] = replace_not_finite(key);
		if (err == NULL)
			continue;
		shared = sparse ? f->add * RESIDUAL_SHARE
						: (sums[CHS_L1_NEAR] + 2.0 * f->add) * NEAR_SHARE;
		err[i] = replace_not_finite((float) sqrt(
			(double) f->err * f->err +
			(double) query->code_err * query->code_err + shared * shared));
	}
}

/*
 * What the sketches of rows add to the variance of their keys (README.md,
 * "Sparse rows"): the inner product p of rows of norms a and b has an sd of
 * (a b - p^2 / (a b)) / sqrt(D); the estimate tells p.  A sum of magnitudes can
 * only come out too small, which is no error of a bound.
 */
static void
add_sketch_errors(const ChsQuery *query, const ChsFactors *const *factors,
				  int n, const float *est, float *err)
{
	const ChsModel *model = query->model;
	bool cosine = model->metric == CHS_METRIC_COSINE;
	double query_norm2 = cosine ? 1.0 : query->row_norm2;

	if (model->metric == CHS_METRIC_L1)
		return;
	for (int i = 0; i < n; i++)
	{
		const ChsFactors *f = factors[i];
		/* |o + mean|^2; 1 under cosine */
		double norm2 = f->norm2 + 2.0 * f->add + model->mean_norm2;
		double product2 = norm2 * query_norm2;
		double p = -(double) est[i];
		double sd;

		if (cosine)
			p = 1.0 - est[i];
		else if (model->metric == CHS_METRIC_L2)
			p = 0.5 * (norm2 + query_norm2 - est[i]);
		if (!(product2 > p * p))
			continue; /* parallel, as far as one can tell */
		sd = query->key_dot * (product2 - p * p) / sqrt(product2 * model->dim);
		err[i] = replace_not_finite(
			(float) sqrt((double) err[i] * err[i] + sd * sd));
	}
}

/* ---- codes that are rows: exact keys, by the distance kernels ---- */

static void
compare_floats(const ChsQuery *query, const uint8_t *const *codes,
			   const ChsFactors *const *factors, int n, float *est)
{
	const ChsDistanceKernels *kernels = chs_distance();
	const float *q = query->code;
	size_t dim = query->model->dim;

	for (int i = 0; i < n; i++)
	{
		const float *x = (const float *) codes[i];

		switch (query->model->metric)
		{
			case CHS_METRIC_IP:
				est[i] = -kernels->dot_f32(q, x, dim);
				break;
			case CHS_METRIC_COSINE:
				est[i] = 1.0f - kernels->dot_f32(q, x, dim) * query->scale *
									factors[i]->scale;
				break;
			case CHS_METRIC_L1:
				est[i] = kernels->l1_f32(q, x, dim);
				break;
			default:
				est[i] = kernels->l2sq_f32(q, x, dim);
				break;
		}
	}
}

static void
compare_halves(const ChsQuery *query, const uint8_t *const *codes,
			   const ChsFactors *const *factors, int n, float *est)
{
	const ChsHalfKernels *kernels = chs_distance()->half;
	const ChsHalf *q = query->code;
	size_t dim = query->model->dim;

	for (int i = 0; i < n; i++)
	{
		const ChsHalf *x = (const ChsHalf *) codes[i];

		switch (query->model->metric)
		{
			case CHS_METRIC_IP:
				est[i] = -kernels->dot_f16(q, x, dim);
				break;
			case CHS_METRIC_COSINE:
				est[i] = 1.0f - kernels->dot_f16(q, x, dim) * query->scale *
									factors[i]->scale;
				break;
			case CHS_METRIC_L1:
				est[i] = kernels->l1_f16(q, x, dim);
				break;
			default:
				est[i] = kernels->l2sq_f16(q, x, dim);
				break;
		}
	}
}

static void
compare_bits(const ChsQuery *query, const uint8_t *const *codes, int n,
			 float *est)
{
	const ChsBitKernels *kernels = chs_distance()->bit;
	size_t bytes = chs_model_code_bytes(query->model);
	uint64_t counts[2];

	if (query->model->metric == CHS_METRIC_HAMMING)
	{
		for (int i = 0; i < n; i++)
			est[i] = (float) kernels->hamming_bit(query->code, codes[i], bytes);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		kernels->overlap_bit(query->code, codes[i], bytes, counts);
		est[i] = counts[0] == 0
					 ? 1.0f
					 : (float) (1.0 - (double) counts[0] / (double) counts[1]);
	}
}

/* The exact keys; err, if it is not NULL, becomes 0. */
static void
compare_rows(const ChsQuery *query, const uint8_t *const *codes,
			 const ChsFactors *const *factors, int n, float *est, float *err)
{
	if (query->model->row == CHS_ROW_BIT)
		compare_bits(query, codes, n, est);
	else if (query->model->row == CHS_ROW_HALF)
		compare_halves(query, codes, factors, n, est);
	else
		compare_floats(query, codes, factors, n, est);
	for (int i = 0; i < n; i++)
		est[i] = replace_not_finite(est[i]);
	for (int i = 0; err != NULL && i < n; i++)
		err[i] = 0;
}

void
chs_estimate(const ChsQuery *query, const uint8_t *const *codes,
			 const ChsFactors *const *factors, int n, float *est, float *err)
{
	const ChsModel *model = query->model;

	if (chs_codes_are_rows(model->row, model->bits))
	{
		compare_rows(query, codes, factors, n, est, err);
		return;
	}
	if (model->metric == CHS_METRIC_L1)
		estimate_l1(query, codes, factors, n, est, err);
	else
		estimate_dots(query, codes, factors, n, est, err);
	if (err != NULL && chs_is_sketched(model))
		add_sketch_errors(query, factors, n, est, err);
}
