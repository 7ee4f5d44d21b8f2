/*
 * test_quant.c
 *	  Rotation, training and encoding: what a code and its factors promise.
 *
 * How good the estimates are is test_quant_estimate.c's business; the kernels
 * are test_quant_kernels.c's.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/quant/quant.h"
#include "core/quant/quant_internal.h"
#include "core/quant/quant_pack.h"
#include "core/quant/quant_rotate.h"

#include "arena_malloc.h"
#include "unit.h"

#define COUNT(array) ((int) (sizeof(array) / sizeof((array)[0])))

static const uint32_t all_dims[] = {
	1, 2, 3, 63, 64, 65, 127, 128, 200, 384, 768, 784, 960, 1536, 4100, 16000};
static const int all_bits[] = {1, 2, 4, 8};

static float
draw_gauss(ChsRng *rng)
{
	double a = chs_unit_from_bits(chs_rng_next(rng));
	double b = chs_unit_from_bits(chs_rng_next(rng));

	return (float) (sqrt(-2 * log(a)) * cos(6.283185307179586 * b));
}

static float *
draw_rows(size_t rows, uint32_t dim, uint64_t seed, ChsArena *arena)
{
	float *values = chs_alloc(arena, rows * dim * sizeof(float));
	ChsRng rng = {seed};

	for (size_t i = 0; i < rows * dim; i++)
		values[i] = draw_gauss(&rng);
	return values;
}

static double
multiply(const float *a, const float *b, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

/* A model over arrays of the arena, trained on the rows. */
static ChsModel
train(ChsMetric metric, int bits, uint32_t dim, const float *rows, size_t n,
	  ChsArena *arena)
{
	ChsModel model = {
		.metric = metric, .bits = (uint8_t) bits, .dim = dim, .seed = 7};

	chs_model_train(&model, chs_alloc(arena, dim * sizeof(float)),
					chs_alloc(arena, dim * sizeof(float)), rows, n, arena);
	return model;
}

/* Lengths and inner products stay; one coordinate spreads over all. */
static void
test_rotation(ChsArena *arena)
{
	for (int d = 0; d < COUNT(all_dims); d++)
	{
		uint32_t dim = all_dims[d];
		uint32_t n = chs_code_dim(dim);
		float *a = chs_alloc_zero(arena, n * sizeof(float));
		float *b = chs_alloc_zero(arena, n * sizeof(float));
		float *unit = chs_alloc_zero(arena, n * sizeof(float));
		float *rows = draw_rows(2, dim, dim, arena);
		double norm;
		double product;
		float largest = 0;

		CHECK(n % 64 == 0 && n >= dim && n < dim + 64);
		memcpy(a, rows, dim * sizeof(float));
		memcpy(b, rows + dim, dim * sizeof(float));
		norm = multiply(a, a, n);
		product = multiply(a, b, n);
		chs_rotate(a, n, 3);
		chs_rotate(b, n, 3);
		CHECK_NEAR(multiply(a, a, n), norm, 1e-5 * norm);
		CHECK_NEAR(multiply(a, b, n), product, 1e-5 * norm);
		CHECK(memcmp(a, rows, dim * sizeof(float)) != 0);

		/* a Gaussian would reach about 4.5 of these units */
		unit[dim - 1] = 1;
		chs_rotate(unit, n, 3);
		for (uint32_t i = 0; i < n; i++)
			largest = fmaxf(largest, fabsf(unit[i]));
		CHECK(largest * sqrtf((float) n) < 6.0f);
		arena_malloc_reset(arena);
	}
}

/* Another seed is another rotation; the same seed is the same one. */
static void
test_rotation_seed(ChsArena *arena)
{
	float *a = draw_rows(1, 192, 1, arena);
	float *b = draw_rows(1, 192, 1, arena);
	float *c = draw_rows(1, 192, 1, arena);

	chs_rotate(a, 192, 5);
	chs_rotate(b, 192, 5);
	chs_rotate(c, 192, 6);
	CHECK(memcmp(a, b, 192 * sizeof(float)) == 0);
	CHECK(fabs(multiply(a, c, 192)) < 0.5 * multiply(a, a, 192));
	arena_malloc_reset(arena);
}

