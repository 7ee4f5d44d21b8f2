/*
 * page.h
 *	  The bytes of a chassis index, and nothing else.
 *
 * This is the only header that knows where something stands on a page; the
 * tables in src/pg/README.md repeat it in words.  The format is a promise: an
 * index written by one version is read by every later one, or refused with a
 * hint to REINDEX.
 *
 * An index is one metapage (block 0) and a set of streams.  A stream is a
 * sequence of pages of one kind, numbered from 0; the extent map in the
 * metapage says in which blocks they stand.  Node numbers and byte offsets are
 * turned into stream pages by arithmetic, so that nothing on disk is a pointer.
 *
 * Slots of graph pages are those of core/graph/slot.h.
 *
 * History of format versions
 *	  1  first
 *	  2  bit 30 of an edge says that it is spare; node numbers have 30 bits
 *	  3  kinds of rows other than vectors of floats; hash of a row by its bytes
 *	  4  slots that begin with cache lines; pd_lower where a page's use ends
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_PAGE_H
#define CHS_PAGE_H

#include "storage/buf.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "core/graph/slot.h"

#define CHS_METAPAGE_BLKNO 0
#define CHS_MAGIC UINT32_C(0x53484331)
#define CHS_FORMAT_VERSION 4

/* In the last two bytes of every page, to tell ours from other kinds. */
#define CHS_PAGE_ID 0xFFC5

typedef enum ChsPageKind
{
	CHS_PAGE_META = 1,
	CHS_PAGE_GRAPH = 2,    /* slots of one level */
	CHS_PAGE_VECTOR = 3,   /* bytes of exact rows */
	CHS_PAGE_OVERFLOW = 4, /* TIDs beyond a node's first */
	CHS_PAGE_MODEL = 5     /* mean and steps, as bytes */
} ChsPageKind;

typedef struct ChsPageOpaqueData
{
	uint8 kind;    /* ChsPageKind */
	uint8 level;   /* graph pages: the level */
	uint16 unused; /* 0 */
	uint16 format; /* CHS_FORMAT_VERSION at the page's first use */
	uint16 page_id;
} ChsPageOpaqueData;

typedef ChsPageOpaqueData *ChsPageOpaque;

#define CHS_PAGE_OPAQUE(page) ((ChsPageOpaque) PageGetSpecialPointer(page))

StaticAssertDecl(sizeof(ChsPageOpaqueData) == 8, "page opaque is 8 bytes");

/* ---- streams ---- */

/* Streams 0 .. CHS_MAX_LEVELS - 1 are the graph pages of that level. */
#define CHS_STREAM_GRAPH(level) (level)
#define CHS_STREAM_VECTOR 16
#define CHS_STREAM_OVERFLOW 17
#define CHS_STREAM_MODEL 18
#define CHS_STREAM_PAYLOAD 19 /* not used in format 1 */
#define CHS_STREAM_COUNT 20

StaticAssertDecl(CHS_STREAM_VECTOR == CHS_MAX_LEVELS, "streams are dense");

/*
 * Page `first_page` and the following ones of `stream`, up to the next extent
 * of that stream or to pages_allocated, stand from block start_block on.
 */
typedef struct ChsExtent
{
	uint32 stream;
	uint32 first_page;
	BlockNumber start_block;
} ChsExtent;

/* All extents of an index; entries are only ever appended. */
#define CHS_MAX_EXTENTS 600

typedef struct ChsStreamState
{
	uint32 pages_used;      /* handed out: numbers below are in use */
	uint32 pages_allocated; /* covered by extents */
} ChsStreamState;

/* ---- byte streams: exact rows and model ---- */

/* First byte of data on vector, model, graph (see below) pages. */
#define CHS_BYTES_OFFSET SizeOfPageHeaderData
#define CHS_BYTES_PER_PAGE \
	(BLCKSZ - SizeOfPageHeaderData - sizeof(ChsPageOpaqueData))

/* ---- graph pages ---- */

/*
 * Slots start here: 16-byte aligned, as the factors in them want.  Those that
 * fill cache lines start a line later, see chs_slots_offset.
 */
#define CHS_SLOTS_OFFSET 32
#define CHS_SLOTS_BYTES (BLCKSZ - CHS_SLOTS_OFFSET - sizeof(ChsPageOpaqueData))

