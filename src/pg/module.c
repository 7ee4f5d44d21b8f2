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
#include "core/quant/quant.h"
#include "pg/am/am.h"

CHS_MODULE_MAGIC("0.2.0");

/* fmgr.h declares it only from 15 on */
extern PGDLLEXPORT void _PG_init(void);

/* Tells the user that a set of kernels is not used although it could be. */
static void
warn_rejected(const char *what, const char *rejected)
{
	if (rejected == NULL)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("chassis does not use the \"%s\" %s kernels because they "
					"failed their self-test",
					rejected, what),
			 errhint("Searches are correct but slower. Please report this "
					 "with the model of the processor.")));
}

/*
 * Runs once per process, on the first use of any function of the library, or
 * in the postmaster when the library is preloaded.
 *
 * The kernel sets are chosen here and not on the first distance, so that the
 * self-tests' verdicts do not appear in the middle of somebody's query.
 */
void
_PG_init(void)
{
	(void) chs_distance();
	warn_rejected("distance", chs_isa_rejected());
	(void) chs_quant();
	warn_rejected("quantizer", chs_quant_rejected());
	chs_am_init();
	chs_plan_init();
}
