/* Steps on sparse rows; included by general_iterate.h once per type of the iterate.
 *
 * A coordinate that no row touches takes the affine step y -> keep * y - h alone, so it is left as it is and catches up
 * when a row needs it: m steps are the composition of the powers of two in m, each made from the one before,
 *
 *     (p, g) -> (p * p, g + g * p),     y -> p * y - g * h,     starting with (keep, 1),
 *
 * from the lowest bit of m on. Products see the value that has caught up, unrounded; the row's own step follows, and
 * one rounding for all of it. So the cost of a step is that of the stored values of its row. */

/* y (OUT, filled up with zeros to a multiple of 8): values of `count` coordinates before step `now`, in fine units. */
static void GENERAL(catch_up)(const general_state *s, size_t c, const int32_t *restrict columns, size_t count,
                              size_t now, double *restrict y) {
    const ELEMENT *restrict z = (const ELEMENT *)s->z + c * s->padded;
    const double *restrict h = s->h + c * s->padded, *restrict keep = s->keep;
    const uint32_t *restrict last = s->last;
    const size_t stride = s->keep_stride;
    const double unit = s->unit;
    const uint32_t steps = (uint32_t)(now - s->synced);
    for (size_t from = 0; from < count; from += SPARSE_CHUNK, columns += SPARSE_CHUNK, y += SPARSE_CHUNK) {
        const size_t some = count - from < SPARSE_CHUNK ? count - from : SPARSE_CHUNK;
        const size_t filled = (some + VD_LANES - 1) / VD_LANES * VD_LANES;
        double p[SPARSE_CHUNK], g[SPARSE_CHUNK], drift[SPARSE_CHUNK];
        uint64_t missed[SPARSE_CHUNK], longest = 0;
        for (size_t k = 0; k < some; k++) {
            const size_t j = (size_t)columns[k];
            y[k] = unit * (double)z[j];
            p[k] = keep[j * stride];
            drift[k] = h[j];
            g[k] = 1.0;
            missed[k] = steps - last[j];
            longest |= missed[k];
        }
        for (size_t k = some; k < filled; k++) y[k] = p[k] = g[k] = drift[k] = 0.0, missed[k] = 0;
        for (; longest; longest >>= 1)
            for (size_t k = 0; k < filled; k++) {
                const double moved = p[k] * y[k] - g[k] * drift[k];
                y[k] = missed[k] & 1 ? moved : y[k];
                g[k] = g[k] + g[k] * p[k];
                p[k] = p[k] * p[k];
                missed[k] >>= 1;
            }
    }
}

/* The step of the coordinates of a row: y from catch_up, x its values. */
static void GENERAL(sparse_update)(const general_state *s, size_t c, const int32_t *restrict columns, size_t count,
                                   const double *restrict y, const double *restrict x, double b,
                                   const uint8_t *words) {
    const GENERAL(lanes) lanes = GENERAL(make_lanes)(s, c, b, words);
    ELEMENT *const z = lanes.z;
    const uint8_t *const base = s->base;
    const size_t stride = s->keep_stride;
    for (size_t k = 0; k < count; k += VD_LANES) {
        const size_t some = count - k < VD_LANES ? count - k : VD_LANES;
        double keep[VD_LANES] = {0}, h[VD_LANES] = {0};
        uint8_t random[2 * VD_LANES] = {0};
        ELEMENT moved[VD_LANES];
        for (size_t l = 0; l < some; l++) {
            const size_t j = (size_t)columns[k + l];
            keep[l] = s->keep[j * stride];
            h[l] = lanes.h[j];
            if (IS_CODE) dither_word16(random + 2 * l, base, words, j);
        }
        const vd kept = vd_sub(vd_mul(vd_load_f64(keep), vd_load_f64(y + k)), vd_load_f64(h));
        PUT(moved, vd_sub(kept, vd_mul(lanes.b, vd_load_f64(x + k))), &lanes, random);
        for (size_t l = 0; l < some; l++) z[columns[k + l]] = moved[l];
    }
}

/* Step with the samples first .. first + count - 1. */
static void GENERAL(sparse_step)(general_state *s, size_t t, size_t first, size_t count,
                                 const uint8_t *words) {
    const epoch_problem *p = s->p;
    const data_matrix *matrix = &p->x;
    const int32_t *list = s->list;
    size_t listed = 0;
    for (size_t u = first; u < first + count; u++) {
        general_prefetch(s, u);
        const size_t i = sample_at(&p->samples, u), stored = general_stored_values(s, i);
        const int32_t *const columns = matrix->columns + matrix->row_start[i];
        for (size_t c = 0; c < s->outputs; c++) {
            double *const y = s->y + c * s->capacity;
            GENERAL(catch_up)(s, c, columns, stored, t, y);
            s->product[c] = general_sparse_product(s->values, y, stored);
        }
        general_slopes(s, i, s->beta / (double)count);
        if (p->batch > 1)
            listed = general_collect(s, columns, stored, listed);
        else
            list = columns, listed = stored;
    }
    general_intercepts(s, (double)count);
    for (size_t c = 0; c < s->outputs; c++, words += STEP_WORDS) {
        double *const y = s->y + c * s->capacity;
        if (p->batch > 1) GENERAL(catch_up)(s, c, list, listed, t, y);
        GENERAL(sparse_update)(s, c, list, listed, y, p->batch > 1 ? s->v + c * s->capacity : s->values,
                               p->batch > 1 ? 1.0 : s->b[c], words);
    }
    const uint32_t done = (uint32_t)(t + 1 - s->synced);
    for (size_t k = 0; k < listed; k++) s->last[list[k]] = done;
}

/* All coordinates catch up to `now` and are rounded, with fresh random words. */
static void GENERAL(sync)(general_state *s, size_t now, ars_key key) {
    const uint64_t block = DITHER_REFRESH + s->refreshes++ * (s->outputs * s->padded / 8);
    for (size_t c = 0; c < s->outputs; c++) {
        const GENERAL(lanes) lanes = GENERAL(make_lanes)(s, c, 0.0, NULL);
        for (size_t j = 0; j < s->d; j += SPARSE_CHUNK) {
            const size_t some = s->d - j < SPARSE_CHUNK ? s->d - j : SPARSE_CHUNK;
            int32_t columns[SPARSE_CHUNK];
            double y[SPARSE_CHUNK];
            uint8_t random[2 * SPARSE_CHUNK];
            for (size_t k = 0; k < some; k++) columns[k] = (int32_t)(j + k);
            GENERAL(catch_up)(s, c, columns, some, now, y);
            if (IS_CODE) ars_fill(random, key, block + (c * s->padded + j) / 8, SPARSE_CHUNK / 8);
            for (size_t k = 0; k < some; k += VD_LANES)
                PUT(lanes.z + j + k, vd_load_f64(y + k), &lanes, random + 2 * k);
        }
    }
    memset(s->last, 0, s->d * sizeof(uint32_t));
    s->synced = now;
}