/* First byte of the first slot; one that fills a page alone needs the room. */
static inline uint32
chs_slots_offset(uint32 slot_bytes)
{
	return slot_bytes % CHS_SLOT_LINE == 0 && slot_bytes <= CHS_SLOTS_BYTES / 2
			   ? CHS_SLOT_LINE
			   : CHS_SLOTS_OFFSET;
}

static inline uint32
chs_slots_per_page(uint32 slot_bytes)
{
	return (BLCKSZ - chs_slots_offset(slot_bytes) -
			(uint32) sizeof(ChsPageOpaqueData)) /
		   slot_bytes;
}

/*
 * The layout of a level's slots on pages.  They begin with cache lines where
 * that costs less than a twentieth of them and of the slots on a page.
 */
static inline ChsSlotLayout
chs_page_layout(uint32 code_bytes, int m, int level)
{
	ChsSlotLayout packed = chs_slot_layout(code_bytes, m, level);
	ChsSlotLayout aligned = packed;

	if (chs_slot_align(&aligned, 20) &&
		chs_slots_per_page(aligned.slot_bytes) * 20 >=
			chs_slots_per_page(packed.slot_bytes) * 19)
		return aligned;
	return packed;
}

/* ---- overflow pages ---- */

#define CHS_OVERFLOW_TIDS 18

/*
 * Further TIDs of the level-0 node `owner`.  Slots of one node form a list
 * that starts at ChsSlotHeader.overflow.  A number here and there is the
 * slot's dense number in the overflow stream plus one; 0 ends the list.
 */
typedef struct ChsOverflowData
{
	uint32 owner;
	uint16 owner_version;
	uint16 used; /* 1: belongs to owner; 0: free */
	uint32 next;
	uint16 ntids; /* valid ones, dense from the front */
	uint16 unused;
	ItemPointerData tids[CHS_OVERFLOW_TIDS];
	uint32 unused2;
} ChsOverflowData;

StaticAssertDecl(sizeof(ChsOverflowData) == 128, "overflow slot is 128 bytes");

#define CHS_OVERFLOW_PER_PAGE \
	((uint32) (CHS_SLOTS_BYTES / sizeof(ChsOverflowData)))

/* ---- metapage ---- */

typedef enum ChsPhase
{
	CHS_PHASE_FLAT = 0, /* no codes, no graph; scans compare everything */
	CHS_PHASE_GRAPH = 1
} ChsPhase;

typedef enum ChsRerank
{
	CHS_RERANK_INDEX = 0, /* exact rows are in the index, in their stream */
	CHS_RERANK_HEAP = 1,  /* they are fetched from the table */
	CHS_RERANK_CODE = 2   /* the codes in the slots are exact */
} ChsRerank;

/* ChsMetaPageData.flags */
#define CHS_META_DEAD_LEFT 0x0001 /* a VACUUM left dead nodes to be freed */

/* Level-0 pages that inserts are filling at the same time. */
#define CHS_INSERT_PAGES 16

typedef struct ChsEntry
{
	uint32 id; /* CHS_NODE_NONE: the level has no entry */
	uint16 version;
	uint16 unused;
} ChsEntry;

/*
 * Fields marked F are frozen when the index is built.  Everything else is
 * changed under the exclusive lock of the metapage; meta_version is raised by
 * every change except to the insert_page hints.
 */
