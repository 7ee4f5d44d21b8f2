/*
 * graph_random.h
 *	  A byte string played as operations on a graph, with what must hold after.
 *
 * Shared by the libFuzzer target (fuzz_graph.c) and the seeded program of
 * `make test` (test_graph_random.c).
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_GRAPH_RANDOM_H
#define CHS_GRAPH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Inserts, deletes, repairs, vacuums, searches and scans as the bytes say.
 * Returns how many things were wrong; each is described on stderr.
 */
extern uint64_t graph_random_play(const uint8_t *bytes, size_t count);

#endif /* CHS_GRAPH_RANDOM_H */
