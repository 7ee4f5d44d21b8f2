/*
 * vector_float.c
 *	  Text to float, exactly as strtof() in the C locale but several times
 *	  faster on what clients send.
 *
 * Separate because it is arithmetic with a proof and nothing else: it knows
 * neither the syntax of a vector nor how errors are reported.
 *
 * The method is that of Clinger (1990), applied to a float by way of a
 * double: a decimal of at most 19 digits times a power of ten that a double
 * holds exactly takes one conversion and one multiplication or division.
 * Each is off by at most half a unit in the last place, so the double lies
 * within two units of the true value.  Rounding that double to float gives
 * the float nearest to the true value unless a midpoint between two floats
 * lies in those two units; we allow four.  A midpoint is a double whose low
 * 29 bits are 1 followed by zeroes, so the doubtful cases, about one in 60
 * million, are seen in the bits and left to strtof(), as is all unusual input.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <errno.h>
#include <float.h>

#include "pg/type/vector.h"

/* 10^22 is the largest power of ten that a double holds exactly */
#define MAX_EXACT_POWER 22

/* as many decimal digits as always fit a uint64 */
#define MAX_DIGITS 19

/* larger written exponents are strtof()'s; arbitrary, keeps sums in an int */
#define MAX_WRITTEN_EXPONENT 1000

static const double powers_of_ten[MAX_EXACT_POWER + 1] = {
	1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A decimal number as it was written: digits * 10^scale. */
typedef struct Decimal
{
	uint64 digits;
	int digit_count; /* as written, without leading zeroes */
	int scale;
	bool negative;
} Decimal;

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Appends the digits at p to d and returns what follows them.  More than
 * MAX_DIGITS overflow d->digits; the caller looks at digit_count.
 */
static inline char *
scan_digits(char *p, Decimal *d)
{
	while (is_digit(*p))
	{
		d->digits = d->digits * 10 + (uint64) (*p++ - '0');
		if (d->digits != 0 || d->digit_count != 0)
			d->digit_count++;
	}
	return p;
}

/*
 * Reads [sign] digits [. digits] [e [sign] digits] at text.  Returns what
 * follows, or NULL if that is not a whole number in this plain form, which
 * does not mean that it is not a number.
 */
static char *
scan_decimal(char *text, Decimal *d)
{
	char *p = text;
	char *start;
	int written;

	d->digits = 0;
	d->digit_count = 0;
	d->scale = 0;
	d->negative = *p == '-';
	if (*p == '-' || *p == '+')
		p++;

	start = p;
	p = scan_digits(p, d);
	written = (int) (p - start);
	if (*p == '.')
	{
		start = ++p;
		p = scan_digits(p, d);
		d->scale = -(int) (p - start);
		written += (int) (p - start);
	}
	if (written == 0)
		return NULL;

	if (*p == 'e' || *p == 'E')
	{
		bool minus = *++p == '-';
		int exponent = 0;

		if (*p == '-' || *p == '+')
			p++;
		if (!is_digit(*p))
			return NULL;
		for (; is_digit(*p); p++)
		{
			exponent = exponent * 10 + (*p - '0');
			if (exponent > MAX_WRITTEN_EXPONENT)
				return NULL;
		}
		d->scale += minus ? -exponent : exponent;
	}

	/* anything else may continue the number: hexadecimal, say */
	if (*p != ',' && *p != ']' && *p != ' ')
		return NULL;
	return p;
}

/*
 * Computes the float nearest to d if the short way can tell which that is;
 * see the head of this file.
 */
static bool
round_decimal(const Decimal *d, float *result)
{
	double value;
	uint64 bits;
	uint32 tail;

	if (d->digits == 0 && d->digit_count == 0)
	{
		*result = d->negative ? -0.0f : 0.0f;
		return true;
	}
	if (d->digit_count > MAX_DIGITS || d->scale < -MAX_EXACT_POWER ||
		d->scale > MAX_EXACT_POWER)
		return false;

	value = (double) d->digits;
	if (d->scale < 0)
		value /= powers_of_ten[-d->scale];
	else
		value *= powers_of_ten[d->scale];

	/* the proof is for normal floats: stay clear of both ends */
	if (value < 2.0 * FLT_MIN || value > 0.5 * FLT_MAX)
		return false;

	memcpy(&bits, &value, sizeof(bits));
	tail = (uint32) (bits & 0x1fffffff);
	if (tail >= 0x10000000 - 4 && tail <= 0x10000000 + 4)
		return false;

	*result = (float) (d->negative ? -value : value);
	return true;
}

/*
 * The float written at text, and in *end the first character after it; *end
 * is text if there is none.  errno is ERANGE, else 0, if the value is too
 * large (the result is infinite) or too small (denormal or zero).
 *
 * The server keeps LC_NUMERIC at "C", so strtof() reads a period as the
 * decimal point whatever the database's locale is.
 */
float
chs_vector_parse_float(char *text, char **end)
{
	Decimal decimal;
	float result;
	char *after = scan_decimal(text, &decimal);

	errno = 0;
	if (after != NULL && round_decimal(&decimal, &result))
	{
		*end = after;
		return result;
	}
	return strtof(text, end);
}
