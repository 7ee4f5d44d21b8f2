/*
 * am_build_rows.c
 *	  Puts the exact rows of a build into the order of their nodes.
 *
 * Rows are written as they come, under the number their node has then; the
 * flush gives nodes new numbers, and a row's place is its node's number times
 * its size.  So every row moves, to anywhere.  Both ends are read and written
 * from front to back all the same: rows go through parts, each a piece of the
 * new order that fits into memory, and each but a single one a temporary file.
 *
 * Separate from am_build_flush.c because it knows nothing of slots, and that
 * file nothing of sorting.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include "pg/compat.h"

#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "pg/am/am_build.h"

/*
 * Where the graph has taken all of maintenance_work_mem, what a part may have
 * beyond it; and how many parts there may be, for each file has a buffer.
 */
#define LEAST_PART_SHARE 16
#define MOST_PARTS 512

typedef struct Move
{
	ChsBuild *build;
	const ChsOrder *order;
	Size row_bytes;
	uint32 part_rows; /* places of a part; the last may have fewer */
	uint32 nparts;
	BufFile **files; /* by part: old number and row, in turn; NULL: one part */
	void *row;
	char *rows; /* of one part, in the new order */
} Move;

/* Bytes of one part. */
static Size
count_part_bytes(const ChsBuild *build, Size all)
{
	const ChsBuildPlan *plan = &build->shared->plan;
	Size limit = mul_size(maintenance_work_mem, 1024);
	Size used = plan->graph_bytes + plan->max_tids * sizeof(ChsBuildTid);
	Size bytes = used < limit ? limit - used : 0;

	bytes = Max(bytes, limit / LEAST_PART_SHARE);
	bytes = Max(bytes, all / MOST_PARTS);
	return Min(bytes, all);
}

static void
begin_move(Move *move, ChsBuild *build, const ChsOrder *order)
{
	Size row_bytes = build->row_bytes;
	Size part = count_part_bytes(build, mul_size(order->count, row_bytes));

	move->build = build;
	move->order = order;
	move->row_bytes = row_bytes;
	move->part_rows = (uint32) Max((part + row_bytes - 1) / row_bytes, 1);
	move->nparts = (order->count + move->part_rows - 1) / move->part_rows;
	move->files = NULL;
	move->row = palloc(row_bytes);
	move->rows = MemoryContextAllocHuge(CurrentMemoryContext,
										mul_size(move->part_rows, row_bytes));
	if (move->nparts == 1)
		return;
	move->files = palloc(move->nparts * sizeof(BufFile *));
	for (uint32 i = 0; i < move->nparts; i++)
		move->files[i] = BufFileCreateTemp(false);
}

/* The place of a row within its part. */
static char *
find_in_part(const Move *move, ChsNodeId id)
{
	uint32 at = move->order->place_of[id] % move->part_rows;

	return move->rows + at * move->row_bytes;
}

/* Reads all rows in the old order, and deals them out to their parts. */
static void
deal_rows(Move *move)
{
	for (ChsNodeId id = 0; id < move->order->count; id++)
	{
		void *to = move->nparts == 1 ? find_in_part(move, id) : move->row;

		CHECK_FOR_INTERRUPTS();
		chs_stream_read(move->build->index, CHS_STREAM_VECTOR,
						(uint64) id * move->row_bytes, to, move->row_bytes);
		if (move->nparts > 1)
		{
			uint32 part = move->order->place_of[id] / move->part_rows;

			BufFileWrite(move->files[part], &id, sizeof(id));
			BufFileWrite(move->files[part], to, move->row_bytes);
		}
	}
}

static void
read_exactly(BufFile *file, void *to, Size bytes)
{
	if (BufFileRead(file, to, bytes) != bytes)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read from temporary file: %m")));
}

/* Reads the n rows of a part back, each to where it belongs. */
static void
collect_part(Move *move, uint32 part, uint32 n)
{
	BufFile *file = move->files[part];
	ChsNodeId id;

	if (BufFileSeek(file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not rewind temporary file: %m")));
	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_exactly(file, &id, sizeof(id));
		read_exactly(file, find_in_part(move, id), move->row_bytes);
	}
	BufFileClose(file);
}

/* Writes all rows in the new order. */
static void
write_rows(Move *move)
{
	uint32 count = move->order->count;

	for (uint32 part = 0; part < move->nparts; part++)
	{
		uint32 first = part * move->part_rows;
		uint32 n = Min(move->part_rows, count - first);

		if (move->nparts > 1)
			collect_part(move, part, n);
		for (uint32 i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			chs_stream_write(move->build->index, CHS_STREAM_VECTOR,
							 (uint64) (first + i) * move->row_bytes,
							 move->rows + i * move->row_bytes, move->row_bytes);
		}
	}
}

void
chs_build_move_rows(ChsBuild *build, const ChsOrder *order)
{
	MemoryContext context;
	MemoryContext old;
	Move move;

	if (build->row_bytes == 0)
		return;
	context = AllocSetContextCreate(build->context, "chassis build rows",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	begin_move(&move, build, order);
	deal_rows(&move);
	write_rows(&move);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
