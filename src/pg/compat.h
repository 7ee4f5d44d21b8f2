/*
 * compat.h
 *	  The differences between PostgreSQL 14 and 18, hidden behind one name each.
 *
 * This is the only file that tests PG_VERSION_NUM: the rest of src/pg is
 * written once.  A name here does what the newest server does, or the nearest
 * an older one can, and its comment says what the older one lacks.  Include
 * it right after postgres.h.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_COMPAT_H
#define CHS_COMPAT_H

#if PG_VERSION_NUM < 140000
#error "chassis needs PostgreSQL 14 or later"
#endif

#include "fmgr.h"

/* 16 moved the varlena accessors out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * The module's magic block; from 18 it also carries a name and a version,
 * which pg_get_loaded_modules() shows.
 */
#if PG_VERSION_NUM >= 180000
#define CHS_MODULE_MAGIC(version_text) \
	PG_MODULE_MAGIC_EXT(.name = "chassis", .version = version_text)
#else
#define CHS_MODULE_MAGIC(version_text) PG_MODULE_MAGIC
#endif

/*
 * chs_ereturn(escontext, value, (errcode(...), errmsg(...), ...))
 *
 * Reports an error of an input function.  When the caller asked for soft
 * errors (pg_input_is_valid(), COPY ... ON_ERROR) the report goes into
 * escontext and the calling function returns value; else, and always before
 * 16, the error is thrown.
 */
#if PG_VERSION_NUM >= 160000
#define chs_ereturn(escontext, value, ...) \
	ereturn(escontext, value, __VA_ARGS__)
#else
#define chs_ereturn(escontext, value, ...) \
	do \
	{ \
		(void) (escontext); \
		ereport(ERROR, __VA_ARGS__); \
		return value; \
	} while (0)
#endif

/* 18 replaced the attribute after a declaration by a word before it. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* 16 renamed what identifies a relation's files. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
typedef RelFileLocator ChsRelLocator;
#define CHS_REL_LOCATOR(rel) ((rel)->rd_locator)
#define CHS_LOCATOR_EQUALS(a, b) RelFileLocatorEquals(a, b)
#define CHS_TAG_LOCATOR(tag) BufTagGetRelFileLocator(tag)
#define CHS_TAG_FORK(tag) BufTagGetForkNum(tag)
#else
#include "storage/relfilenode.h"
typedef RelFileNode ChsRelLocator;
#define CHS_REL_LOCATOR(rel) ((rel)->rd_node)
#define CHS_LOCATOR_EQUALS(a, b) RelFileNodeEquals(a, b)
#define CHS_TAG_LOCATOR(tag) ((tag)->rnode)
#define CHS_TAG_FORK(tag) ((tag)->forkNum)
#endif

/*
 * A flag of XLogRegisterBuffer for pages whose changes we describe in the form
 * that generic WAL has in 14 to 18.  A newer server gets full images, which are
 * right whatever its form is, until somebody has looked.
 */
#if PG_VERSION_NUM >= 190000
#define CHS_REGBUF_EDITED REGBUF_FORCE_IMAGE
#else
#define CHS_REGBUF_EDITED 0
#endif

/* Space for a block that smgr writes: since 16 aligned as direct I/O wants it. */
#if PG_VERSION_NUM >= 160000
typedef PGIOAlignedBlock ChsIOBlock;
#else
typedef PGAlignedBlock ChsIOBlock;
#endif

/* 15 turned the warning about unknown settings into a reserved prefix. */
#if PG_VERSION_NUM >= 150000
#define CHS_RESERVE_SETTINGS(prefix) MarkGUCPrefixReserved(prefix)
#else
#define CHS_RESERVE_SETTINGS(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* From 17 on the server plans the workers of a build, if the AM says so. */
#if PG_VERSION_NUM >= 170000
#define CHS_AM_BUILDS_IN_PARALLEL(routine) \
	((routine)->amcanbuildparallel = true)
