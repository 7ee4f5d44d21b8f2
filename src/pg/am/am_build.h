/*
 * am_build.h
 *	  What the files of an index build share, and nobody else needs.
 *
 * A build goes through these stages; am_build.c strings them together.
 *	  am_build_sample.c    looks at some rows: how many there are, the model
 *	  am_build.c           scans the table, one row at a time into the graph
 *	  am_build_memory.c    where the graph is kept while it is in memory
 *	  am_build_flush.c     writes what is in memory to pages
 *	  am_build_rows.c      puts the exact rows into the order of their nodes
 *	  am_build_parallel.c  the same scan by several processes
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_BUILD_H
#define CHS_AM_BUILD_H

#include "access/tableam.h"
#include "port/atomics.h"
#include "storage/barrier.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/shm_toc.h"
#include "storage/spin.h"

#include "core/graph/graph_order.h"
#include "core/graph/store_mem.h"
#include "pg/am/am.h"

/* Subphases of pg_stat_progress_create_index; 1 belongs to the server. */
#define CHS_BUILD_PHASE_SAMPLE 2
#define CHS_BUILD_PHASE_LOAD 3
#define CHS_BUILD_PHASE_WRITE 4
#define CHS_BUILD_PHASE_LOG 5

/* A table row whose value already has the level-0 node `node`. */
typedef struct ChsBuildTid
{
	ChsNodeId node;
	ItemPointerData tid;
} ChsBuildTid;

/* Of the area that a node store in memory is given. */
#define CHS_BUILD_AREA_ALIGN 64

/* Why the memory of a build is no larger; for the message when it is full. */
typedef enum ChsBuildLimit
{
	CHS_BUILD_LIMIT_ESTIMATE, /* it was to hold all rows */
	CHS_BUILD_LIMIT_SETTING,  /* maintenance_work_mem */
	CHS_BUILD_LIMIT_SHM       /* free shared memory */
} ChsBuildLimit;

/* Sizes of the memory in which a graph is built. */
typedef struct ChsBuildPlan
{
	ChsMemParams mem;
	Size graph_bytes; /* area of the node store */
	uint32 max_tids;  /* entries of ChsBuildShared.tids */
	ChsBuildLimit limit;
} ChsBuildPlan;

/*
 * What all participants of a build see.  In a serial build it is ordinary
 * memory, so that there is one code path.  Set before any other participant
 * exists and constant from then on, but for what follows "mutable".
 */
typedef struct ChsBuildShared
{
	Oid heap_oid;
	Oid index_oid;
	bool concurrent; /* CREATE INDEX CONCURRENTLY */
	int participants_max;
	double expected_rows;
	ChsBuildPlan plan;
	ChsMetaPageData meta;

	/* mutable */
	Barrier barrier;         /* parallel: see am_build_parallel.c */
	ConditionVariable ended; /* a participant has */
	slock_t mutex;           /* of the five that follow */
	int participants_ended;
	double heap_rows;
	double index_rows;
	bool broken_hot_chain;
	double rows_when_flushed; /* < 0: the graph is in memory */
	pg_atomic_uint64 rows;    /* in the index so far */
	pg_atomic_uint32 ntids;
	ChsBuildTid tids[FLEXIBLE_ARRAY_MEMBER]; /* plan.max_tids */
} ChsBuildShared;

/* One participant's side of a build. */
typedef struct ChsBuild
{
	Relation heap;
	Relation rel;
	IndexInfo *info;
	MemoryContext context;   /* "chassis build": lives as long as the build */
	MemoryContext per_tuple; /* "chassis build tuple" */
	MemoryContext graph_context; /* "chassis build graph", serial only */
	ChsIndex *index;
	bool leader;
	bool parallel;

	/* building the graph in memory */
	ChsBuildShared *shared;
	ChsMemStore mem;
	ChsGraph graph;
	ChsContextArena arena; /* in context */
	ChsModel model;        /* index->model may be re-read, this is ours */
	uint8 *code;
	void *scratch;         /* of chs_encode */
	void *query_mem;       /* of chs_query_init */
	void *other;           /* a row read back for comparison */
	Size row_bytes;        /* of the row stream, 0: it is not used */
	ChsNodeRef unlinkable; /* the last such node we made */

	/* building on pages; NULL while the graph is in memory */
	ChsInserter *inserter;
	bool full_reported;

	/* building without a graph: the slots to be, without edges; else NULL */
	char *flat;
	Size flat_bytes; /* of one: its header, and its code if that is a row */
	uint32 nflat;
	uint32 flat_room;

	double index_rows; /* this participant's */
} ChsBuild;

