/* One update of int8 codes by two steps at once, fused with the products the next two steps need: portable. */
#ifndef LPNUM_LOWBIT_PAIR8_H
#define LPNUM_LOWBIT_PAIR8_H

enum { LOWBIT_DRIFT_FLIP = 0 };

static ALWAYS_INLINE lowbit_pair_products lowbit_pair8(const lowbit_state *s, const lowbit_pair *u, double shifted0,
                                                  double shifted1, int variant) {
    int8_t *restrict z = (int8_t *)s->z;
    const int16_t *restrict h = (const int16_t *)s->h;
    const int8_t *restrict drift = (const int8_t *)s->drift;
    const int minus_beta0 = lowbit_low_bits(shifted0), minus_beta1 = lowbit_low_bits(shifted1);
    int64_t first = 0, second = 0, gram = 0, drifts = 0;
    uint8_t dither[LOWBIT_BLOCK];
    for (size_t j = 0; j < s->row_bytes; j += LOWBIT_BLOCK) {
        dither_64(dither, s->base + j, u->words);
        prefetch(u->ahead[0] + j);
        prefetch(u->ahead[1] + j);
        const size_t stop = s->row_bytes - j < LOWBIT_BLOCK ? s->row_bytes : j + LOWBIT_BLOCK;
        for (size_t c = j; c < stop; c++) {
            const int move = minus_beta0 * lowbit_data(u->x[0][c], variant) + minus_beta1 * lowbit_data(u->x[1][c], variant);
            const int step = sat16(sat16(move) - h[c]);
            const int q = lowbit_clip(sat16(z[c] * 256 + dither[c - j] + step) >> LOWBIT_SHIFT, s->code_min, s->code_max);
            const int y0 = lowbit_data(u->next[0][c], variant), y1 = lowbit_data(u->next[1][c], variant);
            z[c] = (int8_t)q;
            first += y0 * q;
            second += y1 * q;
            gram += y0 * y1;
            drifts += y1 * drift[c];
        }
    }
    return (lowbit_pair_products){(double)first, (double)second, (double)gram, (double)drifts};
}

#endif /* LPNUM_LOWBIT_PAIR8_H */
