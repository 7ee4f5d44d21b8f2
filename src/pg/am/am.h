/*
 * am.h
 *	  Private declarations of the access method, grouped under the file that
 *	  defines them.
 *
 * The lock rules L1... and the memory contexts are in src/pg/README.md.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_AM_H
#define CHS_AM_H

#include "access/amapi.h"
#include "access/genam.h"
#include "access/generic_xlog.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "core/graph/graph.h"
#include "pg/am/alias.h"
#include "pg/am/page.h"

/* ---- opclass.c: what operator classes say of themselves ---- */

/* A type that can be indexed, or any other of the same layout. */
typedef struct ChsColumnType
{
	ChsRowKind row;
	const char *name; /* for messages */
	uint32 max_dim;

	/*
	 * The row in a value, detoasted if need be: lives as long as the value and
	 * the current memory context.  Raises the operator's error if it has not
	 * `dim` dimensions.
	 */
	const void *(*unpack)(Datum value, uint32 dim);
} ChsColumnType;

/* Result of support function 1 of an operator class. */
typedef struct ChsOpclass
{
	ChsMetric metric;
	const ChsColumnType *type;
} ChsOpclass;

#define CHS_OPCLASS_PROC 1

extern const ChsOpclass *chs_opclass_get(Relation index);

/* ---- am_options.c: reloptions and settings ---- */

#define CHS_DEFAULT_M 16
#define CHS_DEFAULT_EF_CONSTRUCTION 200
#define CHS_DEFAULT_EF_SEARCH 50
#define CHS_MIN_EF_CONSTRUCTION 4
#define CHS_MAX_EF_CONSTRUCTION 10000
#define CHS_MIN_EF_SEARCH 1
#define CHS_MAX_EF_SEARCH 10000

/* ChsOptions.rerank: as the type wants it, see chs_choose_rerank. */
#define CHS_RERANK_AUTO (-1)

typedef struct ChsOptions
{
	int32 vl_len_;
	int m;
	int ef_construction;
	int ef_search;
	int bits;   /* 0: chosen by chs_choose_bits */
	int rerank; /* ChsRerank or CHS_RERANK_AUTO */
} ChsOptions;

extern int chs_ef_search;       /* chassis.ef_search; -1: the index's */
extern int chs_iterative_scan;  /* chassis.iterative_scan: ChsScanOrder */
extern int chs_max_scan_tuples; /* chassis.max_scan_tuples */
extern double chs_scan_mem_multiplier; /* chassis.scan_mem_multiplier */
extern int chs_flat_limit;             /* chassis.flat_limit (hidden) */
extern int chs_build_seed; /* chassis.build_seed (hidden), 0: default */

/* Called once from _PG_init: reloption kinds and settings. */
extern void chs_am_init(void);
extern bytea *chsoptions(Datum reloptions, bool validate);

/* The index's options, defaults filled in; palloc'd copy. */
extern ChsOptions *chs_options_get(Relation index);

/* Options with m and ef_construction (0: the default), else the defaults. */
extern bytea *chs_options_make(int m, int ef_construction);

/*
 * What the next scan of the index is to obey: our settings (and the index's
 * option ef_search), or those of the alias that it was made under.
 */
extern void chs_options_scan(Relation index, ChsScanSettings *settings);

/*
 * Bits for a new index: what the user asked for, or the largest default that
 * fits a page with these dimensions and m.  What does not fit raises
 * ERRCODE_PROGRAM_LIMIT_EXCEEDED naming the limit; what the type does not have,
 * ERRCODE_INVALID_PARAMETER_VALUE.
 */
extern int chs_choose_bits(const ChsOptions *options,
						   const ChsColumnType *type, uint32 dim);

/* Where a new index reads exact rows; likewise. */
extern ChsRerank chs_choose_rerank(const ChsOptions *options,
								   const ChsColumnType *type);

/* ---- alias.c: other access methods over these callbacks ---- */

/* Called once from _PG_init. */
extern void chs_alias_init(void);

/* The alias that the index's access method is, or NULL: it is chassis. */
extern const ChsAlias *chs_alias_of(Relation index);

/* ---- am_handler.c, am_validate.c, am_cost.c, am_inspect.c: callbacks ---- */

extern bool chsvalidate(Oid opclassoid);
extern void chscostestimate(PlannerInfo *root, IndexPath *path,
							double loop_count, Cost *startup_cost,
							Cost *total_cost, Selectivity *selectivity,
							double *correlation, double *pages);

/*
 * am_plan.c: takes distances that nobody reads out of finished plans.  Called
 * once from _PG_init.
 */