#else
#define CHS_AM_BUILDS_IN_PARALLEL(routine) ((void) 0)
#endif

/* A path that must not be used although its cost is compared as a number. */
#if PG_VERSION_NUM >= 180000
#define CHS_DISABLE_PATH(path) ((path)->disabled_nodes = 2)
#else
#define CHS_DISABLE_PATH(path) ((void) 0)
#endif

/* EXPLAIN of 18 shows how often an index was searched; the AM counts. */
#if PG_VERSION_NUM >= 180000
#define CHS_COUNT_INDEX_SEARCH(scan) \
	do \
	{ \
		if ((scan)->instrument) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define CHS_COUNT_INDEX_SEARCH(scan) ((void) 0)
#endif

/*
 * old_snapshot_threshold, gone in 17: raises "snapshot too old" when rows that
 * the snapshot sees may have been removed.  Other access methods ask per page
 * and let unchanged pages pass; here the question is asked once per row
 * returned, for the whole index, which is stricter and as safe.
 */
#if PG_VERSION_NUM >= 170000
#define CHS_TEST_OLD_SNAPSHOT(snapshot, rel) ((void) 0)
#else
#define CHS_TEST_OLD_SNAPSHOT(snapshot, rel) \
	do \
	{ \
		if (unlikely(old_snapshot_threshold >= 0) && \
			!XLogRecPtrIsInvalid((snapshot)->lsn)) \
			TestForOldSnapshot_impl(snapshot, rel); \
	} while (0)
#endif

/* Does the current user own this relation? */
#if PG_VERSION_NUM >= 160000
#define CHS_OWNS_RELATION(relid) \
	object_ownercheck(RelationRelationId, relid, GetUserId())
#else
#define CHS_OWNS_RELATION(relid) pg_class_ownercheck(relid, GetUserId())
#endif

/*
 * Sleeps when vacuum_cost_delay says so, and lets interrupts through; from 18
 * on it wants to know whether this is ANALYZE.  The caller includes
 * commands/vacuum.h.
 */
#if PG_VERSION_NUM >= 180000
#define CHS_VACUUM_DELAY() vacuum_delay_point(false)
#else
#define CHS_VACUUM_DELAY() vacuum_delay_point()
#endif

/* A sort whose result is read once, forwards. */
#if PG_VERSION_NUM >= 150000
#define CHS_SORT_ONCE TUPLESORT_NONE
#else
#define CHS_SORT_ONCE false
#endif

/*
 * Prepares a set-returning function that fills rsinfo->setResult in one call.
 * 15 has InitMaterializedSRF(); before, every such function spelled it out.
 */
#if PG_VERSION_NUM >= 150000
#define CHS_MATERIALIZE_SRF(fcinfo) InitMaterializedSRF(fcinfo, 0)
#else
#define CHS_MATERIALIZE_SRF(fcinfo) \
	do \
	{ \
		ReturnSetInfo *set_ = (ReturnSetInfo *) (fcinfo)->resultinfo; \
		MemoryContext old_; \
		TupleDesc desc_; \
\
		if (set_ == NULL || !IsA(set_, ReturnSetInfo) || \
			!(set_->allowedModes & SFRM_Materialize)) \
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), \
							errmsg("set-valued function called in context that " \
								   "cannot accept a set"))); \
		old_ = MemoryContextSwitchTo(set_->econtext->ecxt_per_query_memory); \
		if (get_call_result_type(fcinfo, NULL, &desc_) != TYPEFUNC_COMPOSITE) \
			elog(ERROR, "return type must be a row type"); \
		set_->returnMode = SFRM_Materialize; \
		set_->setDesc = desc_; \
		set_->setResult = tuplestore_begin_heap( \
			(set_->allowedModes & SFRM_Materialize_Random) != 0, false, \
			work_mem); \
		MemoryContextSwitchTo(old_); \
	} while (0)
#endif

#endif /* CHS_COMPAT_H */