typedef struct ChsMetaPageData
{
	uint32 magic;    /* F */
	uint32 format;   /* F CHS_FORMAT_VERSION */
	uint32 features; /* F bits this version must know; 0 */
	uint32 meta_version;
	uint8 metric;            /* F ChsMetric */
	uint8 bits;              /* F 1, 2, 4, 8 or 32 */
	uint8 rerank;            /* F ChsRerank */
	uint8 phase;             /* ChsPhase; only ever FLAT -> GRAPH */
	uint32 dim;              /* F of the column */
	uint32 m;                /* F */
	uint32 ef_construction;  /* F */
	uint64 seed;             /* F of levels, rotation and sketch */
	uint32 row_bytes;        /* F of one exact row in its stream; 0: none */
	uint16 code_kind;        /* F 0: core/quant of format 1 */
	uint8 row_kind;          /* F ChsRowKind */
	uint8 unused0;           /* 0 */
	ChsSlotLayout layout[2]; /* F level 0, levels >= 1 */
	uint32 per_page[2];      /* F slots per graph page, likewise */
	uint32 flat_limit;       /* F rows at which the graph begins */
	uint32 flags;            /* CHS_META_* */
	uint32 link_cursor;  /* unlinked leftovers of the flat phase have ... */
	uint32 unlinked_end; /* ... numbers in [link_cursor, unlinked_end) */
	double build_rows;   /* nodes when built, for information */
	ChsEntry entry[CHS_MAX_LEVELS];
	ChsStreamState stream[CHS_STREAM_COUNT];
	uint32 insert_page[CHS_INSERT_PAGES];     /* level 0: page + 1, 0 = none */
	uint32 insert_page_upper[CHS_MAX_LEVELS]; /* levels >= 1, likewise */
	uint32 insert_page_overflow;
	BlockNumber next_block; /* first block that belongs to no extent */
	uint32 model_dim;       /* F dimensions that are encoded */
	uint32 unused[15];      /* 0 */
	uint32 nextents;
	ChsExtent extent[CHS_MAX_EXTENTS];
} ChsMetaPageData;

typedef ChsMetaPageData *ChsMetaPage;

#define CHS_META(page) ((ChsMetaPage) PageGetContents(page))

StaticAssertDecl(sizeof(ChsMetaPageData) <=
					 BLCKSZ - SizeOfPageHeaderData - sizeof(ChsPageOpaqueData),
				 "metapage data fits a page");
StaticAssertDecl(offsetof(ChsMetaPageData, row_kind) == 46,
				 "metapage layout is frozen");
StaticAssertDecl(offsetof(ChsMetaPageData, model_dim) == 552,
				 "metapage layout is frozen");
StaticAssertDecl(offsetof(ChsMetaPageData, extent) == 620,
				 "metapage layout is frozen");

/* Bytes of code in a slot on disk: none where the exact rows have a stream and
 * serve as codes. */
static inline uint32
chs_slot_code_bytes(ChsRowKind row, uint32 dim, int bits)
{
	return bits == CHS_BITS_NONE ? 0
								 : (uint32) chs_row_code_bytes(row, dim, bits);
}

/* ---- accessors (page.c) ---- */

/*
 * Makes an empty page of a kind.  Its pd_lower is where its contents begin, and
 * stays behind the last byte that was ever used: what lies between pd_lower and
 * pd_upper is zeros, and replay makes it zeros again.  So who writes
 * where a page may not have been used before says so by chs_page_use.
 */
extern void chs_page_init(Page page, ChsPageKind kind, int level);

/* The bytes of a page before `end` are in use. */
static inline void
chs_page_use(Page page, const void *end)
{
	LocationIndex used = (LocationIndex) ((const char *) end - (char *) page);

	if (((PageHeader) page)->pd_lower < used)
		((PageHeader) page)->pd_lower = used;
}

/*
 * Is this page new (all zero, so all slots free) or of the kind expected?
 * Otherwise raises ERRCODE_INDEX_CORRUPTED naming index and block.
 */
extern void chs_page_check(Relation rel, Buffer buffer, ChsPageKind kind,
						   int level);

/*
 * Does the page's trailer name this kind and level?  For pages that are looked
 * at without a lock: reads nothing else, raises nothing.
 */
static inline bool
chs_page_is(Page page, ChsPageKind kind, int level)
{
	const ChsPageOpaqueData
		*opaque = (const ChsPageOpaqueData *) ((char *) page + BLCKSZ -
											   sizeof(ChsPageOpaqueData));

	return opaque->page_id == CHS_PAGE_ID && opaque->kind == kind &&
		   opaque->level == level;
}

static inline ChsSlotHeader *
chs_page_slot(Page page, const ChsSlotLayout *layout, uint32 index)
{
	return (ChsSlotHeader *) ((char *) page +
							  chs_slots_offset(layout->slot_bytes) +
							  (Size) index * layout->slot_bytes);
}

static inline ChsOverflowData *
chs_page_overflow(Page page, uint32 index)
{
	return (ChsOverflowData *) ((char *) page + CHS_SLOTS_OFFSET +
								(Size) index * sizeof(ChsOverflowData));
}

static inline ItemPointer
chs_slot_tid(ChsSlotHeader *slot)
{
	return (ItemPointer) slot->tid;
}

#endif /* CHS_PAGE_H */
