/*
 * am_options.c
 *	  What a user can set: options of an index, settings of a session.
 *
 * Options are checked here, when they are given, so that a wrong one is
 * refused by CREATE INDEX before anything is read.  Those that shape the index
 * are copied into its metapage by the build and not read again.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <limits.h>

#include "access/reloptions.h"
#include "fmgr.h"
#include "storage/lock.h"
#include "utils/guc.h"

#include "pg/compat.h"
#include "pg/am/am.h"

#define MIN_M 2

/* Given as "bits": chosen by chs_choose_bits. */
#define BITS_AUTO 0

int chs_ef_search = -1;
int chs_iterative_scan = CHS_SCAN_RELAXED;
int chs_max_scan_tuples = INT_MAX;
double chs_scan_mem_multiplier = 1;
int chs_flat_limit = 1000;
int chs_build_seed = 0;

static relopt_kind option_kind;

static relopt_enum_elt_def rerank_values[] = {
	{"index", CHS_RERANK_INDEX},
	{"heap", CHS_RERANK_HEAP},
	{NULL, 0},
};

static const struct config_enum_entry iterative_scan_values[] = {
	{"off", CHS_SCAN_OFF, false},
	{"relaxed_order", CHS_SCAN_RELAXED, false},
	{"strict_order", CHS_SCAN_STRICT, false},
	{NULL, 0, false},
};

/* ---- options of an index ---- */

static void
define_options(void)
{
	option_kind = add_reloption_kind();
	add_int_reloption(option_kind, "m",
					  "Edges a new node gets on each level, twice as many on "
					  "the lowest",
					  CHS_DEFAULT_M, MIN_M, CHS_MAX_M, AccessExclusiveLock);
	add_int_reloption(option_kind, "ef_construction",
					  "Candidates kept while looking for the neighbors of a "
					  "new node",
					  CHS_DEFAULT_EF_CONSTRUCTION, CHS_MIN_EF_CONSTRUCTION,
					  CHS_MAX_EF_CONSTRUCTION, AccessExclusiveLock);
	/* only the next scan asks for it: nobody has to be kept out */
	add_int_reloption(option_kind, "ef_search",
					  "Candidates kept by a search, where chassis.ef_search "
					  "does not say",
					  CHS_DEFAULT_EF_SEARCH, CHS_MIN_EF_SEARCH,
					  CHS_MAX_EF_SEARCH, ShareUpdateExclusiveLock);
	add_int_reloption(option_kind, "bits",
					  "Bits per dimension of a code: 1, 2, 4, 8, 32 for none, "
					  "0 to choose",
					  BITS_AUTO, BITS_AUTO, CHS_BITS_NONE, AccessExclusiveLock);
	add_enum_reloption(
		option_kind, "rerank", "Where exact vectors are read: index or heap",
		rerank_values, CHS_RERANK_AUTO,
		"Valid values are \"index\" and \"heap\".", AccessExclusiveLock);
}

static bool
is_bits(int bits)
{
	return bits == 1 || bits == 2 || bits == 4 || bits == 8 ||
		   bits == CHS_BITS_NONE;
}

/* What no range of a single option can say.  Raises an error. */
static void
check_options(const ChsOptions *options)
{
	if (options->bits != BITS_AUTO && !is_bits(options->bits))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("value %d out of bounds for option \"bits\"",
							   options->bits),
						errdetail("Valid values are 1, 2, 4, 8, and 32, or 0 to "
								  "choose by the number of dimensions.")));
	if (options->ef_construction < 2 * options->m)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ef_construction must be greater than or equal to "
							   "2 * m"),
						errdetail("ef_construction is %d and m is %d.",
								  options->ef_construction, options->m)));
	if (options->bits == CHS_BITS_NONE && options->rerank == CHS_RERANK_HEAP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rerank = heap cannot be combined with bits = 32"),
				 errdetail("An index without quantization compares the exact "
						   "vectors it keeps itself.")));
}

/*
 * amoptions: the options as a struct; raises errors only with `validate`,
 * that is when somebody sets them, not when the catalog is read.
 */
