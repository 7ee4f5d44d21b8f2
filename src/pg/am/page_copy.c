/*
 * page_copy.c
 *	  A page as it stood at one moment, for readers that take their time.
 *
 * A sweep over all slots and the checker look at every byte of a page, and
 * may raise errors, fetch rows or wait for the client meanwhile.  They do it
 * on a copy: eight kilobytes cost less than one distance to a long vector, and
 * no lock is held while anything else happens.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/am/am.h"

bool
chs_page_copy(Relation rel, BlockNumber block, BufferAccessStrategy strategy,
			  Page copy)
{
	Buffer buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL,
									   strategy);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(copy, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return !PageIsNew(copy);
}

static bool
is_zero(Page page, Size from, Size to)
{
	for (Size i = from; i < to; i++)
	{
		if (((const char *) page)[i] != 0)
			return false;
	}
	return true;
}

/*
 * Says what chs_page_check would raise, and more: it is asked about pages that
 * are suspected, and must not raise anything itself.
 */
const char *
chs_page_copy_problem(Page copy, ChsPageKind kind, int level, Size end)
{
	PageHeader header = (PageHeader) copy;
	ChsPageOpaque opaque;

	if (PageIsNew(copy))
		return kind == CHS_PAGE_META ? "page is empty" : NULL;
	if (header->pd_special != BLCKSZ - sizeof(ChsPageOpaqueData) ||
		header->pd_upper != header->pd_special ||
		header->pd_lower > header->pd_upper || PageGetPageSize(copy) != BLCKSZ)
		return "page header is damaged";
	opaque = CHS_PAGE_OPAQUE(copy);
	if (opaque->page_id != CHS_PAGE_ID)
		return "page is not a chassis page";
	if (opaque->kind != kind)
		return "page is of another kind";
	if (opaque->level != level)
		return "page belongs to another level";
	if (opaque->format == 0 || opaque->format > CHS_FORMAT_VERSION ||
		opaque->unused != 0)
		return "page has an unknown format";
	if (end != 0 && header->pd_lower > end)
		return "page header is damaged";
	if (end != 0 && !is_zero(copy, header->pd_lower, header->pd_upper))
		return "page header does not cover its contents";
	return NULL;
}
