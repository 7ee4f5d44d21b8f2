/*
 * sparsevec_io.c
 *	  The type "sparsevec" as text, as binary message and as type modifier.
 *
 * Separate so that everything a client can send in is read in one file: what
 * arrives here is hostile until the last check passed.  Which of several
 * breaches is reported is the same as in pgvector, for what is said of a
 * value's elements comes after what is said of its syntax.
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
#include "utils/builtins.h"

#include "pg/type/dimension.h"
#include "pg/type/sparsevec.h"
#include "pg/type/text_scan.h"
#include "pg/type/vector.h"

PG_FUNCTION_INFO_V1(chs_sparsevec_in);
PG_FUNCTION_INFO_V1(chs_sparsevec_out);
PG_FUNCTION_INFO_V1(chs_sparsevec_recv);
PG_FUNCTION_INFO_V1(chs_sparsevec_send);
PG_FUNCTION_INFO_V1(chs_sparsevec_typmod_in);

/* An element as it was written; index counts from 0. */
typedef struct Element
{
	int32 index;
	float value;
} Element;

/* A text that is being read; position moves on. */
typedef struct Reader
{
	char *text;
	char *position;
	Node *escontext;
} Reader;

/* Reports that the text is not of the form; always returns false. */
static bool
report_syntax(const Reader *reader)
{
	chs_ereturn(reader->escontext, false,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type sparsevec: \"%s\"",
						reader->text)));
}

/* The same with a detail: what was expected where. */
static bool
report_syntax_detail(const Reader *reader, const char *detail)
{
	chs_ereturn(reader->escontext, false,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type sparsevec: \"%s\"",
						reader->text),
				 errdetail_internal("%s", detail)));
}

static inline void
skip_space(Reader *reader)
{
	reader->position = chs_skip_space(reader->position);
}

/*
 * Reads a whole number, with the white space around it.  One too large or too
 * small for *number becomes an extreme, which no check of dimensions or
 * indices passes; INT_MIN is not one of them, so that 1 can be taken off.
 */
static bool
read_integer(Reader *reader, int32 *number)
{
	char *end;
	long value;

	skip_space(reader);
	value = strtol(reader->position, &end, 10);
	if (end == reader->position)
		return report_syntax(reader);

	*number = (int32) Max(Min(value, (long) PG_INT32_MAX),
						  (long) PG_INT32_MIN + 1);
	reader->position = end;
	skip_space(reader);
	return true;
}

/* Reads a value, with the white space around it. */
static bool
read_value(Reader *reader, float *value)
{
	char *start;
	char *end;

	skip_space(reader);
	start = reader->position;
	*value = chs_vector_parse_float(start, &end);
	if (end == start)
		return report_syntax(reader);

	/* denormal is accepted; 0 is not what was written, so it is not */
	if (errno == ERANGE && (*value == 0.0f || isinf(*value)))
		chs_ereturn(reader->escontext, false,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%.*s\" is out of range for type sparsevec",
							(int) (end - start), start)));

	reader->position = end;
	skip_space(reader);
	return chs_sparsevec_check_finite(value, 1, reader->escontext);
}

/* Reads "index:value", with white space anywhere between the tokens. */
static bool
read_element(Reader *reader, Element *element)
{
	int32 position;

	if (!read_integer(reader, &position))
		return false;
	if (*reader->position != ':')
		return report_syntax(reader);
	reader->position++;
	element->index = position - 1;
	return read_value(reader, &element->value);
}

/*
 * Reads "{element, ...}" into elements, which has room for all, and returns
 * how many there are, or -1 after a soft error.  Zeroes are left out, wherever
 * they claim to stand.
 */
