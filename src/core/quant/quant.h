/*
 * quant.h
 *	  Rows to small codes, and distances estimated from the codes.
 *
 * A model is what one index needs to encode: kind of row, dimensions, bits,
 * metric, seed of the rotation and the mean of a sample.  A code is opaque
 * bytes plus four floats of factors.  A query is prepared once and then scored
 * against many codes; the estimate comes with the standard deviation of its
 * error.
 *
 * Where no quantization is wanted (bits = 32), or none is possible (bit
 * strings), the code is the row itself and the estimate is exact with error 0,
 * so that the graph code needs no second path.
 *
 * Nothing here knows of graphs, pages or how codes are stored; alignment of
 * codes and factors is not assumed beyond 4 bytes.
 *
 * Papers: Gao & Long 2024 (RaBitQ), Gao et al. 2025 (extended RaBitQ), Charikar
 * et al. 2002 (count sketch); see README.md for the derivation, the error bound
 * and what differs.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_QUANT_H
#define CHS_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/distance/distance.h"
#include "core/distance/row.h"

#define CHS_BITS_NONE 32 /* the rows themselves, no codes */

/*
 * Sparse rows of more dimensions than this are encoded as a sketch of so many
 * (see README.md, "Sparse rows").  On disk by way of the codes.
 */
#define CHS_SKETCH_DIM 1024

/*
 * What encoding needs.  The arrays belong to the caller and must outlive the
 * model and every query made from it.
 */
typedef struct ChsModel
{
	ChsMetric metric;
	ChsRowKind row;
	uint8_t bits;      /* 1, 2, 4, 8 or CHS_BITS_NONE; of bit strings 1 */
	uint32_t dim;      /* dimensions that are encoded: chs_encoded_dim() */
	uint32_t row_dim;  /* of the column; 0: the same */
	uint32_t code_dim; /* dimensions of a code: dim rounded up to 64 */
	uint64_t seed;     /* of the rotation's signs, and of the sketch */
	float mean_norm2;  /* |mean|^2 */
	const float *mean; /* dim floats; NULL where codes are rows */
	const float *step; /* L1 only: dim floats, width of one level; else NULL */
} ChsModel;

/*
 * Per-node factors, stored beside the code (16 bytes, on disk as they are).
 *
 * With o the centred vector (for cosine: of the normalised vector), c its
 * code (half-integers around 0, at 8 bits integers) and D code_dim:
 * norm2 = |o|^2; scale = |o|^2 / <c, o> (0 when o = 0);
 * err = |o| sqrt((1 - cos^2) / (cos^2 (D - 1))) with cos between c and o, so
 * that the standard deviation of an estimated <o, q> is err |q|;
 * add = <o, mean> (inner product metric, and sketches; else 0).
 * L1: err = root of the sum of squared residuals; add = how far, in sum, the
 * vector lies outside the grid, of sparse rows the sum of all residuals; the
 * rest 0.
 * bits = 32: scale = 1 / |vector| under cosine (else 1), the rest 0.
 * Bit strings: all 0.
 */
typedef struct ChsFactors
{
	float norm2;
	float scale;
	float err;
	float add;
} ChsFactors;

/*
 * A query against codes of an L1 index, in units of levels: dimension j of the
 * query stands at levels[j] on the grid whose values are 0 .. 2^bits - 1.
 * Both arrays have code_dim floats; step is 0 where there is no dimension.
 */
typedef struct ChsL1Query
{
	const float *levels;
	const float *step;
	uint32_t code_dim;
} ChsL1Query;

/*
 * A prepared query.  `mem` of chs_query_bytes() holds its arrays; it is
 * self-contained but for the model (and the row, see chs_query_init).
 * Readers outside this folder need none of the fields.
 *
 * With v = sum of 2 c q8 over the dimensions, an integer, and g = dot_unit *
 * scale * v the estimate of <o, q>:
 * key = key_const + key_norm2 * norm2 + key_add * add + key_dot * g.
 */
