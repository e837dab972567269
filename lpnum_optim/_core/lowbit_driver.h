/* The loop around the steps; included once per width of the codes (lowbit_epoch.h sets CODE, FINE, FINE_MAX, BETA_MAX
 * and LOWBIT). LOWBIT(lowbit_step) does one update and returns the exact product of the next row with the new codes. */

/* New rounding of step_size * (direction + l2 * z) onto the fine grid. In the padding D, q and thus h are zero. */
static void LOWBIT(lowbit_refresh)(const lowbit_state *s, const int64_t *restrict fixed, int64_t shrink, ars_key key,
                                   uint64_t block) {
    enum { BATCH = 8 * LOWBIT_BLOCK }; /* enough blocks at a time to hide the latency of the generator */
    const CODE *restrict z = (const CODE *)s->z;
    FINE *restrict h = (FINE *)s->h;
    uint8_t bits[2 * BATCH];
    for (size_t start = 0; start < s->d_padded; start += BATCH, block += BATCH / 8) {
        const size_t stop = s->d_padded - start < BATCH ? s->d_padded : start + BATCH;
        ars_fill(bits, key, block, (stop - start) / 8);
        for (size_t j = start; j < stop; j += LOWBIT_BLOCK) {
            FINE fine[LOWBIT_BLOCK];
            for (size_t c = 0; c < LOWBIT_BLOCK; c++) {
                const int64_t random = lowbit_random32(bits + 2 * (j - start + c));
                const int32_t v = (int32_t)((fixed[j + c] + shrink * z[j + c] + random) >> 32);
                fine[c] = (FINE)lowbit_clip(v, -FINE_MAX - 1, FINE_MAX);
            }
            LOWBIT(lowbit_store_h)(h + j, fine);
        }
    }
}

/* The codes on a grid `factor` times as wide; a narrowing that fills the range with the code 1 is at most 2^-15, so that
 * nothing overflows and the bound on the multiplier is none in practice. The padding stays zero, because random numbers are below 2^32. */
static void LOWBIT(lowbit_change_codes)(const lowbit_state *s, double factor, ars_key key, uint64_t block) {
    CODE *restrict z = (CODE *)s->z;
    const int64_t multiplier = lowbit_fixed(0x1p32 / factor, 47);
    uint8_t bits[2 * LOWBIT_BLOCK];
    for (size_t j = 0; j < s->d_padded; j += LOWBIT_BLOCK, block += LOWBIT_BLOCK / 8) {
        ars_fill(bits, key, block, LOWBIT_BLOCK / 8);
        for (size_t c = 0; c < LOWBIT_BLOCK; c++) {
            const int32_t v = (int32_t)((multiplier * z[j + c] + lowbit_random32(bits + 2 * c)) >> 32);
            z[j + c] = (CODE)lowbit_clip(v, s->code_min, s->code_max);
        }
    }
}

/* Counts the codes at an end of the range, keeps the largest magnitude, adds the values to the mean. All in the width of the codes, so that it stays
 * cheap; padding is zero, which is never an end except for code_min = 0. */
static void LOWBIT(lowbit_observe)(const lowbit_state *s, lowbit_watch *watch) {
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
    watch->at_end += total - (code_min == 0 ? s->d_padded - s->d : 0);
    watch->largest = reach > watch->largest ? reach : watch->largest;
    watch->observed++;
    if (watch->mean)
        for (size_t j = 0; j < s->d; j++) watch->mean[j] += watch->unit * z[j];
}

/* in_a_row (IN/OUT): d numbers of runs that ended with this coordinate at an end; returns the largest one. */
static size_t LOWBIT(lowbit_count_held)(const lowbit_state *s, uint32_t *restrict in_a_row) {
    const CODE *restrict z = (const CODE *)s->z;
    uint32_t longest = 0;
    for (size_t j = 0; j < s->d; j++) {
        in_a_row[j] = (z[j] == s->code_min) | (z[j] == s->code_max) ? in_a_row[j] + 1 : 0;
        longest = in_a_row[j] > longest ? in_a_row[j] : longest;
    }
    return longest;
}

