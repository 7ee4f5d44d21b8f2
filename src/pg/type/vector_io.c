/*
 * vector_io.c
 *	  The type "vector" as text, as binary message and as type modifier.
 *
 * Separate so that everything a client can send in is read in one file: what
 * arrives here is hostile until the last check passed.  Both input functions
 * write straight into the value they return, so that no 64 kB buffer lies on
 * the stack.
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

#include "pg/type/dimension.h"
#include "pg/type/text_scan.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_vector_in);
PG_FUNCTION_INFO_V1(chs_vector_out);
PG_FUNCTION_INFO_V1(chs_vector_recv);
PG_FUNCTION_INFO_V1(chs_vector_send);
PG_FUNCTION_INFO_V1(chs_vector_typmod_in);

/*
 * Reads one element at *position, with the white space around it, and moves
 * *position behind it.  False after a soft error.
 */
static bool
read_element(char *text, char **position, float *element, Node *escontext)
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
			 errmsg("invalid input syntax for type vector: \"%s\"", text)));

	/* too small a number becomes denormal or zero, as it does in real */
	if (unlikely(!isfinite(value)))
	{
		if (errno == ERANGE)
			chs_ereturn(escontext, false,
						(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						 errmsg("\"%.*s\" is out of range for type vector",
								(int) (end - start), start)));
		if (!chs_vector_check_finite(&value, 1, escontext))
			return false;
	}

	*element = value;
	*position = chs_skip_space(end);
	return true;
}

/*
 * Reads the elements from behind the opening bracket to behind the closing
 * one into result->x, which has room for them all or for the most there may be.  Returns
 * the number read, or 0 after a soft error.
 */
static int
read_elements(char *text, char **position, ChsVector *result, Node *escontext)
{
	char *p = *position;
	int dim = 0;

	for (;;)
	{
		if (dim == CHS_VECTOR_MAX_DIM)
		{
			(void) chs_vector_check_dim(dim + 1, escontext);
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
			 errmsg("invalid input syntax for type vector: \"%s\"", text)));

	*position = p + 1;
	return dim;
}

/*
 * vector_in(cstring, oid, integer): "[1,2,3]", with white space anywhere
 * between the tokens.  An element is whatever strtof() takes, if it is finite
 * as a float.
 */
Datum
chs_vector_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	int32 typmod = PG_GETARG_INT32(2);
	Node *escontext = fcinfo->context;
	char *p = chs_skip_space(text);
	ChsVector *result;
	int dim;

	if (*p != '[')
		chs_ereturn(escontext, (Datum) 0,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type vector: \"%s\"", text),
					 errdetail("A vector starts with \"[\".")));

	p = chs_skip_space(p + 1);
	if (*p == ']')
	{
		(void) chs_vector_check_dim(0, escontext);
		PG_RETURN_NULL();
	}

	result = chs_vector_alloc(Min(chs_count_elements(p), CHS_VECTOR_MAX_DIM));
	dim = read_elements(text, &p, result, escontext);
	if (dim == 0)
		PG_RETURN_NULL();

	p = chs_skip_space(p);
	if (*p != '\0')
		chs_ereturn(escontext, (Datum) 0,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type vector: \"%s\"", text),
					 errdetail("Nothing may follow the closing bracket.")));

	if (!chs_vector_check_expected(typmod, dim, escontext))
		PG_RETURN_NULL();

	/* every comma separated two elements, so the estimate was exact */
	Assert(dim == result->dim);
	PG_RETURN_CHS_VECTOR(result);
}

/*
 * vector_out(vector): "[1,2,3]" with the fewest digits that read back as the
 * same float, whatever extra_float_digits says.
 */
Datum
chs_vector_out(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
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
		p += float_to_shortest_decimal_bufn(vector->x[i], p);
	}
	*p++ = ']';
	*p = '\0';

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/*
 * Copies dim 32-bit words between host and network order, both ways the same.
 * Neither side need be aligned.
 */
static void
copy_swapped(void *to, const void *from, int dim)
{
#ifdef WORDS_BIGENDIAN
	memcpy(to, from, sizeof(uint32) * dim);
#else
	for (int i = 0; i < dim; i++)
	{
		uint32 word;

		memcpy(&word, (const char *) from + sizeof(word) * i, sizeof(word));
		word = pg_bswap32(word);
		memcpy((char *) to + sizeof(word) * i, &word, sizeof(word));
	}
#endif
}

/*
 * vector_recv(internal, oid, integer): int16 element count, int16 zero, then
 * the elements as float4, all in network byte order.
 */
Datum
chs_vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo) PG_GETARG_POINTER(0);
	int32 typmod = PG_GETARG_INT32(2);
	ChsVector *result;
	int dim;
	int unused;

	/* a negative count arrives as one beyond the limit */
	dim = (int) pq_getmsgint(message, sizeof(uint16));
	unused = (int) pq_getmsgint(message, sizeof(uint16));
	(void) chs_vector_check_dim(dim, NULL);
	(void) chs_vector_check_expected(typmod, dim, NULL);

	if (unused != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("expected unused to be 0, not %d", unused)));

	result = chs_vector_alloc(dim);
	copy_swapped(result->x,
				 pq_getmsgbytes(message, (int) sizeof(float4) * dim), dim);
	(void) chs_vector_check_finite(result->x, dim, NULL);

	PG_RETURN_CHS_VECTOR(result);
}

/* vector_send(vector): what vector_recv() reads. */
Datum
chs_vector_send(PG_FUNCTION_ARGS)
{
	ChsVector *vector = PG_GETARG_CHS_VECTOR(0);
	Size bytes = VARHDRSZ + 2 * sizeof(uint16) + sizeof(float4) * vector->dim;
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

/* vector_typmod_in(cstring[]): the n of vector(n), stored as it is. */
Datum
chs_vector_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_dimension_typmod(PG_GETARG_ARRAYTYPE_P(0), "vector",
										 CHS_VECTOR_MAX_DIM));
}
