/* Register tiles of matrix products: MR x (NV vectors) sums stay in registers while the contracted axis runs by.
 *
 * Operands come packed (gemm_pack.h) as 32-bit words of GROUP neighbours along the contracted axis:
 *   AVX-512, AVX-VNNI   4 bytes: u8 (b, biased by 128) times s8 (a), vpdpbusd
 *   else                2 int16: vpmaddwd and an add
 *   floats              1 float: products of 8-bit floats are exact in float32, so fused and separate multiply-adds agree
 * Integer sums are modulo 2^32, hence exact wherever the true sum fits int32, whatever partial sums do.
 * A float sum runs over at most GEMM_DEPTH products in float32, in the order of k; such sums are added in float64.
 */

#include "unroll.h"

#if LPNUM_X86 && (LPNUM_LEVEL == 2 || defined(LPNUM_AVX_VNNI))
#define GEMM_BYTES 1 /* integers are packed as bytes */
#else
#define GEMM_BYTES 0
#endif

#if LPNUM_X86 && LPNUM_LEVEL == 2

enum { GEMM_GROUP = 4, GEMM_LANES = 16, GEMM_MR = 8, GEMM_NV = 3 };
typedef __m512i gemm_int;
typedef __m512 gemm_float;
#define INT_ZERO() _mm512_setzero_si512()
#define INT_LOAD(p) _mm512_loadu_si512(p)
#define INT_STORE(p, v) _mm512_storeu_si512(p, v)
#define INT_BROADCAST(p) _mm512_set1_epi32((int)*(p))
#define INT_ADD(x, y) _mm512_add_epi32(x, y)
#define INT_MULTIPLY_ADD(sum, a, b) _mm512_dpbusd_epi32(sum, b, a)
#define DPBUSD_256 _mm256_dpbusd_epi32
#define FLOAT_ZERO() _mm512_setzero_ps()
#define FLOAT_LOAD(p) _mm512_loadu_ps((const float *)(p))
#define FLOAT_BROADCAST(p) _mm512_set1_ps(*(const float *)(p))
#define FLOAT_MULTIPLY_ADD(sum, a, b) _mm512_fmadd_ps(a, b, sum)
static inline void float_add_to(double *c, gemm_float v, int first) {
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    if (!first) low = _mm512_add_pd(_mm512_loadu_pd(c), low), high = _mm512_add_pd(_mm512_loadu_pd(c + 8), high);
    _mm512_storeu_pd(c, low);
    _mm512_storeu_pd(c + 8, high);
}

#elif LPNUM_X86 && LPNUM_LEVEL == 1

#ifdef LPNUM_AVX_VNNI
enum { GEMM_GROUP = 4, GEMM_LANES = 8, GEMM_MR = 6, GEMM_NV = 2 };
#define DPBUSD_256 _mm256_dpbusd_avx_epi32
#define INT_MULTIPLY_ADD(sum, a, b) DPBUSD_256(sum, b, a)
#else
enum { GEMM_GROUP = 2, GEMM_LANES = 8, GEMM_MR = 6, GEMM_NV = 2 };
#define INT_MULTIPLY_ADD(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#endif
typedef __m256i gemm_int;
typedef __m256 gemm_float;
#define INT_ZERO() _mm256_setzero_si256()
#define INT_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define INT_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define INT_BROADCAST(p) _mm256_set1_epi32((int)*(p))
#define INT_ADD(x, y) _mm256_add_epi32(x, y)
#define FLOAT_ZERO() _mm256_setzero_ps()
#define FLOAT_LOAD(p) _mm256_loadu_ps((const float *)(p))
#define FLOAT_BROADCAST(p) _mm256_set1_ps(*(const float *)(p))
#define FLOAT_MULTIPLY_ADD(sum, a, b) _mm256_fmadd_ps(a, b, sum)
static inline void float_add_to(double *c, gemm_float v, int first) {
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    if (!first) low = _mm256_add_pd(_mm256_loadu_pd(c), low), high = _mm256_add_pd(_mm256_loadu_pd(c + 4), high);
    _mm256_storeu_pd(c, low);
    _mm256_storeu_pd(c + 4, high);
}

#elif LPNUM_X86 /* SSE2 is part of x86-64 */

