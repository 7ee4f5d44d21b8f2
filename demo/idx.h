/*
 * idx.h
 *	  Reads the idx files in which the MNIST family of image sets is kept.
 *
 * An idx file is two zero bytes, a type byte (8: unsigned byte), the number
 * of dimensions, each dimension as a big-endian int32, then the items.  Only
 * bytes are read, which is all that these sets use.  A program that cannot
 * read its input says so and exits: there is nothing to go on with.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef DEMO_IDX_H
#define DEMO_IDX_H

#include <stddef.h>

typedef struct IdxFile
{
	size_t items;
	size_t item_bytes; /* 784 for an image, 1 for a label */
	unsigned char *bytes;
} IdxFile;

/* The whole file, which must not be compressed. */
extern IdxFile idx_read(const char *path);

/* The first `items` items as floats, row after row; the caller's to free. */
extern float *idx_floats(const IdxFile *file, size_t items);

/* The given number of bytes, or an exit with a message. */
extern void *demo_alloc(size_t bytes);

#endif /* DEMO_IDX_H */
