/* Tiles of products whose scales change along the contracted axis, from block to block:
 *   c[i, j] += sum_t scale_a[t, i] scale_b[t, j] (sum of products of block t),   t in order, in float64.
 *
 * The inner sum is exact for integers; for floats it is one of float32 (gemm_kernel.h). The scales of a packed block lie
 * in the order in which the tiles read them: [block][row] and [block][column].
 */

typedef struct {
    size_t words; /* in a block */
    const double *a, *b;
    size_t a_pitch, b_pitch; /* from block to block */
} block_scales;

/* c += sums * (scale * scales), lane by lane. */
#if LPNUM_X86 && LPNUM_LEVEL == 2
GEMM_INLINE void add_scaled_half(double *c, __m512d sums, __m512d scale, const double *scales) {
    const __m512d both = _mm512_mul_pd(scale, _mm512_loadu_pd(scales));
    _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), _mm512_mul_pd(sums, both)));
}
GEMM_INLINE void int_add_scaled(double *c, gemm_int v, double scale, const double *scales) {
    const __m512d all = _mm512_set1_pd(scale);
    add_scaled_half(c, _mm512_cvtepi32_pd(_mm512_castsi512_si256(v)), all, scales);
    add_scaled_half(c + 8, _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(v, 1)), all, scales + 8);
}
GEMM_INLINE void float_add_scaled(double *c, gemm_float v, double scale, const double *scales) {
    const __m512d all = _mm512_set1_pd(scale);
    add_scaled_half(c, _mm512_cvtps_pd(_mm512_castps512_ps256(v)), all, scales);
    add_scaled_half(c + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)), all, scales + 8);
}
#elif LPNUM_X86 && LPNUM_LEVEL == 1
GEMM_INLINE void add_scaled_half(double *c, __m256d sums, __m256d scale, const double *scales) {
    const __m256d both = _mm256_mul_pd(scale, _mm256_loadu_pd(scales));
    _mm256_storeu_pd(c, _mm256_add_pd(_mm256_loadu_pd(c), _mm256_mul_pd(sums, both)));
}
GEMM_INLINE void int_add_scaled(double *c, gemm_int v, double scale, const double *scales) {
    const __m256d all = _mm256_set1_pd(scale);
    add_scaled_half(c, _mm256_cvtepi32_pd(_mm256_castsi256_si128(v)), all, scales);
    add_scaled_half(c + 4, _mm256_cvtepi32_pd(_mm256_extracti128_si256(v, 1)), all, scales + 4);
}
GEMM_INLINE void float_add_scaled(double *c, gemm_float v, double scale, const double *scales) {
    const __m256d all = _mm256_set1_pd(scale);
    add_scaled_half(c, _mm256_cvtps_pd(_mm256_castps256_ps128(v)), all, scales);
    add_scaled_half(c + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)), all, scales + 4);
}
#else
#define ADD_SCALED(kind, type)                                                                                        \
    GEMM_INLINE void kind##_add_scaled(double *restrict c, gemm_##kind sums, double scale,                            \
                                       const double *restrict scales) {                                               \
        type lane[GEMM_LANES];                                                                                        \
        memcpy(lane, &sums, sizeof lane);                                                                             \
        for (int l = 0; l < GEMM_LANES; l++) c[l] += (double)lane[l] * (scale * scales[l]);                           \
    }
ADD_SCALED(int, int32_t)
ADD_SCALED(float, float)
#undef ADD_SCALED
#endif

