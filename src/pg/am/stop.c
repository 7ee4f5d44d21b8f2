/*
 * stop.c
 *	  Named places where a test can hold a backend.
 *
 * The isolation specs have to stop a backend between two page changes and let
 * another one run.  The isolation tester sees only heavyweight locks, so a
 * named place takes an advisory lock and releases it at once; a session of
 * the spec that holds the lock holds whoever comes by:
 *
 *	  step hold  { SELECT pg_advisory_lock(hashtext('before-publish')); }
 *	  step set   { SET chassis.stop_at = 'before-publish'; }
 *
 * This is compiled for the specs only (-DCHS_STOPS).  A place must be one
 * where no content lock is held: the wait is interruptible and unbounded.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"
#include "pg/am/am.h"

#ifdef CHS_STOPS

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

static char *stop_at;

/*
 * Waits here while another session holds the advisory lock, if the setting
 * names this place.
 */
void
chs_stop(const char *name)
{
	int32 hash;
	Datum key;

	if (stop_at == NULL || strcmp(stop_at, name) != 0)
		return;

	/* the value of hashtext(name), so that a spec can compute it */
	hash = (int32) hash_bytes((const unsigned char *) name, (int) strlen(name));
	key = Int64GetDatum((int64) hash);
	DirectFunctionCall1(pg_advisory_lock_int8, key);
	DirectFunctionCall1(pg_advisory_unlock_int8, key);
}

void
chs_stop_init(void)
{
	DefineCustomStringVariable(
		"chassis.stop_at", "Place in the code to wait at, for tests.",
		"The backend waits there for the advisory lock of the name's hash.",
		&stop_at, "", PGC_USERSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL,
		NULL, NULL);
}

#endif /* CHS_STOPS */