static int
read_elements(Reader *reader, Element *elements)
{
	int nnz = 0;

	skip_space(reader);
	if (*reader->position != '{')
	{
		(void) report_syntax_detail(reader, "A sparsevec starts with \"{\".");
		return -1;
	}
	reader->position++;
	skip_space(reader);
	if (*reader->position == '}')
	{
		reader->position++;
		return 0;
	}

	for (;;)
	{
		if (!read_element(reader, &elements[nnz]))
			return -1;
		if (elements[nnz].value != 0.0f)
			nnz++;
		if (*reader->position != ',')
			break;
		reader->position++;
	}

	if (*reader->position != '}')
	{
		(void) report_syntax(reader);
		return -1;
	}
	reader->position++;
	return nnz;
}

/* Reads "/dimensions" and the end of the text. */
static bool
read_dim(Reader *reader, int32 *dim)
{
	skip_space(reader);
	if (*reader->position != '/')
		return report_syntax_detail(reader, "A slash and the number of dimensions "
											"must follow the closing brace.");
	reader->position++;
	if (!read_integer(reader, dim))
		return false;
	if (*reader->position != '\0')
		return report_syntax_detail(reader, "Nothing may follow the number of "
											"dimensions.");
	return true;
}

static int
compare_elements(const void *a, const void *b)
{
	int32 x = ((const Element *) a)->index;
	int32 y = ((const Element *) b)->index;

	return (x > y) - (x < y);
}

/*
 * A sparsevec of these elements, in whatever order they are; NULL after a soft
 * error: an index out of bounds, or twice.
 */
static ChsSparsevec *
build_sorted(Element *elements, int nnz, int dim, Node *escontext)
{
	ChsSparsevec *result = chs_sparsevec_alloc(dim, nnz);
	float *value = chs_sparsevec_values(result);

	qsort(elements, (size_t) nnz, sizeof(Element), compare_elements);
	for (int i = 0; i < nnz; i++)
	{
		result->index[i] = elements[i].index;
		value[i] = elements[i].value;
		if (!chs_sparsevec_check_index(result->index, i, dim, escontext))
			return NULL;
	}
	return result;
}

/*
 * sparsevec_in(cstring, oid, integer): "{1:0.5,7:-2}/10", indices from 1 in
 * any order.
 */
Datum
chs_sparsevec_in(PG_FUNCTION_ARGS)
{
	int32 typmod = PG_GETARG_INT32(2);
	Node *escontext = fcinfo->context;
	Reader reader;
	Element *elements;
	ChsSparsevec *result;
	int room;
	int nnz;
	int32 dim;

	reader.text = PG_GETARG_CSTRING(0);
	reader.position = reader.text;
	reader.escontext = escontext;

	room = chs_count_elements(reader.text);
	if (room > CHS_SPARSEVEC_MAX_NNZ)
	{
		/* before the text is looked at, whatever it is */
		(void) chs_sparsevec_check_nnz(room, CHS_SPARSEVEC_MAX_DIM, escontext);
		PG_RETURN_NULL();
	}
	elements = (Element *) palloc(sizeof(Element) * (Size) room);

	nnz = read_elements(&reader, elements);
	if (nnz < 0 || !read_dim(&reader, &dim) ||
		!chs_sparsevec_check_dim(dim, escontext) ||
		!chs_dimension_check(typmod, dim, escontext))
		PG_RETURN_NULL();

	result = build_sorted(elements, nnz, dim, escontext);
	if (result == NULL)
		PG_RETURN_NULL();

	pfree(elements);
	PG_RETURN_CHS_SPARSEVEC(result);
}

/*
 * sparsevec_out(sparsevec): "{1:0.5,7:-2}/10" with the fewest digits that read
 * back as the same float, whatever extra_float_digits says.
 */
