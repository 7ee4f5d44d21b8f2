/*
 * test_rows.c
 *	  Rows that are not floats: size, hash and key of each kind, and what the
 *	  quantizer makes of them.
 *
 * Keys are compared with loops of the test's own.  What holds of a sketch is
 * measured against what it claims.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena_malloc.h"
#include "row_fixture.h"
#include "unit.h"

/* ---- size, hash, key ---- */

static void
test_allows(void)
{
	for (int kind = 0; kind < CHS_ROW_KINDS; kind++)
		for (int metric = 0; metric <= CHS_METRIC_JACCARD; metric++)
			CHECK_EQ(chs_row_allows((ChsRowKind) kind, (ChsMetric) metric),
					 (kind == CHS_ROW_BIT) == (metric >= CHS_METRIC_HAMMING));
}

static void
test_bytes(ChsArena *arena)
{
	ChsSparseRow *sparse = rows_allocate_sparse(arena, 3);

	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_FLOAT, 7), 28);
	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_HALF, 7), 14);
	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_BIT, 7), 1);
	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_BIT, 8), 1);
	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_BIT, 9), 2);
	CHECK_EQ(chs_row_fixed_bytes(CHS_ROW_SPARSE, 7), 0);
	CHECK_EQ(chs_row_bytes(CHS_ROW_SPARSE, sparse, 7), 32);
	CHECK_EQ(chs_row_bytes(CHS_ROW_HALF, NULL, 7), 14);
	sparse->n = 0;
	CHECK_EQ(chs_row_bytes(CHS_ROW_SPARSE, sparse, 7), 8);
}

/* Every bit counts, and so does the length. */
static void
test_hash(void)
{
	uint8_t bytes[77] = {0};

	for (size_t n = 0; n <= sizeof(bytes); n++)
	{
		uint64_t hash = chs_row_hash(bytes, n);

		CHECK(n == 0 || hash != chs_row_hash(bytes, n - 1));
		for (size_t bit = 0; bit < 8 * n; bit++)
		{
			bytes[bit / 8] ^= (uint8_t) (1 << (bit % 8));
			CHECK(chs_row_hash(bytes, n) != hash);
			bytes[bit / 8] ^= (uint8_t) (1 << (bit % 8));
		}
		CHECK(chs_row_hash(bytes, n) == hash);
	}
}

static void
test_keys(ChsArena *arena, ChsRowKind kind, uint32_t dim, uint32_t nnz)
{
	RowsParams params = {kind, dim, 30, nnz, 5};
	Rows rows = rows_make(arena, &params);

	for (int metric = 0; metric <= CHS_METRIC_JACCARD; metric++)
		for (uint32_t i = 0; i < rows.count; i++)
		{
			double key = chs_row_key(kind, (ChsMetric) metric, rows.row[0],
									 rows.row[i], dim);

			if (!chs_row_allows(kind, (ChsMetric) metric))
				CHECK(isnan(key));
			else
				CHECK_NEAR(key, rows_key(&rows, (ChsMetric) metric, 0, i),
						   1e-4 * (1 + fabs(key)));
			CHECK_EQ(chs_row_equal(kind, rows.row[0], rows.row[i], dim), i == 0);
			CHECK(chs_row_is_finite(kind, rows.row[i], dim));
		}
}

static void
test_finite(ChsArena *arena)
{
	float floats[3] = {1, INFINITY, 2};
	ChsHalf halves[3] = {0, 0, 0x7c00};
	ChsSparseRow *sparse = rows_allocate_sparse(arena, 2);

	((float *) (sparse->index + 2))[1] = NAN;
	CHECK(!chs_row_is_finite(CHS_ROW_FLOAT, floats, 3));
	CHECK(chs_row_is_finite(CHS_ROW_FLOAT, floats, 1));
	CHECK(!chs_row_is_finite(CHS_ROW_HALF, halves, 3));
	CHECK(chs_row_is_finite(CHS_ROW_HALF, halves, 2));
	CHECK(!chs_row_is_finite(CHS_ROW_SPARSE, sparse, 3));
	CHECK(chs_row_is_finite(CHS_ROW_BIT, halves, 48));
	/* -0 is another row than 0 */
	floats[0] = 0.0f;
	floats[1] = -0.0f;
	CHECK(!chs_row_equal(CHS_ROW_FLOAT, floats, floats + 1, 1));
	CHECK(chs_row_hash(floats, 4) != chs_row_hash(floats + 1, 4));
}

/* ---- the quantizer ---- */

/* One row encoded; the arena keeps it. */
typedef struct Encoded
{
	uint8_t *code;
	ChsFactors factors;
	bool ok;
} Encoded;

static Encoded
encode(ChsArena *arena, const ChsModel *model, const void *row)
{
	Encoded encoded = {chs_alloc(arena, chs_model_code_bytes(model) + 1)};

	encoded.ok = chs_encode(model, row,
							chs_alloc(arena, chs_encode_scratch_bytes(model)),
							encoded.code, &encoded.factors);
	return encoded;
}