extern void chs_plan_init(void);

/* ---- index.c: an open index ---- */

/*
 * Everything an operation needs to know of an index, in memory of its own: a
 * relcache invalidation in mid-scan cannot pull it away.
 */
typedef struct ChsIndex
{
	Relation rel;
	MemoryContext context; /* holds what is below */
	ChsMetaPageData *meta; /* private copy */
	ChsModel model;        /* with private values; all zero in phase FLAT */
	const ChsOpclass *opclass;
	bool logged; /* changes go through generic WAL; false while building */
	struct ChsHints *hints; /* buffer.c: block -> buffer; NULL: none */

	/* The extent map sorted by stream: entries [map_start[s], map_start[s+1]). */
	ChsExtent *map;
	uint16 map_start[CHS_STREAM_COUNT + 1];
} ChsIndex;

/*
 * Opens an index for an operation that lives in `context`.  Raises
 * ERRCODE_INDEX_CORRUPTED or ERRCODE_FEATURE_NOT_SUPPORTED (newer format).
 * A copy of the metapage and the model is cached in the relcache entry and
 * used again while meta_version is the same.
 */
extern ChsIndex *chs_index_open(Relation rel, MemoryContext context);

/*
 * Compares meta_version on the metapage (one share lock) and re-reads what
 * changed.  True if anything did.
 */
extern bool chs_index_refresh(ChsIndex *index);

/* An index that is being built: the caller filled meta; no model yet. */
extern ChsIndex *chs_index_for_build(Relation rel, MemoryContext context,
									 const ChsMetaPageData *meta);

/* Takes chs_model_values() floats into index->model. */
extern void chs_index_set_model(ChsIndex *index, const float *values);

/* Writes them to the model's pages, which it has not yet. */
extern void chs_index_write_model(ChsIndex *index, const ChsModel *model,
								  const float *values);

static inline const ChsSlotLayout *
chs_index_layout(const ChsIndex *index, int level)
{
	return &index->meta->layout[level == 0 ? 0 : 1];
}

static inline uint32
chs_index_per_page(const ChsIndex *index, int level)
{
	return index->meta->per_page[level == 0 ? 0 : 1];
}

/* Numbers of a level are below this, as far as our copy of the map knows. */
static inline uint32
chs_index_capacity(const ChsIndex *index, int level)
{
	return index->meta->stream[CHS_STREAM_GRAPH(level)].pages_used *
		   chs_index_per_page(index, level);
}

/*
 * Block of a stream's page.  Outside the map we know: reads the map again,
 * then raises ERRCODE_INDEX_CORRUPTED.
 */
extern BlockNumber chs_index_block(ChsIndex *index, int stream, uint32 page);

/* The reverse, for the free space map's answers: false if no such page. */
extern bool chs_index_page_of_block(ChsIndex *index, int stream,
									BlockNumber block, uint32 *page);

/* ---- buffer.c: pins by recent-buffer hints; buffer.h: looks without pins ---- */

/* Returns a pinned, unlocked buffer of the main fork. */
extern Buffer chs_buffer_read(ChsIndex *index, BlockNumber block);

/* Says that n blocks will be read: cold ones are read ahead together. */
extern void chs_buffer_expect(ChsIndex *index, const BlockNumber *blocks, int n);

/* This backend's hints for an index; released when `context` is reset. */
extern struct ChsHints *chs_hints_acquire(Relation rel, MemoryContext context);

/* ---- page_wal.c: the only writer of WAL ---- */

typedef struct ChsWal
{
	ChsIndex *index;
	GenericXLogState *state; /* NULL while building */
	int nbuffers;
	Buffer buffers[MAX_GENERIC_XLOG_PAGES];
} ChsWal;

/*
 * One atomic change of up to MAX_GENERIC_XLOG_PAGES exclusively locked pages.
 * chs_wal_page gives the image to change (full_image: the page is new or
 * wholly rewritten); chs_wal_finish makes it happen, chs_wal_abort forgets it
 * (while building changes are made in place: abort before the first one).
 * Neither unlocks anything.
 */
extern void chs_wal_begin(ChsWal *wal, ChsIndex *index);
extern Page chs_wal_page(ChsWal *wal, Buffer buffer, bool full_image);
extern void chs_wal_finish(ChsWal *wal);
extern void chs_wal_abort(ChsWal *wal);

/*
 * One atomic change of a few bytes on up to MAX_GENERIC_XLOG_PAGES exclusively
 * locked pages, made in place and named by who makes it: nothing is copied or
 * compared.  From chs_wal_edit_begin to chs_wal_edit_end is a critical section.
 * Every byte that changes is named by a chs_wal_edited after the change; one
 * that is not stays as it was on a standby and after a crash.
 */