enum { GEMM_GROUP = 2, GEMM_LANES = 4, GEMM_MR = 4, GEMM_NV = 2 };
typedef __m128i gemm_int;
typedef __m128 gemm_float;
#define INT_ZERO() _mm_setzero_si128()
#define INT_LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define INT_STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define INT_BROADCAST(p) _mm_set1_epi32((int)*(p))
#define INT_ADD(x, y) _mm_add_epi32(x, y)
#define INT_MULTIPLY_ADD(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))
#define FLOAT_ZERO() _mm_setzero_ps()
#define FLOAT_LOAD(p) _mm_loadu_ps((const float *)(p))
#define FLOAT_BROADCAST(p) _mm_set1_ps(*(const float *)(p))
#define FLOAT_MULTIPLY_ADD(sum, a, b) _mm_add_ps(sum, _mm_mul_ps(a, b))
static inline void float_add_to(double *c, gemm_float v, int first) {
    __m128d low = _mm_cvtps_pd(v), high = _mm_cvtps_pd(_mm_movehl_ps(v, v));
    if (!first) low = _mm_add_pd(_mm_loadu_pd(c), low), high = _mm_add_pd(_mm_loadu_pd(c + 2), high);
    _mm_storeu_pd(c, low);
    _mm_storeu_pd(c + 2, high);
}

#else

enum { GEMM_GROUP = 2, GEMM_LANES = 4, GEMM_MR = 4, GEMM_NV = 1 };
typedef struct {
    uint32_t lane[4];
} gemm_int;
typedef struct {
    float lane[4];
} gemm_float;
static inline gemm_int INT_ZERO(void) { return (gemm_int){{0, 0, 0, 0}}; }
static inline gemm_int INT_LOAD(const void *p) {
    gemm_int v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void INT_STORE(void *p, gemm_int v) { memcpy(p, &v, sizeof v); }
static inline gemm_int INT_BROADCAST(const uint32_t *p) { return (gemm_int){{*p, *p, *p, *p}}; }
static inline gemm_int INT_ADD(gemm_int x, gemm_int y) {
    for (int l = 0; l < 4; l++) x.lane[l] += y.lane[l];
    return x;
}
static inline gemm_int INT_MULTIPLY_ADD(gemm_int sum, gemm_int a, gemm_int b) {
    for (int l = 0; l < 4; l++) {
        const int32_t low = (int16_t)(uint16_t)a.lane[l] * (int16_t)(uint16_t)b.lane[l];
        const int32_t high = (int16_t)(a.lane[l] >> 16) * (int16_t)(b.lane[l] >> 16);
        sum.lane[l] += (uint32_t)low + (uint32_t)high;
    }
    return sum;
}
static inline gemm_float FLOAT_ZERO(void) { return (gemm_float){{0, 0, 0, 0}}; }
static inline gemm_float FLOAT_LOAD(const void *p) {
    gemm_float v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline gemm_float FLOAT_BROADCAST(const void *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return (gemm_float){{x, x, x, x}};
}
static inline gemm_float FLOAT_MULTIPLY_ADD(gemm_float sum, gemm_float a, gemm_float b) {
    for (int l = 0; l < 4; l++) sum.lane[l] += a.lane[l] * b.lane[l];
    return sum;
}
static inline void float_add_to(double *c, gemm_float v, int first) {
    for (int l = 0; l < 4; l++) c[l] = (first ? 0.0 : c[l]) + (double)v.lane[l];
}

#endif

enum {
    GEMM_NR = GEMM_NV * GEMM_LANES,
    GEMM_DEPTH = 256, /* 32-bit words along the contracted axis in one block */
    GEMM_ROWS = 32 * GEMM_MR, /* rows of a in one block, in L2 */
    GEMM_EXACT = 32768 /* 255 * 255 * 2^15 < 2^31: so many products of codes fit int32 */
};

/* The sums of a tile come from L3: ask for them before the products that take their place are computed. */
GEMM_INLINE void prefetch_row(const void *row, const size_t bytes) {
#if defined(__GNUC__)
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)row + at, 1);
#endif
}

