/*
 * fashion_search.c
 *	  Runs the queries on one connection and prints recall and latency.
 *
 *	  fashion_search CONNINFO IMAGES QUERY_IMAGES ANSWERS
 *
 * A plain client: one prepared statement with the vector as a binary
 * parameter, as an application would send it, and the clock around each
 * execution.  ANSWERS is what fashion_exact printed.  A row that was found is
 * right when it is no farther than the K-th exact answer: equal distances are
 * not held against the index.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "demo/idx.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define K 10

/* Window sizes shown; 50 is the index's default. */
static const int ef_values[] = {20, 50, 100, 200};

/* A scan of the whole table takes long enough to be sure with fewer. */
#define EXACT_QUERIES 20

typedef struct Demo
{
	PGconn *conn;
	IdxFile images;
	IdxFile queries;
	size_t query_count;
	float *query_rows;
	float *kth_distance; /* squared, by query */
} Demo;

typedef struct Outcome
{
	double recall;
	double median_ms;
	double p99_ms;
	double total_s;
} Outcome;

static void
fail(const Demo *demo, const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(demo->conn));
	exit(1);
}

static void
run_sql(const Demo *demo, const char *sql)
{
	PGresult *result = PQexec(demo->conn, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail(demo, sql);
	PQclear(result);
}

/* The first number of each line; the ids behind it are for people. */
static void
read_answers(Demo *demo, const char *path)
{
	FILE *stream = fopen(path, "r");
	char line[1024];
	size_t limit = demo->queries.items;

	if (stream == NULL)
	{
		perror(path);
		exit(1);
	}
	demo->kth_distance = demo_alloc(limit * sizeof(float));
	while (demo->query_count < limit && fgets(line, sizeof(line), stream))
		demo->kth_distance[demo->query_count++] = strtof(line, NULL);
	fclose(stream);
	if (demo->query_count == 0)
	{
		fprintf(stderr, "\"%s\" has no answers\n", path);
		exit(1);
	}
}

/* A query in the binary format of type vector. */
static void
encode_query(const float *query, size_t dim, unsigned char *out)
{
	out[0] = (unsigned char) (dim >> 8);
	out[1] = (unsigned char) dim;
	out[2] = out[3] = 0;
	for (size_t i = 0; i < dim; i++)
	{
		uint32_t bits;

		memcpy(&bits, &query[i], sizeof(bits));
		out[4 + 4 * i] = (unsigned char) (bits >> 24);
		out[5 + 4 * i] = (unsigned char) (bits >> 16);
		out[6 + 4 * i] = (unsigned char) (bits >> 8);
		out[7 + 4 * i] = (unsigned char) bits;
	}
}

static double
now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

/* How many of the rows found are as near as the K-th exact answer. */
static int
count_right(const Demo *demo, size_t query, const PGresult *result)
{
	size_t dim = demo->images.item_bytes;
	int right = 0;

	for (int i = 0; i < PQntuples(result); i++)
	{
		size_t id = strtoul(PQgetvalue(result, i, 0), NULL, 10);
		const unsigned char *pixels = demo->images.bytes + (id - 1) * dim;
		const float *q = demo->query_rows + query * dim;
		double sum = 0;

		for (size_t j = 0; j < dim; j++)
			sum += ((double) pixels[j] - q[j]) * ((double) pixels[j] - q[j]);
		/* the answer is a float sum; a millionth covers its rounding */
		if (sum <= demo->kth_distance[query] * (1 + 1e-6))
			right++;
	}
	return right;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Executes the prepared statement for the first n queries. */
static Outcome
measure(const Demo *demo, size_t n)
{
	size_t dim = demo->images.item_bytes;
	int length = (int) (4 + 4 * dim);
	int binary = 1;
	unsigned char *encoded = demo_alloc((size_t) length);
	double *ms = demo_alloc(n * sizeof(double));
	Outcome outcome = {0};
	long right = 0;

	for (size_t q = 0; q < n; q++)
	{
		const char *value = (const char *) encoded;
		PGresult *result;
		double started;

		encode_query(demo->query_rows + q * dim, dim, encoded);
		started = now_seconds();
		result = PQexecPrepared(demo->conn, "nearest", 1, &value, &length,
								&binary, 0);
		ms[q] = 1e3 * (now_seconds() - started);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail(demo, "search");
		right += count_right(demo, q, result);
		PQclear(result);
		outcome.total_s += ms[q] / 1e3;
	}
	qsort(ms, n, sizeof(double), compare_doubles);
	outcome.recall = (double) right / (double) (n * K);
	outcome.median_ms = ms[n / 2];
	outcome.p99_ms = ms[n * 99 / 100];
	free(encoded);
	free(ms);
	return outcome;
}

/*
 * Prepares the statement with the planner settings now in force.  Ends the
 * program unless its plan uses (or, for the exact scan, does not use) the
 * index: figures of the wrong plan would mislead.
 */
static void
prepare(const Demo *demo, bool want_index)
{
	PGresult *result;
	bool uses_index = false;

	/* a plan once cached would outlive the settings it was made with */
	run_sql(demo, "DEALLOCATE ALL");
	result = PQprepare(demo->conn, "nearest",
					   "SELECT id FROM items ORDER BY embedding <-> $1 "
					   "LIMIT 10",
					   0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(demo, "PREPARE");
	PQclear(result);

	result = PQexec(demo->conn,
					"EXPLAIN SELECT id FROM items ORDER BY embedding <-> "
					"(SELECT embedding FROM queries WHERE id = 1) LIMIT 10");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(demo, "EXPLAIN");
	for (int i = 0; i < PQntuples(result); i++)
		if (strstr(PQgetvalue(result, i, 0), "items_embedding_idx"))
			uses_index = true;
	PQclear(result);
	if (uses_index != want_index)
	{
		fprintf(stderr, "the planner %s the index\n",
				uses_index ? "uses" : "does not use");
		exit(1);
	}
}

static void
print_line(const char *label, Outcome outcome, size_t n)
{
	printf("  %-16s %9.4f %9.2f ms %9.2f ms %11.0f\n", label, outcome.recall,
		   outcome.median_ms, outcome.p99_ms, (double) n / outcome.total_s);
	fflush(stdout);
}

static void
measure_index(const Demo *demo)
{
	run_sql(demo, "SET enable_indexscan = on");
	prepare(demo, true);
	for (size_t i = 0; i < sizeof(ef_values) / sizeof(ef_values[0]); i++)
	{
		char text[64];

		snprintf(text, sizeof(text), "SET chassis.ef_search = %d", ef_values[i]);
		run_sql(demo, text);
		/* once without the clock, so that no figure has cold caches in it */
		measure(demo, i == 0 ? demo->query_count : 20);
		snprintf(text, sizeof(text), "ef_search = %d", ef_values[i]);
		print_line(text, measure(demo, demo->query_count), demo->query_count);
	}
}

static void
measure_exact(const Demo *demo)
{
	size_t n = demo->query_count < EXACT_QUERIES ? demo->query_count
												 : EXACT_QUERIES;

	run_sql(demo, "SET enable_indexscan = off");
	prepare(demo, false);
	measure(demo, 2);
	print_line("exact scan", measure(demo, n), n);
}

int
main(int argc, char **argv)
{
	Demo demo = {0};

	if (argc != 5)
	{
		fprintf(stderr,
				"usage: fashion_search CONNINFO IMAGES QUERY_IMAGES ANSWERS\n");
		return 2;
	}
	demo.images = idx_read(argv[2]);
	demo.queries = idx_read(argv[3]);
	read_answers(&demo, argv[4]);
	demo.query_rows = idx_floats(&demo.queries, demo.query_count);
	demo.conn = PQconnectdb(argv[1]);
	if (PQstatus(demo.conn) != CONNECTION_OK)
		fail(&demo, "could not connect");

	printf("  %-16s %9s %12s %12s %11s\n", "", "recall@10", "median", "p99",
		   "queries/s");
	measure_index(&demo);
	measure_exact(&demo);
	PQfinish(demo.conn);
	return 0;
}
