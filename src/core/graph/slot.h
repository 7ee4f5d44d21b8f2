/*
 * slot.h
 *	  One node as bytes: the same fixed-size slot in memory and on a page.
 *
 * A node is a header, the factors and the code (contiguous, they are read
 * together when the node is scored), then the neighbour list (read only when
 * the node is expanded).  The in-memory store and the graph pages use the same
 * slots, so that a build is written by copying.  Where a slot stands, who may
 * read it and when, is the store's business.
 *
 * The header and the factors are part of the on-disk format: see the table in
 * src/pg/README.md.  Every part is at an offset that a layout names, because
 * later versions may put something between.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_SLOT_H
#define CHS_SLOT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/prefetch.h"
#include "core/quant/quant.h"

/*
 * A node's number within its level.  30 bits: the top bit of an edge marks the
 * anchor (see graph/README.md, "Reachability"), the next one an edge whose end
 * another edge of the list leads to (see "Linking back").
 */
typedef uint32_t ChsNodeId;
typedef uint32_t ChsEdge;

#define CHS_NODE_NONE ((ChsNodeId) 0x3fffffff)
#define CHS_EDGE_ANCHOR ((ChsEdge) 0x80000000)
#define CHS_EDGE_SPARE ((ChsEdge) 0x40000000)
#define CHS_EDGE_NODE(edge) ((ChsNodeId) ((edge) &0x3fffffff))

/* Levels 0 .. CHS_MAX_LEVELS - 1. */
#define CHS_MAX_LEVELS 16
#define CHS_MAX_M 100
#define CHS_MAX_DEGREE (2 * CHS_MAX_M)

/*
 * States of a slot.  A page of zeros is a page of free slots.
 */
typedef enum ChsSlotState
{
	CHS_SLOT_FREE = 0,     /* nobody's */
	CHS_SLOT_RESERVED = 1, /* claimed, heap TID set, not yet readable */
	CHS_SLOT_LIVE = 2,     /* in the graph */
	CHS_SLOT_DEAD = 3,     /* in the graph for routing only; no heap TID */
	CHS_SLOT_UNLINKED = 4  /* findable by comparison, not in the graph */
} ChsSlotState;

/* Header flags. */
#define CHS_SLOT_NOLINK 0x01 /* unlinked for ever: has no place in a graph */

typedef struct ChsSlotHeader
{
	uint8_t state;         /* ChsSlotState */
	uint8_t flags;         /* CHS_SLOT_NOLINK */
	uint16_t version;      /* raised when the slot is freed */
	uint16_t degree;       /* edges in use */
	uint8_t lock;          /* in-memory store only; 0 on disk */
	uint8_t unused;        /* 0 */
	uint8_t tid[6];        /* level 0: the first heap TID, opaque to core */
	uint16_t down_version; /* level >= 1: version of `down` */
	uint32_t overflow;     /* level 0: where further TIDs are, 0 = nowhere */
	uint32_t down;         /* level >= 1: this node's number one level below */
	uint64_t hash;         /* of the row's bytes as the column has them */
} ChsSlotHeader;

static_assert(sizeof(ChsSlotHeader) == 32, "slot header is 32 bytes on disk");
static_assert(sizeof(ChsFactors) == 16, "factors are 16 bytes on disk");

/* Where the parts of a slot are, all in bytes. */
typedef struct ChsSlotLayout
{
	uint32_t slot_bytes; /* distance between slots, multiple of 16 */
	uint32_t factors;    /* offset of ChsFactors */
	uint32_t code;       /* offset of the code */
	uint32_t code_bytes; /* 0: the slot has no code */
	uint32_t edges;      /* offset of the neighbour list */
	uint32_t max_degree; /* its capacity, in edges */
} ChsSlotLayout;

/* Layout of a level: 2m edges at level 0, m above. */
static inline ChsSlotLayout
chs_slot_layout(uint32_t code_bytes, int m, int level)
{
	ChsSlotLayout layout;

	layout.factors = sizeof(ChsSlotHeader);
	layout.code = layout.factors + sizeof(ChsFactors);
	layout.code_bytes = code_bytes;
	layout.edges = (layout.code + code_bytes + 3) & ~3u;
	layout.max_degree = (uint32_t) (level == 0 ? 2 * m : m);
	layout.slot_bytes = (layout.edges +
						 layout.max_degree * (uint32_t) sizeof(ChsEdge) + 15) &
						~15u;
	return layout;
}

/*
 * Lets slots begin with cache lines, if less than one part in `parts` of them is
 * lost by that: scoring then reads one line of four or five less.  False: they
 * stay as they are.  Where slots stand must begin with a cache line too.
 */
#define CHS_SLOT_LINE 64u

static inline bool
chs_slot_align(ChsSlotLayout *layout, uint32_t parts)
{
	uint32_t bytes = (layout->slot_bytes + CHS_SLOT_LINE - 1) &
					 ~(CHS_SLOT_LINE - 1);

	if ((bytes - layout->slot_bytes) * parts >= bytes)
		return false;
	layout->slot_bytes = bytes;
	return true;
}

static inline ChsFactors *
chs_slot_factors(const ChsSlotLayout *layout, void *slot)
{
	return (ChsFactors *) ((char *) slot + layout->factors);
}

static inline uint8_t *
chs_slot_code(const ChsSlotLayout *layout, void *slot)
{
	return (uint8_t *) slot + layout->code;
}

/*
 * Lines of one slot that are asked for ahead; beyond, the processor's own
 * stream detection has caught on.
 */
#define CHS_SLOT_LINES 16

/* Asks the processor for the part of a slot that scoring reads. */
static inline void
chs_slot_prefetch(const ChsSlotLayout *layout, const void *slot)
{
	uint32_t bytes = layout->code + layout->code_bytes;

	if (bytes > CHS_SLOT_LINES * CHS_CACHE_LINE)
		bytes = CHS_SLOT_LINES * CHS_CACHE_LINE;
	chs_prefetch(slot, bytes);
}

static inline ChsEdge *
chs_slot_edges(const ChsSlotLayout *layout, void *slot)
{
	return (ChsEdge *) ((char *) slot + layout->edges);
}

#endif /* CHS_SLOT_H */
