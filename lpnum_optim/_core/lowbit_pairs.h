/* Updates of int8 codes by pairs of steps (lowbit_epoch.h tells the formulas): two steps share one rounding, one reading
 * of z and one wait for the sums over the coordinates. lowbit_pair8 does one of them. */
#ifndef LPNUM_LOWBIT_PAIRS_H
#define LPNUM_LOWBIT_PAIRS_H

/* The numbers of the two samples of the update that starts with step t; after the last step they repeat the last one. */
typedef struct {
    size_t of[2];
} lowbit_samples;

static ALWAYS_INLINE lowbit_samples lowbit_pair_at(const sample_list *s, size_t t, lowbit_samples last) {
    const size_t T = s->count, first = t < T ? sample_at(s, t) : last.of[1];
    return (lowbit_samples){{first, t + 1 < T ? sample_at(s, t + 1) : first}};
}

/* A value of drift as a number. */
static ALWAYS_INLINE int lowbit_drift(uint8_t byte, int variant) {
    return (int8_t)(variant & SIGNED_DATA ? byte ^ LOWBIT_DRIFT_FLIP : byte);
}

/* The second row, of d data codes, times the values of drift. */
static double lowbit_drift_product(const lowbit_state *s, const uint8_t *x, size_t d, int variant) {
    int64_t sum = 0;
    for (size_t from = 0; from < d; from += 1 << 15) { /* 2^15 * 255 * 128 < 2^31 */
        const size_t stop = d - from < 1 << 15 ? d : from + (1 << 15);
        int32_t part = 0;
        for (size_t j = from; j < stop; j++) part += lowbit_data(x[j], variant) * lowbit_drift(s->drift[j], variant);
        sum += part;
    }
    return (double)sum;
}

/* What h decides of the products of the update that starts with step t: to be called after every refresh of h. */
static void lowbit_follow_h(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m, size_t t) {
    const lowbit_samples i = lowbit_pair_at(&p->samples, t, (lowbit_samples){{0, 0}});
    const uint8_t *row = (const uint8_t *)p->x.data + i.of[1] * m->row_stride;
    const int packed = s->data & PACKED;
    if (packed) lowbit_unpack(m->spare, row, s->d, s->d_padded), row = m->spare;
    m->products[3] = lowbit_drift_product(s, row, packed ? s->d_padded : s->d, s->data);
}

/* Products of the update that starts with step t, from scratch. */
static void lowbit_pair_start(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m, lowbit_place *at) {
    const lowbit_samples i = lowbit_pair_at(&p->samples, at->t, (lowbit_samples){{0, 0}});
    const int packed = s->data & PACKED;
    const size_t d = packed ? s->d_padded : s->d;
    const uint8_t *x[2];
    for (size_t r = 0; r < 2; r++) {
        x[r] = at->x[r] = (const uint8_t *)p->x.data + i.of[r] * m->row_stride;
        if (!packed) continue;
        uint8_t *const unpacked = m->unpacked[(at->t & 2) | r];
        lowbit_unpack(unpacked, x[r], s->d, s->d_padded);
        x[r] = unpacked;
        if (!TAKES_PACKED) at->x[r] = unpacked;
    }
    int64_t products[3] = {0, 0, 0};
    for (size_t j = 0; j < d; j++) {
        const int x0 = lowbit_data(x[0][j], s->data), x1 = lowbit_data(x[1][j], s->data), q = ((const int8_t *)s->z)[j];
        products[0] += x0 * q, products[1] += x1 * q, products[2] += x0 * x1;
    }
    for (int c = 0; c < 3; c++) m->products[c] = (double)products[c];
    lowbit_follow_h(p, s, m, at->t);
}

#define VARIANT(variant)                                                                                                \
    static COLD lowbit_pair_products lowbit_pair8_large_##variant##_(const lowbit_state *s, const lowbit_pair *u,       \
                                                                     double shifted0, double shifted1) {                \
        return lowbit_pair8(s, u, shifted0, shifted1, variant | LARGE);                                                 \
    }
EACH_VARIANT(VARIANT)
#undef VARIANT

/* How many rows ahead to prefetch: see prefetch_distance; at least the pair after the next one. */
static inline size_t lowbit_pair_distance(size_t row_bytes) {
    const size_t rows = 16384 / row_bytes;
    return rows < 4 ? 4 : rows > 12 ? 12 : rows / 2 * 2;
}

