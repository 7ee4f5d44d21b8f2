/*
 * test_bit_sparse.c
 *	  Counts over bit strings in every set this machine runs, and the sums over
 *	  sparse vectors.
 *
 * What is proved:
 *	- counts equal those of a bit-by-bit loop, for each length 0 .. 300 bytes at
 *	  changing alignments, for random strings and for none and all bits set;
 *	  nothing beside the strings is read; a broken set is refused;
 *	- Hamming and Jaccard follow the operators' definition;
 *	- the sums over sparse vectors equal, bit for bit, those over the same
 *	  vectors written out with their zeroes and added up one after the other,
 *	  for every way in which two sets of indices can meet: none, one, all in
 *	  common, one behind the other, empty ones.
 *
 * The summary names the sets that ran.  An argument names a set that must be
 * among them.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/distance/distance.h"
#include "guard.h"
#include "unit.h"

#define MAX_BYTES 300
#define MAX_OFFSET 65

/* Dimensions of the sparse vectors: few, so that indices meet often. */
#define SPARSE_DIM 40

static ChsRng rng = {.state = 20240609};

/* A sparse vector with room for every dimension. */
typedef struct Sparse
{
	int32_t index[SPARSE_DIM];
	float value[SPARSE_DIM];
	float dense[SPARSE_DIM];
	ChsSparse view;
} Sparse;

/* The definition: one bit at a time. */
static void
count_slowly(const uint8_t *a, const uint8_t *b, size_t bytes,
			 uint64_t counts[3])
{
	counts[0] = counts[1] = counts[2] = 0;
	for (size_t i = 0; i < bytes * 8; i++)
	{
		unsigned x = (a[i / 8] >> (i % 8)) & 1;
		unsigned y = (b[i / 8] >> (i % 8)) & 1;

		counts[0] += x != y;
		counts[1] += x & y;
		counts[2] += x | y;
	}
}

static void
check_counts(const ChsBitKernels *kernels, const uint8_t *a, const uint8_t *b,
			 size_t bytes)
{
	uint64_t want[3];
	uint64_t got[2];

	count_slowly(a, b, bytes, want);
	CHECK_EQ(kernels->hamming_bit(a, b, bytes), want[0]);
	kernels->overlap_bit(a, b, bytes, got);
	CHECK_EQ(got[0], want[1]);
	CHECK_EQ(got[1], want[2]);
}

static void
fill_random(uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t) chs_rng_next(&rng);
}

static void
test_counts(const ChsBitKernels *kernels)
{
	uint8_t a[MAX_BYTES + MAX_OFFSET];
	uint8_t b[MAX_BYTES + MAX_OFFSET];

	for (size_t bytes = 0; bytes <= MAX_BYTES; bytes++)
		for (size_t round = 0; round < 4; round++)
		{
			fill_random(a, sizeof(a));
			fill_random(b, sizeof(b));
			check_counts(kernels, a + bytes * 7 % MAX_OFFSET,
						 b + (bytes + round) * 11 % MAX_OFFSET, bytes);
			check_counts(kernels, a, a, bytes);
		}
	memset(a, 0xff, sizeof(a));
	memset(b, 0, sizeof(b));
	for (size_t bytes = 0; bytes <= MAX_BYTES; bytes++)
	{
		check_counts(kernels, a, b, bytes);
		check_counts(kernels, b, a, bytes);
		check_counts(kernels, a, a, bytes);
		check_counts(kernels, b, b, bytes);
	}
}

/* A string longer than any sum of 16 bits could count, all bits set. */
static void
test_long_string(const ChsBitKernels *kernels)
{
	size_t bytes = 1000003;
	uint8_t *a = malloc(bytes);
	uint8_t *b = malloc(bytes);
	uint64_t counts[2];

	memset(a, 0xff, bytes);
	memset(b, 0x0f, bytes);
	CHECK_EQ(kernels->hamming_bit(a, b, bytes), bytes * 4);
	kernels->overlap_bit(a, b, bytes, counts);
	CHECK_EQ(counts[0], bytes * 4);
	CHECK_EQ(counts[1], bytes * 8);
	free(a);
	free(b);
}

/* Strings that begin or end exactly at a page without access. */
static void
test_bounds(const ChsBitKernels *kernels)
{
	size_t page_bytes;
	uint8_t *page = guard_map(&page_bytes);

	fill_random(page, page_bytes);
	for (size_t bytes = 0; bytes <= MAX_BYTES; bytes++)
	{
		check_counts(kernels, page, page + page_bytes - bytes, bytes);
		check_counts(kernels, page + page_bytes - bytes, page, bytes);
	}
	guard_unmap(page, page_bytes);
}

static void
test_distances(void)
{
	const uint8_t a[3] = {0xf0, 0x01, 0x80};
	const uint8_t b[3] = {0xc0, 0x03, 0x00};
	const uint8_t none[3] = {0, 0, 0};

	CHECK(chs_distance_hamming(a, b, 3) == 4.0);
	CHECK(chs_distance_hamming(a, a, 3) == 0.0);
	CHECK(chs_distance_hamming(a, b, 0) == 0.0);
	/* 3 of 7 */
	CHECK(chs_distance_jaccard(a, b, 3) == 1.0 - 3.0 / 7.0);
	CHECK(chs_distance_jaccard(a, a, 3) == 0.0);
	CHECK(chs_distance_jaccard(a, none, 3) == 1.0);
	CHECK(chs_distance_jaccard(none, none, 3) == 1.0);
	CHECK(chs_distance_jaccard(none, none, 0) == 1.0);
}

static uint64_t
hamming_without_tail(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	return chs_bit_scalar.hamming_bit(a, b, bytes - bytes % 8);
}