Datum
chs_sparsevec_out(PG_FUNCTION_ARGS)
{
	/* ":" and ","; a number of 32 bits takes 11 characters, sign included */
	const Size element_bytes = 2 + 11 + FLOAT_SHORTEST_DECIMAL_LEN;
	ChsSparsevec *vector = PG_GETARG_CHS_SPARSEVEC(0);
	const float *value = chs_sparsevec_values(vector);
	char *text;
	char *p;

	text = (char *) palloc((Size) vector->nnz * element_bytes + sizeof("{}/") +
						   11);
	p = text;
	*p++ = '{';
	for (int i = 0; i < vector->nnz; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += pg_ltoa(vector->index[i] + 1, p);
		*p++ = ':';
		p += float_to_shortest_decimal_bufn(value[i], p);
	}
	*p++ = '}';
	*p++ = '/';
	p += pg_ltoa(vector->dim, p);
	*p = '\0';

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/*
 * Moves up to n 32-bit words from a message to `to`, in host order, and
 * returns how many there were.
 */
static int
take_words(StringInfo message, void *to, int n)
{
	int left = (message->len - message->cursor) / (int) sizeof(uint32);
	int count = Min(n, left);
	const char *from = pq_getmsgbytes(message, count * (int) sizeof(uint32));

	for (int i = 0; i < count; i++)
	{
		uint32 word;

		memcpy(&word, from + sizeof(word) * i, sizeof(word));
		word = pg_ntoh32(word);
		memcpy((char *) to + sizeof(word) * i, &word, sizeof(word));
	}
	return count;
}

/*
 * sparsevec_recv(internal, oid, integer): int32 dimensions, int32 element
 * count, int32 zero, then the indices as int32, then the values as float4, all
 * in network byte order.
 */
Datum
chs_sparsevec_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo) PG_GETARG_POINTER(0);
	int32 typmod = PG_GETARG_INT32(2);
	ChsSparsevec *result;
	float *value;
	int32 dim;
	int32 nnz;
	int32 unused;
	int count;

	dim = (int32) pq_getmsgint(message, sizeof(int32));
	nnz = (int32) pq_getmsgint(message, sizeof(int32));
	unused = (int32) pq_getmsgint(message, sizeof(int32));
	(void) chs_sparsevec_check_dim(dim, NULL);
	(void) chs_sparsevec_check_nnz(nnz, dim, NULL);
	(void) chs_dimension_check(typmod, dim, NULL);

	if (unused != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("expected unused to be 0, not %d", unused)));

	result = chs_sparsevec_alloc(dim, nnz);
	value = chs_sparsevec_values(result);

	/* what is there is checked before what is missing is reported */
	count = take_words(message, result->index, nnz);
	for (int i = 0; i < count; i++)
		(void) chs_sparsevec_check_index(result->index, i, dim, NULL);
	if (count < nnz)
		(void) pq_getmsgint(message, sizeof(uint32)); /* raises the error */

	count = take_words(message, value, nnz);
	for (int i = 0; i < count; i++)
	{
		(void) chs_sparsevec_check_finite(&value[i], 1, NULL);
		if (value[i] == 0.0f)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("binary representation of sparsevec cannot contain "
							"zero values")));
	}
	if (count < nnz)
		(void) pq_getmsgint(message, sizeof(uint32)); /* raises the error */

	PG_RETURN_CHS_SPARSEVEC(result);
}

/* sparsevec_send(sparsevec): what sparsevec_recv() reads. */
Datum
chs_sparsevec_send(PG_FUNCTION_ARGS)
{
	ChsSparsevec *vector = PG_GETARG_CHS_SPARSEVEC(0);
	/* all that follows the varlena header is 32-bit words, in this order */
	Size bytes = VARSIZE(vector) - VARHDRSZ;
	bytea *result = (bytea *) palloc(VARHDRSZ + bytes);

	SET_VARSIZE(result, VARHDRSZ + bytes);
	for (Size offset = 0; offset < bytes; offset += sizeof(uint32))
	{
		uint32 word;

		memcpy(&word, (const char *) &vector->dim + offset, sizeof(word));
		word = pg_hton32(word);
		memcpy(VARDATA(result) + offset, &word, sizeof(word));
	}

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(result);
}

/* sparsevec_typmod_in(cstring[]): the n of sparsevec(n), stored as it is. */
Datum
chs_sparsevec_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(chs_dimension_typmod(PG_GETARG_ARRAYTYPE_P(0), "sparsevec",
										 CHS_SPARSEVEC_MAX_DIM));
}
