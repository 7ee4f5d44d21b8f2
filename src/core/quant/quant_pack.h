/*
 * quant_pack.h
 *	  The bytes of a code: how values of 1, 2, 4 or 8 bits lie in it.
 *
 * A code is cut into blocks of 64 dimensions, 8 * bits bytes each.  Within a
 * block, byte i holds at bit k * bits the value of dimension k * 8 * bits + i,
 * k from 0.  So one shift and one AND turn a block's bytes into values that
 * stand in the order of the query, whatever the width of the register.  This
 * layout is on disk: changing it needs a new format version.
 *
 * Only for the .c files of this folder and their tests.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_QUANT_PACK_H
#define CHS_QUANT_PACK_H

#include <stdint.h>
#include <string.h>

#define CHS_BLOCK_DIMS 64

/* Packs n values (a multiple of 64, each below 2^bits) into a code. */
static inline void
chs_pack_values(const uint8_t *values, uint32_t n, int bits, uint8_t *code)
{
	uint32_t block_bytes = 8 * (uint32_t) bits;

	for (uint32_t block = 0; block < n; block += CHS_BLOCK_DIMS)
	{
		/* eight bytes at a time; no value crosses into its neighbour's byte */
		for (uint32_t i = 0; i < block_bytes; i += 8, code += 8)
		{
			uint64_t word = 0;

			for (uint32_t k = 0; k * block_bytes < CHS_BLOCK_DIMS; k++)
			{
				uint64_t part;

				memcpy(&part, values + block + k * block_bytes + i, 8);
				word |= part << (k * (uint32_t) bits);
			}
			memcpy(code, &word, 8);
		}
	}
}

/* Unpacks a code of n dimensions (a multiple of 64) into one byte a value. */
static inline void
chs_unpack_values(const uint8_t *code, uint32_t n, int bits, uint8_t *values)
{
	uint32_t block_bytes = 8 * (uint32_t) bits;
	uint64_t mask = UINT64_C(0x0101010101010101) * ((1u << bits) - 1);

	for (uint32_t block = 0; block < n; block += CHS_BLOCK_DIMS)
	{
		for (uint32_t i = 0; i < block_bytes; i += 8, code += 8)
		{
			uint64_t word;

			memcpy(&word, code, 8);
			for (uint32_t k = 0; k * block_bytes < CHS_BLOCK_DIMS; k++)
			{
				uint64_t part = (word >> (k * (uint32_t) bits)) & mask;

				memcpy(values + block + k * block_bytes + i, &part, 8);
			}
		}
	}
}

#endif /* CHS_QUANT_PACK_H */
