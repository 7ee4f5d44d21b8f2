/*
 * halfvec_io.c
 *	  The type "halfvec" as text, as binary message and as type modifier.
 *
 * Separate so that everything a client can send in is read in one file: what
 * arrives here is hostile until the last check passed.  Both input functions
 * write straight into the value they return, so that no buffer lies on the
 * stack.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include <errno.h>
#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

#include "pg/type/halfvec.h"
#include "pg/type/text_scan.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_halfvec_in);
PG_FUNCTION_INFO_V1(chs_halfvec_out);
PG_FUNCTION_INFO_V1(chs_halfvec_recv);
PG_FUNCTION_INFO_V1(chs_halfvec_send);
PG_FUNCTION_INFO_V1(chs_halfvec_typmod_in);

/*
 * Reads one element at *position, with the white space around it, and moves
 * *position behind it.  False after a soft error.
 *
 * The number is read as a float and then rounded to a half, twice rounded in
 * all: what pgvector does, and what a cast from real does.
 */
static bool
read_element(char *text, char **position, ChsHalf *element, Node *escontext)
{
	char *start = chs_skip_space(*position);
	char *end;
	float value;

	/* strtof() would skip it; an error must quote the number alone */
	value = chs_vector_parse_float(start, &end);
	if (end == start)
		chs_ereturn(
			escontext, false,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type halfvec: \"%s\"", text)));

	/* too small a number becomes denormal or zero, as it does in real */
	*element = chs_half_from_float(value);
	if (unlikely(!chs_half_is_finite(*element)))
	{
		/* written as a number, not as "inf" */
		if (isfinite(value) || (isinf(value) && errno == ERANGE))
			chs_ereturn(escontext, false,
						(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						 errmsg("\"%.*s\" is out of range for type halfvec",
								(int) (end - start), start)));
		return chs_halfvec_check_finite(element, 1, escontext);
	}

	*position = chs_skip_space(end);
	return true;
}

/*
 * Reads the elements from behind the opening bracket to behind the closing
 * one into result->x, which has room for them all or for the most there may
 * be.  Returns the number read, or 0 after a soft error.
 */
static int
read_elements(char *text, char **position, ChsHalfvec *result, Node *escontext)
{
	char *p = *position;
	int dim = 0;

	for (;;)
	{
		if (dim == CHS_HALFVEC_MAX_DIM)
		{
			(void) chs_halfvec_check_dim(dim + 1, escontext);
			return 0;
		}
		if (!read_element(text, &p, &result->x[dim], escontext))
			return 0;
		dim++;
		if (*p != ',')
			break;
		p++;
	}

	if (*p != ']')
		chs_ereturn(
			escontext, 0,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type halfvec: \"%s\"", text)));

	*position = p + 1;
	return dim;
}

/*
 * halfvec_in(cstring, oid, integer): "[1,2,3]", with white space anywhere
 * between the tokens.  An element is whatever strtof() takes, if it is finite
 * as a half.
 */
Datum
chs_halfvec_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	int32 typmod = PG_GETARG_INT32(2);
	Node *escontext = fcinfo->context;
	char *p = chs_skip_space(text);
	ChsHalfvec *result;
	int dim;

	if (*p != '[')
		chs_ereturn(
			escontext, (Datum) 0,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type halfvec: \"%s\"", text),
			 errdetail("A halfvec starts with \"[\".")));

	p = chs_skip_space(p + 1);
	if (*p == ']')
	{
		(void) chs_halfvec_check_dim(0, escontext);
		PG_RETURN_NULL();
	}

	result = chs_halfvec_alloc(Min(chs_count_elements(p), CHS_HALFVEC_MAX_DIM));
	dim = read_elements(text, &p, result, escontext);
	if (dim == 0)
		PG_RETURN_NULL();

	p = chs_skip_space(p);
	if (*p != '\0')
		chs_ereturn(
			escontext, (Datum) 0,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type halfvec: \"%s\"", text),
			 errdetail("Nothing may follow the closing bracket.")));

	if (!chs_dimension_check(typmod, dim, escontext))
		PG_RETURN_NULL();

	/* every comma separated two elements, so the estimate was exact */
	Assert(dim == result->dim);
	PG_RETURN_CHS_HALFVEC(result);
}

