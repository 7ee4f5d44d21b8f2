/*
 * alias.h
 *	  What a library needs that offers this access method under another name.
 *
 * Such a library (pgvector/chassis_vector_alias.c) has handlers of its own that return the
 * callbacks of chassishandler() but for amoptions: other options, with other
 * ranges, and searches that obey other settings.  This header is all that it
 * knows of chassis, and no symbol is shared: the two meet in a rendezvous
 * variable of the server, so that neither has to be loaded first, and a
 * library that was built for another version finds nothing there.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_ALIAS_H
#define CHS_ALIAS_H

#include "access/amapi.h"
#include "utils/rel.h"

/* What settings can say of one search, whoever's settings they are. */
typedef struct ChsScanSettings
{
	int ef_search;
	int iterative_scan;  /* ChsScanOrder: 0 off, 1 relaxed, 2 strict */
	int max_scan_tuples; /* INT_MAX: no limit */
	double scan_mem_multiplier;
} ChsScanSettings;

typedef struct ChsAlias
{
	/* an index whose access method has this callback is the alias's */
	amoptions_function amoptions;
	/* the settings of the session, as they are now */
	void (*get_settings)(ChsScanSettings *settings);
} ChsAlias;

/* What chassis leaves in the rendezvous variable when it is loaded. */
typedef struct ChsAliasApi
{
	/*
	 * The result of an amoptions: an index with this m and ef_construction
	 * (0: chassis' own default), and all else by default.  Palloc'd.
	 */
	bytea *(*make_options)(int m, int ef_construction);

	/* Takes note of an alias, which must live as long as the process. */
	void (*add)(const ChsAlias *alias);
} ChsAliasApi;

/* The number changes with the structs above. */
#define CHS_ALIAS_RENDEZVOUS "chassis alias 1"

#endif /* CHS_ALIAS_H */
