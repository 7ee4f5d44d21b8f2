/*
 * chassis_vector_alias.c
 *	  Library of the alias extension "vector": access methods hnsw and ivfflat,
 *	  their options and their settings, over chassis' index code.
 *
 * A library of its own, because pgvector defines the same settings: a process
 * that has loaded both gets an error from the one that comes second, and
 * chassis itself is to work beside pgvector.  It contains no index code.  Its
 * handlers ask chassis' handler for the callbacks and replace one, amoptions;
 * src/pg/am/alias.h says what else the two libraries tell each other.
 *
 * Ranges, values and defaults of options and settings are those that pgvector
 * 0.8.6 documents, with two exceptions: ef_construction, where the statement
 * does not give one, is chassis' 200, not 64, which takes about as long as
 * pgvector's 64 and gives answers that are at least as good (recall 0.84 against
 * 0.82 at ef_search 40, 20,000 uniform vectors of 48 dimensions; 64 had 0.80);
 * and lists, which a graph has no use for, is taken and forgotten.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <limits.h>

#include "access/amapi.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/am/alias.h"

PG_MODULE_MAGIC;

/* fmgr.h declares it only from 15 on */
extern PGDLLEXPORT void _PG_init(void);

/* Not pgvector's symbols: before 16 all libraries share one name space. */
PG_FUNCTION_INFO_V1(chassis_hnswhandler);
PG_FUNCTION_INFO_V1(chassis_ivfflathandler);

/* As in ChsScanOrder of core/graph/graph.h. */
enum
{
	SCAN_OFF,
	SCAN_RELAXED,
	SCAN_STRICT
};

#define HNSW_DEFAULT_M 16
#define HNSW_DEFAULT_EF_CONSTRUCTION 200
#define IVFFLAT_MAX_LISTS 32768

/*
 * What a probe of ivfflat is worth, see get_ivfflat_settings: candidates of a
 * search, and entries of a scan that goes on.
 */
#define EF_PER_PROBE 10
#define LEAST_EF 50
#define MOST_EF 10000
#define ENTRIES_PER_PROBE 1000

typedef struct HnswOptions
{
	int32 vl_len_;
	int m;
	int ef_construction;
} HnswOptions;

typedef struct IvfflatOptions
{
	int32 vl_len_;
	int lists;
} IvfflatOptions;

static int hnsw_ef_search = 40;
static int hnsw_iterative_scan = SCAN_OFF;
static int hnsw_max_scan_tuples = 20000;
static double hnsw_scan_mem_multiplier = 1;
static int ivfflat_probes = 1;
static int ivfflat_iterative_scan = SCAN_OFF;
static int ivfflat_max_probes = IVFFLAT_MAX_LISTS;

static const struct config_enum_entry hnsw_scan_values[] = {
	{"off", SCAN_OFF, false},
	{"relaxed_order", SCAN_RELAXED, false},
	{"strict_order", SCAN_STRICT, false},
	{NULL, 0, false},
};

static const struct config_enum_entry ivfflat_scan_values[] = {
	{"off", SCAN_OFF, false},
	{"relaxed_order", SCAN_RELAXED, false},
	{NULL, 0, false},
};

static relopt_kind hnsw_kind;
static relopt_kind ivfflat_kind;

/* Of the chassis library; set by the first handler that is called. */
static PGFunction chassis_handler;
static const ChsAliasApi *chassis;

/* ---- options of an index ---- */

static void
define_options(void)
{
	hnsw_kind = add_reloption_kind();
	add_int_reloption(hnsw_kind, "m",
					  "Edges a new node gets on each level, twice as many on "
					  "the lowest",
					  HNSW_DEFAULT_M, 2, 100, AccessExclusiveLock);
	add_int_reloption(hnsw_kind, "ef_construction",
					  "Candidates kept while looking for the neighbors of a "
					  "new node",
					  HNSW_DEFAULT_EF_CONSTRUCTION, 4, 1000,
					  AccessExclusiveLock);
	ivfflat_kind = add_reloption_kind();
	add_int_reloption(ivfflat_kind, "lists", "Accepted and not used", 100, 1,
					  IVFFLAT_MAX_LISTS, AccessExclusiveLock);
}

