/* The loop around the steps; included by general_iterate.h once per type of the iterate. */

/* Adds the codes as they are to the watch of a run, and to the mean. */
static void GENERAL(observe)(const general_state *s, lowbit_watch *watch) {
    enum { BLOCK = 64 };
    const ELEMENT code_min = (ELEMENT)s->code_min, code_max = (ELEMENT)s->code_max;
    ELEMENT low = 0, high = 0;
    for (size_t c = 0; c < s->outputs; c++) {
        const ELEMENT *restrict z = (const ELEMENT *)s->z + c * s->padded;
        for (size_t j = 0; j < s->d; j += BLOCK) {
            const size_t stop = s->d - j < BLOCK ? s->d : j + BLOCK;
            int8_t count = 0;
            for (size_t k = j; k < stop; k++) {
                const ELEMENT v = z[k];
                count = (int8_t)(count + ((v == code_min) | (v == code_max)));
                low = v < low ? v : low;
                high = v > high ? v : high;
            }
            watch->at_end += (size_t)count;
        }
        if (watch->mean)
            for (size_t j = 0; j < s->d; j++) watch->mean[c * s->d + j] += watch->unit * z[j];
    }
    const int reach = (int)(-low > high ? -low : high);
    watch->largest = reach > watch->largest ? reach : watch->largest;
    watch->observed++;
}

/* Returns the largest number of runs in a row that ended with the same coordinate at an end. */
static size_t GENERAL(count_held)(const general_state *s) {
    uint32_t longest = 0;
    for (size_t c = 0; c < s->outputs; c++) {
        const ELEMENT *restrict z = (const ELEMENT *)s->z + c * s->padded;
        uint32_t *restrict in_a_row = s->in_a_row + c * s->padded;
        for (size_t j = 0; j < s->d; j++) {
            in_a_row[j] = (z[j] == s->code_min) | (z[j] == s->code_max) ? in_a_row[j] + 1 : 0;
            longest = in_a_row[j] > longest ? in_a_row[j] : longest;
        }
    }
    return longest;
}

/* The codes on a grid `factor` times as wide: as in lowbit_epoch.h, M * q below 2^62. */
static void GENERAL(change_codes)(const general_state *s, double factor, ars_key key, uint64_t block) {
    enum { BLOCK = 64 };
    ELEMENT *restrict z = (ELEMENT *)s->z;
    const int64_t multiplier = lowbit_fixed(0x1p32 / factor, 47);
    uint8_t bits[2 * BLOCK];
    for (size_t j = 0; j < s->outputs * s->padded; j += BLOCK, block += BLOCK / 8) {
        ars_fill(bits, key, block, BLOCK / 8);
        for (size_t k = 0; k < BLOCK; k++) {
            const int64_t q = (multiplier * (int64_t)z[j + k] + lowbit_random32(bits + 2 * k)) >> 32;
            z[j + k] = (ELEMENT)(q < s->code_min ? s->code_min : q > s->code_max ? s->code_max : q);
        }
    }
}

/* Between two runs: the rule is asked, the codes follow. */
static void GENERAL(end_run)(general_state *s, const lowbit_iterate *iterate, const lowbit_control *control,
                             lowbit_report *report, const lowbit_watch *watch, ars_key key, int last) {
    report->held = GENERAL(count_held)(s);
    lowbit_record(report, watch, s->outputs * s->d, s->code_max);
    const double factor = last ? 1.0 : lowbit_next_factor(control, report);
    if (factor == 1.0) return;
    if (factor > 1.0) memset(s->in_a_row, 0, s->outputs * s->padded * sizeof(uint32_t));
    report->change *= factor;
    const uint64_t block = DITHER_CHANGE + 2 * (report->runs - 1) * (s->outputs * s->padded / 8);
    GENERAL(change_codes)(s, factor, key, block);
    general_set_scales(s, iterate->step * report->change);
}