typedef struct ChsQuery
{
	const ChsModel *model;
	const void *row;  /* the exact query, NULL if from a code */
	const int8_t *q8; /* code_dim values, 64-byte aligned */
	const void *code; /* where codes are rows: the row, or the code */
	ChsL1Query l1;    /* L1: the query in levels */
	bool from_code;   /* stands for a code, not for a row */
	float key_const;
	float key_norm2;
	float key_add;
	float key_dot;
	float dot_unit;  /* half the value of one unit of q8 */
	int32_t q8_sum;  /* sum of q8 */
	float norm2;     /* |q|^2 of what is compared with o */
	float norm;      /* its root */
	float scale;     /* bits = 32: 1 / |vector| under cosine, else 1 */
	float quant_err; /* sd of one unit-norm code's product from rounding q */
	float code_err;  /* err of the code that the query stands for, else 0 */
	float row_norm2; /* |q|^2 as the row has it */
} ChsQuery;

/* dim rounded up to a multiple of 64 */
extern uint32_t chs_code_dim(uint32_t dim);

/* Bytes of one code of floats: code_dim * bits / 8, or dim * 4 for
 * CHS_BITS_NONE. */
extern size_t chs_code_bytes(uint32_t dim, int bits);

/* Is the code of a row the row itself? */
static inline bool
chs_codes_are_rows(ChsRowKind row, int bits)
{
	return row == CHS_ROW_BIT || bits == CHS_BITS_NONE;
}

/* How many of the dimensions of a column are encoded. */
static inline uint32_t
chs_encoded_dim(ChsRowKind row, uint32_t dim)
{
	return row == CHS_ROW_SPARSE && dim > CHS_SKETCH_DIM ? CHS_SKETCH_DIM : dim;
}

/* Bytes of one code of a row of this kind; dim: of the column. */
extern size_t chs_row_code_bytes(ChsRowKind row, uint32_t dim, int bits);
extern size_t chs_model_code_bytes(const ChsModel *model);

/* Floats that training makes: mean, then step under L1; 0: no training. */
extern size_t chs_model_values(const ChsModel *model);

/*
 * Fills mean (and step under L1), both dim floats, from n sample rows of dim
 * floats each, row i at rows + i * dim; then completes model's derived
 * fields.  Under cosine rows are normalised on the fly and zero rows skipped.
 * Rows that are not finite are skipped.  n = 0 gives a zero mean and unit
 * steps.  scratch from the arena.
 */
extern void chs_model_train(ChsModel *model, float *mean, float *step,
							const float *rows, size_t n, ChsArena *arena);

/*
 * Completes a model whose metric, row, bits, dim, seed, mean and step are set
 * (after reading it back from disk): code_dim, mean_norm2.
 */
extern void chs_model_finish(ChsModel *model);

/* Sets mean and step to chs_model_values() floats, and completes the model. */
extern void chs_model_use(ChsModel *model, const float *values);

/*
 * The dim floats of a row that are encoded: the row itself where it is that,
 * else `room`, filled.  Sparse rows, and those of few dimensions only, become
 * dense; a sketch is the same wherever it is made.  Not for bit strings.
 */
extern const float *chs_row_floats(const ChsModel *model, const void *row,
								   float *room);

/* Bytes of scratch that chs_encode needs (64-byte aligned). */
extern size_t chs_encode_scratch_bytes(const ChsModel *model);

/*
 * Encodes one row into code (chs_model_code_bytes) and factors.  False when it
 * cannot take part in a graph: a value of it or of a product overflows, its
 * norm is zero under cosine, or no bit of it is set under Jaccard; code and
 * factors are then zeroed.
 */
extern bool chs_encode(const ChsModel *model, const void *row, void *scratch,
					   uint8_t *code, ChsFactors *factors);

/* Bytes of memory behind one query (64-byte aligned). */
extern size_t chs_query_bytes(const ChsModel *model);

