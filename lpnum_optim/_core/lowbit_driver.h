/* The loop around the steps; included once per width of the codes (lowbit_epoch.h sets CODE, FINE, FINE_MAX, BETA_MAX
 * and LOWBIT). LOWBIT(lowbit_step) does one update and returns the exact product of the next row with the new codes. */

/* New rounding of step_size * (direction + l2 * z) onto the fine grid. In the padding D, q and thus h are zero. */
static void LOWBIT(lowbit_refresh)(const lowbit_state *s, const int64_t *restrict fixed, int64_t shrink, ars_key key,
                                   uint64_t refresh) {
    enum { BATCH = 8 * LOWBIT_BLOCK }; /* enough blocks at a time to hide the latency of the generator */
    const CODE *restrict z = (const CODE *)s->z;
    FINE *restrict h = (FINE *)s->h;
    uint8_t bits[2 * BATCH];
    uint64_t block = DITHER_REFRESH + refresh * (s->d_padded / 8);
    for (size_t start = 0; start < s->d_padded; start += BATCH, block += BATCH / 8) {
        const size_t stop = s->d_padded - start < BATCH ? s->d_padded : start + BATCH;
        ars_fill(bits, key, block, (stop - start) / 8);
        for (size_t j = start; j < stop; j += LOWBIT_BLOCK) {
            const uint8_t *restrict word = bits + 2 * (j - start);
            FINE fine[LOWBIT_BLOCK];
            for (size_t c = 0; c < LOWBIT_BLOCK; c++) {
                const uint32_t random = (uint32_t)word[2 * c] << 16 | (uint32_t)word[2 * c + 1] << 24;
                const int32_t v = (int32_t)((fixed[j + c] + shrink * z[j + c] + (int64_t)random) >> 32);
                fine[c] = (FINE)lowbit_clip(v, -FINE_MAX - 1, FINE_MAX);
            }
            LOWBIT(lowbit_store_h)(h + j, fine);
        }
    }
}

/* Adds the number of codes at an end of the range, keeps the largest magnitude. All in the width of the codes, so that
 * it stays cheap; padding is zero, which is never an end except for code_min = 0. */
static void LOWBIT(lowbit_observe)(const lowbit_state *s, size_t *at_end, int *largest) {
    const CODE *restrict z = (const CODE *)s->z;
    const CODE code_min = (CODE)s->code_min, code_max = (CODE)s->code_max;
    CODE low = 0, high = 0;
    size_t total = 0;
    for (size_t j = 0; j < s->d_padded; j += LOWBIT_BLOCK) {
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
    *at_end += total - (code_min == 0 ? s->d_padded - s->d : 0);
    *largest = reach > *largest ? reach : *largest;
}

/* variant is a constant at every call. */
static ALWAYS_INLINE int LOWBIT(lowbit_run)(const epoch_problem *p, const lowbit_iterate *iterate,
                                            lowbit_report *report, int variant) {
    const size_t d = p->x.d, d_padded = (d + LOWBIT_BLOCK - 1) / LOWBIT_BLOCK * LOWBIT_BLOCK, T = p->samples.count;
    const ars_key key = {iterate->seed, iterate->stream};
    const uint8_t *const rows = (const uint8_t *)p->x.data;

    uint8_t *const memory = malloc(d_padded * (sizeof(int64_t) + sizeof(FINE) + sizeof(CODE) + 1) + 64);
    if (!memory) return EPOCH_NO_MEMORY;
    int64_t *const fixed = (int64_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63); /* all parts: multiples of 64 bytes */
    FINE *const h = (FINE *)(fixed + d_padded);
    CODE *const z = (CODE *)(h + d_padded);
    uint8_t *const base = (uint8_t *)(z + d_padded);
    uint8_t words[LOWBIT_MAX_REFRESH * STEP_WORDS];

    const double h_scale = p->step_size / iterate->step * 0x1p40;
    for (size_t j = 0; j < d_padded; j++) fixed[j] = j < d ? lowbit_fixed(p->direction[j] * h_scale, 60) : 0;
    const int64_t shrink = lowbit_fixed(p->step_size * p->l2 * 0x1p40, 44);
    memcpy(z, iterate->codes, d * sizeof(CODE));
    memset(z + d, 0, (d_padded - d) * sizeof(CODE));
    ars_fill(base, key, 0, d_padded / 16);

    const lowbit_state state = {d, d_padded, rows + p->x.n * d, iterate->code_min, iterate->code_max, z, base, h};
    const double dot_scale = p->x.step * iterate->step;
    const double beta_scale = p->step_size * p->x.step / iterate->step * (1 << LOWBIT_SHIFT);
    const size_t refresh_steps = (size_t)lowbit_refresh_steps(p->step_size, p->l2), ahead = prefetch_distance(d);
    size_t clipped = 0, at_end = 0, observed = 0;
    int largest = 0;

    int64_t product = T ? LOWBIT(lowbit_dot)(&state, rows + sample_at(&p->samples, 0) * d, variant) : 0;
    for (size_t start = 0, refresh = 0; start < T; start += refresh_steps, refresh++) {
        const size_t stop = T - start < refresh_steps ? T : start + refresh_steps;
        LOWBIT(lowbit_refresh)(&state, fixed, shrink, key, refresh);
        ars_fill(words, key, DITHER_STEPS + 3 * start, 3 * (stop - start));
        for (size_t t = start; t < stop; t++) {
            const size_t i = sample_at(&p->samples, t), next = t + 1 < T ? sample_at(&p->samples, t + 1) : i;
            if (t + ahead < T) prefetch_row(p, sample_at(&p->samples, t + ahead), d);
            const uint8_t *const step_words = words + STEP_WORDS * (t - start);
            const double margin = p->margins[i] + dot_scale * (double)product;
            const double beta = (loss_slope(margin, p->targets[i], p->loss) - p->anchors[i]) * beta_scale;
            const int beta_q = lowbit_beta(beta + dither_uniform(step_words), BETA_MAX, &clipped);
            product = LOWBIT(lowbit_step)(&state, rows + i * d, rows + next * d, step_words, beta_q, variant);
        }
        LOWBIT(lowbit_observe)(&state, &at_end, &largest);
        observed++;
    }
    memcpy(iterate->codes, z, d * sizeof(CODE));
    free(memory);
    if (!observed) largest = 0;
    report->saturated = observed ? (double)at_end / ((double)observed * (double)d) : 0.0;
    report->range_used = largest >= iterate->code_max ? 1.0 : (double)largest / iterate->code_max;
    report->beta_saturated = T ? (double)clipped / (double)T : 0.0;
    return EPOCH_OK;
}

static int LOWBIT(lowbit_dispatch)(const epoch_problem *p, const lowbit_iterate *z, lowbit_report *report) {
    const int clips = z->code_min > -FULL_RANGE - 1 || z->code_max < FULL_RANGE;
    if (p->x.kind == X_INT8)
        return clips ? LOWBIT(lowbit_run)(p, z, report, SIGNED_DATA | CLIPS) : LOWBIT(lowbit_run)(p, z, report, SIGNED_DATA);
    return clips ? LOWBIT(lowbit_run)(p, z, report, CLIPS) : LOWBIT(lowbit_run)(p, z, report, 0);
}
