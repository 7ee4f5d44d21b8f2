/*
 * types.c
 *	  The kernels over float16 and bit strings against scalar, and the sums over
 *	  sparse vectors: ns per call.
 *
 * Everything lies in the first cache levels: four rows in turn, the query
 * aligned to a cache line and the rows not, as in distance.c beside it.  Each
 * figure is the best of several repetitions, because on a shared machine noise
 * only ever adds.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/rng.h"
#include "core/distance/distance.h"

#define REPETITIONS 9
#define ROWS 4
#define MAX_DIM 1536
/* Elements per repetition: a few milliseconds even for the scalar kernels. */
#define ELEMENTS_PER_REPETITION 2000000

typedef enum Operation
{
	OP_L2SQ,
	OP_DOT,
	OP_L1,
	OP_COSINE,
	OP_WIDEN,
	OP_NARROW,
	OP_HAMMING,
	OP_OVERLAP,
	OP_COUNT
} Operation;

static const char *const operation_names[OP_COUNT] = {
	"l2sq", "dot", "l1", "cosine", "widen", "narrow", "hamming", "overlap"};

/* A query and rows of each kind; a row begins 8 bytes behind a cache line. */
typedef struct Data
{
	_Alignas(64) ChsHalf query[MAX_DIM];
	_Alignas(64) ChsHalf rows[ROWS * MAX_DIM + 4];
	float wide[MAX_DIM];
	ChsHalf narrow[MAX_DIM];
} Data;

static Data data;

/* Keeps the compiler from dropping calls whose results nobody reads. */
static volatile double sink;

static double
read_clock_ns(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC);
	return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static double
run_operation(const ChsDistanceKernels *kernels, Operation operation,
			  const ChsHalf *row, size_t dim)
{
	const uint8_t *bits = (const uint8_t *) data.query;
	uint64_t counts[2];
	float sums[3];

	switch (operation)
	{
		case OP_L2SQ:
			return (double) kernels->half->l2sq_f16(data.query, row, dim);
		case OP_DOT:
			return (double) kernels->half->dot_f16(data.query, row, dim);
		case OP_L1:
			return (double) kernels->half->l1_f16(data.query, row, dim);
		case OP_COSINE:
			kernels->half->cosine_f16(data.query, row, dim, sums);
			return (double) sums[0];
		case OP_WIDEN:
			kernels->half->widen_f16(row, dim, data.wide);
			return (double) data.wide[dim - 1];
		case OP_NARROW:
			kernels->half->narrow_f32(data.wide, dim, data.narrow);
			return (double) data.narrow[dim - 1];
		case OP_HAMMING:
			return (double) kernels->bit->hamming_bit(
				bits, (const uint8_t *) row, dim / 8);
		case OP_OVERLAP:
		case OP_COUNT:
			break;
	}
	kernels->bit->overlap_bit(bits, (const uint8_t *) row, dim / 8, counts);
	return (double) counts[0];
}

static double
measure_ns(const ChsDistanceKernels *kernels, Operation operation, size_t dim)
{
	size_t calls = ELEMENTS_PER_REPETITION / dim;
	double best = INFINITY;

	for (int repetition = 0; repetition < REPETITIONS; repetition++)
	{
		double start = read_clock_ns();
		double sum = 0.0;

		for (size_t call = 0; call < calls; call++)
			sum += run_operation(kernels, operation,
								 data.rows + 4 + call % ROWS * dim, dim);
		best = fmin(best, (read_clock_ns() - start) / (double) calls);
		sink = sum;
	}
	return best;
}

/* Two vectors of n elements among dim dimensions, where they happen to be. */
static double
measure_sparse_ns(size_t n, int32_t dim)
{
	static int32_t index[2][MAX_DIM];
	static float value[2][MAX_DIM];
	ChsSparse vectors[2];
	ChsRng rng = {.state = n};
	double best = INFINITY;

	for (size_t v = 0; v < 2; v++)
	{
		size_t found = 0;

		/* each dimension with the chance that makes n of them in all */
		for (int32_t i = 0; i < dim && found < n; i++)
			if (chs_rng_next(&rng) % (uint64_t) (dim - i) < n - found)
			{
				index[v][found] = i;
				value[v][found++] = (float) chs_unit_from_bits(
					chs_rng_next(&rng));
			}
		vectors[v] = (ChsSparse){
			.index = index[v], .value = value[v], .n = found};
	}
	for (int repetition = 0; repetition < REPETITIONS; repetition++)
	{
		size_t calls = ELEMENTS_PER_REPETITION / 4 / n;
		double start = read_clock_ns();
		double sum = 0.0;

		for (size_t call = 0; call < calls; call++)
			sum += (double) chs_dot_sparse(&vectors[call % 2],
										   &vectors[1 - call % 2]);
		best = fmin(best, (read_clock_ns() - start) / (double) calls);
		sink = sum;
	}
	return best;
}

int
main(void)
{
	static const size_t dims[] = {128, 768, MAX_DIM};
	static const size_t counts[] = {16, 128, 1000};
	ChsRng rng = {.state = 1};

	for (size_t i = 0; i < MAX_DIM; i++)
		data.query[i] = chs_half_from_float(
			(float) chs_unit_from_bits(chs_rng_next(&rng)));
	for (size_t i = 0; i < ROWS * MAX_DIM + 4; i++)
		data.rows[i] = chs_half_from_float(
			(float) chs_unit_from_bits(chs_rng_next(&rng)));

	printf("   dim  op       isa       ns/call\n");
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
		for (Operation operation = OP_L2SQ; operation < OP_COUNT; operation++)
			for (ChsIsa isa = CHS_ISA_SCALAR; isa < CHS_ISA_COUNT; isa++)
				if (chs_isa_force(isa))
					printf("%6zu  %-7s  %-6s  %9.1f\n", dims[d],
						   operation_names[operation], chs_isa_name(isa),
						   measure_ns(chs_distance(), operation, dims[d]));
	printf("sparse dot, elements of 30000 dimensions:\n");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf("%6zu  %27.1f\n", counts[i], measure_sparse_ns(counts[i], 30000));
	return 0;
}