bytea *
chsoptions(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(ChsOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT,
		 offsetof(ChsOptions, ef_construction)},
		{"ef_search", RELOPT_TYPE_INT, offsetof(ChsOptions, ef_search)},
		{"bits", RELOPT_TYPE_INT, offsetof(ChsOptions, bits)},
		{"rerank", RELOPT_TYPE_ENUM, offsetof(ChsOptions, rerank)},
	};
	ChsOptions *options = (ChsOptions *) build_reloptions(
		reloptions, validate, option_kind, sizeof(ChsOptions), table,
		lengthof(table));

	if (validate && options != NULL)
		check_options(options);
	return (bytea *) options;
}

bytea *
chs_options_make(int m, int ef_construction)
{
	ChsOptions *options = palloc0(sizeof(ChsOptions));

	SET_VARSIZE(options, sizeof(ChsOptions));
	options->m = m != 0 ? m : CHS_DEFAULT_M;
	options->ef_construction = ef_construction != 0
								   ? ef_construction
								   : CHS_DEFAULT_EF_CONSTRUCTION;
	options->ef_search = CHS_DEFAULT_EF_SEARCH;
	options->bits = BITS_AUTO;
	options->rerank = CHS_RERANK_AUTO;
	return (bytea *) options;
}

ChsOptions *
chs_options_get(Relation index)
{
	ChsOptions *options = (ChsOptions *) chs_options_make(0, 0);

	if (index->rd_options != NULL)
		memcpy(options, index->rd_options, sizeof(ChsOptions));
	return options;
}

void
chs_options_scan(Relation index, ChsScanSettings *settings)
{
	const ChsAlias *alias = chs_alias_of(index);

	if (alias != NULL)
	{
		alias->get_settings(settings);
		return;
	}
	settings->ef_search = CHS_DEFAULT_EF_SEARCH;
	if (chs_ef_search != -1)
		settings->ef_search = chs_ef_search;
	else if (index->rd_options != NULL)
		settings->ef_search = ((ChsOptions *) index->rd_options)->ef_search;
	settings->iterative_scan = chs_iterative_scan;
	settings->max_scan_tuples = chs_max_scan_tuples;
	settings->scan_mem_multiplier = chs_scan_mem_multiplier;
}

/* ---- what options and type together give ---- */

/* Does a level-0 slot of this kind fit a page? */
static bool
slot_fits(ChsRowKind row, uint32 dim, int bits, int m)
{
	return chs_slot_layout(chs_slot_code_bytes(row, dim, bits), m, 0).slot_bytes <=
		   CHS_SLOTS_BYTES;
}

/* The largest number of dimensions that these bits allow. */
static uint32
largest_dim(const ChsColumnType *type, int bits, int m)
{
	uint32 dim = type->max_dim;

	while (dim > 0 && !slot_fits(type->row, dim, bits, m))
		dim--;
	return dim;
}

/* Raises the error for a setting that the type does not have. */
static void
refuse_setting(const char *setting, const ChsColumnType *type, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s cannot be combined with type %s", setting, type->name),
			 errdetail_internal("%s", why), errhint("Leave the option out.")));
}

/* Raises an error if the bits asked for are none that the type can have. */
static void
check_bits(const ChsOptions *options, const ChsColumnType *type)
{
	if (type->row == CHS_ROW_BIT && options->bits != BITS_AUTO)
		refuse_setting(psprintf("bits = %d", options->bits), type,
					   "Bit strings are their own codes.");
	if (type->row == CHS_ROW_SPARSE && options->bits == CHS_BITS_NONE)
		refuse_setting("bits = 32", type,
					   "Values that differ in size cannot serve as codes.");
}

static void
report_too_long(const ChsColumnType *type, int bits, int m)
{
	uint32 most = largest_dim(type, bits, m);

	if (type->row == CHS_ROW_BIT)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("column cannot have more than %u dimensions for "
							   "chassis index with m = %d",
							   most, m)));
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("column cannot have more than %u dimensions for "
						   "chassis index with bits = %d and m = %d",
						   most, bits, m),
					errhint("Choose fewer bits.")));
}

