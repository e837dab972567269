/* Tables of all 256 codes: code -> code, code -> float32, and pairs of codes -> code. */

#if LPNUM_X86 && LPNUM_LEVEL == 2

/* 256 bytes in four registers; a byte permute looks up 64 codes in two of them, the top bit of the code chooses. */
typedef struct {
    __m512i part[4];
} byte_table;

static inline byte_table byte_table_of(const uint8_t *table) {
    byte_table t;
    for (int k = 0; k < 4; k++) t.part[k] = _mm512_loadu_si512(table + 64 * k);
    return t;
}

static inline __m512i look_up(const byte_table *t, __m512i codes) {
    const __m512i low = _mm512_permutex2var_epi8(t->part[0], codes, t->part[1]);
    const __m512i high = _mm512_permutex2var_epi8(t->part[2], codes, t->part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(codes), high);
}

static void map8(const uint8_t *restrict codes, const uint8_t *restrict table, uint8_t *restrict out, size_t n) {
    const byte_table t = byte_table_of(table);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, look_up(&t, _mm512_loadu_si512(codes + i)));
    for (; i < n; i++) out[i] = table[codes[i]];
}

/* The four bytes of each float have a table each. */
typedef struct {
    const float *values;
    byte_table planes[4];
} f32_table;

static f32_table f32_table_of(const float *values) {
    f32_table table = {.values = values};
    uint8_t planes[4][256];
    for (int c = 0; c < 256; c++) {
        uint32_t bits;
        memcpy(&bits, &values[c], 4);
        for (int k = 0; k < 4; k++) planes[k][c] = (uint8_t)(bits >> (8 * k));
    }
    for (int k = 0; k < 4; k++) table.planes[k] = byte_table_of(planes[k]);
    return table;
}

/* Two rounds of unpacking put the bytes of the floats together, within 128-bit lanes, and the lanes go to their places by
 * storing them one by one. */
static void map8_f32_by(const uint8_t *restrict codes, const f32_table *restrict table, float *restrict out, size_t n) {
    const byte_table *t = table->planes;
    /* lane l of the codes holds elements 16l .. 16l+15; after unpacking, register k holds elements 16l + 4k .. +3 */
    const __m512i low_pair = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high_pair = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i x = _mm512_loadu_si512(codes + i);
        __m512i b[4];
        for (int k = 0; k < 4; k++) b[k] = look_up(&t[k], x);
        const __m512i low_01 = _mm512_unpacklo_epi8(b[0], b[1]), high_01 = _mm512_unpackhi_epi8(b[0], b[1]);
        const __m512i low_23 = _mm512_unpacklo_epi8(b[2], b[3]), high_23 = _mm512_unpackhi_epi8(b[2], b[3]);
        const __m512i r0 = _mm512_unpacklo_epi16(low_01, low_23), r1 = _mm512_unpackhi_epi16(low_01, low_23);
        const __m512i r2 = _mm512_unpacklo_epi16(high_01, high_23), r3 = _mm512_unpackhi_epi16(high_01, high_23);
        /* (r0, r1, r2, r3) hold quarters of lanes; transpose 4x4 blocks of 128 bits */
        const __m512i a0 = _mm512_permutex2var_epi64(r0, low_pair, r1), a1 = _mm512_permutex2var_epi64(r2, low_pair, r3);
        const __m512i a2 = _mm512_permutex2var_epi64(r0, high_pair, r1), a3 = _mm512_permutex2var_epi64(r2, high_pair, r3);
        _mm512_storeu_ps(out + i, _mm512_castsi512_ps(_mm512_shuffle_i64x2(a0, a1, 0x44)));
        _mm512_storeu_ps(out + i + 16, _mm512_castsi512_ps(_mm512_shuffle_i64x2(a0, a1, 0xEE)));
        _mm512_storeu_ps(out + i + 32, _mm512_castsi512_ps(_mm512_shuffle_i64x2(a2, a3, 0x44)));
        _mm512_storeu_ps(out + i + 48, _mm512_castsi512_ps(_mm512_shuffle_i64x2(a2, a3, 0xEE)));
    }
    for (; i < n; i++) out[i] = table->values[codes[i]];
}

#elif LPNUM_X86 && LPNUM_LEVEL == 1

/* Sixteen shuffles, one for each high half of a code; a code of another half gets a selector with the top bit set,
 * which yields 0. */
static void map8(const uint8_t *restrict codes, const uint8_t *restrict table, uint8_t *restrict out, size_t n) {
    __m256i rows[16];
    for (int h = 0; h < 16; h++) rows[h] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(table + 16 * h)));
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(codes + i));
        __m256i result = _mm256_setzero_si256();
        for (int h = 0; h < 16; h++) {
            const __m256i selector = _mm256_adds_epu8(_mm256_xor_si256(x, _mm256_set1_epi8((char)(16 * h))), _mm256_set1_epi8(0x70));
            result = _mm256_or_si256(result, _mm256_shuffle_epi8(rows[h], selector));
        }
        _mm256_storeu_si256((__m256i *)(out + i), result);
    }
    for (; i < n; i++) out[i] = table[codes[i]];
}

#else

static void map8(const uint8_t *restrict codes, const uint8_t *restrict table, uint8_t *restrict out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = table[codes[i]];
}

#endif

#if !(LPNUM_X86 && LPNUM_LEVEL == 2)
typedef struct {
    const float *values;
} f32_table;

static f32_table f32_table_of(const float *values) { return (f32_table){values}; }

/* A gather instruction is slower than the loads one by one. */
static void map8_f32_by(const uint8_t *restrict codes, const f32_table *restrict table, float *restrict out, size_t n) {
    const float *restrict values = table->values;
    for (size_t i = 0; i < n; i++) out[i] = values[codes[i]];
}
#endif

static void map8_f32(const uint8_t *restrict codes, const float *restrict values, float *restrict out, size_t n) {
    const f32_table table = f32_table_of(values);
    map8_f32_by(codes, &table, out, n);
}

/* table[256 * a + b]; 64 KiB stay in the second-level cache. */
static void map8_pairs(const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = table[(size_t)a[i] << 8 | b[i]];
}

/* Sum or difference of codes of one grid, saturating at the ends of int8. */
static void add_saturating(const int8_t *restrict a, const int8_t *restrict b, int8_t *restrict out, size_t n, int sign) {
    size_t i = 0;
#if LPNUM_LANES
    for (; i + N_BYTES <= n; i += N_BYTES) {
        const lanes x = lanes_load(a + i), y = lanes_load(b + i);
        lanes_store(out + i, sign > 0 ? bytes_add_saturating(x, y) : bytes_sub_saturating(x, y));
    }
#endif
    for (; i < n; i++) {
        const int s = sign > 0 ? a[i] + b[i] : a[i] - b[i];
        out[i] = (int8_t)(s > 127 ? 127 : s < -128 ? -128 : s);
    }
}
