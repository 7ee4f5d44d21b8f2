/*
 * idx.c
 *	  Reads the idx files in which the MNIST family of image sets is kept.
 *
 * Shared by the demo's programs; it knows neither SQL nor distances.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "demo/idx.h"

#include <stdio.h>
#include <stdlib.h>

#define IDX_TYPE_BYTE 8

/* Ends the program because of what is wrong with the file. */
static void
refuse(const char *path, const char *why)
{
	fprintf(stderr, "could not read \"%s\": %s\n", path, why);
	exit(1);
}

/* The next big-endian int32 of the header. */
static size_t
read_size(FILE *stream, const char *path)
{
	unsigned char b[4];

	if (fread(b, 1, sizeof(b), stream) != sizeof(b))
		refuse(path, "it is too short");
	return ((size_t) b[0] << 24) | ((size_t) b[1] << 16) |
		   ((size_t) b[2] << 8) | b[3];
}

void *
demo_alloc(size_t bytes)
{
	void *memory = malloc(bytes);

	if (memory == NULL)
	{
		fprintf(stderr, "out of memory for %zu bytes\n", bytes);
		exit(1);
	}
	return memory;
}

IdxFile
idx_read(const char *path)
{
	FILE *stream = fopen(path, "rb");
	IdxFile file = {.items = 0, .item_bytes = 1, .bytes = NULL};
	size_t magic;
	size_t total;

	if (stream == NULL)
		refuse(path, "it cannot be opened");
	magic = read_size(stream, path);
	if (magic >> 8 != IDX_TYPE_BYTE || (magic & 0xff) == 0)
		refuse(path, "it is not an idx file of bytes");
	file.items = read_size(stream, path);
	for (size_t i = 1; i < (magic & 0xff); i++)
		file.item_bytes *= read_size(stream, path);

	total = file.items * file.item_bytes;
	file.bytes = demo_alloc(total);
	if (fread(file.bytes, 1, total, stream) != total)
		refuse(path, "it is too short");
	fclose(stream);
	return file;
}

float *
idx_floats(const IdxFile *file, size_t items)
{
	size_t n = items * file->item_bytes;
	float *floats = demo_alloc(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		floats[i] = file->bytes[i];
	return floats;
}