int
chs_choose_bits(const ChsOptions *options, const ChsColumnType *type, uint32 dim)
{
	/*
	 * Searching four-bit codes loses about a point of recall at equal ef,
	 * which reranking gives back; fewer bits lose more and are chosen only
	 * where four do not fit.
	 */
	static const int defaults[] = {4, 2, 1};
	int bits = options->bits;

	check_bits(options, type);
	if (type->row == CHS_ROW_BIT)
		bits = 1;
	for (int i = 0; bits == BITS_AUTO && i < lengthof(defaults); i++)
	{
		if (slot_fits(type->row, dim, defaults[i], options->m))
			bits = defaults[i];
	}
	if (bits == BITS_AUTO)
		elog(ERROR, "a node of %u dimensions does not fit a page", dim);
	if (!slot_fits(type->row, dim, bits, options->m))
		report_too_long(type, bits, options->m);
	return bits;
}

ChsRerank
chs_choose_rerank(const ChsOptions *options, const ChsColumnType *type)
{
	switch (type->row)
	{
		case CHS_ROW_BIT:
			if (options->rerank != CHS_RERANK_AUTO)
				refuse_setting(options->rerank == CHS_RERANK_HEAP
								   ? "rerank = heap"
								   : "rerank = index",
							   type, "Distances between bit strings are exact.");
			return CHS_RERANK_CODE;
		case CHS_ROW_SPARSE:
			if (options->rerank == CHS_RERANK_INDEX)
				refuse_setting("rerank = index", type,
							   "Values that differ in size are read from the "
							   "table.");
			return CHS_RERANK_HEAP;
		default:
			return options->rerank == CHS_RERANK_HEAP ? CHS_RERANK_HEAP
													  : CHS_RERANK_INDEX;
	}
}

/* ---- settings ---- */

/* The range of an integer setting cannot have a hole; this one has. */
static bool
check_ef_search(int *newval, void **extra, GucSource source)
{
	if (*newval != 0)
		return true;
	GUC_check_errdetail("Valid values are -1, to use the index's own, and "
						"%d .. %d.",
						CHS_MIN_EF_SEARCH, CHS_MAX_EF_SEARCH);
	return false;
}

static void
define_scan_settings(void)
{
	DefineCustomIntVariable(
		"chassis.ef_search", "Sets how many candidates a search keeps.",
		"More find better neighbors and take longer; -1 uses the option "
		"ef_search of the index.",
		&chs_ef_search, -1, -1, CHS_MAX_EF_SEARCH, PGC_USERSET, 0,
		check_ef_search, NULL, NULL);
	DefineCustomEnumVariable(
		"chassis.iterative_scan",
		"Sets what a scan does when more rows are wanted than one search "
		"gives.",
		NULL, &chs_iterative_scan, CHS_SCAN_RELAXED, iterative_scan_values,
		PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"chassis.max_scan_tuples",
		"Sets after how many index entries a scan stops searching.",
		"Approximate; the first search is always finished.",
		&chs_max_scan_tuples, INT_MAX, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL,
		NULL);
	DefineCustomRealVariable(
		"chassis.scan_mem_multiplier",
		"Sets the multiple of work_mem that a scan may use for its search.",
		"Beyond it the scan goes on by sorting the entries it has not "
		"returned.",
		&chs_scan_mem_multiplier, 1, 1, 1000, PGC_USERSET, 0, NULL, NULL, NULL);
}

/* For tests and benchmarks: not shown, not documented, frozen by a build. */
static void
define_hidden_settings(void)
{
	int flags = GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE;

	/*
	 * At least 1, because a model is made from the rows there are.  The upper
	 * limit keeps a flat scan within a second or so.
	 */
	DefineCustomIntVariable(
		"chassis.flat_limit",
		"Sets how many rows a new index compares one by one before it "
		"becomes a graph.",
		NULL, &chs_flat_limit, 1000, 1, 1000000, PGC_USERSET, flags, NULL,
		NULL, NULL);
	DefineCustomIntVariable("chassis.build_seed",
							"Sets the seed of a new index; 0 is a fixed one.",
							NULL, &chs_build_seed, 0, 0, INT_MAX, PGC_USERSET,
							flags, NULL, NULL, NULL);
}

void
chs_am_init(void)
{
	chs_alias_init();
	define_options();
	define_scan_settings();
	define_hidden_settings();
#ifdef CHS_STOPS
	chs_stop_init();
#endif
	CHS_RESERVE_SETTINGS("chassis");
}