typedef lowbit_pair_products (*lowbit_pairer)(const lowbit_state *s, const lowbit_pair *u, double shifted0,
                                              double shifted1);

/* Steps from at->t to until, an even number; m->words has the random words of every pair. variant and large (the update
 * for large factors) are constants at every call. */
static ALWAYS_INLINE void lowbit_walk_pairs(const epoch_problem *problem, const lowbit_state *s, lowbit_memory *m,
                                            lowbit_scales scale, lowbit_place *at, size_t until, int variant,
                                            lowbit_pairer large) {
    epoch_problem own = *problem; /* in registers: the codes, being bytes, could alias anything in memory */
    own.outputs = 1;
    const epoch_problem *const p = &own;
    const lowbit_state state = *s;
    const int unpacks = (state.data & PACKED) && !TAKES_PACKED;
    const uint8_t *const rows = (const uint8_t *)p->x.data;
    const size_t stride = m->row_stride, ahead = lowbit_pair_distance(stride);
    const double drift_unit = 0x1p-9 * (double)((int64_t)1 << state.drift_shift);
    const double limit = state.drift_shift > 7 ? -1.0 : 128.0; /* |h| < 2^14 */
    size_t clipped = 0;
    lowbit_pair_products products = {m->products[0], m->products[1], m->products[2], m->products[3]};
    lowbit_pair u = {.x = {at->x[0], at->x[1]}, .words = m->words};
    lowbit_samples i = lowbit_pair_at(&p->samples, at->t, (lowbit_samples){{0, 0}});
    for (size_t t = at->t; t < until; t += 2) {
        const lowbit_samples following = lowbit_pair_at(&p->samples, t + 2, i);
        const lowbit_samples later = lowbit_pair_at(&p->samples, t + ahead, following);
        for (size_t r = 0; r < 2; r++) {
            u.next[r] = rows + following.of[r] * stride;
            u.ahead[r] = rows + later.of[r] * stride;
            prefetch(u.ahead[r] + stride - 1); /* rows need not be aligned; the rest of the row within the step */
            prefetch_sample(p, later.of[r]);
            if (unpacks) {
                uint8_t *const unpacked = m->unpacked[((t + 2) & 2) | r];
                lowbit_unpack(unpacked, u.next[r], state.d, state.d_padded);
                u.next[r] = unpacked;
            }
        }
        const double first = loss_difference(p, i.of[0], products.first, scale.dot, -scale.beta);
        const double shifted0 = lowbit_shifted(first, u.words, BETA_MAX, &clipped), minus_beta0 = shifted0 - LOWBIT_MAGIC;
        const double second = loss_difference_after(p, i.of[1], products.second - drift_unit * products.drift,
                                                    products.gram * 0x1p-8, minus_beta0, scale.dot, -scale.beta);
        const double shifted1 = lowbit_shifted(second, u.words + 4, BETA_MAX, &clipped);
        if (UNLIKELY(fabs(minus_beta0) + fabs(shifted1 - LOWBIT_MAGIC) > limit))
            products = large(&state, &u, shifted0, shifted1);
        else
            products = lowbit_pair8(&state, &u, shifted0, shifted1, variant);
        u.words += STEP_WORDS;
        for (int r = 0; r < 2; r++) u.x[r] = u.next[r];
        i = following;
    }
    m->products[0] = products.first, m->products[1] = products.second;
    m->products[2] = products.gram, m->products[3] = products.drift;
    for (int r = 0; r < 2; r++) at->x[r] = u.x[r];
    at->t = until, at->clipped += clipped;
}

#define VARIANT(variant)                                                                                          \
    static void lowbit_walk_pairs_##variant##_(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m,   \
                                               lowbit_scales scale, lowbit_place *at, size_t until) {             \
        lowbit_walk_pairs(p, s, m, scale, at, until, variant, lowbit_pair8_large_##variant##_);                   \
    }
EACH_VARIANT(VARIANT)
#undef VARIANT

#define VARIANT(variant) [variant] = lowbit_walk_pairs_##variant##_,
static const lowbit_walker lowbit_pair_walks[8] = {EACH_VARIANT(VARIANT)};
#undef VARIANT

#endif /* LPNUM_LOWBIT_PAIRS_H */
