/*
 * half.h
 *	  IEEE 754 binary16 numbers as their bits: to float and back, one at a time.
 *
 * This is the definition; the instruction sets' conversions of whole arrays
 * must give the same bits.  No _Float16: not every compiler we meet has it,
 * and on x86-64 without its instructions it is a library call.
 *
 * 1 bit sign, 5 bits exponent (bias 15), 10 bits fraction: 11 significant
 * bits from 2^-14 to 65504, multiples of 2^-24 below.  Every half is a float.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_HALF_H
#define CHS_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t ChsHalf;

#define CHS_HALF_SIGN 0x8000u
#define CHS_HALF_INFINITY 0x7c00u /* a larger magnitude is a NaN */

static inline bool
chs_half_is_finite(ChsHalf half)
{
	return (half & CHS_HALF_INFINITY) != CHS_HALF_INFINITY;
}

static inline bool
chs_half_is_nan(ChsHalf half)
{
	return (half & 0x7fffu) > CHS_HALF_INFINITY;
}

/* 0 or -0 */
static inline bool
chs_half_is_zero(ChsHalf half)
{
	return (half & 0x7fffu) == 0;
}

/*
 * The same number as float, exactly.  A NaN stays one and becomes quiet, as
 * the processors' instructions make it.
 *
 * Exponent and fraction moved to a float's place are the number times 2^-112,
 * the difference of the biases; that holds for the numbers below 2^-14 too,
 * which are then no normal floats either.
 */
static inline float
chs_half_to_float(ChsHalf half)
{
	uint32_t bits = (uint32_t) (half & 0x7fffu) << 13;
	float magnitude;

	memcpy(&magnitude, &bits, sizeof(magnitude));
	magnitude *= 0x1p112f;
	memcpy(&bits, &magnitude, sizeof(bits));
	/* written without branches, so that a loop can become vector code */
	bits |= chs_half_is_finite(half) ? 0 : UINT32_C(0x7f800000);
	bits |= chs_half_is_nan(half) ? UINT32_C(0x00400000) : 0;
	bits |= (uint32_t) (half & CHS_HALF_SIGN) << 16;
	memcpy(&magnitude, &bits, sizeof(magnitude));
	return magnitude;
}

/* A float's magnitude, as bits, that is not finite as a half or not a number. */
static inline uint32_t
chs_half_round_large(uint32_t bits)
{
	if (bits <= UINT32_C(0x7f800000))
		return CHS_HALF_INFINITY;
	/* what fits of the NaN's payload, and quiet */
	return CHS_HALF_INFINITY | 0x0200u | ((bits >> 13) & 0x03ffu);
}

/*
 * The half nearest to a float, of two equally near ones the even one; from
 * 65520 on that is infinity.  The rounding mode must be "to nearest".
 */
static inline ChsHalf
chs_half_from_float(float number)
{
	uint32_t bits;
	uint32_t sign;

	memcpy(&bits, &number, sizeof(bits));
	sign = (bits >> 16) & CHS_HALF_SIGN;
	bits &= UINT32_C(0x7fffffff);

	if (bits >= UINT32_C(0x47800000)) /* 2^16 */
		bits = chs_half_round_large(bits);
	else if (bits < UINT32_C(0x38800000)) /* 2^-14 */
	{
		/* a unit of 0.5's last place is the half's 2^-24: the sum is rounded
		 * where the half must be, and counts those units */
		float magnitude;

		memcpy(&magnitude, &bits, sizeof(magnitude));
		magnitude += 0.5f;
		memcpy(&bits, &magnitude, sizeof(bits));
		bits -= UINT32_C(0x3f000000); /* 0.5 */
	}
	else
	{
		/* Drops 13 bits: adding all but half of their range, and one more to
		 * an odd number, carries exactly when it must be rounded up; a carry
		 * out of the fraction raises the exponent, up to infinity. */
		uint32_t odd = (bits >> 13) & 1;

		bits += 0x0fffu + odd;
		bits -= UINT32_C(112) << 23; /* the difference of the biases */
		bits >>= 13;
	}
	return (ChsHalf) (sign | bits);
}

#endif /* CHS_HALF_H */
