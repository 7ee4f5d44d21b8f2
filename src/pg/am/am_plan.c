/*
 * am_plan.c
 *	  Plans that do not compute a distance nobody reads.
 *
 * ORDER BY embedding <-> $1 LIMIT 10 gives the index scan a hidden column with
 * the distance: a sort would need it.  The scan is ordered already, nobody
 * reads the column, and yet the executor computes it for each row, from the
 * row's vector.  One of more than 2 kB is kept out of line, so that this takes
 * a lookup in the TOAST table's index and two of its pages or more: of a query
 * for ten rows of 784 dimensions it was two thirds of the buffers and a fifth
 * of the time.  Here the column becomes a NULL.
 *
 * Separate because it works on finished plans, and knows of the access method
 * only how to recognize an index of its own.
 *
 * Safe where all of this holds, and done nowhere else:
 *	  - a Limit node counts rows.  WITH TIES compares the column.  It ends its
 *		query level, so that nothing above can name a hidden column of it;
 *	  - its input is the scan itself, with nothing in between that could read
 *		the column, and the Limit hides it as well;
 *	  - the column is the very expression that the index orders by.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"

#include "pg/compat.h"
#include "pg/am/am.h"

static planner_hook_type previous_planner;

/* Is it an index of this access method, under whatever name? */
static bool
is_ours(Oid index)
{
	/* the planner has locked it */
	Relation rel = index_open(index, NoLock);
	bool ours = rel->rd_indam->amgettuple == chsgettuple;

	index_close(rel, NoLock);
	return ours;
}

/* Does the user see the scan's column through the Limit? */
static bool
is_shown(const Limit *limit, AttrNumber column)
{
	ListCell *cell;

	foreach (cell, limit->plan.targetlist)
	{
		const TargetEntry *entry = lfirst_node(TargetEntry, cell);
		const Var *var = (const Var *) entry->expr;

		if (entry->resjunk || IsA(var, Const))
			continue;
		/* anything but a column may contain one */
		if (!IsA(var, Var) || var->varattno == column)
			return true;
	}
	return false;
}

/* Replaces the hidden distances of a scan below a Limit. */
static void
drop_hidden(const Limit *limit, IndexScan *scan)
{
	const Node *order;
	ListCell *cell;

	if (list_length(scan->indexorderbyorig) != 1 || !is_ours(scan->indexid))
		return;
	order = linitial(scan->indexorderbyorig);
	foreach (cell, scan->scan.plan.targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->resjunk && entry->ressortgroupref != 0 &&
			equal(entry->expr, order) && !is_shown(limit, entry->resno))
			entry->expr = (Expr *) makeNullConst(FLOAT8OID, -1, InvalidOid);
	}
}

/* Visits all nodes of a plan tree whose inputs can contain a query level. */
static void
visit_plan(Plan *plan)
{
	List *inputs = NIL;
	ListCell *cell;

	if (plan == NULL)
		return;
	check_stack_depth();
	if (IsA(plan, Limit) && plan->lefttree != NULL &&
		IsA(plan->lefttree, IndexScan) &&
		((Limit *) plan)->limitOption == LIMIT_OPTION_COUNT)
		drop_hidden((Limit *) plan, (IndexScan *) plan->lefttree);
	else if (IsA(plan, Append))
		inputs = ((Append *) plan)->appendplans;
	else if (IsA(plan, MergeAppend))
		inputs = ((MergeAppend *) plan)->mergeplans;
	else if (IsA(plan, SubqueryScan))
		visit_plan(((SubqueryScan *) plan)->subplan);
	visit_plan(plan->lefttree);
	visit_plan(plan->righttree);
	foreach (cell, inputs)
		visit_plan(lfirst(cell));
}

static PlannedStmt *
plan_query(Query *parse, const char *query_string, int options,
		   ParamListInfo parameters)
{
	planner_hook_type planner = previous_planner ? previous_planner
												 : standard_planner;
	PlannedStmt *statement = planner(parse, query_string, options, parameters);
	ListCell *cell;

	visit_plan(statement->planTree);
	foreach (cell, statement->subplans)
		visit_plan(lfirst(cell));
	return statement;
}

void
chs_plan_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_query;
}
