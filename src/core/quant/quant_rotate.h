/*
 * quant_rotate.h
 *	  The seeded random rotation that precedes quantization.
 *
 * Only for the .c files of this folder and their tests.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_QUANT_ROTATE_H
#define CHS_QUANT_ROTATE_H

#include <stdint.h>

/*
 * Rotates n floats in place; n is a multiple of 64.  Orthonormal: lengths and
 * inner products of two vectors rotated with one seed are kept (but for
 * rounding).  The result is the same to the bit on every instruction set of
 * one architecture.
 *
 * Intermediate values stay below 4 times the norm; a caller that keeps norms
 * below the root of FLT_MAX cannot overflow here.
 */
extern void chs_rotate(float *x, uint32_t n, uint64_t seed);

#endif /* CHS_QUANT_ROTATE_H */
