/* Packing: a block of a matrix of codes becomes panels of 32-bit words, in the order in which the tiles read them.
 *
 * A panel holds `width` rows (of the free axis); word g of row r stands at [g * width + r] and covers GROUP neighbours
 * along the contracted axis: 4 bytes, 2 int16, or 1 float. What lies beyond the matrix is 0.
 */

enum pack_kind { PACK_BYTES, PACK_HALVES, PACK_FLOATS };

typedef struct {
    enum pack_kind kind;
    int is_unsigned;    /* PACK_HALVES: zero extension */
    uint8_t flip;       /* PACK_BYTES: 0x80 turns s8 into u8 biased by 128, and u8 into s8 */
    const float *values; /* PACK_FLOATS */
#if LPNUM_X86 && LPNUM_LEVEL == 2
    byte_table upper, lower; /* the upper 16 bits of each float; the rest of a value of an 8-bit format is 0 */
#endif
} pack_plan;

static inline int pack_group(const pack_plan *p) { return p->kind == PACK_BYTES ? 4 : p->kind == PACK_HALVES ? 2 : 1; }

static pack_plan pack_plan_of(const lpnum_matrix *x, int biased) {
    pack_plan p;
    memset(&p, 0, sizeof p);
    p.is_unsigned = x->dtype == LPNUM_U8;
    p.values = x->values;
    p.kind = x->values ? PACK_FLOATS : GEMM_GROUP == 4 ? PACK_BYTES : PACK_HALVES;
    p.flip = p.kind != PACK_BYTES || p.is_unsigned == biased ? 0 : 0x80;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    if (x->values) {
        uint8_t upper[256], lower[256];
        for (int c = 0; c < 256; c++) {
            uint32_t bits;
            memcpy(&bits, &x->values[c], 4);
            upper[c] = (uint8_t)(bits >> 24), lower[c] = (uint8_t)(bits >> 16);
        }
        p.upper = byte_table_of(upper), p.lower = byte_table_of(lower);
    }
#endif
    return p;
}

/* n codes to words of one float each. */
static void expand_floats(const pack_plan *p, const uint8_t *restrict codes, uint32_t *restrict words, size_t n) {
    size_t i = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    for (; i < n; i += 64) {
        const __mmask64 live = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
        const __m512i x = _mm512_maskz_loadu_epi8(live, codes + i);
        const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7); /* so that unpacking yields the order of memory */
        const __m512i upper = _mm512_permutexvar_epi64(order, look_up(&p->upper, x));
        const __m512i lower = _mm512_permutexvar_epi64(order, look_up(&p->lower, x));
        /* after the permutation lane l holds bytes 8l..8l+7 and 32+8l..: low half first 32 elements, in order */
        const __m512i first = _mm512_unpacklo_epi8(lower, upper), second = _mm512_unpackhi_epi8(lower, upper);
        const __m256i quarter[4] = {_mm512_castsi512_si256(first), _mm512_extracti64x4_epi64(first, 1),
                                    _mm512_castsi512_si256(second), _mm512_extracti64x4_epi64(second, 1)};
        GEMM_UNROLL for (int q = 0; q < 4; q++)
            _mm512_mask_storeu_epi32(words + i + 16 * q, (__mmask16)(live >> 16 * q),
                                     _mm512_slli_epi32(_mm512_cvtepu16_epi32(quarter[q]), 16));
    }
#else
    const uint32_t *restrict bits = (const uint32_t *)p->values;
    for (; i < n; i++) words[i] = bits[codes[i]];
#endif
}

/* `n` codes (neighbours along the contracted axis) of one row to words; the last word is filled up with 0. */
static void expand_row(const pack_plan *p, const uint8_t *restrict codes, uint32_t *restrict words, size_t n) {
    if (p->kind == PACK_FLOATS) {
        expand_floats(p, codes, words, n);
    } else if (p->kind == PACK_BYTES) {
        const size_t whole = n / 4;
        const uint32_t flip = p->flip * 0x01010101u;
        memcpy(words, codes, 4 * whole);
        for (size_t w = 0; w < whole; w++) words[w] ^= flip;
        if (n % 4) {
            uint8_t rest[4] = {0, 0, 0, 0};
            for (size_t i = 0; i < n % 4; i++) rest[i] = codes[4 * whole + i] ^ p->flip;
            memcpy(words + whole, rest, 4);
        }
    } else {
        int16_t *restrict halves = (int16_t *)words;
        if (p->is_unsigned) for (size_t i = 0; i < n; i++) halves[i] = codes[i];
        else for (size_t i = 0; i < n; i++) halves[i] = (int8_t)codes[i];
        if (n % 2) halves[n] = 0;
    }
}

