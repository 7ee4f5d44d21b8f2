/*
 * unit.h
 *	  The harness of the unit programs: check, count, one summary line.
 *
 * A program calls CHECK as often as it likes and ends main() with
 * `return unit_summary("name");`, which prints the one line that `make
 * check-unit` shows, `unit NAME: N checks, M failed`.  A failing check goes on,
 * so that one run shows every fault; only the first few are described, on
 * stderr, because a broken kernel fails thousands of times.
 *
 * The counters are static: a header is enough as long as each program has one
 * file that checks.  It must not know what is being tested.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_UNIT_H
#define CHS_UNIT_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

/* Failures described in full; chosen so that they fit a screen. */
#define UNIT_DESCRIBED 20

static long unit_checks;
static long unit_failures;

/* The condition holds. */
#define CHECK(cond) unit_check((cond), __FILE__, __LINE__, #cond)

/* Two integers are equal; both are shown when they are not. */
#define CHECK_EQ(a, b) \
	unit_check_equal((long long) (a), (long long) (b), __FILE__, __LINE__, \
					 #a " == " #b)

/* |a - b| <= tol; two NaNs and two equal infinities are near. */
#define CHECK_NEAR(a, b, tol) \
	unit_check_near((double) (a), (double) (b), (double) (tol), __FILE__, \
					__LINE__, #a " ~ " #b)

/* Counts one check; returns whether to describe it, that is, a failure. */
static inline bool
unit_count(bool ok)
{
	unit_checks++;
	if (ok)
		return false;
	unit_failures++;
	return unit_failures <= UNIT_DESCRIBED;
}

static inline bool
unit_check(bool ok, const char *file, int line, const char *what)
{
	if (unit_count(ok))
		fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
	return ok;
}

static inline bool
unit_check_equal(long long a, long long b, const char *file, int line,
				 const char *what)
{
	if (unit_count(a == b))
		fprintf(stderr, "%s:%d: failed: %s (%lld, %lld)\n", file, line, what,
				a, b);
	return a == b;
}

static inline bool
unit_check_near(double a, double b, double tol, const char *file, int line,
				const char *what)
{
	/* a == b first: the difference of equal infinities is NaN */
	bool ok = a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= tol;

	if (unit_count(ok))
		fprintf(stderr, "%s:%d: failed: %s (%.9g, %.9g, tolerance %.3g)\n",
				file, line, what, a, b, tol);
	return ok;
}

/* Prints the summary; returns the exit status of the program. */
static inline int
unit_summary(const char *name)
{
	printf("unit %s: %ld checks, %ld failed\n", name, unit_checks,
		   unit_failures);
	return unit_failures == 0 && unit_checks > 0 ? 0 : 1;
}

#endif /* CHS_UNIT_H */