/* Rotations and codes are the same bytes whatever set is in force. */
static void
test_same_on_every_set(ChsArena *arena)
{
	for (int d = 0; d < COUNT(all_dims); d++)
	{
		uint32_t dim = all_dims[d];
		float *rows = draw_rows(20, dim, dim + 1, arena);

		for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
			for (int b = 0; b < 4; b++)
			{
				size_t bytes = chs_code_bytes(dim, all_bits[b]);
				uint8_t *want = chs_alloc(arena, bytes);
				uint8_t *got = chs_alloc(arena, bytes);
				ChsModel model = train((ChsMetric) metric, all_bits[b], dim,
									   rows, 20, arena);
				void *scratch = chs_alloc(arena,
										  chs_encode_scratch_bytes(&model));
				ChsFactors want_factors;
				ChsFactors factors;

				CHECK(chs_isa_force(CHS_ISA_SCALAR));
				CHECK(chs_encode(&model, rows, scratch, want, &want_factors));
				for (int isa = 0; isa < CHS_ISA_COUNT; isa++)
				{
					if (!chs_isa_force((ChsIsa) isa))
						continue;
					CHECK(chs_encode(&model, rows, scratch, got, &factors));
					CHECK(memcmp(got, want, bytes) == 0);
					CHECK(memcmp(&factors, &want_factors, sizeof(factors)) == 0);
				}
			}
		arena_malloc_reset(arena);
	}
}

static void
test_sizes(void)
{
	CHECK_EQ(chs_code_dim(1), 64);
	CHECK_EQ(chs_code_dim(64), 64);
	CHECK_EQ(chs_code_dim(65), 128);
	CHECK_EQ(chs_code_bytes(784, 1), 104);
	CHECK_EQ(chs_code_bytes(784, 2), 208);
	CHECK_EQ(chs_code_bytes(784, 4), 416);
	CHECK_EQ(chs_code_bytes(784, 8), 832);
	CHECK_EQ(chs_code_bytes(784, CHS_BITS_NONE), 3136);
}

/* The mean is that of the rows that can be encoded, to the last digit. */
static void
test_mean(ChsArena *arena)
{
	uint32_t dim = 67;
	size_t n = 50;
	float *rows = draw_rows(n, dim, 11, arena);
	ChsModel model;

	/* three rows that chs_encode refuses, one of them only under cosine */
	rows[3 * dim + 5] = NAN;
	rows[4 * dim + 5] = -INFINITY;
	rows[5 * dim + 5] = 3e38f;
	memset(rows + 6 * dim, 0, dim * sizeof(float));

	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
	{
		bool cosine = metric == CHS_METRIC_COSINE;
		double norm2 = 0;

		model = train((ChsMetric) metric, 4, dim, rows, n, arena);
		for (uint32_t i = 0; i < dim; i++)
		{
			double sum = 0;

			for (size_t r = 0; r < n; r++)
			{
				const float *row = rows + r * dim;

				if ((r >= 3 && r <= 5) || (cosine && r == 6))
					continue;
				sum += cosine ? row[i] / sqrt(multiply(row, row, dim)) : row[i];
			}
			sum /= (double) n - (cosine ? 4 : 3);
			CHECK_NEAR(model.mean[i], sum, 1e-7 * (fabs(sum) + 0.01));
			norm2 += (double) model.mean[i] * model.mean[i];
		}
		CHECK_EQ(model.code_dim, 128);
		CHECK_NEAR(model.mean_norm2, norm2, 1e-6 * norm2);
		CHECK((metric == CHS_METRIC_L1) == (model.step != NULL));
	}

	model = train(CHS_METRIC_L1, 4, dim, rows, 0, arena);
	for (uint32_t i = 0; i < dim; i++)
		CHECK(model.mean[i] == 0 && model.step[i] == 1);
	arena_malloc_reset(arena);
}