static ChsQuery
prepare(ChsArena *arena, const ChsModel *model, const void *row)
{
	ChsQuery query;

	CHECK(chs_query_init(&query, chs_alloc(arena, chs_query_bytes(model)),
						 model, row));
	return query;
}

static float
estimate(const ChsQuery *query, const Encoded *encoded, float *err)
{
	const uint8_t *code = encoded->code;
	const ChsFactors *factors = &encoded->factors;
	float est;

	chs_estimate(query, &code, &factors, 1, &est, err);
	return est;
}

/* Halves, and sparse rows of few dimensions, are encoded as their floats. */
static void
test_as_floats(ChsArena *arena, ChsRowKind kind, ChsMetric metric, int bits)
{
	RowsParams params = {kind, 200, 60, kind == CHS_ROW_SPARSE ? 20 : 0, 6};
	Rows rows = rows_make(arena, &params);
	ChsModel model = rows_train(arena, &rows, metric, bits);
	ChsModel dense = model;
	ChsQuery query = prepare(arena, &model, rows.row[0]);
	ChsQuery dense_query;

	dense.row = CHS_ROW_FLOAT;
	dense_query = prepare(arena, &dense, rows.dense);
	for (uint32_t i = 0; i < rows.count; i++)
	{
		Encoded a = encode(arena, &model, rows.row[i]);
		Encoded b = encode(arena, &dense, rows.dense + (size_t) i * 200);
		float err_a;
		float err_b;

		CHECK(a.ok && b.ok);
		CHECK_EQ(chs_model_code_bytes(&model), chs_code_bytes(200, bits));
		CHECK(memcmp(a.code, b.code, chs_code_bytes(200, bits)) == 0);
		CHECK(memcmp(&a.factors, &b.factors, sizeof(a.factors)) == 0);
		CHECK(estimate(&query, &a, &err_a) == estimate(&dense_query, &b, &err_b));
		CHECK(err_a == err_b);
	}
}

/* Codes that are rows: the estimate is the key, from a row and from a code. */
static void
test_exact(ChsArena *arena, ChsRowKind kind, ChsMetric metric, int bits)
{
	RowsParams params = {kind, 131, 60, 0, 7};
	Rows rows = rows_make(arena, &params);
	ChsModel model = rows_train(arena, &rows, metric, bits);
	ChsQuery query = prepare(arena, &model, rows.row[0]);
	Encoded first = encode(arena, &model, rows.row[0]);
	ChsQuery from_code;

	CHECK_EQ(chs_model_values(&model), 0);
	CHECK_EQ(chs_model_code_bytes(&model), chs_row_fixed_bytes(kind, 131));
	chs_query_from_code(&from_code, chs_alloc(arena, chs_query_bytes(&model)),
						&model, first.code, &first.factors);
	for (uint32_t i = 0; i < rows.count; i++)
	{
		Encoded encoded = encode(arena, &model, rows.row[i]);
		double key = chs_row_key(kind, metric, rows.row[0], rows.row[i], 131);
		float err = 1;

		CHECK(encoded.ok);
		CHECK(chs_row_equal(kind, encoded.code, rows.row[i], 131));
		CHECK_NEAR(estimate(&query, &encoded, &err), key,
				   1e-5 * (1 + fabs(key)));
		CHECK(err == 0);
		CHECK_NEAR(estimate(&from_code, &encoded, NULL), key,
				   1e-5 * (1 + fabs(key)));
	}
}

/* What has no place in a graph. */
static void
test_refused(ChsArena *arena)
{
	ChsModel model = {.metric = CHS_METRIC_JACCARD,
					  .row = CHS_ROW_BIT,
					  .bits = 1,
					  .dim = 100,
					  .row_dim = 100};
	uint8_t zeros[13] = {0};
	uint8_t last[13] = {0};
	ChsSparseRow *empty = rows_allocate_sparse(arena, 0);
	void *mem;
	ChsQuery query;

	last[12] = 0x10;
	chs_model_use(&model, NULL);
	mem = chs_alloc(arena, chs_query_bytes(&model));
	CHECK(!encode(arena, &model, zeros).ok);
	CHECK(!chs_query_init(&query, mem, &model, zeros));
	CHECK(encode(arena, &model, last).ok);
	CHECK(chs_query_init(&query, mem, &model, last));
	model.metric = CHS_METRIC_HAMMING;
	CHECK(encode(arena, &model, zeros).ok);

	/* an empty sparse row has no direction, but a place in space */
	for (int dim = 1000; dim <= 100000; dim *= 100)
		for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
		{
			RowsParams params = {CHS_ROW_SPARSE, (uint32_t) dim, 20, 10, 8};
			Rows rows = rows_make(arena, &params);
			ChsModel sparse = rows_train(arena, &rows, (ChsMetric) metric, 4);

			CHECK_EQ(encode(arena, &sparse, empty).ok,
					 metric != CHS_METRIC_COSINE);
		}
}

