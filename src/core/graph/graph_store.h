/*
 * graph_store.h
 *	  What the graph algorithm asks of whoever keeps its nodes.
 *
 * The code in graph_*.c never sees a page, a buffer or a pointer into an
 * index.  It names a node by level and number and asks the store for the rest,
 * a whole neighbour list at a time, so that one indirect call is paid per
 * expanded node and not per distance.
 *
 * A store call returns with no lock held.  Whatever it handed back may be out
 * of date by the next call; the algorithm is written for that, see "Working on
 * a moving graph" in README.md.  This is the whole deadlock argument: a caller
 * inside core never waits while holding anything.
 *
 * A call may not return at all: in the backend it can raise an error, which
 * jumps over our frames.  So core owns nothing but arena memory.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_STORE_H
#define CHS_GRAPH_STORE_H

#include <stdbool.h>

#include "core/graph/slot.h"

/* A node and the version of its slot at which it was seen. */
typedef struct ChsNodeRef
{
	ChsNodeId id;
	uint16_t version;
} ChsNodeRef;

/*
 * A scored node.  est is FLT_MAX when the slot is free, reserved or unlinked
 * (then it must be ignored); dead nodes are scored, they route.
 */
typedef struct ChsScored
{
	float est; /* estimated key */
	float err; /* standard deviation of its error */
	ChsNodeId id;
	uint16_t version;
	uint8_t state; /* ChsSlotState */
	uint8_t flags;
	ChsNodeId down;        /* level >= 1 */
	uint16_t down_version; /* level >= 1 */
	uint16_t unused;
} ChsScored;

/* A copy of a node without its edges; factors and code point into memory that
 * the caller of fetch() gave. */
typedef struct ChsNodeCopy
{
	ChsNodeRef ref;
	uint8_t state;
	uint8_t flags;
	ChsNodeRef down; /* level >= 1 */
	uint64_t hash;
	ChsFactors *factors;
	uint8_t *code; /* model's code bytes (the row when bits = 32) */
} ChsNodeCopy;

/* A copy of a neighbour list, anchors marked. */
typedef struct ChsList
{
	ChsNodeRef owner;
	uint8_t state;
	int degree;
	ChsEdge edges[CHS_MAX_DEGREE];
} ChsList;

/*
 * Proposal to replace a whole list: applied only if the owner is still live
 * (or dead: callers never propose that) with this version and its list is
 * still byte for byte `seen`.
 */
typedef struct ChsEdit
{
	ChsNodeRef owner;
	int nseen;
	int nnext;
	const ChsEdge *seen;
	const ChsEdge *next;
} ChsEdit;

typedef enum ChsEditResult
{
	CHS_EDIT_DONE,
	CHS_EDIT_CHANGED, /* the list is not what was seen, or the store has no
					   * room to edit it together with the others */
	CHS_EDIT_GONE     /* the owner is not live at that version any more */
} ChsEditResult;

/* A node to be put into the index. */
typedef struct ChsNewNode
{
	ChsNodeRef existing; /* level 0: the unlinked slot to turn live, or id
						  * CHS_NODE_NONE for a new slot */
	const uint8_t *tid;  /* 6 bytes, opaque (level 0) */
	uint64_t hash;
	const ChsFactors *factors;
	const uint8_t *code;
	const void *row; /* as the column has it (level 0) */
	ChsNodeRef down; /* level >= 1 */
	const ChsEdge *edges;
	int nedges;
} ChsNewNode;

typedef struct ChsStore ChsStore;

typedef struct ChsStoreOps
{
	/*
	 * Fills entry[0 .. levels - 1] (id CHS_NODE_NONE where a level has none)
	 * and returns the number of levels, up to the highest that has an entry;
	 * 0 when no node is linked.  `fresh` asks for the truth instead of a
	 * cached copy.
	 */
	int (*entries)(ChsStore *store, bool fresh,
				   ChsNodeRef entry[CHS_MAX_LEVELS]);

	/* All numbers of the level are below this (it may grow at any time). */
	uint32_t (*capacity)(ChsStore *store, int level);

	/*
	 * Copies the neighbours' numbers, anchor marks removed, to out (room for
	 * CHS_MAX_DEGREE) and returns how many; 0 for a slot that is not in the
	 * graph.
	 */
	int (*neighbors)(ChsStore *store, int level, ChsNodeId id, ChsNodeId *out);

	/*
	 * Scores n nodes (n <= CHS_MAX_DEGREE, no repeats) against the query;
	 * out[i] belongs to ids[i].  Order of reading is the store's choice.  err
	 * is 0 if the store says no_errors.
	 */
	void (*score)(ChsStore *store, int level, const ChsQuery *query,
				  const ChsNodeId *ids, int n, ChsScored *out);

	/*
	 * Copies n nodes without edges.  mem has n * chs_node_copy_bytes() bytes,
	 * 64-byte aligned; out[i] belongs to ids[i], for every state.
	 */
	void (*fetch)(ChsStore *store, int level, const ChsNodeId *ids, int n,
				  void *mem, ChsNodeCopy *out);

	/*
	 * Copies one neighbour list with its owner's state and version.  degree is
	 * what the slot says; of a damaged one that says more than the level's
	 * capacity, no more edges than that are copied.
	 */
	void (*list)(ChsStore *store, int level, ChsNodeId id, ChsList *out);

	/* Tries n edits, one at a time as far as anybody can see. */
	void (*edit)(ChsStore *store, int level, const ChsEdit *edits, int n,
				 ChsEditResult *results);

	/*
	 * Exact keys of n level-0 nodes against query->row; +infinity for one
	 * that must not be returned (vanished, not visible).
	 */
	void (*exact)(ChsStore *store, const ChsQuery *query,
				  const ChsNodeRef *nodes, int n, double *keys);

	/*
	 * Makes the node readable by everyone, live, with its edges, and returns
	 * its number and version; id CHS_NODE_NONE if the slot was not as expected
	 * any more: another user linked the same unlinked one, or it was freed.
	 */
	ChsNodeRef (*publish)(ChsStore *store, int level, const ChsNewNode *node);

	/*
	 * Adds node's TID to the level-0 node `to`, if that is still live at that
	 * version and its row is equal byte for byte (-0 differs from 0).
	 * False if not.
	 */
	bool (*add_duplicate)(ChsStore *store, ChsNodeRef to,
						  const ChsNewNode *node);

	/*
	 * Makes `entry` the entry of the level if the present one is `expected`
	 * (id CHS_NODE_NONE: none) or dead or vanished.  False: another was first.
	 */
	bool (*set_entry)(ChsStore *store, int level, ChsNodeRef expected,
					  ChsNodeRef entry);
} ChsStoreOps;

/*
 * First member of every store.  no_errors: whoever has this handle only links
 * nodes and never asks for an estimate's error; score() may leave err alone.
 * It takes a root per node, a tenth of the time of an insert in memory.
 */
struct ChsStore
{
	const ChsStoreOps *ops;
	const ChsModel *model;
	bool no_errors;
};

/* Bytes that fetch() wants per node, a multiple of 64. */
static inline size_t
chs_node_copy_bytes(const ChsModel *model)
{
	return (sizeof(ChsFactors) + chs_model_code_bytes(model) + 63) &
		   ~(size_t) 63;
}

#endif /* CHS_GRAPH_STORE_H */
