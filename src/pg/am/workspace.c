/*
 * workspace.c
 *	  Memory for searches that stays with the backend from query to query.
 *
 * A search wants some hundred kilobytes for its queues and the set of nodes it
 * has met, and every query is a scan of its own.  From a memory context that
 * memory would come from the operating system and go back to it each time: 17
 * page faults and two calls to move the end of the heap, a sixth of the
 * server's time for ten rows of 200,000 x 384 at ef 40.  So one workspace is
 * kept and handed from scan to scan.
 *
 * A workspace belongs to a memory context while it is in use and comes back
 * when that is reset or deleted, which an error does as well.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/am/am.h"

/* What core may rely on: a cache line, and the widest vector register. */
#define WORKSPACE_ALIGNMENT 64

/* First slab: more than a search at ef 100 of 100,000 nodes takes. */
#define WORKSPACE_FIRST ((Size) 256 * 1024)

/* A workspace that took more than this is not kept. */
#define WORKSPACE_KEEP ((Size) 4 * 1024 * 1024)

typedef struct Workspace
{
	ChsArena arena;        /* first: all that core sees */
	MemoryContext context; /* the slabs */
	char *slab;            /* the one being carved up */
	Size used;             /* of slab */
	Size room;             /* of slab; 0: there is none */
	Size total;            /* handed out since it was taken */
	Size last_total;       /* what its last user took */
	int nslabs;
} Workspace;

/* The one that nobody uses at the moment, if any. */
static Workspace *spare;

/*
 * Twice what was taken so far, or as much as the last user took in all: a
 * second query like the first finds everything in one slab.
 */
static void
add_slab(Workspace *workspace, Size bytes)
{
	Size usual = workspace->nslabs == 0 ? workspace->last_total
										: workspace->total;
	Size room = Max(Max(usual, WORKSPACE_FIRST), bytes);

	workspace->room = 0;
	workspace->slab = MemoryContextAllocExtended(
		workspace->context, add_size(room, WORKSPACE_ALIGNMENT - 1),
		MCXT_ALLOC_HUGE);
	workspace->slab = (char *) TYPEALIGN(WORKSPACE_ALIGNMENT, workspace->slab);
	workspace->used = 0;
	workspace->room = room;
	workspace->nslabs++;
}

static void *
allocate(ChsArena *arena, size_t bytes)
{
	Workspace *workspace = (Workspace *) arena;
	void *chunk;

	bytes = TYPEALIGN(WORKSPACE_ALIGNMENT, bytes);
	if (bytes > workspace->room - workspace->used || workspace->room == 0)
		add_slab(workspace, bytes);
	chunk = workspace->slab + workspace->used;
	workspace->used += bytes;
	workspace->total += bytes;
	return chunk;
}

/* The user's context goes: nothing is allocated here. */
static void
release(void *arg)
{
	Workspace *workspace = arg;

	if (spare != NULL || workspace->total > WORKSPACE_KEEP)
	{
		MemoryContextDelete(workspace->context);
		pfree(workspace);
		return;
	}
	if (workspace->nslabs > 1)
	{
		/* the next user gets one slab of the size of all */
		MemoryContextReset(workspace->context);
		workspace->room = 0;
		workspace->nslabs = 0;
	}
	workspace->used = 0;
	workspace->last_total = workspace->total;
	workspace->total = 0;
	spare = workspace;
}

static Workspace *
create_workspace(void)
{
	MemoryContext context = AllocSetContextCreate(
		TopMemoryContext, "chassis workspace", ALLOCSET_SMALL_SIZES);
	Workspace *workspace = MemoryContextAllocZero(TopMemoryContext,
												  sizeof(Workspace));

	workspace->arena.alloc = allocate;
	workspace->context = context;
	return workspace;
}

ChsArena *
chs_workspace_acquire(MemoryContext owner)
{
	MemoryContextCallback *callback = MemoryContextAlloc(
		owner, sizeof(MemoryContextCallback));
	Workspace *workspace = spare != NULL ? spare : create_workspace();

	spare = NULL;
	callback->func = release;
	callback->arg = workspace;
	MemoryContextRegisterResetCallback(owner, callback);
	return &workspace->arena;
}
