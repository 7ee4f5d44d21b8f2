/*
 * dimension.h
 *	  The type modifier (n), which means the same in vector, halfvec and
 *	  sparsevec: so many dimensions and no other number.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_DIMENSION_H
#define CHS_DIMENSION_H

#include "nodes/nodes.h"
#include "utils/array.h"

#include "pg/compat.h"

/*
 * The n of `type`(n), from the array that the parser made of it; raises an
 * error unless it is one number from 1 to max.
 */
extern int32 chs_dimension_typmod(ArrayType *modifiers, const char *type,
								  int max);

/*
 * Is this the number of dimensions that the modifier demands?  -1: any is.
 * A breach is reported as chs_ereturn() does, and false returned.
 */
extern bool chs_dimension_check(int32 typmod, int dim, Node *escontext);

#endif /* CHS_DIMENSION_H */
