/*
 * dimension.c
 *	  The type modifier (n) of our types.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "pg/type/dimension.h"

int32
chs_dimension_typmod(ArrayType *modifiers, const char *type, int max)
{
	int count;
	int32 *values = ArrayGetIntegerTypmods(modifiers, &count);

	if (count != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid type modifier")));

	if (values[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s must be at least 1", type)));

	if (values[0] > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s cannot exceed %d", type, max)));

	return values[0];
}

bool
chs_dimension_check(int32 typmod, int dim, Node *escontext)
{
	if (typmod != -1 && typmod != dim)
		chs_ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected %d dimensions, not %d", typmod, dim)));
	return true;
}
