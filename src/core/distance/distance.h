/*
 * distance.h
 *	  The metrics, and the table of distance kernels for this processor: float32,
 *	  float16, bit strings; and sparse vectors, which need no table.
 *
 * The scalar file is the definition; every other instruction set must equal
 * it within the bound of README.md.  The table is chosen once per process,
 * by asking the processor and the operating system, and only after the
 * chosen kernels agreed with the scalar ones in a short self-test.
 *
 * Kernels accept any length including 0 and any float alignment.  NaN and
 * infinity in the input yield NaN or infinity, never a trap.  Sums are kept
 * in float: two finite inputs may overflow to infinity.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_DISTANCE_H
#define CHS_DISTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/distance/half.h"

/*
 * What an index orders by.  The number is stored on disk: never renumber.
 *
 * Inside core a distance is a "key", monotone in the operator's value and
 * cheaper: L2 squared; the negative inner product; 1 - cosine; the L1 sum; of
 * bit strings, and of nothing else, the bits that differ, and 1 - the share of
 * bits in common.
 */
typedef enum ChsMetric
{
	CHS_METRIC_L2 = 0,
	CHS_METRIC_IP = 1,
	CHS_METRIC_COSINE = 2,
	CHS_METRIC_L1 = 3,
	CHS_METRIC_HAMMING = 4,
	CHS_METRIC_JACCARD = 5
} ChsMetric;

typedef enum ChsIsa
{
	CHS_ISA_SCALAR = 0,
	CHS_ISA_AVX2 = 1,   /* AVX2 + FMA, POPCNT, F16C */
	CHS_ISA_AVX512 = 2, /* AVX2's + AVX-512 F BW DQ VL, VNNI, VPOPCNTDQ */
	CHS_ISA_NEON = 3,   /* AArch64 Advanced SIMD */
	CHS_ISA_COUNT
} ChsIsa;

/* Sums over float16 elements are taken in float, as those over floats are. */
typedef struct ChsHalfKernels
{
	/* sum of (a[i] - b[i])^2 */
	float (*l2sq_f16)(const ChsHalf *a, const ChsHalf *b, size_t n);
	/* sum of a[i] * b[i] */
	float (*dot_f16)(const ChsHalf *a, const ChsHalf *b, size_t n);
	/* sum of |a[i] - b[i]| */
	float (*l1_f16)(const ChsHalf *a, const ChsHalf *b, size_t n);
	/* out[0] = a.b, out[1] = a.a, out[2] = b.b in one pass */
	void (*cosine_f16)(const ChsHalf *a, const ChsHalf *b, size_t n,
					   float out[3]);
	/* chs_half_to_float() and chs_half_from_float() of n elements, bit for bit */
	void (*widen_f16)(const ChsHalf *a, size_t n, float *out);
	void (*narrow_f32)(const float *a, size_t n, ChsHalf *out);
} ChsHalfKernels;

/* Counts over strings of `bytes` bytes; exact, the same in every set. */
typedef struct ChsBitKernels
{
	/* bits in which a and b differ */
	uint64_t (*hamming_bit)(const uint8_t *a, const uint8_t *b, size_t bytes);
	/* out[0] = bits set in both, out[1] = bits set in either */
	void (*overlap_bit)(const uint8_t *a, const uint8_t *b, size_t bytes,
						uint64_t out[2]);
} ChsBitKernels;

typedef struct ChsDistanceKernels
{
	ChsIsa isa;
	/* sum of (a[i] - b[i])^2 */
	float (*l2sq_f32)(const float *a, const float *b, size_t n);
	/* sum of a[i] * b[i] */
	float (*dot_f32)(const float *a, const float *b, size_t n);
	/* sum of |a[i] - b[i]| */
	float (*l1_f32)(const float *a, const float *b, size_t n);
	/* out[0] = a.b, out[1] = a.a, out[2] = b.b in one pass */
	void (*cosine_f32)(const float *a, const float *b, size_t n, float out[3]);
	const ChsHalfKernels *half;
	const ChsBitKernels *bit;
} ChsDistanceKernels;

/*
 * A sparse vector: n elements, the others 0.  Indices ascend, without
 * repetition.  (Sums over indices that do not are wrong, but read nothing
 * beyond the arrays.)
 */
typedef struct ChsSparse
{
	const int32_t *index;
	const float *value;
	size_t n;
} ChsSparse;

