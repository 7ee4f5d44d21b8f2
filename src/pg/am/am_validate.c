/*
 * am_validate.c
 *	  amvalidate: are the catalog entries of an operator class what the access
 *	  method will take them for?
 *
 * Separate because this is the only file that reads the operator catalogs.
 * Everything wrong is reported as INFO, all of it, so that the author of an
 * operator class sees the whole list.
 *
 * A chassis operator family has, for each input type, exactly
 *	  OPERATOR 1 (type, type) returning float8, FOR ORDER BY a btree family
 *		that sorts float8: the distance;
 *	  FUNCTION 1 (internal) returning internal: facts of the class, see
 *		ChsOpclass.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/am/am.h"

#define ORDER_STRATEGY 1

/* What is being validated, and the verdict so far. */
typedef struct Validation
{
	Oid family;
	char *family_name;
	char *opclass_name;
	Oid input_type;
	CatCList *operators;
	CatCList *functions;
	bool valid;
} Validation;

/* Notes a fault of one entry of the family. */
static void
report_entry(Validation *v, const char *format, const char *entry, int number)
{
	ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				   errmsg(format, v->family_name, entry, number)));
	v->valid = false;
}

static void
check_operator(Validation *v, Form_pg_amop entry)
{
	const char *name = format_operator(entry->amopopr);

	if (entry->amopstrategy != ORDER_STRATEGY)
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains operator %s with invalid strategy number %d",
					 name, entry->amopstrategy);
	if (entry->amoppurpose != AMOP_ORDER)
	{
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains operator %s with strategy number %d, which "
					 "is not an ORDER BY operator",
					 name, entry->amopstrategy);
		return;
	}
	if (!opfamily_can_sort_type(entry->amopsortfamily, FLOAT8OID))
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains incorrect ORDER BY opfamily specification "
					 "for operator %s with strategy number %d",
					 name, entry->amopstrategy);

	/* both sides the indexed type: the query is read as one of its values */
	if (entry->amoplefttype != entry->amoprighttype ||
		!check_amop_signature(entry->amopopr, FLOAT8OID, entry->amoplefttype,
							  entry->amoprighttype))
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains operator %s with strategy number %d and "
					 "wrong signature",
					 name, entry->amopstrategy);
}

static void
check_function(Validation *v, Form_pg_amproc entry)
{
	const char *name = format_procedure(entry->amproc);

	if (entry->amproclefttype != entry->amprocrighttype)
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains support function %s with different left and "
					 "right input types, number %d",
					 name, entry->amprocnum);
	if (entry->amprocnum != CHS_OPCLASS_PROC)
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains function %s with invalid support number %d",
					 name, entry->amprocnum);
	else if (!check_amproc_signature(entry->amproc, INTERNALOID, true, 1, 1,
									 INTERNALOID))
		report_entry(v,
					 "operator family \"%s\" of access method chassis "
					 "contains function %s with wrong signature for support "
					 "number %d",
					 name, entry->amprocnum);
}

/*
 * Each type of the family needs both entries; a type that has one only can
 * never be indexed.
 */
static void
check_group(Validation *v, const OpFamilyOpFuncGroup *group)
{
	const uint64 operators = UINT64CONST(1) << ORDER_STRATEGY;
	const uint64 functions = UINT64CONST(1) << CHS_OPCLASS_PROC;

	if ((group->operatorset & operators) == 0)
		report_entry(v,
					 "operator family \"%s\" of access method chassis is "
					 "missing the operator for type %s with strategy "
					 "number %d",
					 format_type_be(group->lefttype), ORDER_STRATEGY);
	if ((group->functionset & functions) == 0)
		report_entry(v,
					 "operator family \"%s\" of access method chassis is "
					 "missing the support function for type %s with number "
					 "%d",
					 format_type_be(group->lefttype), CHS_OPCLASS_PROC);
}

/* The groups are complete, and one of them is the class's own type. */
static void
check_groups(Validation *v)
{
	ListCell *cell;
	bool found = false;

	foreach (cell, identify_opfamily_groups(v->operators, v->functions))
	{
		const OpFamilyOpFuncGroup *group = lfirst(cell);

		/* cross-type entries were reported one by one */
		if (group->lefttype != group->righttype)
			continue;
		check_group(v, group);
		found |= group->lefttype == v->input_type;
	}
	if (found)
		return;
	ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				   errmsg("operator class \"%s\" of access method chassis has "
						  "neither operator nor support function for its type %s",
						  v->opclass_name, format_type_be(v->input_type))));
	v->valid = false;
}

static char *
read_family_name(Oid family)
{
	HeapTuple tuple = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(family));
	char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator family %u", family);
	name = pstrdup(NameStr(((Form_pg_opfamily) GETSTRUCT(tuple))->opfname));
	ReleaseSysCache(tuple);
	return name;
}

/* Fills the struct from pg_opclass; the names are copies. */
static void
load_opclass(Validation *v, Oid opclass)
{
	HeapTuple tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	v->family = form->opcfamily;
	v->family_name = read_family_name(form->opcfamily);
	v->opclass_name = pstrdup(NameStr(form->opcname));
	v->input_type = form->opcintype;
	v->valid = true;
	if (OidIsValid(form->opckeytype) && form->opckeytype != form->opcintype)
	{
		ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					   errmsg("operator class \"%s\" of access method chassis "
							  "stores another type than it indexes",
							  v->opclass_name)));
		v->valid = false;
	}
	ReleaseSysCache(tuple);
}

bool
chsvalidate(Oid opclassoid)
{
	Validation v;

	load_opclass(&v, opclassoid);
	v.operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(v.family));
	v.functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(v.family));

	for (int i = 0; i < v.operators->n_members; i++)
		check_operator(
			&v, (Form_pg_amop) GETSTRUCT(&v.operators->members[i]->tuple));
	for (int i = 0; i < v.functions->n_members; i++)
		check_function(
			&v, (Form_pg_amproc) GETSTRUCT(&v.functions->members[i]->tuple));
	check_groups(&v);

	ReleaseCatCacheList(v.functions);
	ReleaseCatCacheList(v.operators);
	return v.valid;
}
