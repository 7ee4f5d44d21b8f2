/*
 * alias.c
 *	  Access methods of other names over the same callbacks: who they are.
 *
 * Separate so that the rest of the access method does not know of them: it
 * asks for the settings of an index's scans, and gets whoever's they are.
 * Names, options and settings of the aliases are their library's business.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "fmgr.h"

#include "pg/am/alias.h"
#include "pg/am/am.h"

/* pgvector has two access methods; arbitrary beyond that. */
#define MAX_ALIASES 8

static const ChsAlias *aliases[MAX_ALIASES];
static int naliases;

static void
add_alias(const ChsAlias *alias)
{
	if (naliases == MAX_ALIASES)
		elog(ERROR, "too many aliases of the chassis access method");
	aliases[naliases++] = alias;
}

const ChsAlias *
chs_alias_of(Relation index)
{
	/* the callback that an alias replaces tells whose the index is */
	for (int i = 0; i < naliases; i++)
	{
		if (index->rd_indam->amoptions == aliases[i]->amoptions)
			return aliases[i];
	}
	return NULL;
}

void
chs_alias_init(void)
{
	static ChsAliasApi api = {chs_options_make, add_alias};

	*find_rendezvous_variable(CHS_ALIAS_RENDEZVOUS) = &api;
}