/* panel[g * width + r] = word g of row r, flipped, for 8 rows `pitch` bytes apart. In a panel of fewer rows each word
 * covers the excess of the one before; that of the last word lies behind the panel. */
static void transpose_8(const char *restrict rows, ptrdiff_t pitch, uint32_t flip, uint32_t *restrict panel, size_t width,
                        size_t words) {
    size_t g = 0;
#if LPNUM_X86 && LPNUM_LEVEL >= 1
    const __m256 flips = _mm256_castsi256_ps(_mm256_set1_epi32((int)flip));
    for (; g + 8 <= words; g += 8) {
        __m256 r[8], t[8];
        for (int i = 0; i < 8; i++) r[i] = _mm256_xor_ps(flips, _mm256_loadu_ps((const float *)(rows + i * pitch + 4 * g)));
        for (int i = 0; i < 8; i += 2) {
            t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        for (int i = 0; i < 8; i += 4) {
            r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44), r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
            r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44), r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
        }
        for (int i = 0; i < 4; i++)
            _mm256_storeu_ps((float *)(panel + (g + i) * width), _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        for (int i = 0; i < 4; i++)
            _mm256_storeu_ps((float *)(panel + (g + i + 4) * width), _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
#endif
    for (; g < words; g++)
        for (int i = 0; i < 8; i++) {
            uint32_t word;
            memcpy(&word, rows + i * pitch + 4 * g, 4);
            panel[g * width + i] = word ^ flip;
        }
}

/* Rows that are contiguous along the contracted axis. `width` is the panel's, `rows` of them belong to it, and `rest` rows
 * are there to be read. */
static void pack_along_k(const pack_plan *p, const lpnum_matrix *x, size_t row, size_t rows, size_t rest, size_t k,
                         size_t depth, uint32_t *restrict panel, size_t width) {
    uint32_t lines[8][GEMM_DEPTH + 64];
    uint8_t gathered[4 * GEMM_DEPTH];
    const size_t group = (size_t)pack_group(p), words = (depth + group - 1) / group;
    for (size_t r = 0; r < width; r += 8) {
        const size_t live = r >= rows ? 0 : rows - r < 8 ? rows - r : 8;
        const int whole = live == 8 || (live == width && rest >= 8);
        if (whole && p->kind == PACK_BYTES && x->k_stride == 1 && depth % 4 == 0) { /* the codes are the words */
            transpose_8(x->data + (ptrdiff_t)(row + r) * x->stride + (ptrdiff_t)k, x->stride, p->flip * 0x01010101u,
                        panel + r, width, words);
            continue;
        }
        for (size_t i = 0; i < 8; i++) {
            if (i >= live) {
                memset(lines[i], 0, 4 * words);
                continue;
            }
            const char *source = x->data + (ptrdiff_t)(row + r + i) * x->stride + (ptrdiff_t)k * x->k_stride;
            if (x->k_stride != 1) {
                for (size_t j = 0; j < depth; j++) gathered[j] = (uint8_t)source[(ptrdiff_t)j * x->k_stride];
                source = (const char *)gathered;
            }
            expand_row(p, (const uint8_t *)source, lines[i], depth);
        }
        if (width - r >= 8 || width == GEMM_MR) {
            transpose_8((const char *)lines[0], (ptrdiff_t)sizeof lines[0], 0, panel + r, width, words);
        } else {
            for (size_t g = 0; g < words; g++)
                for (size_t i = 0; r + i < width; i++) panel[g * width + r + i] = lines[i][g];
        }
    }
}

/* GROUP lines of `n` codes, contiguous along the free axis, to n words. */
static void interleave(const pack_plan *p, const uint8_t *const line[4], uint32_t *restrict words, size_t n) {
    size_t i = 0;
    if (p->kind == PACK_BYTES) {
        const uint8_t *restrict a = line[0], *restrict b = line[1], *restrict c = line[2], *restrict d = line[3];
        const uint32_t flip = p->flip * 0x01010101u;
#if LPNUM_X86
        for (; i + 16 <= n; i += 16) {
            const __m128i v0 = _mm_loadu_si128((const __m128i *)(a + i)), v1 = _mm_loadu_si128((const __m128i *)(b + i));
            const __m128i v2 = _mm_loadu_si128((const __m128i *)(c + i)), v3 = _mm_loadu_si128((const __m128i *)(d + i));
            const __m128i l01 = _mm_unpacklo_epi8(v0, v1), h01 = _mm_unpackhi_epi8(v0, v1), f = _mm_set1_epi32((int)flip);
            const __m128i l23 = _mm_unpacklo_epi8(v2, v3), h23 = _mm_unpackhi_epi8(v2, v3);
            _mm_storeu_si128((__m128i *)(words + i), _mm_xor_si128(f, _mm_unpacklo_epi16(l01, l23)));
            _mm_storeu_si128((__m128i *)(words + i + 4), _mm_xor_si128(f, _mm_unpackhi_epi16(l01, l23)));
            _mm_storeu_si128((__m128i *)(words + i + 8), _mm_xor_si128(f, _mm_unpacklo_epi16(h01, h23)));
            _mm_storeu_si128((__m128i *)(words + i + 12), _mm_xor_si128(f, _mm_unpackhi_epi16(h01, h23)));
        }
#endif
        for (; i < n; i++)
            words[i] = ((uint32_t)a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24) ^ flip;
    } else if (p->kind == PACK_HALVES) {
        const uint8_t *restrict a = line[0], *restrict b = line[1];
        const uint32_t sign = p->is_unsigned ? 0 : 0x80;
#if LPNUM_X86 && LPNUM_LEVEL >= 1
        const __m256i bias = _mm256_set1_epi16((short)sign);
        for (; i + 8 <= n; i += 8) {
            const __m128i pairs = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(a + i)), _mm_loadl_epi64((const __m128i *)(b + i)));
            const __m256i wide = _mm256_cvtepu8_epi16(pairs); /* (x ^ 128) - 128 extends the sign */
            _mm256_storeu_si256((__m256i *)(words + i), _mm256_sub_epi16(_mm256_xor_si256(wide, bias), bias));
        }
#endif
        for (; i < n; i++) {
            const uint16_t low = (uint16_t)((a[i] ^ sign) - sign), high = (uint16_t)((b[i] ^ sign) - sign);
            words[i] = (uint32_t)low | (uint32_t)high << 16;
        }
    } else {
        expand_floats(p, line[0], words, n);
    }
}