typedef struct ChsWalEdit
{
	bool logged;
	int npages;
	Buffer buffers[MAX_GENERIC_XLOG_PAGES];
	uint32 bytes[MAX_GENERIC_XLOG_PAGES]; /* of fragments; 0: unchanged */
	char fragments[MAX_GENERIC_XLOG_PAGES][BLCKSZ];
} ChsWalEdit;

/* What a fragment takes besides its bytes. */
#define CHS_WAL_FRAGMENT_HEADER (2 * sizeof(uint16))

extern void chs_wal_edit_begin(ChsWalEdit *edit, ChsIndex *index,
							   const Buffer *buffers, int npages);
extern void chs_wal_edited(ChsWalEdit *edit, int page, const void *start,
						   uint16 bytes);
extern void chs_wal_edit_end(ChsWalEdit *edit);

/* Is there room for fragments of so many bytes, headers included? */
static inline bool
chs_wal_edit_has_room(const ChsWalEdit *edit, int page, Size bytes)
{
	return edit->bytes[page] + bytes <= sizeof(edit->fragments[page]);
}

/* Logs one page, written without WAL and still locked, in a critical section. */
extern void chs_wal_log_page(Buffer buffer);

/* Logs a whole fork that was written without WAL (end of build). */
extern void chs_wal_log_relation(Relation rel, ForkNumber fork);

/* ---- meta.c: metapage initialisation and its small changes ---- */

/* What a new index is like: from options, column and operator class. */
extern void chs_meta_fill(ChsMetaPageData *meta, Relation rel);

/* The model of an index, but for the values that it is trained to. */
extern void chs_meta_model(const ChsMetaPageData *meta, ChsModel *model);

/* Writes block 0 of a fork that has none (build; INIT_FORKNUM is logged). */
extern void chs_meta_create(Relation rel, ForkNumber fork,
							const ChsMetaPageData *meta);

/*
 * Runs `change` on the metapage under its exclusive lock; if that returns
 * true the change is logged, meta_version raised (unless hint_only) and the
 * index's copy refreshed.
 */
extern bool chs_meta_update(ChsIndex *index,
							bool (*change)(ChsMetaPage meta, void *arg),
							void *arg, bool hint_only);

/* ---- stream.c: growth, byte streams; alloc.c: free slots ---- */

/*
 * Makes at least `pages` pages of the stream covered by extents.  Takes the
 * relation extension lock; the caller holds no content lock.  With exact the
 * extent has just the missing pages (build), else it is sized for growth.
 */
extern void chs_stream_reserve(ChsIndex *index, int stream, uint32 pages,
							   bool exact);

/*
 * Reads or writes `bytes` bytes at `offset` of a byte stream (vector, model).
 * Writing initialises new pages and logs at most MAX_GENERIC_XLOG_PAGES pages
 * a record.  A page not yet used reads as zeros.
 */
extern void chs_stream_read(ChsIndex *index, int stream, uint64 offset,
							void *data, Size bytes);
extern void chs_stream_write(ChsIndex *index, int stream, uint64 offset,
							 const void *data, Size bytes);

/*
 * The two halves of a record's worth of writing, for what is to be in the same
 * record as something else.  Locking pins and locks exclusively the pages of the
 * range, up to max of them in ascending block order, and returns how many; the
 * caller releases them.  The map must name them already if another content lock
 * is held (L6).  Filling registers these pages and writes what of the range
 * stands on them; returns how many bytes that are.
 */
extern int chs_stream_lock(ChsIndex *index, int stream, uint64 offset,
						   Size bytes, int max, Buffer *buffers);
extern Size chs_stream_fill(ChsWal *wal, int stream, uint64 offset,
							const void *data, Size bytes,
							const Buffer *buffers, int n);

/*
 * Finds a free slot of a level: by the insert pages, the free space map, then new
 * pages; at level 0 makes sure that the vector stream covers the number.  Returns
 * the page's buffer pinned and exclusively locked, *id the number.  The caller
 * fills the slot in one record and releases the buffer.
 */
extern Buffer chs_slot_find_free(ChsIndex *index, int level, ChsNodeId *id);

/*
 * Takes a free slot of level 0: the number of a slot that the caller now owns
 * because it is state = RESERVED with this TID.  *version: the slot's.
 */
extern ChsNodeId chs_slot_claim(ChsIndex *index, const uint8 *tid,
								uint16 *version);

