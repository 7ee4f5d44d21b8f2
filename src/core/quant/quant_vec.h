/*
 * quant_vec.h
 *	  Eight floats at a time, in the compiler's own vector type.
 *
 * Encoding must give the same bytes whatever instruction set runs it, so its
 * loops are written once, over eight lanes in a fixed order, and compiled
 * twice: for the plain processor and for AVX2.  AVX2 without FMA is meant: a
 * fused multiply-add rounds once where the plain code rounds twice.
 *
 * Only for the .c files of this folder.  Vectors are never passed by value
 * between functions: the calling convention depends on the target.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_QUANT_VEC_H
#define CHS_QUANT_VEC_H

#include <stdint.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "core/distance/distance.h"

typedef float ChsV8 __attribute__((vector_size(32)));
typedef int32_t ChsV8i __attribute__((vector_size(32)));

/* The same, as they lie in memory: any float alignment, any real type. */
typedef ChsV8 ChsV8Mem __attribute__((aligned(4), may_alias));

#define CHS_LOAD8(p) (*(const ChsV8Mem *) (p))
#define CHS_STORE8(p, v) (*(ChsV8Mem *) (p) = (v))
#define CHS_SPLAT8(x) ((ChsV8){(x), (x), (x), (x), (x), (x), (x), (x)})

/* Where mask is all ones a, else b; per lane. */
#define CHS_SELECT8(mask, a, b) \
	((ChsV8) (((mask) & (ChsV8i) (a)) | (~(mask) & (ChsV8i) (b))))

#if defined(__clang__)
#define CHS_SHUFFLE8(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define CHS_SHUFFLE8(v, ...) __builtin_shuffle(v, (ChsV8i){__VA_ARGS__})
#endif

#define CHS_ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define CHS_QUANT_HAVE_AVX2_BODY 1
#define CHS_TARGET_AVX2 __attribute__((target("avx2")))

/* Is the AVX2 build of a shared body to be used? */
static inline int
chs_use_avx2_body(void)
{
	ChsIsa isa = chs_isa_current();

	return isa == CHS_ISA_AVX2 || isa == CHS_ISA_AVX512;
}
#endif

/* Sum of the lanes, in one fixed order. */
CHS_ALWAYS_INLINE float
chs_sum8(const ChsV8 *v)
{
	return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) +
		   (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

/*
 * Stores eight lanes of 0 .. 255 as bytes.  In the baseline instructions of
 * each architecture, because compilers take such a conversion lane by lane,
 * which was a third of the time of encoding.
 */
CHS_ALWAYS_INLINE void
chs_store_bytes(uint8_t *bytes, const ChsV8i *lanes)
{
#if defined(__x86_64__)
	const __m128i *half = (const __m128i *) lanes;
	__m128i words = _mm_packs_epi32(half[0], half[1]);

	_mm_storel_epi64((__m128i *) bytes, _mm_packus_epi16(words, words));
#elif defined(__aarch64__)
	const int32_t *lane = (const int32_t *) lanes;
	uint16x8_t words = vcombine_u16(
		vmovn_u32(vreinterpretq_u32_s32(vld1q_s32(lane))),
		vmovn_u32(vreinterpretq_u32_s32(vld1q_s32(lane + 4))));

	vst1_u8(bytes, vmovn_u16(words));
#else
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t) (*lanes)[i];
#endif
}

#endif /* CHS_QUANT_VEC_H */
