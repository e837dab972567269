/* Steps on dense rows; included by general_iterate.h once per type of the iterate. All vectors are filled up with zeros
 * to a multiple of 64 coordinates, which stay zero, so there are no incomplete ones. */

/* What one output's step shares along the coordinates: pointers and constants in registers. */
typedef struct {
    ELEMENT *z;
    const double *h, *keep_at, *threshold, *rest;
    vd keep, b, shift, low, high;
} GENERAL(lanes);

/* c: the output. words: keys of its dither in this step, NULL for a shift of 0. */
static ALWAYS_INLINE GENERAL(lanes) GENERAL(make_lanes)(const general_state *s, size_t c, double b,
                                                        const uint8_t *words) {
    const size_t from = c * s->padded;
    return (GENERAL(lanes)){
        .z = (ELEMENT *)s->z + from,
        .h = s->h + from,
        .keep_at = s->keep_stride ? s->keep : NULL,
        .threshold = s->threshold,
        .rest = s->rest ? s->rest + from : NULL,
        .keep = vd_set(s->keep[0]),
        .b = vd_set(b),
        .shift = vd_set(IS_CODE && words ? dither_uniform(words) - 0.5 : 0.0),
        .low = vd_set(s->code_min * 0x1p16),
        .high = vd_set(s->code_max * 0x1p16),
    };
}

/* Eight coordinates from j on; returns their new values. */
static ALWAYS_INLINE vd GENERAL(update)(const GENERAL(lanes) *k, size_t j, vd x, const uint8_t *random, int l1) {
    const vd keep = k->keep_at ? vd_load_f64(k->keep_at + j) : k->keep;
    vd y = vd_sub(vd_sub(vd_mul(keep, LOAD(k->z + j)), vd_load_f64(k->h + j)), vd_mul(k->b, x));
    if (l1) {
        const vd t = vd_load_f64(k->threshold + j), rest = vd_load_f64(k->rest + j);
        y = vd_max(vd_sub(y, t), vd_min(vd_add(y, t), rest));
    }
    return PUT(k->z + j, y, k, random);
}

static inline double GENERAL(fold)(const vd *sum) {
    return vd_sum(vd_add(vd_add(sum[0], sum[1]), vd_add(sum[2], sum[3])));
}

/* One output's step with b * row; returns next . z. fused (whether the product is wanted) and l1 are constants. */
static ALWAYS_INLINE double GENERAL(step)(const general_state *s, size_t c, const double *restrict row,
                                          const double *restrict next, double b, const uint8_t *words, int fused,
                                          int l1) {
    const GENERAL(lanes) k = GENERAL(make_lanes)(s, c, b, words);
    const uint8_t *const base = s->base;
    const size_t d = s->d;
    uint8_t random[2 * GENERAL_BLOCK] = {0};
    vd sum[4] = {vd_set(0.0), vd_set(0.0), vd_set(0.0), vd_set(0.0)};
    for (size_t j = 0; j < d; j += GENERAL_BLOCK) {
        if (IS_CODE) dither_64(random, base + 2 * j, words);
        for (size_t v = 0; v < 4; v++) {
            const size_t at = j + v * VD_LANES;
            const vd z = GENERAL(update)(&k, at, vd_load_f64(row + at), random + 2 * VD_LANES * v, l1);
            if (fused) sum[v] = vd_add(sum[v], vd_mul(z, vd_load_f64(next + at)));
        }
    }
    return fused ? GENERAL(fold)(sum) : 0.0;
}

static double GENERAL(fused_step)(const general_state *s, size_t c, const double *row, const double *next, double b,
                                  const uint8_t *words) {
    return s->threshold ? GENERAL(step)(s, c, row, next, b, words, 1, 1)
                        : GENERAL(step)(s, c, row, next, b, words, 1, 0);
}

static void GENERAL(sum_step)(const general_state *s, size_t c, const double *sum, const uint8_t *words) {
    if (s->threshold)
        GENERAL(step)(s, c, sum, sum, 1.0, words, 0, 1);
    else
        GENERAL(step)(s, c, sum, sum, 1.0, words, 0, 0);
}

/* s->product (OUT): row . z for every output. */
static void GENERAL(products)(general_state *s, const double *restrict row) {
    for (size_t c = 0; c < s->outputs; c++) {
        const ELEMENT *const z = (const ELEMENT *)s->z + c * s->padded;
        vd sum[4] = {vd_set(0.0), vd_set(0.0), vd_set(0.0), vd_set(0.0)};
        for (size_t j = 0; j < s->d; j += GENERAL_BLOCK)
            for (size_t v = 0; v < 4; v++) {
                const size_t at = j + v * VD_LANES;
                sum[v] = vd_add(sum[v], vd_mul(LOAD(z + at), vd_load_f64(row + at)));
            }
        s->product[c] = GENERAL(fold)(sum);
    }
}

/* Before the first step of a run: its row and the products. */
static void GENERAL(first_products)(general_state *s, size_t t) {
    general_dense_row(s, sample_at(&s->p->samples, t), s->row[t & 1]);
    GENERAL(products)(s, s->row[t & 1]);
}

/* Step t with one sample: its row and products are known, those of the next one are made. */
static void GENERAL(single_step)(general_state *s, size_t t, const uint8_t *words) {
    const sample_list *samples = &s->p->samples;
    const double *const row = s->row[t & 1];
    double *const next = s->row[~t & 1];
    general_prefetch(s, t);
    general_slopes(s, sample_at(samples, t), s->beta);
    general_intercepts(s, 1.0);
    general_dense_row(s, sample_at(samples, t + 1 < samples->count ? t + 1 : t), next);
    for (size_t c = 0; c < s->outputs; c++, words += STEP_WORDS)
        s->product[c] = GENERAL(fused_step)(s, c, row, next, s->b[c], words);
}

/* Step with the samples first .. first + count - 1. */
static void GENERAL(batch_step)(general_state *s, size_t first, size_t count, const uint8_t *words) {
    double *const row = s->row[0];
    for (size_t u = first; u < first + count; u++) {
        const size_t i = sample_at(&s->p->samples, u);
        general_prefetch(s, u);
        general_dense_row(s, i, row);
        GENERAL(products)(s, row);
        general_slopes(s, i, s->beta / (double)count);
        for (size_t c = 0; c < s->outputs; c++) general_add_row(s, s->sum + c * s->padded, s->b[c], row, u == first);
    }
    general_intercepts(s, (double)count);
    for (size_t c = 0; c < s->outputs; c++, words += STEP_WORDS)
        GENERAL(sum_step)(s, c, s->sum + c * s->padded, words);
}
