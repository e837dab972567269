/* Inner loops whose sums stay in registers. */
#ifndef LPNUM_UNROLL_H
#define LPNUM_UNROLL_H

/* A tile is a function of its own, and GEMM_KEEP holds a sum where it is: else gcc computes all products of a step ahead
 * of all sums, runs out of registers, and halves the speed. */
#if defined(__GNUC__)
#define GEMM_INLINE static inline __attribute__((always_inline))
#define GEMM_NOINLINE static __attribute__((noinline))
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#else
#define GEMM_INLINE static inline
#define GEMM_NOINLINE static
#define GEMM_UNROLL
#endif
#if LPNUM_X86
#define GEMM_KEEP(sum) __asm__ volatile("" : "+x"(sum))
#if LPNUM_LEVEL == 2
#undef GEMM_KEEP
#define GEMM_KEEP(sum) __asm__ volatile("" : "+v"(sum))
#endif
#else
#define GEMM_KEEP(sum) (void)(sum)
#endif

#endif