/* What chs_model_finish makes of the stored parts is what training made. */
static void
test_finish(ChsArena *arena)
{
	float *rows = draw_rows(30, 100, 12, arena);
	ChsModel model = train(CHS_METRIC_IP, 2, 100, rows, 30, arena);
	ChsModel again = {.metric = CHS_METRIC_IP,
					  .bits = 2,
					  .dim = 100,
					  .seed = 7,
					  .mean = model.mean};

	chs_model_finish(&again);
	CHECK_EQ(again.code_dim, model.code_dim);
	CHECK(again.mean_norm2 == model.mean_norm2);
	arena_malloc_reset(arena);
}

/* 1 - cos^2 of code and vector that a Gaussian vector must reach, with slack. */
static double
largest_loss(int bits)
{
	return bits == 1 ? 0.42 : bits == 2 ? 0.135 : bits == 4 ? 0.0135 : 1.3e-4;
}

/* The factors are what quant.h says, worked out again from the code. */
static void
check_factors(const ChsModel *model, const float *vector, const uint8_t *code,
			  const ChsFactors *factors)
{
	static float o[16384];
	static uint8_t values[16384];
	uint32_t n = model->code_dim;
	double centre = chs_twice_centre(model->bits) / 2.0;
	double norm = sqrt(multiply(vector, vector, model->dim));
	double o_norm2;
	double dot = 0;
	double code_norm2 = 0;
	double cos2;
	double add;

	memset(o, 0, sizeof(o));
	for (uint32_t i = 0; i < model->dim; i++)
		o[i] = (float) (vector[i] /
							(model->metric == CHS_METRIC_COSINE ? norm : 1) -
						model->mean[i]);
	add = multiply(o, model->mean, model->dim);
	o_norm2 = multiply(o, o, n);
	chs_rotate(o, n, model->seed);
	chs_unpack_values(code, n, model->bits, values);
	for (uint32_t i = 0; i < n; i++)
	{
		dot += o[i] * (values[i] - centre);
		code_norm2 += (values[i] - centre) * (values[i] - centre);
	}
	cos2 = dot * dot / (o_norm2 * code_norm2);
	CHECK_NEAR(factors->norm2, o_norm2, 1e-5 * o_norm2);
	CHECK_NEAR(factors->scale, o_norm2 / dot, 1e-4 * fabs(o_norm2 / dot));
	CHECK_NEAR(factors->err,
			   sqrt(o_norm2 * fmax(1 - cos2, 0) / (cos2 * (n - 1))),
			   1e-3 * sqrt(o_norm2));
	CHECK_NEAR(factors->add, model->metric == CHS_METRIC_IP ? add : 0,
			   1e-4 * (fabs(add) + sqrt(o_norm2)));
	/* below this the loss of one vector varies too much */
	if (model->dim >= 384)
		CHECK(1 - cos2 < largest_loss(model->bits));
}

static void
test_factors(ChsArena *arena)
{
	for (int d = 0; d < COUNT(all_dims); d++)
	{
		uint32_t dim = all_dims[d];
		float *rows = draw_rows(12, dim, dim + 3, arena);

		for (int metric = 0; metric < CHS_METRIC_L1; metric++)
			for (int b = 0; b < 4; b++)
			{
				ChsModel model = train((ChsMetric) metric, all_bits[b], dim,
									   rows, 10, arena);
				uint8_t *code = chs_alloc(arena,
										  chs_code_bytes(dim, all_bits[b]));
				void *scratch = chs_alloc(arena,
										  chs_encode_scratch_bytes(&model));
				ChsFactors factors;

				for (int r = 9; r < 12; r++)
				{
					const float *row = rows + (size_t) r * dim;

					CHECK(chs_encode(&model, row, scratch, code, &factors));
					check_factors(&model, row, code, &factors);
				}
			}
		arena_malloc_reset(arena);
	}
}

/* A model, one code, one query: what the tests of single vectors need. */
typedef struct Single
{
	ChsModel model;
	ChsFactors factors;
	ChsQuery query;
	uint8_t *code;
	void *scratch;
	void *query_mem;
} Single;

