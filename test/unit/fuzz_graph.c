/*
 * fuzz_graph.c
 *	  libFuzzer target: random operations leave the graph sound.
 *
 * What is played and what must hold is in graph_random.c; test_graph_random.c
 * plays seeded strings without libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include <stdlib.h>

#include "graph_random.h"

/* Longer strings find nothing that these do not, more slowly. */
#define MAX_BYTES 2048

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size <= MAX_BYTES && graph_random_play(data, size) != 0)
		abort();
	return 0;
}
