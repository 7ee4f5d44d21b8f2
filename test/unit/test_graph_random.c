/*
 * test_graph_random.c
 *	  Seeded random operations leave the graph sound.
 *
 * The strings that `make fuzz` would come to by luck, from fixed seeds, for
 * every combination of metric and code size.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "core/base/rng.h"
#include "graph_fixture.h"
#include "graph_random.h"
#include "unit.h"

#define BYTES 900

int
main(void)
{
	uint32_t count = 120 * graph_stress();

	for (uint32_t seed = 0; seed < count; seed++)
	{
		uint8_t bytes[BYTES];
		ChsRng rng = {chs_mix64(seed)};

		for (int i = 0; i < BYTES; i++)
			bytes[i] = (uint8_t) chs_rng_next(&rng);
		bytes[0] = (uint8_t) seed; /* metric and bits in turn */
		if (!CHECK_EQ(graph_random_play(bytes, BYTES), 0))
			fprintf(stderr, "that was seed %u\n", seed);
	}
	return unit_summary("graph_random");
}