/* amoptions of hnsw; NULL when no option is given. */
static bytea *
parse_hnsw_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(HnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT,
		 offsetof(HnswOptions, ef_construction)},
	};
	HnswOptions *options = (HnswOptions *) build_reloptions(
		reloptions, validate, hnsw_kind, sizeof(HnswOptions), table,
		lengthof(table));

	if (options == NULL)
		return NULL;
	if (validate && options->ef_construction < 2 * options->m)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ef_construction must be greater than or equal to "
							   "2 * m")));
	return chassis->make_options(options->m, options->ef_construction);
}

/* amoptions of ivfflat: checks, and builds as if nothing had been said. */
static bytea *
parse_ivfflat_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"lists", RELOPT_TYPE_INT, offsetof(IvfflatOptions, lists)},
	};

	(void) build_reloptions(reloptions, validate, ivfflat_kind,
							sizeof(IvfflatOptions), table, lengthof(table));
	return chassis->make_options(0, 0);
}

/* ---- settings ---- */

static void
get_hnsw_settings(ChsScanSettings *settings)
{
	settings->ef_search = hnsw_ef_search;
	settings->iterative_scan = hnsw_iterative_scan;
	settings->max_scan_tuples = hnsw_max_scan_tuples;
	settings->scan_mem_multiplier = hnsw_scan_mem_multiplier;
}

/*
 * A graph has no lists to probe.  More probes are to mean a better answer that
 * takes longer, and no answer is to be shorter than that of lists:
 *	  probes		10 candidates each, and at least as many as chassis keeps
 *					by default
 *	  off			a probe gives all rows of its list in their order, which is
 *					often more than one search finds: the scan goes on, in
 *					strict order, for as long as rows are asked for
 *	  max_probes	where it limits anything, 1,000 entries each: pgvector
 *					advises to make lists of that size
 */
static void
get_ivfflat_settings(ChsScanSettings *settings)
{
	int limit = Max(ivfflat_max_probes, ivfflat_probes);

	settings->ef_search = Min(Max(ivfflat_probes * EF_PER_PROBE, LEAST_EF),
							  MOST_EF);
	settings->iterative_scan = SCAN_STRICT;
	settings->max_scan_tuples = INT_MAX;
	settings->scan_mem_multiplier = 1;
	if (ivfflat_iterative_scan == SCAN_OFF)
		return;
	settings->iterative_scan = SCAN_RELAXED;
	if (limit < IVFFLAT_MAX_LISTS)
		settings->max_scan_tuples = limit * ENTRIES_PER_PROBE;
}