/* The steps of an epoch. Float iterates: iterate has the step 1, there is one run, and the report means nothing. */
static void GENERAL(steps)(general_state *s, const lowbit_iterate *iterate, const lowbit_control *control,
                           lowbit_report *report) {
    const epoch_problem *p = s->p;
    const ars_key key = {iterate->seed, iterate->stream};
    const size_t T = p->samples.count, batch = p->batch < T ? p->batch : T, steps = T ? (T - 1) / batch + 1 : 0;
    const size_t segments = control->segments < steps ? control->segments : steps;
    const size_t fill = s->outputs < GENERAL_STEP_WORDS ? GENERAL_STEP_WORDS / s->outputs : 1;
    const size_t every = general_observe_steps(s);
    const int single = p->batch == 1 && !s->sparse;
    size_t t = 0, run_end = 0;
    for (size_t k = 0; k < segments; k++) {
        lowbit_watch watch = lowbit_begin_watch(control, iterate, report, k, segments);
        run_end += steps / segments + (k < steps % segments);
        if (single) GENERAL(first_products)(s, t);
        while (t < run_end) {
            const size_t due = (t / every + 1) * every, stop = due < run_end ? due : run_end;
            while (t < stop) {
                const size_t some = stop - t < fill ? stop - t : fill;
                const uint8_t *words = s->words;
                if (IS_CODE) ars_fill(s->words, key, DITHER_STEPS + 3 * s->outputs * t, 3 * s->outputs * some);
                for (size_t until = t + some; t < until; t++, words += STEP_WORDS * s->outputs) {
                    const size_t first = t * batch, count = T - first < batch ? T - first : batch;
                    if (s->sparse)
                        GENERAL(sparse_step)(s, t, first, count, words);
                    else if (single)
                        GENERAL(single_step)(s, t, words);
                    else
                        GENERAL(batch_step)(s, first, count, words);
                }
            }
            if (s->sparse) GENERAL(sync)(s, t, key);
            if (IS_CODE) GENERAL(observe)(s, &watch);
        }
        if (IS_CODE) GENERAL(end_run)(s, iterate, control, report, &watch, key, k + 1 == segments);
    }
    report->saturated = segments ? report->crowding / (double)segments : 0.0;
    report->beta_saturated = T ? (double)s->clipped / ((double)T * (double)s->outputs) : 0.0;
}

static int GENERAL(run)(const epoch_problem *p, const lowbit_iterate *iterate, const lowbit_control *control,
                        lowbit_report *report) {
    general_state s = general_new_state(p, IS_CODE ? 0x1p16 : 1.0, iterate->code_min, iterate->code_max);
    *report = (lowbit_report){.change = 1.0};
    if (!p->samples.count) return EPOCH_OK;
    uintptr_t size = 64, cursor;
    general_layout(&s, &size, sizeof(ELEMENT));
    void *const memory = calloc(size, 1);
    if (!memory) return EPOCH_NO_MEMORY;
    cursor = ((uintptr_t)memory + 63) & ~(uintptr_t)63;
    general_layout(&s, &cursor, sizeof(ELEMENT));
    s.ahead = general_ahead(&p->x);
    general_set_keep(&s);
    general_set_scales(&s, iterate->step);
    if (IS_CODE) ars_fill(s.base, (ars_key){iterate->seed, iterate->stream}, 0, s.padded / 8);
    ELEMENT *const codes = (ELEMENT *)iterate->codes, *const z = (ELEMENT *)s.z;
    for (size_t c = 0; c < s.outputs; c++) memcpy(z + c * s.padded, codes + c * s.d, s.d * sizeof(ELEMENT));
    GENERAL(steps)(&s, iterate, control, report);
    for (size_t c = 0; c < s.outputs; c++) memcpy(codes + c * s.d, z + c * s.padded, s.d * sizeof(ELEMENT));
    free(memory);
    return EPOCH_OK;
}
