/*
 * quant.c
 *	  The quantizer: ns per code by instruction set, bits and dimensions.
 *
 *	  bench_quant [codes]
 *
 * One query is scored against `codes` codes in turn.  The default of 64 keeps
 * them in the first two cache levels and measures the arithmetic; 200000 or
 * more measures memory.  Columns:
 *
 *	  kernel 1, 16   the integer kernel, one code or 16 codes a call
 *	  estimate       chs_estimate with errors, 16 codes a call
 *	  encode, query  one vector to a code; one vector to a query
 *	  from code      one code to a query
 *	  error          root mean square of (estimate - true key) / true key,
 *	                 over pairs of independent Gaussian vectors (L2)
 *
 * Times are ns, the best of several repetitions, because on a shared machine
 * noise only ever adds.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/rng.h"
#include "core/quant/quant.h"

#include "arena_malloc.h"

/* Short repetitions, so that some fall between two turns of other processes. */
#define CALLS_PER_REPETITION 256
#define NS_PER_MEASUREMENT 1.2e7
#define BATCH 16
#define ERROR_PAIRS 400

static const int all_bits[] = {1, 2, 4, 8};
static const uint32_t all_dims[] = {128, 256, 768, 784, 1024, 1536};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One combination of bits and dimensions, ready to be measured. */
typedef struct Case
{
	ChsModel model;
	ChsQuery query;
	size_t count;
	float *vectors; /* BATCH + ERROR_PAIRS rows */
	uint8_t *codes;
	const uint8_t **code_pointers;
	ChsFactors *factors;
	const ChsFactors **factor_pointers;
	void *scratch;
	void *query_mem;
} Case;

/* What one repetition does `calls` times. */
typedef struct Work
{
	Case *data;
	const ChsQuantKernels *kernels;
	int batch;
} Work;

typedef void (*Operation)(const Work *work, size_t call);

/* Keeps the compiler from dropping calls whose results nobody reads. */
static volatile float sink;

static double
read_clock_ns(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC);
	return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static float
draw_gauss(ChsRng *rng)
{
	double a = chs_unit_from_bits(chs_rng_next(rng));
	double b = chs_unit_from_bits(chs_rng_next(rng));

	return (float) (sqrt(-2 * log(a)) * cos(6.283185307179586 * b));
}

static void
prepare(Case *data, int bits, uint32_t dim, size_t count, ChsArena *arena)
{
	size_t rows = BATCH + ERROR_PAIRS;
	size_t bytes = chs_code_bytes(dim, bits);
	float *mean = chs_alloc(arena, dim * sizeof(float));
	ChsRng rng = {dim};

	memset(data, 0, sizeof(*data));
	data->model.metric = CHS_METRIC_L2;
	data->model.bits = (uint8_t) bits;
	data->model.dim = dim;
	data->model.seed = 1;
	data->count = count;
	data->vectors = chs_alloc(arena, rows * dim * sizeof(float));
	for (size_t i = 0; i < rows * dim; i++)
		data->vectors[i] = draw_gauss(&rng);
	chs_model_train(&data->model, mean, NULL, data->vectors, rows, arena);

	data->scratch = chs_alloc(arena, chs_encode_scratch_bytes(&data->model));
	data->query_mem = chs_alloc(arena, chs_query_bytes(&data->model));
	data->codes = chs_alloc(arena, count * bytes);
	data->factors = chs_alloc(arena, count * sizeof(ChsFactors));
	data->code_pointers = chs_alloc(arena, count * sizeof(void *));
	data->factor_pointers = chs_alloc(arena, count * sizeof(void *));
	for (size_t i = 0; i < count; i++)
	{
		chs_encode(&data->model, data->vectors + i % rows * dim, data->scratch,
				   data->codes + i * bytes, data->factors + i);
		data->code_pointers[i] = data->codes + i * bytes;
		data->factor_pointers[i] = data->factors + i;
	}
	chs_query_init(&data->query, data->query_mem, &data->model, data->vectors);
}

