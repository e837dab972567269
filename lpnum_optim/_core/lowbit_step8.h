/* One update of int8 codes, fused with the product of the next row and the new codes: portable. */
#ifndef LPNUM_LOWBIT_STEP8_H
#define LPNUM_LOWBIT_STEP8_H

static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) { memcpy(h, fine, 128); }

static ALWAYS_INLINE double lowbit_step8(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    int8_t *restrict z = (int8_t *)u->z;
    const int16_t *restrict h = (const int16_t *)u->h;
    const uint8_t *restrict x = u->x, *restrict next = u->next;
    const int minus_beta = lowbit_low_bits(shifted);
    int64_t sum = 0;
    uint8_t dither[LOWBIT_BLOCK];
    for (size_t j = 0; j < s->row_bytes; j += LOWBIT_BLOCK) {
        dither_64(dither, s->base + j, u->words);
        prefetch(u->ahead + j);
        const size_t stop = s->row_bytes - j < LOWBIT_BLOCK ? s->row_bytes : j + LOWBIT_BLOCK;
        for (size_t c = j; c < stop; c++) {
            const int step = sat16(minus_beta * lowbit_data(x[c], variant) - h[c]);
            const int q = lowbit_clip(sat16(z[c] * 256 + dither[c - j] + step) >> LOWBIT_SHIFT, s->code_min, s->code_max);
            z[c] = (int8_t)q;
            sum += lowbit_data(next[c], variant) * q;
        }
    }
    return (double)sum;
}

#endif /* LPNUM_LOWBIT_STEP8_H */