static void
overlap_swapped(const uint8_t *a, const uint8_t *b, size_t bytes,
				uint64_t out[2])
{
	uint64_t counts[2];

	chs_bit_scalar.overlap_bit(a, b, bytes, counts);
	out[0] = counts[1];
	out[1] = counts[0];
}

static void
test_refusal(void)
{
	ChsDistanceKernels kernels = *chs_distance();
	ChsBitKernels broken = chs_bit_scalar;

	kernels.bit = &broken;
	CHECK(chs_distance_agrees(&kernels));
	broken.hamming_bit = hamming_without_tail;
	CHECK(!chs_distance_agrees(&kernels));
	broken = chs_bit_scalar;
	broken.overlap_bit = overlap_swapped;
	CHECK(!chs_distance_agrees(&kernels));
}

/* Each dimension from `first` to before `last` with a chance of odds in 8. */
static void
draw_sparse(Sparse *sparse, int first, int last, unsigned odds)
{
	size_t n = 0;

	memset(sparse->dense, 0, sizeof(sparse->dense));
	for (int i = first; i < last; i++)
	{
		double unit = 2.0 * chs_unit_from_bits(chs_rng_next(&rng)) - 1.0;

		if (chs_rng_next(&rng) % 8 >= odds || unit == 0.0)
			continue;
		sparse->index[n] = i;
		sparse->value[n] = (float) unit;
		sparse->dense[i] = (float) unit;
		n++;
	}
	sparse->view.index = sparse->index;
	sparse->view.value = sparse->value;
	sparse->view.n = n;
}

/* All sums against those over the dense vectors, in the order of the indices. */
static void
check_sparse(const Sparse *a, const Sparse *b)
{
	float l2sq = 0.0f;
	float dot = 0.0f;
	float l1 = 0.0f;
	float norms[2] = {0.0f, 0.0f};
	float sums[3];

	for (int i = 0; i < SPARSE_DIM; i++)
	{
		float diff = a->dense[i] - b->dense[i];

		l2sq += diff * diff;
		dot += a->dense[i] * b->dense[i];
		l1 += fabsf(diff);
		norms[0] += a->dense[i] * a->dense[i];
		norms[1] += b->dense[i] * b->dense[i];
	}
	chs_cosine_sparse(&a->view, &b->view, sums);
	CHECK(chs_l2sq_sparse(&a->view, &b->view) == l2sq);
	CHECK(chs_dot_sparse(&a->view, &b->view) == dot);
	CHECK(chs_l1_sparse(&a->view, &b->view) == l1);
	CHECK(sums[0] == dot && sums[1] == norms[0] && sums[2] == norms[1]);

	CHECK(chs_distance_key_sparse(CHS_METRIC_L2, &a->view, &b->view) ==
		  (double) l2sq);
	CHECK(chs_distance_key_sparse(CHS_METRIC_IP, &a->view, &b->view) ==
		  -(double) dot);
	CHECK(chs_distance_key_sparse(CHS_METRIC_L1, &a->view, &b->view) ==
		  (double) l1);
	CHECK_NEAR(chs_distance_key_sparse(CHS_METRIC_COSINE, &a->view, &b->view),
			   1.0 - (double) dot / sqrt((double) norms[0] * (double) norms[1]),
			   1e-12);
}

static void
test_sparse(void)
{
	static Sparse a;
	static Sparse b;

	for (int round = 0; round < 4000; round++)
	{
		draw_sparse(&a, 0, SPARSE_DIM, (unsigned) round % 9);
		draw_sparse(&b, 0, SPARSE_DIM, (unsigned) round / 9 % 9);
		check_sparse(&a, &b);
		check_sparse(&a, &a);
		/* one wholly before the other */
		draw_sparse(&a, 0, SPARSE_DIM / 2, 6);
		draw_sparse(&b, SPARSE_DIM / 2, SPARSE_DIM, 6);
		check_sparse(&a, &b);
		check_sparse(&b, &a);
	}
	CHECK(a.view.n > 0);
	CHECK(chs_distance_key_sparse(CHS_METRIC_L2, &a.view, &a.view) == 0.0);
	CHECK(chs_distance_key_sparse(CHS_METRIC_COSINE, &a.view, &a.view) == 0.0);

	/* no elements: the zero vector */
	b.view.n = 0;
	CHECK(isnan(chs_distance_key_sparse(CHS_METRIC_COSINE, &a.view, &b.view)));
	CHECK(chs_distance_key_sparse(CHS_METRIC_IP, &a.view, &b.view) == 0.0);
	CHECK(chs_distance_key_sparse(CHS_METRIC_L2, &b.view, &b.view) == 0.0);
}

static void
test_set(ChsIsa isa)
{
	const ChsBitKernels *kernels;

	CHECK(chs_isa_force(isa));
	kernels = chs_distance()->bit;
	test_counts(kernels);
	test_long_string(kernels);
	test_bounds(kernels);
	test_distances();
}

int
main(int argc, char **argv)
{
	char name[64] = "bit, sparse (";
	size_t length = strlen(name);

	test_refusal();
	test_sparse();
	for (ChsIsa isa = CHS_ISA_SCALAR; isa < CHS_ISA_COUNT; isa++)
	{
		if (!chs_isa_available(isa))
			continue;
		test_set(isa);
		length += (size_t) snprintf(name + length, sizeof(name) - length,
									"%s%s", isa == CHS_ISA_SCALAR ? "" : " ",
									chs_isa_name(isa));
	}
	for (int i = 1; i < argc; i++)
		if (!CHECK(strstr(name, argv[i]) != NULL))
			fprintf(stderr, "the %s kernels did not run here\n", argv[i]);
	snprintf(name + length, sizeof(name) - length, ")");
	return unit_summary(name);
}
