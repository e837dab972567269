/* The loop around the steps; included once per width of the codes (lowbit_epoch.h sets CODE, FINE, FINE_MAX, BETA_MAX,
 * TAKES_PACKED and LOWBIT). LOWBIT(lowbit_step) does one update of the codes of an output and returns the exact product
 * of the next row with the new codes. */

/* One block of LOWBIT(lowbit_refresh). */
static ALWAYS_INLINE void LOWBIT(lowbit_fine)(FINE *restrict fine, const int64_t *restrict fixed,
                                              const CODE *restrict z, const int64_t *restrict decay,
                                              const uint8_t *restrict bits, int decays) {
    int64_t sum[LOWBIT_BLOCK];
#if LPNUM_X86
    uint16_t random[LOWBIT_BLOCK];
    memcpy(random, bits, sizeof(random));
    for (size_t c = 0; c < LOWBIT_BLOCK; c++) sum[c] = fixed[c] + ((int64_t)random[c] << 16);
#else
    for (size_t c = 0; c < LOWBIT_BLOCK; c++) sum[c] = fixed[c] + lowbit_random32(bits + 2 * c);
#endif
    if (decays == DECAY_NARROW)
        for (size_t c = 0; c < LOWBIT_BLOCK; c++) sum[c] += (int64_t)(int32_t)decay[c] * (int32_t)z[c];
    if (decays == DECAY_WIDE)
        for (size_t c = 0; c < LOWBIT_BLOCK; c++) sum[c] += decay[c] * z[c];
    for (size_t c = 0; c < LOWBIT_BLOCK; c++)
        fine[c] = (FINE)lowbit_clip((int32_t)(sum[c] >> 32), -FINE_MAX - 1, FINE_MAX);
}

/* drift (OUT): h, of which fine are the values of 64 coordinates. */
static ALWAYS_INLINE void LOWBIT(lowbit_store_drift)(uint8_t *restrict drift, const FINE *restrict fine, int shift,
                                                     int variant) {
    const int half = (1 << shift) >> 1, flip = variant & SIGNED_DATA ? LOWBIT_DRIFT_FLIP : 0;
    for (size_t c = 0; c < LOWBIT_BLOCK; c++) drift[c] = (uint8_t)(((fine[c] + half) >> shift) ^ flip);
}

/* New rounding of step_size * (direction + l2 * z) onto the fine grid. In the padding D, q and thus h are zero. */
static void LOWBIT(lowbit_refresh)(const lowbit_state *s, const lowbit_constants *k, ars_key key, uint64_t block) {
    enum { BATCH = 8 * LOWBIT_BLOCK }; /* enough blocks at a time to hide the latency of the generator */
    const CODE *restrict z = (const CODE *)s->z;
    FINE *restrict h = (FINE *)s->h, fine[LOWBIT_BLOCK];
    const size_t total = s->outputs * s->d_padded;
    uint8_t bits[2 * BATCH];
    size_t at = 0; /* in the row of its output */
    for (size_t start = 0; start < total; start += BATCH, block += BATCH / 8) {
        const size_t stop = total - start < BATCH ? total : start + BATCH;
        ars_fill(bits, key, block, (stop - start) / 8);
        for (size_t j = start; j < stop; j += LOWBIT_BLOCK) {
            const uint8_t *random = bits + 2 * (j - start);
            if (k->decays == DECAY_NONE)
                LOWBIT(lowbit_fine)(fine, k->fixed + j, z + j, k->decay + at, random, DECAY_NONE);
            else if (k->decays == DECAY_NARROW)
                LOWBIT(lowbit_fine)(fine, k->fixed + j, z + j, k->decay + at, random, DECAY_NARROW);
            else
                LOWBIT(lowbit_fine)(fine, k->fixed + j, z + j, k->decay + at, random, DECAY_WIDE);
            LOWBIT(lowbit_store_h)(h + j, fine);
            if (PAIRS && s->outputs == 1) LOWBIT(lowbit_store_drift)(s->drift + j, fine, s->drift_shift, s->data);
            at = at + LOWBIT_BLOCK < s->d_padded ? at + LOWBIT_BLOCK : 0;
        }
    }
}

