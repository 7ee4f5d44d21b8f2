/*
 * meta.c
 *	  The metapage: what a new index is like, and how it is changed.
 *
 * Everything an index decides once (layout of its slots, bits, seed) is decided
 * here from the options and frozen on the page; afterwards the options are
 * never asked again, so that ALTER INDEX cannot make an index unreadable.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "core/base/rng.h"
#include "pg/compat.h"
#include "pg/am/am.h"

/* Arbitrary; a fixed seed makes serial builds repeatable. */
#define DEFAULT_SEED UINT64_C(0x6368617373697331)

/* The dimensions of the indexed column, from its type modifier. */
static uint32
column_dim(Relation rel)
{
	int32 dim = TupleDescAttr(RelationGetDescr(rel), 0)->atttypmod;

	if (dim < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("column does not have dimensions"),
						errhint("Declare it as vector(n), or index an "
								"expression cast to vector(n).")));
	if (dim > CHS_MAX_DIM)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("column cannot have more than %d dimensions for "
							   "chassis index",
							   CHS_MAX_DIM)));
	return (uint32) dim;
}

void
chs_meta_fill(ChsMetaPageData *meta, Relation rel)
{
	ChsOptions *options = chs_options_get(rel);
	uint32 code_bytes;

	memset(meta, 0, sizeof(*meta));
	meta->magic = CHS_MAGIC;
	meta->format = CHS_FORMAT_VERSION;
	meta->meta_version = 1;
	meta->metric = (uint8) chs_opclass_get(rel)->metric;
	meta->dim = column_dim(rel);
	meta->bits = (uint8) chs_choose_bits(options, (int) meta->dim);
	meta->rerank = (uint8) options->rerank;
	meta->phase = CHS_PHASE_FLAT;
	meta->m = (uint32) options->m;
	meta->ef_construction = (uint32) options->ef_construction;
	meta->seed = chs_build_seed != 0 ? chs_mix64((uint64) chs_build_seed)
									 : DEFAULT_SEED;
	if (meta->bits == CHS_BITS_NONE && meta->rerank == CHS_RERANK_HEAP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rerank = heap cannot be combined with bits = 32"),
				 errdetail("An index without quantization compares the exact "
						   "vectors it keeps itself.")));
	meta->vector_bytes = meta->rerank == CHS_RERANK_INDEX
							 ? meta->dim * (uint32) sizeof(float)
							 : 0;
	code_bytes = meta->bits == CHS_BITS_NONE
					 ? 0
					 : (uint32) chs_code_bytes(meta->dim, meta->bits);
	for (int i = 0; i < 2; i++)
	{
		meta->layout[i] = chs_slot_layout(code_bytes, (int) meta->m, i);
		meta->per_page[i] = CHS_SLOTS_BYTES / meta->layout[i].slot_bytes;
		if (meta->per_page[i] == 0)
			elog(ERROR, "a slot of %u bytes does not fit a page",
				 meta->layout[i].slot_bytes);
	}
	meta->flat_limit = (uint32) chs_flat_limit;
	for (int level = 0; level < CHS_MAX_LEVELS; level++)
		meta->entry[level].id = CHS_NODE_NONE;
	meta->next_block = CHS_METAPAGE_BLKNO + 1;
	pfree(options);
}

/* pd_lower of a metapage: what lies beyond is neither logged nor read. */
static void
set_meta_lower(Page page)
{
	((PageHeader) page)
		->pd_lower = (LocationIndex) (((char *) &CHS_META(page)
										   ->extent[CHS_META(page)->nextents]) -
									  (char *) page);
}

void
chs_meta_create(Relation rel, ForkNumber fork, const ChsMetaPageData *meta)
{
	Buffer buffer = ReadBufferExtended(rel, fork, P_NEW, RBM_NORMAL, NULL);
	Page page = BufferGetPage(buffer);

	if (BufferGetBlockNumber(buffer) != CHS_METAPAGE_BLKNO)
		ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
						errmsg("index \"%s\" already contains data",
							   RelationGetRelationName(rel))));
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	chs_page_init(page, CHS_PAGE_META, 0, meta);
	memcpy(CHS_META(page), meta,
		   offsetof(ChsMetaPageData, extent) +
			   meta->nextents * sizeof(ChsExtent));
	set_meta_lower(page);
	MarkBufferDirty(buffer);

	/* the init fork of an unlogged index must survive a crash */
	if (fork == INIT_FORKNUM)
		chs_wal_log_page(buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

bool
chs_meta_update(ChsIndex *index, bool (*change)(ChsMetaPage meta, void *arg),
				void *arg, bool hint_only)
{
	Buffer buffer = chs_buffer_read(index, CHS_METAPAGE_BLKNO);
	ChsWal wal;
	Page page;
	bool done;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	chs_page_check(index->rel, buffer, CHS_PAGE_META, 0);
	chs_wal_begin(&wal, index);
	page = chs_wal_page(&wal, buffer, false);
	done = change(CHS_META(page), arg);
	if (done)
	{
		if (!hint_only)
			CHS_META(page)->meta_version++;
		set_meta_lower(page);
		chs_wal_finish(&wal);
	}
	else
		chs_wal_abort(&wal);
	UnlockReleaseBuffer(buffer);
	chs_index_refresh(index);
	return done;
}