/* Sums of a row begin with what makes up for the bias of b: b' = b + 128, so that sum a b = sum a b' - 128 sum a. */
GEMM_INLINE void begin_int(const uint32_t *a, size_t words, gemm_int sums[GEMM_MR][GEMM_NV], const int mr, const int nv) {
#if GEMM_BYTES
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i total = _mm256_setzero_si256();
    uint32_t lane[8];
    for (size_t w = 0; w < words; w++)
        total = DPBUSD_256(total, ones, _mm256_loadu_si256((const __m256i *)(a + w * GEMM_MR)));
    _mm256_storeu_si256((__m256i *)lane, _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(total, 7)));
    GEMM_UNROLL for (int i = 0; i < mr; i++)
        GEMM_UNROLL for (int v = 0; v < nv; v++) sums[i][v] = INT_BROADCAST(lane + i);
#else
    (void)a, (void)words;
    GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++) sums[i][v] = INT_ZERO();
#endif
}

GEMM_INLINE void begin_float(const uint32_t *a, size_t words, gemm_float sums[GEMM_MR][GEMM_NV], const int mr, const int nv) {
    (void)a, (void)words;
    GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++) sums[i][v] = FLOAT_ZERO();
}

/* The tile of c is kept at hand: its own rows may be a multiple of 4 KiB apart, which no cache is good at. */
#define BLOCK_TILE(kind)                                                                                              \
    GEMM_INLINE void kind##_blocks_tile(size_t words, const uint32_t *a, const uint32_t *b, double *c, size_t ldc,    \
                                        int first, const block_scales *s, const int mr, const int nv) {               \
        const double *scales_a = s->a, *scales_b = s->b;                                                              \
        double total[GEMM_MR][GEMM_NR];                                                                               \
        const size_t bytes = (size_t)nv * GEMM_LANES * sizeof(double);                                                \
        for (int i = 0; i < mr; i++) {                                                                                \
            if (first) memset(total[i], 0, bytes);                                                                    \
            else memcpy(total[i], c + i * ldc, bytes);                                                                \
        }                                                                                                             \
        for (size_t w = 0; w < words; w += s->words) {                                                                \
            gemm_##kind sums[GEMM_MR][GEMM_NV];                                                                       \
            begin_##kind(a, s->words, sums, mr, nv);                                                                  \
            kind##_products(s->words, a, GEMM_MR, b, sums, mr, nv);                                                   \
            GEMM_UNROLL for (int i = 0; i < mr; i++) GEMM_UNROLL for (int v = 0; v < nv; v++)                         \
                kind##_add_scaled(total[i] + v * GEMM_LANES, sums[i][v], scales_a[i], scales_b + v * GEMM_LANES);     \
            a += s->words * GEMM_MR, b += s->words * (size_t)nv * GEMM_LANES;                                         \
            scales_a += s->a_pitch, scales_b += s->b_pitch;                                                           \
        }                                                                                                             \
        for (int i = 0; i < mr; i++) memcpy(c + i * ldc, total[i], bytes);                                            \
    }                                                                                                                 \
    GEMM_NOINLINE void kind##_blocks_tile_any(size_t words, const uint32_t *a, int rows, const uint32_t *b, int vectors, \
                                              double *c, size_t ldc, int first, const block_scales *s) {              \
        TILE_SIZES(kind##_blocks_tile, words, a, b, c, ldc, first, s)                                                 \
    }
BLOCK_TILE(int)
BLOCK_TILE(float)
#undef BLOCK_TILE

/* Scales of `n` rows (or columns) for `blocks` blocks to [block][padded]; 1 where there are none, 0 beyond. */
static void pack_scales(const lpnum_scales *x, size_t first_row, size_t n, size_t first_block, size_t blocks,
                        double *restrict out, size_t padded) {
    for (size_t t = 0; t < blocks; t++, out += padded) {
        if (!x->data) {
            for (size_t i = 0; i < n; i++) out[i] = 1.0;
        } else {
            const char *at = (const char *)x->data + (ptrdiff_t)first_row * x->stride + (ptrdiff_t)(first_block + t) * x->k_stride;
            for (size_t i = 0; i < n; i++, at += x->stride) out[i] = *(const double *)at;
        }
        for (size_t i = n; i < padded; i++) out[i] = 0.0;
    }
}