/*
 * Prepares a query from a row (kept by reference, it must outlive the query).
 * False when estimates would be meaningless (zero norm under cosine, no bit
 * set under Jaccard, not finite); the query must then not be used.
 *
 * The codes of an inner product index are those of an L2 index with the same
 * mean: a copy of the model with metric = L2 makes queries that give the L2
 * estimate from them (for finding equal vectors).
 */
extern bool chs_query_init(ChsQuery *query, void *mem, const ChsModel *model,
						   const void *row);

/* A query for exact keys alone: of the model, metric, row and dim are used. */
extern void chs_query_exact(ChsQuery *query, const ChsModel *model,
							const void *row);

/*
 * Prepares a query that stands for an encoded row, so that two codes can
 * be compared.  This is another estimator than row against code, and the
 * two must never be compared with each other: unrelated vectors are estimated
 * without bias, but near-duplicates err alike, and their keys come out too low
 * by up to twice |o|^2 (1 / cos^2 - 1), which a code against itself reaches.
 * The order of near and far is kept; see README.md.  Symmetric.
 */
extern void chs_query_from_code(ChsQuery *query, void *mem,
								const ChsModel *model, const uint8_t *code,
								const ChsFactors *factors);

/*
 * Estimated keys (see ChsMetric) of n codes; err[i], if err is not NULL, is
 * the standard deviation of est[i].  An estimate is not clamped: a squared
 * distance near 0 may come out negative.  What is not finite becomes FLT_MAX.  codes[i]
 * and factors[i] point to the i-th code and its factors.  Give four codes a
 * call or more: the kernels then need half the time per code.
 */
extern void chs_estimate(const ChsQuery *query, const uint8_t *const *codes,
						 const ChsFactors *const *factors, int n, float *est,
						 float *err);

/* What l1_levels sums. */
enum
{
	CHS_L1_KEY,
	CHS_L1_NEAR,
	CHS_L1_LEVELS,
	CHS_L1_SUMS
};

/*
 * Kernels.  u are code values 0 .. 2^bits - 1; sums are exact integers, so all
 * instruction sets must agree to the bit.
 */
typedef struct ChsQuantKernels
{
	ChsIsa isa;
	/* out[i] = sum over j of u_i[j] * q[j], for n codes of code_dim values */
	void (*dot_u1)(const int8_t *q, const uint8_t *const *codes, int n,
				   uint32_t code_dim, int32_t *out);
	void (*dot_u2)(const int8_t *q, const uint8_t *const *codes, int n,
				   uint32_t code_dim, int32_t *out);
	void (*dot_u4)(const int8_t *q, const uint8_t *const *codes, int n,
				   uint32_t code_dim, int32_t *out);
	void (*dot_u8)(const int8_t *q, const uint8_t *const *codes, int n,
				   uint32_t code_dim, int32_t *out);
	/*
	 * L1: with a = |level - u| and w = max(0, 1/2 - a), the sums over the
	 * dimensions of step (a + w^2); of the same where a <= 1/2; of step a.
	 * Within a float bound.
	 */
	void (*l1_levels)(const ChsL1Query *query, const uint8_t *code, int bits,
					  float out[CHS_L1_SUMS]);
} ChsQuantKernels;

extern const ChsQuantKernels chs_quant_scalar;
#if defined(__x86_64__)
extern const ChsQuantKernels chs_quant_avx2;
extern const ChsQuantKernels chs_quant_avx512;
#endif
#if defined(__aarch64__)
extern const ChsQuantKernels chs_quant_neon;
#endif

/*
 * The kernels that go with chs_isa_current(), self-tested against scalar on
 * first use; scalar if the test fails.  The first call of a set is not safe
 * in two threads at once, as with chs_distance().
 */
extern const ChsQuantKernels *chs_quant(void);

/*
 * Did the self-test reject a set?  Its name, or NULL.  The caller tells the
 * user; core has nobody to tell.
 */
extern const char *chs_quant_rejected(void);

#endif /* CHS_QUANT_H */