/* sums[i, :] += sum over words of a[word, i] b[word, :] */
#define PRODUCTS(kind, KIND)                                                                                          \
    GEMM_INLINE void kind##_products(size_t words, const uint32_t *a, const int a_width, const uint32_t *b,           \
                                     gemm_##kind sums[GEMM_MR][GEMM_NV], const int mr, const int nv) {                \
        for (size_t w = 0; w < words; w++, a += a_width, b += nv * GEMM_LANES) {                                      \
            gemm_##kind columns[GEMM_NV];                                                                             \
            GEMM_UNROLL for (int v = 0; v < nv; v++) columns[v] = KIND##_LOAD(b + v * GEMM_LANES);                    \
            GEMM_UNROLL for (int i = 0; i < mr; i++) {                                                                \
                const gemm_##kind row = KIND##_BROADCAST(a + i);                                                      \
                GEMM_UNROLL for (int v = 0; v < nv; v++) {                                                            \
                    sums[i][v] = KIND##_MULTIPLY_ADD(sums[i][v], row, columns[v]);                                    \
                    GEMM_KEEP(sums[i][v]);                                                                            \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }
PRODUCTS(int, INT)
PRODUCTS(float, FLOAT)
#undef PRODUCTS

/* c[i, :] (+)= the sums of a tile; c in rows of ldc, rows and columns padded to whole tiles. */
GEMM_INLINE void int_tile(size_t words, const uint32_t *a, const uint32_t *b, int32_t *c, size_t ldc, int first,
                          const int mr, const int nv) {
    gemm_int sums[GEMM_MR][GEMM_NV];
    GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++) sums[i][v] = INT_ZERO();
    GEMM_UNROLL for (int i = 0; i < mr; i++) prefetch_row(c + i * ldc, nv * GEMM_LANES * sizeof *c);
    int_products(words, a, GEMM_MR, b, sums, mr, nv);
    GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++) {
        int32_t *target = c + i * ldc + v * GEMM_LANES;
        INT_STORE(target, first ? sums[i][v] : INT_ADD(INT_LOAD(target), sums[i][v]));
    }
}

GEMM_INLINE void float_tile(size_t words, const uint32_t *a, const uint32_t *b, double *c, size_t ldc, int first,
                            const int mr, const int nv) {
    gemm_float sums[GEMM_MR][GEMM_NV];
    GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++) sums[i][v] = FLOAT_ZERO();
    GEMM_UNROLL for (int i = 0; i < mr; i++) prefetch_row(c + i * ldc, nv * GEMM_LANES * sizeof *c);
    float_products(words, a, GEMM_MR, b, sums, mr, nv);
    GEMM_UNROLL for (int i = 0; i < mr; i++)
        GEMM_UNROLL for (int v = 0; v < nv; v++) float_add_to(c + i * ldc + v * GEMM_LANES, sums[i][v], first);
}

/* The tile of a panel of `rows` rows and `vectors` vectors; a full tile and its halves are compiled apart. */
#define TILE_SIZES(tile, ...)                                                                                         \
    {                                                                                                                 \
        enum { HALF = GEMM_MR / 2, TWO = GEMM_NV < 2 ? GEMM_NV : 2 };                                                 \
        if (rows <= HALF) {                                                                                           \
            if (vectors == GEMM_NV) tile(__VA_ARGS__, HALF, GEMM_NV);                                                 \
            else if (vectors == 2) tile(__VA_ARGS__, HALF, TWO);                                                      \
            else tile(__VA_ARGS__, HALF, 1);                                                                          \
        } else {                                                                                                      \
            if (vectors == GEMM_NV) tile(__VA_ARGS__, GEMM_MR, GEMM_NV);                                              \
            else if (vectors == 2) tile(__VA_ARGS__, GEMM_MR, TWO);                                                   \
            else tile(__VA_ARGS__, GEMM_MR, 1);                                                                       \
        }                                                                                                             \
    }
GEMM_NOINLINE void int_tile_any(size_t words, const uint32_t *a, int rows, const uint32_t *b, int vectors, int32_t *c,
                                size_t ldc, int first) {
    TILE_SIZES(int_tile, words, a, b, c, ldc, first)
}
GEMM_NOINLINE void float_tile_any(size_t words, const uint32_t *a, int rows, const uint32_t *b, int vectors, double *c,
                                  size_t ldc, int first) {
    TILE_SIZES(float_tile, words, a, b, c, ldc, first)
}
