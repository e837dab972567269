/* SIMD levels: one kernel source, compiled once per level, chosen at run time through function pointers.
 *
 * A level file defines LPNUM_LEVEL (0 baseline, 1 AVX2, 2 AVX-512) and includes this header first; the pragma below
 * then raises the instruction set for the rest of that file only. Everything declared `static` in a kernel header is
 * therefore private to its level. LEVEL_NAME(f) gives the exported name of f at the level being compiled.
 *
 * Levels: 1 = AVX2 + AES + F16C (Haswell, Zen). 2 = AVX-512 F/BW/DQ/VL + VNNI + VBMI + VAES (Ice Lake, Zen 4); older
 * AVX-512 parts, without one of the last three, run level 1.
 *
 * Rule: every level gives the same bits. No fused multiply-add (-ffp-contract=off), floating-point sums in a stated
 * order, random bits as a function of (seed, stream, index) alone.
 */
#ifndef LPNUM_SIMD_H
#define LPNUM_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__)
#define LPNUM_X86 1
#else
#define LPNUM_X86 0
#endif

/* Whether the compiler knows AVX-VNNI. */
#if LPNUM_X86 && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define LPNUM_AVX_VNNI_COMPILED 1
#include <cpuid.h>
#else
#define LPNUM_AVX_VNNI_COMPILED 0
#endif

enum { LPNUM_BASELINE = 0, LPNUM_AVX2 = 1, LPNUM_AVX512 = 2, LPNUM_N_LEVELS = 3 };

#ifdef LPNUM_LEVEL

#if LPNUM_LEVEL == 0
#define LEVEL_NAME(f) f##_baseline
#elif LPNUM_LEVEL == 1
#define LEVEL_NAME(f) f##_avx2
#elif LPNUM_LEVEL == 2
#define LEVEL_NAME(f) f##_avx512
#endif

#if LPNUM_X86
#include <immintrin.h>
#if LPNUM_LEVEL == 1
#ifdef LPNUM_AVX_VNNI /* products_avxvnni.c */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,aes,fma,f16c,bmi,bmi2,popcnt,avxvnni"))), apply_to = function)
#else
#pragma GCC target("avx2,aes,fma,f16c,bmi,bmi2,popcnt,avxvnni")
#endif
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,aes,fma,f16c,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,aes,fma,f16c,bmi,bmi2,popcnt")
#endif
#elif LPNUM_LEVEL == 2
#define LPNUM_AVX512_FEATURES \
    "avx2,aes,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,vaes"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target(LPNUM_AVX512_FEATURES))), apply_to = function)
#else
#pragma GCC target("avx2,aes,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,vaes")
#pragma GCC target("prefer-vector-width=512")
#endif
#endif
#endif

#endif /* LPNUM_LEVEL */

/* Highest level this processor runs; 0 where the answer is unknown. */
static inline int lpnum_detect_level(void) {
#if LPNUM_X86
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") && __builtin_cpu_supports("fma") &&
          __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c")))
        return LPNUM_BASELINE;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("vaes"))
        return LPNUM_AVX512;
    return LPNUM_AVX2;
#else
    return LPNUM_BASELINE;
#endif
}

/* Whether products at the AVX2 level may use the dot products of bytes of AVX-VNNI (Alder Lake, Zen 5). */
static inline int lpnum_detect_avx_vnni(void) {
#if LPNUM_AVX_VNNI_COMPILED
    unsigned eax, ebx, ecx, edx;
    return lpnum_detect_level() >= LPNUM_AVX2 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
#else
    return 0;
#endif
}

#endif /* LPNUM_SIMD_H */