/* A page of the overflow stream with a free slot, not locked. */
extern uint32 chs_overflow_find_page(ChsIndex *index);

/* ---- store_page.c (reading), store_page_write.c: node store over buffers ---- */

typedef struct ChsPageStore
{
	ChsStore store; /* first */
	ChsIndex *index;

	/* rerank = heap: how to fetch a row by TID; see exact.c */
	struct ChsHeapFetch *heap;

	/* scratch, in index->context */
	struct ChsPageScratch *scratch;
} ChsPageStore;

extern ChsPageStore *chs_page_store_create(ChsIndex *index);

/*
 * The exact row of a level-0 node, wherever it is; NULL if it is in the table
 * and nobody sees it there.  `out` has room for meta->row_bytes or the code's
 * bytes; a row from the table stays where chs_heap_fetch_row has put it.
 */
extern const void *chs_page_store_row(ChsPageStore *store, ChsNodeRef ref,
									  void *out);

/* Room that `out` needs; 0 with rerank = heap. */
extern Size chs_page_store_row_room(const ChsPageStore *store);

/*
 * Copies all heap TIDs of a node (inline and overflow) under one hold of its
 * page's share lock.  0 if the slot is not live or unlinked at that version.
 * *tids is palloc'd or grown in the store's context.
 */
extern int chs_page_store_tids(ChsPageStore *store, ChsNodeRef ref,
							   ItemPointerData **tids, int *room);

/* One slot's header, copied under its page's share lock. */
extern void chs_page_store_header(ChsPageStore *store, int level, ChsNodeId id,
								  ChsSlotHeader *header);

/*
 * The unlinked slots of one level-0 page (a page of the stream, below
 * pages_used) whose rows have this hash; returns how many, at most max.
 */
extern int chs_page_store_find_hash(ChsPageStore *store, uint32 page,
									uint64 hash, ChsNodeRef *refs, int max);

/* store_page_write.c: the ops of ChsStoreOps that change something */
extern void chs_page_store_edit(ChsStore *store, int level, const ChsEdit *edits,
								int n, ChsEditResult *results);
extern ChsNodeRef chs_page_store_publish(ChsStore *store, int level,
										 const ChsNewNode *node);
extern bool chs_page_store_add_duplicate(ChsStore *store, ChsNodeRef to,
										 const ChsNewNode *node);
extern bool chs_page_store_set_entry(ChsStore *store, int level,
									 ChsNodeRef expected, ChsNodeRef entry);

/*
 * Makes a level-0 node that scans find by comparison only: state UNLINKED with
 * these flags.
 */
extern ChsNodeRef chs_page_store_publish_unlinked(ChsPageStore *store,
												  const ChsNewNode *node,
												  uint8 flags);

/* Flags an unlinked level-0 slot as one that will never be linked. */
extern void chs_page_store_mark_nolink(ChsPageStore *store, ChsNodeRef ref);

/* Adds one TID to a live or unlinked node; false if it is neither any more. */
extern bool chs_page_store_add_tid(ChsPageStore *store, ChsNodeRef ref,
								   const uint8 *tid);

/* ---- overflow.c: lists of TIDs beyond the first ---- */

/*
 * Appends the TIDs of a list to *tids (palloc'd, *n of *room used, grown as
 * needed).  The caller holds the owner's graph page locked, share at least.
 * Raises ERRCODE_INDEX_CORRUPTED for a list that is not the owner's or has no
 * end.
 */
extern void chs_overflow_collect(ChsIndex *index, ChsNodeRef owner, uint32 head,
								 ItemPointerData **tids, int *n, int *room);

/*
 * For VACUUM: removes the TIDs that `dead` says are from the list of the node
 * in a slot of the exclusively locked graph page, and gives slots that became
 * empty back; each change is logged by itself.  Returns how many TIDs are left
 * and adds those that are not to *removed.
 */
extern int64 chs_overflow_remove(ChsIndex *index, Buffer graph_buffer,
								 uint32 slot_index, ChsNodeRef owner,
								 IndexBulkDeleteCallback dead,
								 void *dead_state, int64 *removed);

/*
 * Gives all slots of the list of the node in slot `slot_index` of the
 * exclusively locked graph page back; the node's overflow becomes 0.
 */
extern void chs_overflow_free(ChsIndex *index, Buffer graph_buffer,
							  uint32 slot_index, ChsNodeRef owner);

typedef enum ChsAddTid
{
	CHS_TID_ADDED,     /* it is in the list now, or was before */
	CHS_TID_NEEDS_PAGE /* no room: unlock, find a page with a free slot, retry */
} ChsAddTid;

