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

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "core/base/rng.h"
#include "pg/compat.h"
#include "pg/am/am.h"

/* Arbitrary; a fixed seed makes serial builds repeatable. */
#define DEFAULT_SEED UINT64_C(0x6368617373697331)

/*
 * The dimensions of the indexed column, from its type modifier.  That of bit
 * varying, which passes for bit, is a maximum.
 */
static uint32
column_dim(Relation rel, const ChsColumnType *type)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), 0);

	if (column->atttypid == VARBITOID)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("type bit varying is not supported for chassis "
							   "index"),
						errhint("Index an expression cast to bit(n).")));
	if (column->atttypmod < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("column does not have dimensions"),
						errhint("Declare it as %s(n), or index an expression "
								"cast to %s(n).",
								type->name, type->name)));
	return (uint32) column->atttypmod;
}

void
chs_meta_fill(ChsMetaPageData *meta, Relation rel)
{
	ChsOptions *options = chs_options_get(rel);
	const ChsOpclass *opclass = chs_opclass_get(rel);
	const ChsColumnType *type = opclass->type;
	uint32 code_bytes;

	memset(meta, 0, sizeof(*meta));
	meta->magic = CHS_MAGIC;
	meta->format = CHS_FORMAT_VERSION;
	meta->meta_version = 1;
	meta->metric = (uint8) opclass->metric;
	meta->row_kind = (uint8) type->row;
	meta->dim = column_dim(rel, type);
	meta->model_dim = chs_encoded_dim(type->row, meta->dim);
	meta->bits = (uint8) chs_choose_bits(options, type, meta->dim);
	meta->rerank = (uint8) chs_choose_rerank(options, type);
	meta->phase = CHS_PHASE_FLAT;
	meta->m = (uint32) options->m;
	meta->ef_construction = (uint32) options->ef_construction;
	meta->seed = chs_build_seed != 0 ? chs_mix64((uint64) chs_build_seed)
									 : DEFAULT_SEED;
	if (meta->rerank == CHS_RERANK_INDEX)
		meta->row_bytes = (uint32) chs_row_fixed_bytes(type->row, meta->dim);
	code_bytes = chs_slot_code_bytes(type->row, meta->dim, meta->bits);
	for (int i = 0; i < 2; i++)
	{
		meta->layout[i] = chs_page_layout(code_bytes, (int) meta->m, i);
		meta->per_page[i] = chs_slots_per_page(meta->layout[i].slot_bytes);
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

void
chs_meta_model(const ChsMetaPageData *meta, ChsModel *model)
{
	memset(model, 0, sizeof(*model));
	model->metric = (ChsMetric) meta->metric;
	model->row = (ChsRowKind) meta->row_kind;
	model->bits = meta->bits;
	model->dim = meta->model_dim;
	model->row_dim = meta->dim;
	model->seed = meta->seed;
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
	chs_page_init(page, CHS_PAGE_META, 0);
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
