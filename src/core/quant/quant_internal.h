/*
 * quant_internal.h
 *	  What the .c files of this folder share, and nobody else needs.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_QUANT_INTERNAL_H
#define CHS_QUANT_INTERNAL_H

#include "core/quant/quant.h"

/*
 * Twice the level that stands for 0 in a rotated code: c = u - centre.
 */
static inline int
chs_twice_centre(int bits)
{
	return bits == 8 ? 256 : (1 << bits) - 1;
}

/* What one pass over a vector finds while it subtracts a centre. */
typedef struct ChsCentred
{
	float norm2; /* |o|^2 */
	float add;   /* <o, mean> */
} ChsCentred;

/* |x|^2 of dim floats. */
extern float chs_norm2(const float *x, uint32_t dim);

/* Is any bit of a bit string set? */
extern bool chs_row_has_bits(const ChsModel *model, const void *row);

/* Are rows encoded by a sketch that several dimensions share a place in? */
static inline bool
chs_is_sketched(const ChsModel *model)
{
	return model->row_dim > model->dim;
}

/*
 * What a vector of squared length norm2 is multiplied by before it is centred:
 * its inverse norm under cosine, else 1.  False when it can be neither encoded
 * nor searched for: norm2 is not finite, or zero under cosine.
 */
extern bool chs_input_scale(ChsMetric metric, float norm2, float *scale);

/* o = x * scale - mean * weight, padded with zeros up to code_dim. */
extern void chs_centre(const ChsModel *model, const float *x, float scale,
					   float weight, float *o, ChsCentred *found);

/*
 * Rounds n floats (a multiple of 64) to int8 with a common unit, which is
 * returned: the largest becomes 127.  All zero gives unit 0.
 */
extern float chs_round_to_int8(const float *x, uint32_t n, int8_t *q8);

/*
 * Does a set of kernels agree with scalar on the self-test's codes?  Runs the
 * kernels: the processor must have them.
 */
extern bool chs_quant_self_test(const ChsQuantKernels *tried);

#endif /* CHS_QUANT_INTERNAL_H */