/* Rows that are neighbours in memory: each line along the free axis is read as it lies. */
static void pack_across(const pack_plan *p, const lpnum_matrix *x, size_t row, size_t rows, size_t k, size_t depth,
                        uint32_t *restrict panel, size_t width) {
    uint8_t zeros[GEMM_NR + 64];
    const size_t group = (size_t)pack_group(p), n_words = (depth + group - 1) / group;
    memset(zeros, p->flip, sizeof zeros); /* flips to 0 */
    for (size_t g = 0; g < n_words; g++) {
        const uint8_t *line[4];
        for (size_t j = 0; j < group; j++)
            line[j] = g * group + j < depth
                          ? (const uint8_t *)x->data + (ptrdiff_t)row + (ptrdiff_t)(k + g * group + j) * x->k_stride
                          : zeros;
        interleave(p, line, panel + g * width, rows);
        if (rows < width) memset(panel + g * width + rows, 0, 4 * (width - rows));
    }
}

/* Block of rows [row, row + rows) and depth [k, k + depth) to panels of `width` rows, one behind the other; the last is
 * as wide as `last` says. */
static void pack_block(const pack_plan *p, const lpnum_matrix *x, size_t row, size_t rows, size_t k, size_t depth,
                       uint32_t *restrict panels, size_t width, size_t last) {
    const size_t group = (size_t)pack_group(p), words = (depth + group - 1) / group;
    for (size_t r = 0; r < rows; r += width) {
        const size_t live = rows - r < width ? rows - r : width, wide = rows - r < width ? last : width;
        if (x->stride == 1 && x->k_stride != 1)
            pack_across(p, x, row + r, live, k, depth, panels + r * words, wide);
        else
            pack_along_k(p, x, row + r, live, rows - r, k, depth, panels + r * words, wide);
    }
}