static Single
make_single(ChsMetric metric, int bits, uint32_t dim, const float *mean,
			ChsArena *arena)
{
	Single single;

	memset(&single, 0, sizeof(single));
	single.model = train(metric, bits, dim, mean, 1, arena);
	single.code = chs_alloc(arena, chs_code_bytes(dim, bits));
	single.scratch = chs_alloc(arena, chs_encode_scratch_bytes(&single.model));
	single.query_mem = chs_alloc(arena, chs_query_bytes(&single.model));
	return single;
}

static bool
encode_single(Single *single, const float *vector)
{
	return chs_encode(&single->model, vector, single->scratch, single->code,
					  &single->factors);
}

/* The estimated key of a query and the code; NaN when the query is refused. */
static float
estimate_single(Single *single, const float *query, float *err)
{
	const uint8_t *code = single->code;
	const ChsFactors *factors = &single->factors;
	float est;

	if (!chs_query_init(&single->query, single->query_mem, &single->model, query))
		return NAN;
	chs_estimate(&single->query, &code, &factors, 1, &est, err);
	return est;
}

/* Vectors that cannot be encoded leave zeros behind and are refused. */
static void
test_refused(ChsArena *arena)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, 2e19f};

	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
		for (int b = 0; b < 5; b++)
		{
			int bits = b == 4 ? CHS_BITS_NONE : all_bits[b];
			float *row = draw_rows(1, 70, 5, arena);
			Single single = make_single((ChsMetric) metric, bits, 70, row,
										arena);
			ChsFactors zero = {0, 0, 0, 0};

			for (int i = 0; i < COUNT(bad); i++)
			{
				float kept = row[69];

				row[69] = bad[i];
				memset(single.code, 1, chs_code_bytes(70, bits));
				CHECK(!encode_single(&single, row));
				CHECK(memcmp(&single.factors, &zero, sizeof(zero)) == 0);
				for (size_t j = 0; j < chs_code_bytes(70, bits); j++)
					CHECK_EQ(single.code[j], 0);
				CHECK(!chs_query_init(&single.query, single.query_mem,
									  &single.model, row));
				row[69] = kept;
			}
			memset(row, 0, 70 * sizeof(float));
			CHECK(encode_single(&single, row) == (metric != CHS_METRIC_COSINE));
			CHECK(chs_query_init(&single.query, single.query_mem, &single.model,
								 row) == (metric != CHS_METRIC_COSINE));
		}
	arena_malloc_reset(arena);
}

/* Zero, constant, tiny and large vectors, and the mean itself. */
static void
test_special_vectors(ChsArena *arena)
{
	static const float sizes[] = {0, 1e-42f, 1e-30f, 1e-12f, 1, 1e9f, 1e17f};
	uint32_t dim = 100;
	float *mean = chs_alloc_zero(arena, dim * sizeof(float));
	float *constant = chs_alloc(arena, dim * sizeof(float));
	float *half = chs_alloc(arena, dim * sizeof(float));

	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
		for (int b = 0; b < 4; b++)
			for (int s = 0; s < COUNT(sizes); s++)
			{
				Single single = make_single((ChsMetric) metric, all_bits[b],
											dim, mean, arena);
				double key;
				float err;
				float est;

				for (uint32_t i = 0; i < dim; i++)
				{
					constant[i] = sizes[s];
					half[i] = (i % 2 == 0 ? 0.5f : -0.25f) * sizes[s];
				}
				if (metric == CHS_METRIC_COSINE && sizes[s] < 1e-18f)
				{
					CHECK(!encode_single(&single, constant));
					continue;
				}
				CHECK(encode_single(&single, constant));
				est = estimate_single(&single, half, &err);
				key = chs_distance_key((ChsMetric) metric, half, constant, dim);
				CHECK(isfinite(est) && isfinite(err) && err >= 0);
				/*
				 * 6 sd, or what a float loses on values of this size, or half
				 * of the least step of an L1 grid (1e-30) per dimension
				 */
				CHECK_NEAR(est, key,
						   6 * (double) err + 1e-5 * fabs(key) +
							   (metric == CHS_METRIC_L1 ? 1e-28 : 1e-36));
			}
	arena_malloc_reset(arena);
}

