/* One update of int16 codes, fused with the product of the next row and the new codes. 32-bit lanes: with |beta| < 2^15,
 * |x| < 2^8, |h| <= 2^23 and |z| <= 2^15 every sum stays below 2^25, so nothing saturates but the final clip. Written for
 * the compiler's vectorizer; the products of a block of 64 fit 32 bits (64 * 255 * 2^15 < 2^30). */
#ifndef LPNUM_LOWBIT_STEP16_H
#define LPNUM_LOWBIT_STEP16_H

static inline void lowbit_store_h16(int32_t *restrict h, const int32_t *restrict fine) { memcpy(h, fine, 256); }

/* count is the constant 64 for all blocks but the last. */
static ALWAYS_INLINE int32_t lowbit_block16(int16_t *restrict z, const int32_t *restrict h, const uint8_t *restrict x,
                                            const uint8_t *restrict next, const uint8_t *restrict dither,
                                            int minus_beta, int lo, int hi, size_t count, int variant) {
    int32_t sum = 0;
    for (size_t c = 0; c < count; c++) {
        const int step = dither[c] + minus_beta * lowbit_data(x[c], variant) - h[c];
        const int q = lowbit_clip((z[c] * 256 + step) >> LOWBIT_SHIFT, lo, hi);
        z[c] = (int16_t)q;
        sum += lowbit_data(next[c], variant) * q;
    }
    return sum;
}

static ALWAYS_INLINE double lowbit_step16(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    int16_t *restrict z = (int16_t *)u->z;
    const int32_t *restrict h = (const int32_t *)u->h;
    const int lo = s->code_min, hi = s->code_max, minus_beta = lowbit_low_bits(shifted);
    int64_t sum = 0;
    uint8_t dither[LOWBIT_BLOCK];
    size_t j = 0;
    for (; j + LOWBIT_BLOCK <= s->row_bytes; j += LOWBIT_BLOCK) {
        prefetch(u->ahead + j);
        dither_64(dither, s->base + j, u->words);
        sum += lowbit_block16(z + j, h + j, u->x + j, u->next + j, dither, minus_beta, lo, hi, LOWBIT_BLOCK, variant);
    }
    if (j < s->row_bytes) {
        prefetch(u->ahead + j);
        dither_64(dither, s->base + j, u->words);
        sum += lowbit_block16(z + j, h + j, u->x + j, u->next + j, dither, minus_beta, lo, hi, s->row_bytes - j, variant);
    }
    return (double)sum;
}

#endif /* LPNUM_LOWBIT_STEP16_H */
