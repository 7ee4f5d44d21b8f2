/*
 * distance.c
 *	  The distance kernels against scalar: ns per call and error, by dimension.
 *
 *	  bench_distance [rows]
 *
 * One query is compared with `rows` vectors in turn, as a rerank does.  The
 * default of 4 keeps them in the first two cache levels and measures the
 * arithmetic; 20000 or more measures memory.  The query is aligned to a cache
 * line and the rows are not, as on an index page.  Each figure is the best of
 * several repetitions, because on a shared machine noise only ever adds.
 *
 * The error column is the largest distance from the exact sum over all rows,
 * in units of 2^-24 of the sum of the terms' magnitudes; beside it stands the
 * bound of src/core/distance/README.md in the same unit.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/rng.h"
#include "core/distance/distance.h"

#define REPETITIONS 9
/* Elements per repetition: a few milliseconds even for the scalar kernels. */
#define ELEMENTS_PER_REPETITION 4000000

/* What is measured: a column of the output. */
typedef enum Operation
{
	OP_L2SQ,
	OP_DOT,
	OP_L1,
	OP_COSINE,
	OP_COUNT
} Operation;

static const char *const operation_names[OP_COUNT] = {"l2sq", "dot", "l1",
													  "cosine"};

typedef struct Data
{
	const float *query;
	const float *rows;
	size_t count;
	size_t dim;
} Data;

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
run_operation(const ChsDistanceKernels *kernels, Operation operation,
			  const float *a, const float *b, size_t n)
{
	float sums[3];

	switch (operation)
	{
		case OP_L2SQ:
			return kernels->l2sq_f32(a, b, n);
		case OP_DOT:
			return kernels->dot_f32(a, b, n);
		case OP_L1:
			return kernels->l1_f32(a, b, n);
		case OP_COSINE:
		case OP_COUNT:
			break;
	}
	kernels->cosine_f32(a, b, n, sums);
	return sums[0];
}

static double
measure_ns(const ChsDistanceKernels *kernels, Operation operation,
		   const Data *data)
{
	size_t calls = ELEMENTS_PER_REPETITION / data->dim;
	double best = INFINITY;

	for (int repetition = 0; repetition < REPETITIONS; repetition++)
	{
		double start = read_clock_ns();
		size_t row = 0;
		float sum = 0.0f;

		for (size_t call = 0; call < calls; call++)
		{
			sum += run_operation(kernels, operation, data->query,
								 data->rows + row * data->dim, data->dim);
			row = row + 1 == data->count ? 0 : row + 1;
		}
		best = fmin(best, (read_clock_ns() - start) / (double) calls);
		sink = sum;
	}
	return best;
}

/* The largest error over the rows, in units of 2^-24 of the magnitudes. */
static double
measure_error(const ChsDistanceKernels *kernels, Operation operation,
			  const Data *data)
{
	double worst = 0.0;

	for (size_t row = 0; row < data->count; row++)
	{
		const float *vector = data->rows + row * data->dim;
		double exact = 0.0;
		double magnitude = 0.0;
		float got = run_operation(kernels, operation, data->query, vector,
								  data->dim);

		for (size_t i = 0; i < data->dim; i++)
		{
			double x = (double) data->query[i];
			double y = (double) vector[i];
			double term = operation == OP_L2SQ ? (x - y) * (x - y)
						  : operation == OP_L1 ? fabs(x - y)
											   : x * y;

			exact += term;
			magnitude += fabs(term);
		}
		worst = fmax(worst, fabs((double) got - exact) / magnitude);
	}
	return worst / (FLT_EPSILON / 2.0);
}

/*
 * Vectors of uniform numbers in a block aligned to 64 bytes, beginning at the
 * given float; *block is to be freed.
 */
static float *
make_vectors(size_t count, size_t dim, size_t offset, void **block)
{
	ChsRng rng = {.state = offset};
	size_t bytes = (count * dim + offset) * sizeof(float);
	float *values;

	*block = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (*block == NULL)
	{
		fprintf(stderr, "bench_distance: out of memory\n");
		exit(2);
	}
	values = (float *) *block + offset;
	for (size_t i = 0; i < count * dim; i++)
		values[i] = (float) (2.0 * chs_unit_from_bits(chs_rng_next(&rng)) - 1.0);
	return values;
}

static void
print_dimension(size_t dim, size_t count)
{
	void *query_block;
	void *row_block;
	Data data = {
		.query = make_vectors(1, dim, 0, &query_block),
		.rows = make_vectors(count, dim, 4, &row_block),
		.count = count,
		.dim = dim,
	};
	double bound = chs_distance_bound(dim, 1.0) / (FLT_EPSILON / 2.0);

	for (Operation operation = OP_L2SQ; operation < OP_COUNT; operation++)
		for (ChsIsa isa = CHS_ISA_SCALAR; isa < CHS_ISA_COUNT; isa++)
		{
			if (!chs_isa_force(isa))
				continue;
			printf("%6zu  %-6s  %-6s  %9.1f  %8.2f  %8.1f\n", dim,
				   operation_names[operation], chs_isa_name(isa),
				   measure_ns(chs_distance(), operation, &data),
				   measure_error(chs_distance(), operation, &data), bound);
		}
	free(query_block);
	free(row_block);
}

int
main(int argc, char **argv)
{
	static const size_t dims[] = {128, 384, 768, 1536};
	size_t count = argc > 1 ? (size_t) strtoul(argv[1], NULL, 10) : 4;
	double start = read_clock_ns();
	ChsIsa isa = chs_isa_current();

	printf("first choice: %s, %.0f us with probe and self-test\n",
		   chs_isa_name(isa), (read_clock_ns() - start) / 1000.0);
	if (count == 0)
	{
		fprintf(stderr, "usage: bench_distance [rows]\n");
		return 2;
	}
	printf("rows: %zu\n", count);
	printf("   dim  op      isa       ns/call     error     bound\n");
	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
		print_dimension(dims[i], count);
	return 0;
}