/* An estimate that overflows is FLT_MAX, never NaN or infinity. */
static void
test_overflow(ChsArena *arena)
{
	uint32_t dim = 64;
	float *row = chs_alloc(arena, dim * sizeof(float));
	float *mean = chs_alloc_zero(arena, dim * sizeof(float));

	for (int b = 0; b < 5; b++)
	{
		int bits = b == 4 ? CHS_BITS_NONE : all_bits[b];
		Single single = make_single(CHS_METRIC_L2, bits, dim, mean, arena);
		float err = -1;

		for (uint32_t i = 0; i < dim; i++)
			row[i] = 2e18f;
		CHECK(encode_single(&single, row));
		for (uint32_t i = 0; i < dim; i++)
			row[i] = -2e18f;
		CHECK(estimate_single(&single, row, &err) == FLT_MAX);
		CHECK(err >= 0 && err <= FLT_MAX);
		single.factors.norm2 = NAN;
		single.factors.scale = INFINITY;
		if (bits != CHS_BITS_NONE)
			CHECK(estimate_single(&single, row, &err) == FLT_MAX);
	}
	arena_malloc_reset(arena);
}

/* One dimension rotates onto one direction: estimates are nearly exact. */
static void
test_one_dimension(ChsArena *arena)
{
	float rows[] = {1.5f, -2.5f, 4.0f, 0.25f};

	for (int b = 0; b < 4; b++)
	{
		Single single = make_single(CHS_METRIC_L2, all_bits[b], 1, rows, arena);

		single.model = train(CHS_METRIC_L2, all_bits[b], 1, rows, 4, arena);
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < 4; j++)
			{
				double key = (double) (rows[i] - rows[j]) * (rows[i] - rows[j]);

				CHECK(encode_single(&single, rows + i));
				CHECK_NEAR(estimate_single(&single, rows + j, NULL), key,
						   0.1 + 0.01 * key);
			}
	}
	arena_malloc_reset(arena);
}

/*
 * The L1 grid is each dimension's own: a dimension a million times wider must
 * not blur the others, a constant one costs nothing, and a value outside the
 * grid is still counted.
 */
static void
test_l1_grid(ChsArena *arena)
{
	uint32_t dim = 40;
	size_t n = 400;
	float *rows = draw_rows(n, dim, 21, arena);
	float query[40];
	float outlier[40];
	ChsModel model;
	Single single;

	for (size_t r = 0; r < n; r++)
	{
		rows[r * dim + 1] *= 1e6f;
		rows[r * dim + 2] = 3.5f;
		rows[r * dim + 3] = (float) (r % 2);
	}
	model = train(CHS_METRIC_L1, 4, dim, rows, n, arena);
	CHECK(model.step[1] > 1e5f * model.step[0]);
	CHECK(model.step[0] > 0.2f && model.step[0] < 0.6f);
	CHECK(model.step[2] < 1e-4f);
	/* a two-valued dimension: both values hit to a tenth of their distance */
	CHECK(model.step[3] < 0.2f);

	single = make_single(CHS_METRIC_L1, 4, dim, rows, arena);
	single.model = model;
	memcpy(query, rows + dim, sizeof(query));
	memcpy(outlier, rows, sizeof(outlier));
	outlier[2] = 2000;
	query[1] = outlier[1];
	CHECK(encode_single(&single, outlier));
	/* the constant dimension alone differs by 1996.5 */
	CHECK_NEAR(estimate_single(&single, query, NULL),
			   chs_distance_key(CHS_METRIC_L1, query, outlier, dim),
			   model.step[1] + 10);
	CHECK_NEAR(single.factors.add, 1996.5, 5);
	arena_malloc_reset(arena);
}

