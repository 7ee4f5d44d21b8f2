/*
 * sum_state.h
 *	  The state of avg() and sum() over vectors of either width.
 *
 * A float8 array {n, s1 .. sd} of the row count and the element sums, {0}
 * before the first row.  Sums in double make the result independent of the
 * row order in all digits a float shows, or nearly, which a parallel plan
 * would otherwise not be.
 *
 * Separate because vector and halfvec share it, down to the function that
 * combines two states.  The functions that use it are visible in SQL and can
 * be called with any array, so each state is checked.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_SUM_STATE_H
#define CHS_SUM_STATE_H

#include "fmgr.h"
#include "utils/array.h"

#include "pg/compat.h"

/* A state taken apart; count and sums point into the array. */
typedef struct ChsSumState
{
	ArrayType *array;
	float8 *count;
	float8 *sums;
	int dim; /* 0: no row yet, so no length yet */
} ChsSumState;

/* The state in an argument; raises an error if it has not the form of one. */
extern ChsSumState chs_sum_state_get(FunctionCallInfo fcinfo, int argument);

/* A new state with room for dim sums, nothing filled in. */
extern ChsSumState chs_sum_state_create(int dim);

/*
 * The state that the result goes into: old itself where the executor says
 * that we may overwrite it, which saves an allocation and two copies of the
 * state per row; else a new one of the same length.
 */
extern ChsSumState chs_sum_state_reuse(FunctionCallInfo fcinfo, ChsSumState old);

/* Raises an error if a sum left the range of double. */
extern void chs_sum_state_check(ChsSumState state);

#endif /* CHS_SUM_STATE_H */