static void
run_kernel(const Work *work, size_t call)
{
	const Case *data = work->data;
	size_t at = call * (size_t) work->batch % (data->count - BATCH + 1);
	const uint8_t *const *codes = data->code_pointers + at;
	uint32_t n = data->model.code_dim;
	int32_t out[BATCH];

	switch (data->model.bits)
	{
		case 1:
			work->kernels->dot_u1(data->query.q8, codes, work->batch, n, out);
			break;
		case 2:
			work->kernels->dot_u2(data->query.q8, codes, work->batch, n, out);
			break;
		case 4:
			work->kernels->dot_u4(data->query.q8, codes, work->batch, n, out);
			break;
		default:
			work->kernels->dot_u8(data->query.q8, codes, work->batch, n, out);
			break;
	}
	sink = (float) out[0];
}

static void
run_estimate(const Work *work, size_t call)
{
	const Case *data = work->data;
	size_t at = call * BATCH % (data->count - BATCH + 1);
	float est[BATCH];
	float err[BATCH];

	chs_estimate(&data->query, data->code_pointers + at,
				 data->factor_pointers + at, BATCH, est, err);
	sink = est[0] + err[0];
}

static void
run_encode(const Work *work, size_t call)
{
	const Case *data = work->data;
	size_t bytes = chs_code_bytes(data->model.dim, data->model.bits);
	size_t at = call % BATCH;

	chs_encode(&data->model, data->vectors + at * data->model.dim,
			   data->scratch, data->codes + at * bytes, data->factors + at);
}

static void
run_query(const Work *work, size_t call)
{
	Case *data = work->data;

	chs_query_init(&data->query, data->query_mem, &data->model,
				   data->vectors + call % BATCH * data->model.dim);
}

static void
run_from_code(const Work *work, size_t call)
{
	Case *data = work->data;
	size_t at = call % BATCH;

	chs_query_from_code(&data->query, data->query_mem, &data->model,
						data->code_pointers[at], data->factor_pointers[at]);
}

/* ns per call, divided by what one call does. */
static double
measure(Operation operation, const Work *work, int per_call)
{
	double begin = read_clock_ns();
	double best = INFINITY;
	double end;

	do
	{
		double start = read_clock_ns();

		for (size_t call = 0; call < CALLS_PER_REPETITION; call++)
			operation(work, call);
		end = read_clock_ns();
		best = fmin(best, (end - start) / CALLS_PER_REPETITION);
	} while (end - begin < NS_PER_MEASUREMENT);
	return best / per_call;
}

/* See the header: the error column.  Leaves another query in place. */
static double
measure_error(Case *data)
{
	uint32_t dim = data->model.dim;
	double sum = 0;

	for (int i = 0; i + 1 < ERROR_PAIRS; i++)
	{
		const float *a = data->vectors + (size_t) (BATCH + i) * dim;
		const float *b = a + dim;
		const uint8_t *code = data->codes;
		const ChsFactors *factors = data->factors;
		double key = chs_distance_key(CHS_METRIC_L2, a, b, dim);
		float est;

		chs_encode(&data->model, b, data->scratch, data->codes, data->factors);
		chs_query_init(&data->query, data->query_mem, &data->model, a);
		chs_estimate(&data->query, &code, &factors, 1, &est, NULL);
		sum += (est / key - 1) * (est / key - 1);
	}
	return sqrt(sum / (ERROR_PAIRS - 1));
}

static void
report(Case *data)
{
	Work one = {data, chs_quant(), 1};
	Work batch = {data, chs_quant(), BATCH};

	printf("%-7s %4d %5u %9.1f %9.1f %9.1f %8.0f %8.0f %9.0f",
		   chs_isa_name(one.kernels->isa), data->model.bits, data->model.dim,
		   measure(run_kernel, &one, 1), measure(run_kernel, &batch, BATCH),
		   measure(run_estimate, &batch, BATCH), measure(run_encode, &one, 1),
		   measure(run_query, &one, 1), measure(run_from_code, &one, 1));
	printf(" %9.5f\n", measure_error(data));
}

int
main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;

	if (count < BATCH)
		count = BATCH;
	printf("set     bits  dims  kernel 1 kernel 16  estimate   encode    query"
		   " from code     error\n");
	for (int isa = 0; isa < CHS_ISA_COUNT; isa++)
	{
		if (!chs_isa_force((ChsIsa) isa))
			continue;
		for (size_t d = 0; d < COUNT(all_dims); d++)
			for (size_t b = 0; b < COUNT(all_bits); b++)
			{
				ChsArena *arena = arena_malloc_create();
				Case data;

				prepare(&data, all_bits[b], all_dims[d], count, arena);
				report(&data);
				arena_malloc_destroy(arena);
			}
	}
	return 0;
}
