/*
 * page.c
 *	  Empty pages of each kind, and the test that a page is what it should be.
 *
 * Separate so that everything that knows how a fresh page looks stands beside
 * the check that reads it back.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/am/page.h"

/* Where the contents of a page of this kind begin. */
static Size
find_contents(ChsPageKind kind)
{
	switch (kind)
	{
		case CHS_PAGE_META:
			return MAXALIGN(SizeOfPageHeaderData) +
				   offsetof(ChsMetaPageData, extent);
		case CHS_PAGE_GRAPH:
		case CHS_PAGE_OVERFLOW:
			return CHS_SLOTS_OFFSET;
		case CHS_PAGE_VECTOR:
		case CHS_PAGE_MODEL:
			return CHS_BYTES_OFFSET;
	}
	elog(ERROR, "unrecognized chassis page kind: %d", (int) kind);
	return 0; /* not reached */
}

void
chs_page_init(Page page, ChsPageKind kind, int level)
{
	ChsPageOpaque opaque;

	PageInit(page, BLCKSZ, sizeof(ChsPageOpaqueData));
	opaque = CHS_PAGE_OPAQUE(page);
	opaque->kind = (uint8) kind;
	opaque->level = (uint8) level;
	opaque->unused = 0;
	opaque->format = CHS_FORMAT_VERSION;
	opaque->page_id = CHS_PAGE_ID;
	((PageHeader) page)->pd_lower = (LocationIndex) find_contents(kind);
}

/* Raises the error of a page that is not what the extent map says it is. */
static void
report_wrong_page(Relation rel, Buffer buffer, ChsPageKind kind, int level)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" contains an unexpected page at block %u",
					RelationGetRelationName(rel), BufferGetBlockNumber(buffer)),
			 errdetail("A page of kind %d, level %d was expected.", (int) kind,
					   level),
			 errhint("Please REINDEX it.")));
}

void
chs_page_check(Relation rel, Buffer buffer, ChsPageKind kind, int level)
{
	Page page = BufferGetPage(buffer);
	ChsPageOpaque opaque;

	if (PageIsNew(page) && kind != CHS_PAGE_META)
		return;
	if (unlikely(((PageHeader) page)->pd_special !=
				 BLCKSZ - sizeof(ChsPageOpaqueData)))
		report_wrong_page(rel, buffer, kind, level);
	opaque = CHS_PAGE_OPAQUE(page);
	if (unlikely(opaque->page_id != CHS_PAGE_ID || opaque->kind != kind ||
				 opaque->level != level))
		report_wrong_page(rel, buffer, kind, level);
}
