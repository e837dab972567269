/* One update of int8 codes, fused with the product of the next row and the new codes: they are still in registers. */
#ifndef LPNUM_LOWBIT_STEP8_H
#define LPNUM_LOWBIT_STEP8_H

static inline int sat16(int v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

/* h (OUT) in the order in which the step reads it; fine (IN): 64 values in the order of the coordinates. */
static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) { memcpy(h, fine, 128); }

static int64_t lowbit_dot8(const lowbit_state *s, const uint8_t *restrict x) {
    const int8_t *restrict z = (const int8_t *)s->z;
    int64_t sum = 0;
    for (size_t j = 0; j < s->d; j++) sum += ((int)(x[j] ^ s->flip) - s->bias) * z[j];
    return sum;
}

static int64_t lowbit_step8(const lowbit_state *s, const uint8_t *restrict x, const uint8_t *restrict next,
                            const uint8_t *restrict words, int beta) {
    int8_t *restrict z = (int8_t *)s->z;
    const int16_t *restrict h = (const int16_t *)s->h;
    int64_t sum = 0;
    uint8_t dither[LOWBIT_BLOCK];
    for (size_t j = 0; j < s->d; j += LOWBIT_BLOCK) {
        dither_64(dither, s->base + j, words);
        const size_t stop = s->d - j < LOWBIT_BLOCK ? s->d : j + LOWBIT_BLOCK;
        for (size_t c = j; c < stop; c++) {
            const int code = (int)(x[c] ^ s->flip) - s->bias, code_next = (int)(next[c] ^ s->flip) - s->bias;
            const int step = sat16(dither[c - j] - beta * code - h[c]);
            const int q = lowbit_clip(sat16(z[c] * 256 + step) >> LOWBIT_SHIFT, s->code_min, s->code_max);
            z[c] = (int8_t)q;
            sum += code_next * q;
        }
    }
    return sum;
}

#endif /* LPNUM_LOWBIT_STEP8_H */
