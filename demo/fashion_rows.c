/*
 * fashion_rows.c
 *	  Images and labels to rows of COPY BINARY: (id, label, embedding).
 *
 *	  fashion_rows IMAGES LABELS | psql -c 'COPY items FROM STDIN (FORMAT binary)'
 *
 * Binary, because 47 million numbers as text would take longer to print and
 * parse than the index takes to build.  Ids count from 1 in file order.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "demo/idx.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const label_names[] = {
	"T-shirt", "Trouser", "Pullover", "Dress", "Coat",
	"Sandal",  "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

#define LABEL_COUNT (sizeof(label_names) / sizeof(label_names[0]))

/* Appends big-endian integers, as every PostgreSQL binary format has them. */
static unsigned char *
put_int16(unsigned char *out, unsigned value)
{
	*out++ = (unsigned char) (value >> 8);
	*out++ = (unsigned char) value;
	return out;
}

static unsigned char *
put_int32(unsigned char *out, uint32_t value)
{
	out = put_int16(out, value >> 16);
	return put_int16(out, value & 0xffff);
}

static unsigned char *
put_float(unsigned char *out, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return put_int32(out, bits);
}

/* The field of type vector: dimensions, an unused word, the numbers. */
static unsigned char *
put_vector(unsigned char *out, const unsigned char *pixels, size_t dim)
{
	out = put_int32(out, (uint32_t) (4 + 4 * dim));
	out = put_int16(out, (unsigned) dim);
	out = put_int16(out, 0);
	for (size_t i = 0; i < dim; i++)
		out = put_float(out, pixels[i]);
	return out;
}

static void
write_or_exit(const void *bytes, size_t n)
{
	if (fwrite(bytes, 1, n, stdout) != n)
	{
		perror("could not write a row");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	static const char header[19] = "PGCOPY\n\377\r\n"; /* flags, extension: 0 */
	IdxFile images;
	IdxFile labels;
	unsigned char *row;

	if (argc != 3)
	{
		fprintf(stderr, "usage: fashion_rows IMAGES LABELS\n");
		return 2;
	}
	images = idx_read(argv[1]);
	labels = idx_read(argv[2]);
	if (images.items != labels.items)
	{
		fprintf(stderr, "%zu images but %zu labels\n", images.items,
				labels.items);
		return 1;
	}

	/* ids, lengths and the longest label fit 64 bytes */
	row = demo_alloc(64 + 4 * images.item_bytes);
	write_or_exit(header, sizeof(header));
	for (size_t i = 0; i < images.items; i++)
	{
		const char *name = label_names[labels.bytes[i] % LABEL_COUNT];
		unsigned char *end = put_int16(row, 3);

		end = put_int32(put_int32(end, 4), (uint32_t) i + 1);
		end = put_int32(end, (uint32_t) strlen(name));
		memcpy(end, name, strlen(name));
		end = put_vector(end + strlen(name),
						 images.bytes + i * images.item_bytes,
						 images.item_bytes);
		write_or_exit(row, (size_t) (end - row));
	}
	write_or_exit("\377\377", 2);
	if (fflush(stdout) != 0)
	{
		perror("could not write the rows");
		return 1;
	}
	return 0;
}