/* A damaged index must not lead out of the room. */
static void
test_damaged(ChsArena *arena)
{
	ChsSparseRow *row = rows_allocate_sparse(arena, 2);
	float *room = malloc(100 * sizeof(float));
	ChsModel model = {
		.row = CHS_ROW_SPARSE, .bits = 4, .dim = 100, .row_dim = 100};

	row->index[0] = 1000000;
	row->index[1] = -5;
	((float *) (row->index + 2))[0] = 1;
	((float *) (row->index + 2))[1] = 1;
	CHECK(chs_row_floats(&model, row, room) == room);
	for (int i = 0; i < 100; i++)
		CHECK(room[i] == 0);
	free(room);
}

/* ---- sketches ---- */

/* Deviations of estimates from keys, in what they state as their error. */
typedef struct Deviations
{
	double n;
	double sum;
	double squares;
	double outside; /* too high by more than three, which loses rows */
	double low;     /* lowest */
} Deviations;

static Deviations
measure_sketch(ChsArena *arena, ChsMetric metric, int bits, uint32_t nnz)
{
	RowsParams params = {CHS_ROW_SPARSE, 30000, 400, nnz, 9};
	Rows rows = rows_make(arena, &params);
	ChsModel model = rows_train(arena, &rows, metric, bits);
	Deviations found = {0};

	CHECK_EQ(model.dim, CHS_SKETCH_DIM);
	for (uint32_t q = 0; q < rows.count; q += 10)
	{
		ChsQuery query = prepare(arena, &model, rows.row[q]);

		for (uint32_t i = 0; i < rows.count; i += 3)
		{
			Encoded encoded = encode(arena, &model, rows.row[i]);
			double key = chs_row_key(CHS_ROW_SPARSE, metric, rows.row[q],
									 rows.row[i], 30000);
			float err;
			float est = estimate(&query, &encoded, &err);
			double deviation;

			if (i == q)
			{
				/* metrics are 0 at 0, but for what rounding does */
				if (metric == CHS_METRIC_L2 || metric == CHS_METRIC_COSINE)
					CHECK_NEAR(est, 0, 3 * err + 1e-3);
				continue;
			}
			deviation = (est - key) / err;
			found.n++;
			found.sum += deviation;
			found.squares += deviation * deviation;
			found.outside += deviation > 3;
			found.low = fmin(found.low, deviation);
		}
	}
	return found;
}

static void
test_sketch(ChsArena *arena, ChsMetric metric, int bits, uint32_t nnz)
{
	Deviations found = measure_sketch(arena, metric, bits, nnz);
	double mean = found.sum / found.n;
	double rms = sqrt(found.squares / found.n);

	if (getenv("CHS_QUANT_PRINT") != NULL)
		printf("sketch: metric %d bits %d nnz %u: mean %+.2f rms %.2f high "
			   "%.2f %%, low %.1f\n",
			   (int) metric, bits, nnz, mean, rms,
			   100 * found.outside / found.n, found.low);
	/* no bound may lie above the key, or hardly ever */
	CHECK(found.outside <= 0.01 * found.n);
	if (metric == CHS_METRIC_L1)
		return;
	/* neither biased nor bragging nor modest */
	CHECK_NEAR(mean, 0, 0.35);
	CHECK(rms > 0.4 && rms < 1.25);
}

int
main(void)
{
	ChsArena *arena = arena_malloc_create();
	static const int coded[] = {1, 2, 4, 8};

	(void) chs_distance();
	test_allows();
	test_bytes(arena);
	test_hash();
	test_keys(arena, CHS_ROW_FLOAT, 67, 0);
	test_keys(arena, CHS_ROW_HALF, 67, 0);
	test_keys(arena, CHS_ROW_BIT, 67, 0);
	test_keys(arena, CHS_ROW_BIT, 512, 0);
	test_keys(arena, CHS_ROW_SPARSE, 3000, 40);
	test_finite(arena);
	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
	{
		for (int i = 0; i < 4; i++)
		{
			test_as_floats(arena, CHS_ROW_HALF, (ChsMetric) metric, coded[i]);
			/* under L1 sparse rows have a grid of their own */
			if (metric != CHS_METRIC_L1)
				test_as_floats(arena, CHS_ROW_SPARSE, (ChsMetric) metric,
							   coded[i]);
		}
		test_exact(arena, CHS_ROW_FLOAT, (ChsMetric) metric, CHS_BITS_NONE);
		test_exact(arena, CHS_ROW_HALF, (ChsMetric) metric, CHS_BITS_NONE);
	}
	test_exact(arena, CHS_ROW_BIT, CHS_METRIC_HAMMING, 1);
	test_exact(arena, CHS_ROW_BIT, CHS_METRIC_JACCARD, 1);
	test_refused(arena);
	test_damaged(arena);
	arena_malloc_reset(arena);
	for (int metric = 0; metric <= CHS_METRIC_L1; metric++)
		for (uint32_t nnz = 30; nnz <= 300; nnz *= 10)
		{
			test_sketch(arena, (ChsMetric) metric, 4, nnz);
			test_sketch(arena, (ChsMetric) metric, 8, nnz);
			arena_malloc_reset(arena);
		}
	arena_malloc_destroy(arena);
	return unit_summary("rows");
}