/*
 * The chosen table.  The first call probes, self-tests and stores the choice;
 * later calls cost one load.  Not safe to be called first by two threads at
 * once (backends have one thread; tests call it before they start any).
 */
extern const ChsDistanceKernels *chs_distance(void);

/* The instruction set in use, after chs_distance() chose it. */
extern ChsIsa chs_isa_current(void);

/* "scalar", "avx2", "avx512", "neon" */
extern const char *chs_isa_name(ChsIsa isa);

/* Does this build contain the set, and does this machine run it? */
extern bool chs_isa_available(ChsIsa isa);

/*
 * Makes chs_distance() (and everything that follows chs_isa_current(), that
 * is the quantizer's kernels) use the given set; false, and no change, when it
 * is not available.  For tests and benchmarks.
 */
extern bool chs_isa_force(ChsIsa isa);

/*
 * Did a self-test reject a set that the probe had chosen?  The set's name, or
 * NULL.  The caller tells the user; core has nobody to tell.
 */
extern const char *chs_isa_rejected(void);

/*
 * The key of two vectors of n floats under a metric (see ChsMetric), in
 * double as the operators return it.  A zero norm under cosine gives NaN, as
 * the SQL function does, and so does a metric of bit strings.
 */
extern double chs_distance_key(ChsMetric metric, const float *a,
							   const float *b, size_t n);

/* The same for n float16 elements. */
extern double chs_distance_key_f16(ChsMetric metric, const ChsHalf *a,
								   const ChsHalf *b, size_t n);

/* The same for sparse vectors. */
extern double chs_distance_key_sparse(ChsMetric metric, const ChsSparse *a,
									  const ChsSparse *b);

/* Of two bit strings: how many bits differ. */
extern double chs_distance_hamming(const uint8_t *a, const uint8_t *b,
								   size_t bytes);

/*
 * Of two bit strings: 1 - the bits set in both as a part of those set in
 * either.  1 if no bit is set in both, so also if no bit is set at all.
 */
extern double chs_distance_jaccard(const uint8_t *a, const uint8_t *b,
								   size_t bytes);

/* The operator's value for a key: the square root for L2, else the key. */
extern double chs_distance_value(ChsMetric metric, double key);

/*
 * The error bound of README.md: how far the sum of n terms, taken in float by
 * any set, may lie from the exact sum when the magnitudes of the terms add up
 * to `magnitude`.  Two sets differ by at most twice as much.
 */
extern double chs_distance_bound(size_t n, double magnitude);

/* distance_sparse.c: the sums behind chs_distance_key_sparse() */
extern float chs_l2sq_sparse(const ChsSparse *a, const ChsSparse *b);
extern float chs_dot_sparse(const ChsSparse *a, const ChsSparse *b);
extern float chs_l1_sparse(const ChsSparse *a, const ChsSparse *b);
extern void chs_cosine_sparse(const ChsSparse *a, const ChsSparse *b,
							  float out[3]);

/* The self-test: do these kernels equal the scalar ones on a fixed input? */
extern bool chs_distance_agrees(const ChsDistanceKernels *kernels);

/*
 * The choice behind chs_distance(): the first of the sets that is available
 * and agrees, else the scalar set.  *rejected becomes the name of the first
 * that was available but did not agree, or NULL.  A function of its own so
 * that a test can offer it a broken set.
 */
extern const ChsDistanceKernels *chs_distance_pick(
	const ChsDistanceKernels *const *sets, size_t count, const char **rejected);

/* Per-set tables, declared where the build contains the set. */
extern const ChsDistanceKernels chs_distance_scalar;
extern const ChsHalfKernels chs_half_scalar;
extern const ChsBitKernels chs_bit_scalar;
#if defined(__x86_64__)
extern const ChsDistanceKernels chs_distance_avx2;
extern const ChsHalfKernels chs_half_avx2;
extern const ChsBitKernels chs_bit_avx2;
extern const ChsDistanceKernels chs_distance_avx512;
extern const ChsHalfKernels chs_half_avx512;
extern const ChsBitKernels chs_bit_avx512;
#endif
#if defined(__aarch64__)
extern const ChsDistanceKernels chs_distance_neon;
extern const ChsHalfKernels chs_half_neon;
extern const ChsBitKernels chs_bit_neon;
#endif

#endif /* CHS_DISTANCE_H */