/* The codes on a grid `factor` times as wide; a narrowing that fills the range with the code 1 is at most 2^-15, so that
 * nothing overflows and the bound on the multiplier is none in practice. The padding stays zero, because random numbers
 * are below 2^32. */
static void LOWBIT(lowbit_change_codes)(const lowbit_state *s, double factor, ars_key key, uint64_t block) {
    CODE *restrict z = (CODE *)s->z;
    const int64_t multiplier = lowbit_fixed(0x1p32 / factor, 47);
    uint8_t bits[2 * LOWBIT_BLOCK];
    for (size_t j = 0; j < s->outputs * s->d_padded; j += LOWBIT_BLOCK, block += LOWBIT_BLOCK / 8) {
        ars_fill(bits, key, block, LOWBIT_BLOCK / 8);
        for (size_t c = 0; c < LOWBIT_BLOCK; c++) {
            const int32_t v = (int32_t)((multiplier * z[j + c] + lowbit_random32(bits + 2 * c)) >> 32);
            z[j + c] = (CODE)lowbit_clip(v, s->code_min, s->code_max);
        }
    }
}

/* Counts the codes at an end of the range, keeps the largest magnitude, adds the values to the mean. The counting is done
 * in the width of the codes, so that it stays
 * cheap; padding is zero, which is never an end except for code_min = 0. */