#define CHS_NO_OVERFLOW_PAGE UINT32_MAX

/*
 * Adds a TID to the list of the node in a slot of the exclusively locked graph
 * page.  `page`: an overflow page with a free slot (chs_overflow_find_page,
 * called with nothing locked), or CHS_NO_OVERFLOW_PAGE for the first try.
 */
extern ChsAddTid chs_overflow_add(ChsIndex *index, Buffer graph_buffer,
								  uint32 slot_index, ChsNodeRef owner,
								  uint32 page, const ItemPointerData *tid);

/* ---- exact.c: exact rows from the table ---- */

extern struct ChsHeapFetch *chs_heap_fetch_begin(Relation heap,
												 const ChsIndex *index,
												 Snapshot snapshot);
extern void chs_heap_fetch_end(struct ChsHeapFetch *fetch);

/*
 * The indexed value of the first of these table rows that the snapshot sees,
 * as a row; NULL if none is visible.  Valid until the next call.
 */
extern const void *chs_heap_fetch_row(struct ChsHeapFetch *fetch,
									  const ItemPointerData *tids, int ntids);

/* ---- am_build.c, am_build_parallel.c ---- */

extern IndexBuildResult *chsbuild(Relation heap, Relation index,
								  IndexInfo *indexInfo);
extern void chsbuildempty(Relation index);
extern char *chsbuildphasename(int64 phase);

/* ---- am_insert.c ---- */

extern bool chsinsert(Relation index, Datum *values, bool *isnull,
					  ItemPointer heap_tid, Relation heap,
					  IndexUniqueCheck checkUnique, bool indexUnchanged,
					  IndexInfo *indexInfo);

/*
 * Puts one row into an index on pages, whatever its phase: used by aminsert
 * and by a build whose graph has outgrown memory.
 */
typedef struct ChsInserter ChsInserter;
extern ChsInserter *chs_inserter_create(ChsIndex *index);
extern void chs_inserter_insert(ChsInserter *inserter, const void *row,
								ItemPointer tid, bool index_unchanged);

/* Links up to `limit` leftovers of the flat phase; see am_insert.c. */
extern void chs_inserter_link_leftovers(ChsInserter *inserter, int limit);

/* ---- am_scan.c ---- */

extern IndexScanDesc chsbeginscan(Relation index, int nkeys, int norderbys);
extern void chsrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
					  ScanKey orderbys, int norderbys);
extern bool chsgettuple(IndexScanDesc scan, ScanDirection dir);
extern void chsendscan(IndexScanDesc scan);

/* ---- am_vacuum.c ---- */

extern IndexBulkDeleteResult *chsbulkdelete(IndexVacuumInfo *info,
											IndexBulkDeleteResult *stats,
											IndexBulkDeleteCallback callback,
											void *callback_state);
extern IndexBulkDeleteResult *chsvacuumcleanup(IndexVacuumInfo *info,
											   IndexBulkDeleteResult *stats);

/* ---- stop.c: named places where a test can hold a backend ---- */

#ifdef CHS_STOPS
extern void chs_stop(const char *name);
extern void chs_stop_init(void);
#define CHS_STOP(name) chs_stop(name)
#else
#define CHS_STOP(name) ((void) 0)
#endif

/* ---- page_copy.c: a page as it stood at one moment ---- */

/*
 * Copies a block of the main fork to `copy` (BLCKSZ bytes, aligned as a page
 * is) under its share lock.  False if the page is new.
 */
extern bool chs_page_copy(Relation rel, BlockNumber block,
						  BufferAccessStrategy strategy, Page copy);

/*
 * Is this copy a page of that kind and level, with sane header?  NULL, or
 * what is wrong with it, in words.  Its contents end at `end` at the latest,
 * and beyond pd_lower there are only zeros (0: nothing is known of them).
 */
extern const char *chs_page_copy_problem(Page copy, ChsPageKind kind,
										 int level, Size end);

/* ---- arena.c: an arena that is a memory context ---- */

typedef struct ChsContextArena
{
	ChsArena arena; /* first */
	MemoryContext context;
} ChsContextArena;

extern void chs_context_arena_init(ChsContextArena *arena,
								   MemoryContext context);

/* ---- workspace.c: an arena that is kept by the backend ---- */

/*
 * Memory for one search or insert, until `owner` is reset or deleted.  Like
 * all arenas it gives nothing back before.
 */
extern ChsArena *chs_workspace_acquire(MemoryContext owner);

#endif /* CHS_AM_H */
