/*
 * am_handler.c
 *	  What PostgreSQL may ask of the access method: the table of callbacks, and
 *	  properties.
 *
 * Separate because everything the server knows of chassis before it opens an
 * index is here, on one page; what a callback does stands in the file of its
 * verb.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "commands/vacuum.h"

#include "pg/compat.h"
#include "pg/am/am.h"

PG_FUNCTION_INFO_V1(chassishandler);

/*
 * pg_index_column_has_property() and its like.  The server cannot tell whether
 * an operator class orders by distance; every one of ours does.  Other
 * properties are left to its defaults.
 */
static bool
chsproperty(Oid index_oid, int attno, IndexAMProperty prop,
			const char *propname, bool *res, bool *isnull)
{
	/* a property of columns: asked of the whole index it is not known */
	if (prop != AMPROP_DISTANCE_ORDERABLE || attno == 0)
		return false;
	*res = true;
	*isnull = false;
	return true;
}

/*
 * The callback table.  makeNode() zeroes it, so that what is not named here is
 * false or absent, on later majors too.
 */
Datum
chassishandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	/* operators are found by their operator family, not by number */
	am->amstrategies = 0;
	am->amsupport = 1;
	am->amoptsprocnum = 0;
	am->amcanorderbyop = true;

	/*
	 * One column for now; the page format has room for filter columns.  No
	 * condition on the column is needed, there is none that could be used.
	 */
	am->amcanmulticol = false;
	am->amoptionalkey = true;

	/*
	 * Neither a parallel scan (an ordered search has one front, and each
	 * worker may run its own scan below a join) nor predicate locks: the
	 * server then locks the whole index for serializable transactions, which
	 * is right, if coarse, since any insert can change any answer.
	 */
	am->amcanparallel = false;
	am->ampredlocks = false;
	CHS_AM_BUILDS_IN_PARALLEL(am);

	/*
	 * VACUUM needs a few bits per node, whatever maintenance_work_mem says,
	 * so that the other indexes' share need not shrink for ours.  Cleanup is
	 * cheap after a bulk delete; without one it may have repairs to finish.
	 */
	am->amusemaintenanceworkmem = false;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL |
								  VACUUM_OPTION_PARALLEL_COND_CLEANUP;
	am->amkeytype = InvalidOid;

	am->ambuild = chsbuild;
	am->ambuildempty = chsbuildempty;
	am->aminsert = chsinsert;
	am->ambulkdelete = chsbulkdelete;
	am->amvacuumcleanup = chsvacuumcleanup;
	am->amcostestimate = chscostestimate;
	am->amoptions = chsoptions;
	am->amproperty = chsproperty;
	am->ambuildphasename = chsbuildphasename;
	am->amvalidate = chsvalidate;
	am->ambeginscan = chsbeginscan;
	am->amrescan = chsrescan;
	am->amgettuple = chsgettuple;
	am->amendscan = chsendscan;

	PG_RETURN_POINTER(am);
}