/* What a look at some of the rows showed. */
typedef struct ChsBuildSample
{
	float *rows; /* what is encoded of them: model.dim floats each */
	uint32 nrows;
	uint32 max_rows;
	uint64 seen;    /* rows to be indexed in the blocks visited */
	double visited; /* blocks */
	bool complete;  /* seen counts the whole table */
	double expected_rows;
	MemoryContext context; /* holds rows */
} ChsBuildSample;

/* ---- am_build.c ---- */

/* A participant's state, in a new context under the current one. */
extern void chs_build_begin(ChsBuild *build, Relation heap, Relation rel,
							IndexInfo *info, const ChsMetaPageData *meta);

/* Scratch and graph handle for adding rows to the node store in memory. */
extern void chs_build_prepare(ChsBuild *build);

/* The callback of a table scan that adds a row to the index. */
extern void chs_build_row(Relation index, ItemPointer tid, Datum *values,
						  bool *isnull, bool alive, void *state);

/* An indexed value as a row; see ChsColumnType.unpack. */
static inline const void *
chs_build_unpack(const ChsBuild *build, Datum value)
{
	return build->index->opclass->type->unpack(value, build->index->meta->dim);
}

/* A slot of an index without a graph. */
static inline ChsSlotHeader *
chs_build_flat_slot(const ChsBuild *build, uint32 number)
{
	return (ChsSlotHeader *) (build->flat + number * build->flat_bytes);
}

/*
 * From here on rows are inserted on the pages that chs_build_flush() or
 * another participant's flush has written.
 */
extern void chs_build_use_pages(ChsBuild *build);

/* Tells the user, once, that the graph outgrew its memory. */
extern void chs_build_report_full(ChsBuild *build);

/* ---- am_build_sample.c ---- */

extern void chs_build_sample(ChsBuild *build, ChsBuildSample *sample);

/* Trains the model, writes its pages and gives it to build->index. */
extern void chs_build_train(ChsBuild *build, const ChsBuildSample *sample);

/* ---- am_build_memory.c ---- */

/*
 * Sizes for a graph of about `rows` nodes within maintenance_work_mem and,
 * unless it is 0, max_bytes of shared memory.
 */
extern void chs_build_plan(const ChsBuild *build, double rows, Size max_bytes,
						   ChsBuildPlan *plan);

/* Bytes of a ChsBuildShared, and filling one in. */
extern Size chs_build_shared_bytes(const ChsBuildPlan *plan);
extern void chs_build_shared_init(ChsBuildShared *shared, const ChsBuild *build,
								  const ChsBuildPlan *plan, double rows,
								  int participants_max);

/*
 * The start of the node store's area of `bytes` bytes in memory that has
 * CHS_BUILD_AREA_ALIGN bytes more.
 */
extern void *chs_build_align_area(void *area, Size bytes);

/* Room for one node; false when the build has to go on on pages. */
extern bool chs_build_promise(ChsBuild *build, int level);

/* Hooks of the node store in memory; context is the ChsBuild. */
extern const void *chs_build_read_row(void *context, ChsNodeId id);
extern void chs_build_keep_tid(void *context, ChsNodeRef to, const uint8_t *tid);
extern void chs_build_place_row(void *context, ChsNodeId id,
								const ChsNewNode *node);
extern void chs_build_write_row(ChsBuild *build, ChsNodeId id, const void *row);

/* ---- am_build_flush.c ---- */

/*
 * Writes the graph in memory to pages and makes the index a graph index.
 * Nobody else may be adding rows.  With `more` rows will follow, on pages.
 */
extern void chs_build_flush(ChsBuild *build, bool more);

/* Writes build->flat: an index without a graph. */
extern void chs_build_flush_flat(ChsBuild *build);

/* ---- am_build_rows.c ---- */

/*
 * Moves the exact row of each node of level 0 to where the order says.  All
 * are there, under their old numbers; nobody else reads or writes them.
 */
extern void chs_build_move_rows(ChsBuild *build, const ChsOrder *order);

/* ---- am_build_parallel.c ---- */

/* Processes besides this one that should help with this many rows. */
extern int chs_build_workers(const ChsBuild *build, double rows);

/*
 * Builds a graph of about `rows` rows with up to `workers` helpers; on return
 * the pages are written.  False, and nothing happened, when there is no shared
 * memory for it.
 */
extern bool chs_build_parallel(ChsBuild *build, double rows, int workers,
							   IndexBuildResult *result);

/*
 * All participants together go from memory to pages: each calls this when it
 * finds the memory full; one of them flushes.
 */
extern void chs_build_meet(ChsBuild *build);

extern PGDLLEXPORT void chs_build_worker(dsm_segment *segment, shm_toc *toc);

#endif /* CHS_AM_BUILD_H */