static void LOWBIT(lowbit_observe)(const lowbit_state *s, lowbit_watch *watch) {
    const CODE *restrict z = (const CODE *)s->z;
    const CODE code_min = (CODE)s->code_min, code_max = (CODE)s->code_max;
    CODE low = 0, high = 0;
    size_t total = 0;
    for (size_t j = 0; j < s->outputs * s->d_padded; j += LOWBIT_BLOCK) {
        CODE count = 0;
        for (size_t c = j; c < j + LOWBIT_BLOCK; c++) {
            const CODE v = z[c];
            count = (CODE)(count + ((v == code_min) | (v == code_max)));
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
        total += (size_t)count;
    }
    const int reach = -low > high ? -low : high;
    watch->at_end += total - (code_min == 0 ? s->outputs * (s->d_padded - s->d) : 0);
    watch->largest = reach > watch->largest ? reach : watch->largest;
    watch->observed++;
    if (watch->mean)
        for (size_t c = 0; c < s->outputs; c++)
            for (size_t j = 0; j < s->d; j++)
                watch->mean[c * s->d + j] += watch->unit * z[c * s->d_padded + lowbit_position(j, s->data)];
}

/* in_a_row (IN/OUT): numbers of runs that ended with this coordinate at an end; returns the largest one. Padding, which
 * may count as at an end, starts so low that it never is. */
static size_t LOWBIT(lowbit_count_held)(const lowbit_state *s, int32_t *restrict in_a_row) {
    const CODE *restrict z = (const CODE *)s->z;
    int32_t longest = 0;
    for (size_t j = 0; j < s->outputs * s->d_padded; j++) {
        in_a_row[j] = (z[j] == s->code_min) | (z[j] == s->code_max) ? in_a_row[j] + 1 : 0;
        longest = in_a_row[j] > longest ? in_a_row[j] : longest;
    }
    return (size_t)longest;
}

/* The exact product of a row, of row_bytes data codes, with the codes of an output. */
static double LOWBIT(lowbit_dot)(const CODE *restrict z, const uint8_t *restrict x, size_t d, int variant) {
    int64_t sum = 0;
    for (size_t j = 0; j < d; j++) sum += lowbit_data(x[j], variant) * z[j];
    return (double)sum;
}

/* Products of row i with the codes of all outputs, from scratch. */
static void LOWBIT(lowbit_products)(const lowbit_state *s, const uint8_t *row, uint8_t *unpacked, int variant,
                                    double *products) {
    if (variant & PACKED) lowbit_unpack(unpacked, row, s->d, s->d_padded);
    for (size_t c = 0; c < s->outputs; c++)
        products[c] = LOWBIT(lowbit_dot)((const CODE *)s->z + c * s->d_padded, variant & PACKED ? unpacked : row,
                                         variant & PACKED ? s->d_padded : s->d, variant);
}

/* One step with several outputs: from the products of row i to those of the next one. */
static void LOWBIT(lowbit_take)(const epoch_problem *p, const lowbit_state *s, size_t i, const lowbit_scales *scale,
                                lowbit_stepper step, lowbit_update *u, double *restrict products,
                                double *restrict margins, size_t *clipped) {
    double *const g = products;
    for (size_t c = 0; c < s->outputs; c++) g[c] *= scale->dot;
    loss_differences(p, i, margins, g);
    CODE *const z = (CODE *)u->z;
    const FINE *const h = (const FINE *)u->h;
    for (size_t c = 0; c < s->outputs; c++, u->words += STEP_WORDS) {
        u->z = z + c * s->d_padded, u->h = h + c * s->d_padded;
        products[c] = step(s, u, lowbit_shifted(g[c] * -scale->beta, u->words, BETA_MAX, clipped));
        u->ahead = u->x; /* prefetched once */
    }
}

/* Steps from at->t to until, whose random words are in m->words; m->products: of row at->t, then of the row at until.
 * variant (of the step; s->data is that of the matrix) and several (outputs) are constants at every call. */
static ALWAYS_INLINE void LOWBIT(lowbit_walk)(const epoch_problem *problem, const lowbit_state *s, lowbit_memory *m,
                                              lowbit_scales scale, lowbit_place *at, size_t until, int variant,
                                              int several) {
    epoch_problem own = *problem; /* in registers: the codes, being bytes, could alias anything in memory */
    if (!several) own.outputs = 1;
    const epoch_problem *const p = &own;
    const lowbit_state state = *s;
    const int unpacks = (state.data & PACKED) && !TAKES_PACKED;
    const uint8_t *const rows = (const uint8_t *)p->x.data, *x = at->x[0], *next = x;
    const size_t T = p->samples.count, stride = m->row_stride, ahead = prefetch_distance(stride);
    size_t clipped = 0;
    double product = m->products[0]; /* of one output, in a register */
    lowbit_update u = {.words = m->words};
    for (size_t t = at->t; t < until; t++, x = next) {
        const size_t i = sample_at(&p->samples, t), following = t + 1 < T ? sample_at(&p->samples, t + 1) : i;
        const size_t later = t + ahead < T ? sample_at(&p->samples, t + ahead) : following;
        next = rows + following * stride;
        if (unpacks) {
            lowbit_unpack(m->unpacked[(t + 1) & 1], next, state.d, state.d_padded);
            next = m->unpacked[(t + 1) & 1];
        }
        prefetch_sample(p, later);
        u.z = state.z, u.h = state.h, u.x = x, u.next = next, u.ahead = rows + later * stride;
        prefetch(u.ahead + stride - 1); /* rows need not be aligned; the rest of the row within the step */
        if (several) {
            LOWBIT(lowbit_take)(p, &state, i, &scale, at->step, &u, m->products, m->margins, &clipped);
        } else {
            const double minus_beta = loss_difference(p, i, product, scale.dot, -scale.beta);
            const double shifted = lowbit_shifted(minus_beta, u.words, BETA_MAX, &clipped);
            product = LOWBIT(lowbit_step)(&state, &u, shifted, variant);
            u.words += STEP_WORDS;
        }
    }
    if (!several) m->products[0] = product;
    at->x[0] = x, at->t = until, at->clipped += clipped;
}

#define VARIANT(variant)                                                                                        \
    static double LOWBIT(lowbit_step_##variant##_)(const lowbit_state *s, const lowbit_update *u,               \
                                                   double shifted) {                                            \
        return LOWBIT(lowbit_step)(s, u, shifted, variant);                                                     \
    }                                                                                                           \
    static void LOWBIT(lowbit_walk_##variant##_)(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m, \
                                                 lowbit_scales scale, lowbit_place *at, size_t until) {         \
        LOWBIT(lowbit_walk)(p, s, m, scale, at, until, variant, 0);                                             \
    }
EACH_VARIANT(VARIANT)
#undef VARIANT

static void LOWBIT(lowbit_walk_several)(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m,
                                        lowbit_scales scale, lowbit_place *at, size_t until) {
    LOWBIT(lowbit_walk)(p, s, m, scale, at, until, 0, 1);
}

/* One output is walked with its steps inlined, several call them. */
#define VARIANT(variant) [variant] = LOWBIT(lowbit_step_##variant##_),
static const lowbit_stepper LOWBIT(lowbit_steps)[8] = {EACH_VARIANT(VARIANT)};
#undef VARIANT
#define VARIANT(variant) [variant] = LOWBIT(lowbit_walk_##variant##_),
static const lowbit_walker LOWBIT(lowbit_walks)[8] = {EACH_VARIANT(VARIANT)};
#undef VARIANT

static int LOWBIT(lowbit_run)(const epoch_problem *p, const lowbit_iterate *iterate, const lowbit_control *control,
                              lowbit_report *report) {
    const size_t T = p->samples.count, outputs = p->outputs, refresh_steps = (size_t)lowbit_refresh_steps_of(p);
    const size_t span = PAIRS && outputs == 1 && refresh_steps > 1 ? 2 : 1; /* steps of an update */
    const size_t updates = (T + span - 1) / span, every = refresh_steps / span;
    const size_t segments = control->segments < updates ? control->segments : updates;
    const ars_key key = {iterate->seed, iterate->stream};
    const int data = lowbit_variant(p->x.kind);
    lowbit_memory m;
    lowbit_state state = lowbit_new_state(p, iterate, data, sizeof(CODE), sizeof(FINE), TAKES_PACKED, &m);
    if (!m.memory) return EPOCH_NO_MEMORY;
    const size_t d = state.d, d_padded = state.d_padded, row_stride = m.row_stride;
    const int clips = iterate->code_min > -FULL_RANGE - 1 || iterate->code_max < FULL_RANGE;
    const int unpacks = (data & PACKED) && !TAKES_PACKED;
    const int variant = (unpacks ? data & ~PACKED : data) | (clips ? CLIPS : 0);
    const lowbit_walker walk_steps = outputs == 1 ? LOWBIT(lowbit_walks)[variant] : LOWBIT(lowbit_walk_several);
    const lowbit_walker walk = span == 2 ? lowbit_pair_walks[variant] : walk_steps;
    lowbit_place at = {.step = LOWBIT(lowbit_steps)[variant]};
    const uint8_t *const rows = (const uint8_t *)p->x.data;
    CODE *const z = (CODE *)state.z, *const codes = (CODE *)iterate->codes;
    for (size_t c = 0; c < outputs; c++)
        for (size_t j = 0; j < d; j++) z[c * d_padded + lowbit_position(j, data)] = codes[c * d + j];
    ars_fill((uint8_t *)(uintptr_t)state.base, key, 0, d_padded / 16);

    const uint64_t refresh_blocks = outputs * d_padded / 8;
    const size_t words_steps = outputs < LOWBIT_WORDS ? LOWBIT_WORDS / outputs : 1;
    size_t updates_end = 0;
    *report = (lowbit_report){.change = 1.0};

    lowbit_set_decay(p, &m.constants, span, data);
    lowbit_scales scale = lowbit_set_scales(p, iterate->step, &m.constants, span, d_padded, data);
    state.drift_shift = lowbit_drift_shift(&m.constants, d_padded);
    if (T && span == 2) {
        lowbit_pair_start(p, &state, &m, &at);
    } else if (T) {
        at.x[0] = rows + sample_at(&p->samples, 0) * row_stride;
        LOWBIT(lowbit_products)(&state, at.x[0], m.unpacked[0], data, m.products);
        if (unpacks) at.x[0] = m.unpacked[0];
    }
    for (size_t k = 0; k < segments; k++) {
        lowbit_watch watch = lowbit_begin_watch(control, iterate, report, k, segments);
        updates_end += updates / segments + (k < updates % segments);
        const size_t run_end = updates_end * span < T ? updates_end * span : T;
        while (at.t < run_end) {
            const size_t refreshes = at.t / span / every, next_refresh = (refreshes + 1) * every * span;
            const size_t stop = next_refresh < run_end ? next_refresh : run_end;
            if (at.t / span % every == 0) {
                LOWBIT(lowbit_refresh)(&state, &m.constants, key, DITHER_REFRESH + refreshes * refresh_blocks);
                if (span == 2) lowbit_follow_h(p, &state, &m, at.t);
            }
            while (at.t < stop) {
                const size_t left = stop - at.t, some = left < words_steps ? left : words_steps;
                const size_t whole = some / span * span, block = 3 * outputs * (at.t / span);
                ars_fill(m.words, key, DITHER_STEPS + block, 3 * outputs * ((some + span - 1) / span));
                if (whole) {
                    walk(p, &state, &m, scale, &at, at.t + whole);
                } else { /* the last step of an odd number */
                    lowbit_set_decay(p, &m.constants, 1, data);
                    scale = lowbit_set_scales(p, iterate->step * report->change, &m.constants, 1, d_padded, data);
                    LOWBIT(lowbit_refresh)(&state, &m.constants, key, DITHER_REFRESH + (refreshes + 1) * refresh_blocks);
                    walk_steps(p, &state, &m, scale, &at, at.t + 1);
                }
            }
            LOWBIT(lowbit_observe)(&state, &watch);
        }
        report->held = LOWBIT(lowbit_count_held)(&state, m.in_a_row);
        lowbit_record(report, &watch, outputs * d, iterate->code_max);
        const double factor = k + 1 < segments ? lowbit_next_factor(control, report) : 1.0;
        if (factor == 1.0) continue;
        if (factor > 1.0)
            for (size_t j = 0; j < outputs * d_padded; j++) m.in_a_row[j] = m.in_a_row[j] > 0 ? 0 : m.in_a_row[j];
        report->change *= factor;
        const uint64_t block = DITHER_CHANGE + 2 * k * refresh_blocks;
        LOWBIT(lowbit_change_codes)(&state, factor, key, block);
        scale = lowbit_set_scales(p, iterate->step * report->change, &m.constants, span, d_padded, data);
        state.drift_shift = lowbit_drift_shift(&m.constants, d_padded);
        LOWBIT(lowbit_refresh)(&state, &m.constants, key, block + refresh_blocks);
        if (span == 2)
            lowbit_pair_start(p, &state, &m, &at);
        else
            LOWBIT(lowbit_products)(&state, rows + sample_at(&p->samples, at.t) * row_stride, m.unpacked[at.t & 1], data,
                                    m.products);
    }
    for (size_t c = 0; c < outputs; c++)
        for (size_t j = 0; j < d; j++) codes[c * d + j] = z[c * d_padded + lowbit_position(j, data)];
    free(m.memory);
    report->saturated = segments ? report->crowding / (double)segments : 0.0;
    report->beta_saturated = T ? (double)at.clipped / ((double)T * (double)outputs) : 0.0;
    return EPOCH_OK;
}