/* variant is a constant at every call. */
static ALWAYS_INLINE int LOWBIT(lowbit_run)(const epoch_problem *p, const lowbit_iterate *iterate,
                                            const lowbit_control *control, lowbit_report *report, int variant) {
    const size_t d = p->x.d, d_padded = (d + LOWBIT_BLOCK - 1) / LOWBIT_BLOCK * LOWBIT_BLOCK, T = p->samples.count;
    const size_t segments = control->segments < T ? control->segments : T;
    const ars_key key = {iterate->seed, iterate->stream};
    const uint8_t *const rows = (const uint8_t *)p->x.data;

    const size_t bytes = sizeof(int64_t) + sizeof(FINE) + sizeof(uint32_t) + sizeof(CODE) + 1;
    uint8_t *const memory = malloc(d_padded * bytes + 64);
    if (!memory) return EPOCH_NO_MEMORY;
    int64_t *const fixed = (int64_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63); /* all parts: multiples of 64 bytes */
    FINE *const h = (FINE *)(fixed + d_padded);
    uint32_t *const in_a_row = (uint32_t *)(h + d_padded);
    CODE *const z = (CODE *)(in_a_row + d_padded);
    uint8_t *const base = (uint8_t *)(z + d_padded);
    uint8_t words[LOWBIT_MAX_REFRESH * STEP_WORDS];

    const int64_t shrink = lowbit_fixed(p->step_size * p->l2 * 0x1p40, 44);
    memcpy(z, iterate->codes, d * sizeof(CODE));
    memset(z + d, 0, (d_padded - d) * sizeof(CODE));
    memset(in_a_row, 0, d_padded * sizeof(uint32_t));
    ars_fill(base, key, 0, d_padded / 16);

    const lowbit_state state = {d, d_padded, rows + p->x.n * d, iterate->code_min, iterate->code_max, z, base, h};
    const uint64_t refresh_blocks = d_padded / 8;
    const size_t every = (size_t)lowbit_refresh_steps(p->step_size, p->l2), ahead = prefetch_distance(d);
    size_t clipped = 0, t = 0, run_end = 0;
    *report = (lowbit_report){.change = 1.0};

    lowbit_scales scale = lowbit_set_scales(p, iterate->step, fixed, d_padded);
    int64_t product = T ? LOWBIT(lowbit_dot)(&state, rows + sample_at(&p->samples, 0) * d, variant) : 0;
    for (size_t k = 0; k < segments; k++) {
        lowbit_watch watch = lowbit_begin_watch(control, iterate, report, k, segments);
        run_end += T / segments + (k < T % segments);
        while (t < run_end) {
            const size_t next_refresh = (t / every + 1) * every, stop = next_refresh < run_end ? next_refresh : run_end;
            if (t % every == 0)
                LOWBIT(lowbit_refresh)(&state, fixed, shrink, key, DITHER_REFRESH + t / every * refresh_blocks);
            ars_fill(words, key, DITHER_STEPS + 3 * t, 3 * (stop - t));
            for (const uint8_t *step_words = words; t < stop; t++, step_words += STEP_WORDS) {
                const size_t i = sample_at(&p->samples, t), next = t + 1 < T ? sample_at(&p->samples, t + 1) : i;
                if (t + ahead < T) prefetch_row(p, sample_at(&p->samples, t + ahead), d);
                const double margin = p->margins[i] + scale.dot * (double)product;
                const double slope = loss_slope(margin, p->targets[i], p->loss, p->loss_parameter);
                const double beta = (slope - p->anchors[i]) * scale.beta;
                const int beta_q = lowbit_beta(beta + dither_uniform(step_words), BETA_MAX, &clipped);
                product = LOWBIT(lowbit_step)(&state, rows + i * d, rows + next * d, step_words, beta_q, variant);
            }
            LOWBIT(lowbit_observe)(&state, &watch);
        }
        report->held = LOWBIT(lowbit_count_held)(&state, in_a_row);
        lowbit_record(report, &watch, d, iterate->code_max);
        const double factor = k + 1 < segments ? lowbit_next_factor(control, report) : 1.0;
        if (factor == 1.0) continue;
        if (factor > 1.0) memset(in_a_row, 0, d * sizeof(uint32_t));
        report->change *= factor;
        const uint64_t block = DITHER_CHANGE + 2 * k * refresh_blocks;
        LOWBIT(lowbit_change_codes)(&state, factor, key, block);
        scale = lowbit_set_scales(p, iterate->step * report->change, fixed, d_padded);
        LOWBIT(lowbit_refresh)(&state, fixed, shrink, key, block + refresh_blocks);
        product = LOWBIT(lowbit_dot)(&state, rows + sample_at(&p->samples, t) * d, variant);
    }
    memcpy(iterate->codes, z, d * sizeof(CODE));
    free(memory);
    report->saturated = segments ? report->crowding / (double)segments : 0.0;
    report->beta_saturated = T ? (double)clipped / (double)T : 0.0;
    return EPOCH_OK;
}

static int LOWBIT(lowbit_dispatch)(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                                   lowbit_report *report) {
    const int clips = z->code_min > -FULL_RANGE - 1 || z->code_max < FULL_RANGE;
    if (p->x.kind == X_INT8)
        return clips ? LOWBIT(lowbit_run)(p, z, control, report, SIGNED_DATA | CLIPS)
                     : LOWBIT(lowbit_run)(p, z, control, report, SIGNED_DATA);
    return clips ? LOWBIT(lowbit_run)(p, z, control, report, CLIPS) : LOWBIT(lowbit_run)(p, z, control, report, 0);
}