/*
 * halfvec_out(halfvec): "[1,2,3]" with the fewest digits that read back as the
 * same float, which are more than the same half needs.
 */
Datum
chs_halfvec_out(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	char *text;
	char *p;

	/* the length per float counts a final zero byte: room for the comma */
	text = (char *) palloc((Size) vector->dim * FLOAT_SHORTEST_DECIMAL_LEN +
						   sizeof("[]"));
	p = text;
	*p++ = '[';
	for (int i = 0; i < vector->dim; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += float_to_shortest_decimal_bufn(chs_half_to_float(vector->x[i]), p);
	}
	*p++ = ']';
	*p = '\0';

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/* Copies n halves between host and network order, both ways the same. */
static void
copy_swapped(void *to, const void *from, int n)
{
#ifdef WORDS_BIGENDIAN
	memcpy(to, from, sizeof(uint16) * n);
#else
	for (int i = 0; i < n; i++)
	{
		uint16 half;

		memcpy(&half, (const char *) from + sizeof(half) * i, sizeof(half));
		half = pg_bswap16(half);
		memcpy((char *) to + sizeof(half) * i, &half, sizeof(half));
	}
#endif
}

/*
 * halfvec_recv(internal, oid, integer): int16 element count, int16 zero, then
 * the elements as binary16, all in network byte order.
 */
Datum
chs_halfvec_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo) PG_GETARG_POINTER(0);
	int32 typmod = PG_GETARG_INT32(2);
	ChsHalfvec *result;
	int dim;
	int unused;
	int count;

	/* a negative count arrives as one beyond the limit */
	dim = (int) pq_getmsgint(message, sizeof(uint16));
	unused = (int) pq_getmsgint(message, sizeof(uint16));
	(void) chs_halfvec_check_dim(dim, NULL);
	(void) chs_dimension_check(typmod, dim, NULL);

	if (unused != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("expected unused to be 0, not %d", unused)));

	/* what is there is checked before what is missing is reported */
	result = chs_halfvec_alloc(dim);
	count = Min(dim, (message->len - message->cursor) / (int) sizeof(ChsHalf));
	copy_swapped(result->x,
				 pq_getmsgbytes(message, count * (int) sizeof(ChsHalf)), count);
	(void) chs_halfvec_check_finite(result->x, count, NULL);
	if (count < dim)
		(void) pq_getmsgint(message, sizeof(uint16)); /* raises the error */

	PG_RETURN_CHS_HALFVEC(result);
}

/* halfvec_send(halfvec): what halfvec_recv() reads. */
Datum
chs_halfvec_send(PG_FUNCTION_ARGS)
{
	ChsHalfvec *vector = PG_GETARG_CHS_HALFVEC(0);
	Size bytes = VARHDRSZ + 2 * sizeof(uint16) + sizeof(ChsHalf) * vector->dim;
	bytea *result = (bytea *) palloc(bytes);
	uint16 header[2];

	SET_VARSIZE(result, bytes);
	header[0] = pg_hton16((uint16) vector->dim);
	header[1] = pg_hton16((uint16) vector->unused);
	memcpy(VARDATA(result), header, sizeof(header));
	copy_swapped(VARDATA(result) + sizeof(header), vector->x, vector->dim);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(result);
}

/* halfvec_typmod_in(cstring[]): the n of halfvec(n), stored as it is. */
Datum
chs_halfvec_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_dimension_typmod(PG_GETARG_ARRAYTYPE_P(0), "halfvec",
										 CHS_HALFVEC_MAX_DIM));
}
