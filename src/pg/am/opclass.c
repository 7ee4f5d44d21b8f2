/*
 * opclass.c
 *	  What operator classes say of themselves: metric, and how a value of the
 *	  type becomes a row.
 *
 * The only file of the access method that knows SQL types, and it knows their
 * layouts, not their names: an operator class of another extension over a type
 * of the same layout may name these support functions.  From here on there are
 * only rows (core/distance/row.h).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "access/genam.h"
#include "fmgr.h"
#include "utils/varbit.h"

#include "pg/am/am.h"
#include "pg/type/halfvec.h"
#include "pg/type/sparsevec.h"
#include "pg/type/vector.h"

/* A sparse row is what stands in a sparsevec from its element count on. */
StaticAssertDecl(offsetof(ChsSparsevec, index) - offsetof(ChsSparsevec, nnz) ==
					 offsetof(ChsSparseRow, index),
				 "sparsevec holds a sparse row");

/* ---- types ---- */

static const void *
unpack_vector(Datum value, uint32 dim)
{
	const ChsVector *vector = chs_vector_from_datum(value);

	if (unlikely((uint32) vector->dim != dim))
		chs_vector_report_different((int) dim, vector->dim);
	return vector->x;
}

static const void *
unpack_halfvec(Datum value, uint32 dim)
{
	const ChsHalfvec *vector = chs_halfvec_from_datum(value);

	if (unlikely((uint32) vector->dim != dim))
		chs_halfvec_report_different((int) dim, vector->dim);
	return vector->x;
}

static const void *
unpack_sparsevec(Datum value, uint32 dim)
{
	const ChsSparsevec *vector = chs_sparsevec_from_datum(value);

	if (unlikely((uint32) vector->dim != dim))
		chs_sparsevec_report_different((int) dim, vector->dim);
	return &vector->nnz;
}

static const void *
unpack_bit(Datum value, uint32 dim)
{
	const VarBit *bits = DatumGetVarBitP(value);

	if (unlikely((uint32) VARBITLEN(bits) != dim))
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("different bit lengths %u and %u", dim,
							   VARBITLEN(bits))));
	if (unlikely(VARBITBYTES(bits) < chs_row_fixed_bytes(CHS_ROW_BIT, dim)))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("bit string of %u bits is too short", dim)));
	return VARBITS(bits);
}

static const ChsColumnType type_vector = {CHS_ROW_FLOAT, "vector",
										  CHS_VECTOR_MAX_DIM, unpack_vector};
static const ChsColumnType type_halfvec = {CHS_ROW_HALF, "halfvec",
										   CHS_HALFVEC_MAX_DIM, unpack_halfvec};
static const ChsColumnType type_sparsevec = {
	CHS_ROW_SPARSE, "sparsevec", CHS_SPARSEVEC_MAX_DIM, unpack_sparsevec};

/* As many as a slot holds; how many that is depends on m. */
static const ChsColumnType type_bit = {CHS_ROW_BIT, "bit", 8 * CHS_SLOTS_BYTES,
									   unpack_bit};

/* ---- support function 1 ---- */

/*
 * Each returns a pointer to facts that live as long as the library.  The
 * argument is there because SQL lets only functions with an internal argument
 * return internal; it is not looked at.
 */
#define SUPPORT_FUNCTION(name, metric, type) \
	PG_FUNCTION_INFO_V1(chassis_##name); \
	Datum chassis_##name(PG_FUNCTION_ARGS) \
	{ \
		static const ChsOpclass opclass = {metric, &(type)}; \
\
		PG_RETURN_POINTER(&opclass); \
	} \
	extern Datum chassis_##name(PG_FUNCTION_ARGS)

SUPPORT_FUNCTION(vector_l2, CHS_METRIC_L2, type_vector);
SUPPORT_FUNCTION(vector_ip, CHS_METRIC_IP, type_vector);
SUPPORT_FUNCTION(vector_cosine, CHS_METRIC_COSINE, type_vector);
SUPPORT_FUNCTION(vector_l1, CHS_METRIC_L1, type_vector);

SUPPORT_FUNCTION(halfvec_l2, CHS_METRIC_L2, type_halfvec);
SUPPORT_FUNCTION(halfvec_ip, CHS_METRIC_IP, type_halfvec);
SUPPORT_FUNCTION(halfvec_cosine, CHS_METRIC_COSINE, type_halfvec);
SUPPORT_FUNCTION(halfvec_l1, CHS_METRIC_L1, type_halfvec);

SUPPORT_FUNCTION(sparsevec_l2, CHS_METRIC_L2, type_sparsevec);
SUPPORT_FUNCTION(sparsevec_ip, CHS_METRIC_IP, type_sparsevec);
SUPPORT_FUNCTION(sparsevec_cosine, CHS_METRIC_COSINE, type_sparsevec);
SUPPORT_FUNCTION(sparsevec_l1, CHS_METRIC_L1, type_sparsevec);

SUPPORT_FUNCTION(bit_hamming, CHS_METRIC_HAMMING, type_bit);
SUPPORT_FUNCTION(bit_jaccard, CHS_METRIC_JACCARD, type_bit);

const ChsOpclass *
chs_opclass_get(Relation index)
{
	FmgrInfo *proc = index_getprocinfo(index, 1, CHS_OPCLASS_PROC);

	return (const ChsOpclass *) DatumGetPointer(
		FunctionCall1(proc, PointerGetDatum(NULL)));
}