static void
define_hnsw_settings(void)
{
	DefineCustomIntVariable(
		"hnsw.ef_search", "Sets how many candidates a search keeps.", NULL,
		&hnsw_ef_search, 40, 1, 1000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(
		"hnsw.iterative_scan",
		"Sets what a scan does when more rows are wanted than one search "
		"gives.",
		NULL, &hnsw_iterative_scan, SCAN_OFF, hnsw_scan_values, PGC_USERSET, 0,
		NULL, NULL, NULL);
	DefineCustomIntVariable(
		"hnsw.max_scan_tuples",
		"Sets after how many index entries a scan stops searching.",
		"Approximate; the first search is always finished.",
		&hnsw_max_scan_tuples, 20000, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL,
		NULL);
	DefineCustomRealVariable(
		"hnsw.scan_mem_multiplier",
		"Sets the multiple of work_mem that a scan may use for its search.",
		NULL, &hnsw_scan_mem_multiplier, 1, 1, 1000, PGC_USERSET, 0, NULL,
		NULL, NULL);
	CHS_RESERVE_SETTINGS("hnsw");
}

static void
define_ivfflat_settings(void)
{
	DefineCustomIntVariable("ivfflat.probes",
							"Sets how good an answer is to be.",
							"A search keeps ten candidates for each, and not "
							"fewer than fifty.",
							&ivfflat_probes, 1, 1, IVFFLAT_MAX_LISTS,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("ivfflat.iterative_scan",
							 "Sets whether rows may come a little out of order.",
							 NULL, &ivfflat_iterative_scan, SCAN_OFF,
							 ivfflat_scan_values, PGC_USERSET, 0, NULL, NULL,
							 NULL);
	DefineCustomIntVariable(
		"ivfflat.max_probes", "Sets after how many probes a scan stops.",
		"With ivfflat.iterative_scan; a probe stands for 1,000 entries.",
		&ivfflat_max_probes, IVFFLAT_MAX_LISTS, 1, IVFFLAT_MAX_LISTS,
		PGC_USERSET, 0, NULL, NULL, NULL);
	CHS_RESERVE_SETTINGS("ivfflat");
}

/*
 * Raises an error if another library, which can only be pgvector's, has
 * defined these settings in this process.  Asked before the first of ours is
 * defined, so that a second attempt finds things as they were.
 */
static void
refuse_pgvector(void)
{
	static const char *const names[] = {"hnsw.ef_search", "ivfflat.probes"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (GetConfigOption(names[i], true, false) == NULL ||
			(GetConfigOptionFlags(names[i], true) & GUC_CUSTOM_PLACEHOLDER) != 0)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("another library has already defined \"%s\"", names[i]),
				 errhint("Remove pgvector's library from "
						 "shared_preload_libraries, session_preload_libraries "
						 "and local_preload_libraries.")));
	}
}

void
_PG_init(void)
{
	refuse_pgvector();
	define_options();
	define_hnsw_settings();
	define_ivfflat_settings();
}

/* ---- handlers ---- */

/*
 * The file of the library of one of our functions, with the last part of its
 * name replaced.  So chassis is looked for where this library was found,
 * whatever path the extension was installed under.
 */
static char *
get_path_beside(Oid function, const char *name)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool isnull;
	Datum probin;
	char *path;
	char *slash;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	probin = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
	if (isnull)
		elog(ERROR, "function %u has no library", function);
	path = TextDatumGetCString(probin);
	ReleaseSysCache(tuple);

	slash = strrchr(path, '/');
	if (slash == NULL)
		return pstrdup(name);
	slash[1] = '\0';
	return psprintf("%s%s", path, name);
}

/* Loads chassis and makes ourselves known to it; once in a process. */
static void
meet_chassis(Oid function)
{
	static const ChsAlias hnsw = {parse_hnsw_options, get_hnsw_settings};
	static const ChsAlias ivfflat = {parse_ivfflat_options,
									 get_ivfflat_settings};
	const ChsAliasApi *api;
	PGFunction handler;

	handler = load_external_function(get_path_beside(function, "chassis"),
									 "chassishandler", true, NULL);
	api = *find_rendezvous_variable(CHS_ALIAS_RENDEZVOUS);
	if (api == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"chassis\" does not fit library "
						"\"chassis_vector_alias\""),
				 errhint("Install both from the same version of chassis.")));
	api->add(&hnsw);
	api->add(&ivfflat);
	chassis_handler = handler;
	chassis = api;
}

/*
 * chassis' callbacks with another amoptions.  Reads no catalog but the row of
 * the function that was called: an index is opened to be dropped, and then the
 * access method chassis may already be gone.
 */
static Datum
make_routine(FunctionCallInfo fcinfo, amoptions_function amoptions)
{
	IndexAmRoutine *am;

	if (chassis == NULL)
		meet_chassis(fcinfo->flinfo->fn_oid);
	am = (IndexAmRoutine *) DatumGetPointer(
		DirectFunctionCall1(chassis_handler, PointerGetDatum(NULL)));
	am->amoptions = amoptions;
	PG_RETURN_POINTER(am);
}

Datum
chassis_hnswhandler(PG_FUNCTION_ARGS)
{
	return make_routine(fcinfo, parse_hnsw_options);
}

Datum
chassis_ivfflathandler(PG_FUNCTION_ARGS)
{
	return make_routine(fcinfo, parse_ivfflat_options);
}
