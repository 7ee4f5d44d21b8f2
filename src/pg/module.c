/*
 * module.c
 *	  What PostgreSQL sees of the library itself: magic block and start-up.
 *
 * Separate so that the type and the access method need not know of each
 * other's start-up work.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "core/distance/distance.h"
#include "pg/am/am.h"

CHS_MODULE_MAGIC("0.1.0");

/* fmgr.h declares it only from 15 on */
extern PGDLLEXPORT void _PG_init(void);

/*
 * Runs once per process, on the first use of any function of the library, or
 * in the postmaster when the library is preloaded.
 *
 * The kernel set is chosen here and not on the first distance, so that the
 * self-test's verdict does not appear in the middle of somebody's query.
 */
void
_PG_init(void)
{
	const char *rejected;

	(void) chs_distance();
	rejected = chs_isa_rejected();
	if (rejected != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("chassis does not use the \"%s\" distance kernels "
						"because they failed their self-test",
						rejected),
				 errdetail("Distances are computed by the \"%s\" kernels.",
						   chs_isa_name(chs_isa_current()))));

	chs_am_init();
}