/* bits = 32 keeps the vector: keys as the distance kernels give them. */
static void
test_exact(ChsArena *arena)
{
	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
		for (int d = 0; d < COUNT(all_dims); d++)
		{
			uint32_t dim = all_dims[d];
			float *rows = draw_rows(2, dim, dim + 9, arena);
			Single single = make_single((ChsMetric) metric, CHS_BITS_NONE, dim,
										rows, arena);
			const uint8_t *code = single.code;
			const ChsFactors *factors = &single.factors;
			double key = chs_distance_key((ChsMetric) metric, rows, rows + dim,
										  dim);
			ChsQuery from_code;
			void *mem = chs_alloc(arena, chs_query_bytes(&single.model));
			ChsFactors query_factors;
			float err = 1;
			float est;

			CHECK(chs_encode(&single.model, rows, single.scratch, single.code,
							 &query_factors));
			chs_query_from_code(&from_code, mem, &single.model, single.code,
								&query_factors);
			CHECK(encode_single(&single, rows + dim));
			CHECK(memcmp(code, rows + dim, dim * sizeof(float)) == 0);
			CHECK_NEAR(estimate_single(&single, rows, &err), key,
					   1e-5 * (fabs(key) + sqrt((double) dim)));
			CHECK(err == 0);
			chs_estimate(&from_code, &code, &factors, 1, &est, &err);
			CHECK_NEAR(est, key, 1e-5 * (fabs(key) + sqrt((double) dim)));
			arena_malloc_reset(arena);
		}
}

/*
 * An inner product index is asked for equal vectors by the L2 estimate: its
 * codes are those of an L2 index with the same mean.
 */
static void
test_inner_product_as_l2(ChsArena *arena)
{
	float *rows = draw_rows(40, 120, 33, arena);
	Single single = make_single(CHS_METRIC_IP, 4, 120, rows, arena);
	double key;

	single.model = train(CHS_METRIC_IP, 4, 120, rows, 40, arena);
	CHECK(encode_single(&single, rows));
	single.model.metric = CHS_METRIC_L2;
	key = chs_distance_key(CHS_METRIC_L2, rows, rows + 120, 120);
	CHECK_NEAR(estimate_single(&single, rows + 120, NULL), key, 0.1 * key);
	CHECK_NEAR(estimate_single(&single, rows, NULL), 0, 0.01 * key);
	arena_malloc_reset(arena);
}

/* A few rows very far away have no say in the mean and the steps. */
static void
test_far_rows(ChsArena *arena)
{
	const ChsMetric metrics[] = {CHS_METRIC_L2, CHS_METRIC_IP, CHS_METRIC_L1};
	const float sizes[] = {1e3f, 1e6f, 1e12f};

	for (int m = 0; m < COUNT(metrics); m++)
		for (int s = 0; s < COUNT(sizes); s++)
		{
			float *rows = draw_rows(203, 24, 5, arena);
			ChsModel plain = train(metrics[m], 4, 24, rows, 200, arena);
			ChsModel all;

			for (uint32_t i = 200 * 24; i < 203 * 24; i++)
				rows[i] = sizes[s];
			all = train(metrics[m], 4, 24, rows, 203, arena);
			for (uint32_t i = 0; i < 24; i++)
				CHECK_NEAR(all.mean[i], plain.mean[i], 1e-5);
			for (uint32_t i = 0; i < 24 && metrics[m] == CHS_METRIC_L1; i++)
				CHECK_NEAR(all.step[i], plain.step[i], 1e-5);
			arena_malloc_reset(arena);
		}
}

int
main(void)
{
	ChsArena *arena = arena_malloc_create();

	test_sizes();
	test_rotation(arena);
	test_rotation_seed(arena);
	test_same_on_every_set(arena);
	test_mean(arena);
	test_far_rows(arena);
	test_finish(arena);
	test_factors(arena);
	test_refused(arena);
	test_special_vectors(arena);
	test_overflow(arena);
	test_one_dimension(arena);
	test_l1_grid(arena);
	test_exact(arena);
	test_inner_product_as_l2(arena);
	arena_malloc_destroy(arena);
	return unit_summary("quant");
}
