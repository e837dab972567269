/* Included once per precision of the iterate (float_epoch.h sets REAL, VEC, LANES, V and FLOAT_EPOCH). */

/* The last, incomplete vector of a row, filled up with zeros; never reads beyond the end of the matrix. */
static ALWAYS_INLINE VEC FLOAT_EPOCH(load_tail)(const uint8_t *row, size_t from, size_t d, const uint8_t *end,
                                                int kind) {
    const uint8_t *const at = row + from * x_item_size(kind);
    if ((size_t)(end - at) >= LANES * x_item_size(kind)) /* copying element by element would stall the load */
        return V(keep)(V(load)(at, kind), d - from);
    uint8_t tail[LANES * 8] = {0};
    memcpy(tail, at, (d - from) * x_item_size(kind));
    return V(load)(tail, kind);
}

static ALWAYS_INLINE REAL FLOAT_EPOCH(fold)(const VEC *sum) {
    return V(sum)(V(add)(V(add)(sum[0], sum[1]), V(add)(sum[2], sum[3])));
}

/* w -= ...; returns next . w. whole = number of complete vectors; w and h are padded to a multiple of LANES. */
static ALWAYS_INLINE REAL FLOAT_EPOCH(float_step)(REAL *restrict w, const REAL *restrict h, const uint8_t *restrict x,
                                                  const uint8_t *restrict next, const uint8_t *restrict ahead, REAL b,
                                                  REAL shrink, size_t d, const uint8_t *end, int kind) {
    const size_t item = x_item_size(kind), whole = d / LANES;
    const VEC vb = V(set)(b), vs = V(set)(shrink);
    VEC sum[4] = {V(set)(0), V(set)(0), V(set)(0), V(set)(0)};
#define UPDATE(k, slot, load_x, load_next)                                                                      \
    do {                                                                                                        \
        const VEC old = V(sub)(V(mul)(vs, V(load)(w + (k)*LANES, sizeof(REAL) == 8 ? X_FLOAT64 : X_FLOAT32)),   \
                               V(load)(h + (k)*LANES, sizeof(REAL) == 8 ? X_FLOAT64 : X_FLOAT32));              \
        const VEC new_w = V(sub)(old, V(mul)(vb, load_x));                                                      \
        V(store)(w + (k)*LANES, new_w);                                                                         \
        sum[slot] = V(add)(sum[slot], V(mul)(new_w, load_next));                                                \
    } while (0)
#define WHOLE(k, slot) \
    UPDATE(k, slot, V(load)(x + (k)*LANES * item, kind), V(load)(next + (k)*LANES * item, kind))
    size_t k = 0;
    for (; k + 4 <= whole; k += 4) {
        for (size_t line = 0; line < 4 * LANES * item; line += CACHE_LINE) prefetch(ahead + k * LANES * item + line);
        WHOLE(k, 0);
        WHOLE(k + 1, 1);
        WHOLE(k + 2, 2);
        WHOLE(k + 3, 3);
    }
    for (size_t at = k * LANES; at < d; at += CACHE_LINE / item) prefetch(ahead + at * item);
    prefetch(ahead + d * item - 1); /* rows need not be aligned */
    if (k < whole) WHOLE(k, 0);
    if (k + 1 < whole) WHOLE(k + 1, 1);
    if (k + 2 < whole) WHOLE(k + 2, 2);
    if (whole * LANES < d) {
        const VEC x_tail = FLOAT_EPOCH(load_tail)(x, whole * LANES, d, end, kind);
        const VEC next_tail = FLOAT_EPOCH(load_tail)(next, whole * LANES, d, end, kind);
        switch (whole & 3) {
            case 0: UPDATE(whole, 0, x_tail, next_tail); break;
            case 1: UPDATE(whole, 1, x_tail, next_tail); break;
            case 2: UPDATE(whole, 2, x_tail, next_tail); break;
            default: UPDATE(whole, 3, x_tail, next_tail); break;
        }
    }
#undef WHOLE
#undef UPDATE
    return FLOAT_EPOCH(fold)(sum);
}

static ALWAYS_INLINE int FLOAT_EPOCH(float_run)(const epoch_problem *p, REAL *w_out, int kind) {
    const size_t d = p->x.d, C = p->outputs, T = p->samples.count, padded = (d + LANES - 1) / LANES * LANES;
    const size_t row_bytes = d * x_item_size(kind), ahead = prefetch_distance(row_bytes);
    const uint8_t *const rows = (const uint8_t *)p->x.data, *const end = rows + p->x.n * row_bytes;
    if (!T) return EPOCH_OK;

    void *const memory = calloc(C * (2 * padded * sizeof(REAL) + 2 * sizeof(double)) + 64, 1);
    if (!memory) return EPOCH_NO_MEMORY;
    REAL *const w = (REAL *)(((uintptr_t)memory + 63) & ~(uintptr_t)63), *const h = w + C * padded;
    double *const g = (double *)(h + C * padded), *const margins = g + C;

    const REAL shrink = (REAL)(1.0 - p->step_size * p->l2);
    const uint8_t *x = rows + sample_at(&p->samples, 0) * row_bytes;
    for (size_t c = 0; c < C; c++) {
        memcpy(w + c * padded, w_out + c * d, d * sizeof(REAL));
        /* The first product: a step that changes nothing (beta = 0, h = 0, shrink = 1). */
        g[c] = (double)FLOAT_EPOCH(float_step)(w + c * padded, h, x, x, x, 0, 1, d, end, kind);
    }
    for (size_t c = 0; c < C; c++)
        for (size_t j = 0; j < d; j++) h[c * padded + j] = (REAL)(p->step_size * p->direction[c * d + j]);

    double product = g[0]; /* of one output, in a register */
    for (size_t t = 0; t < T; t++) {
        const size_t i = sample_at(&p->samples, t), following = t + 1 < T ? sample_at(&p->samples, t + 1) : i;
        const size_t later = t + ahead < T ? sample_at(&p->samples, t + ahead) : following;
        const uint8_t *const next = rows + following * row_bytes, *fetch = rows + later * row_bytes;
        prefetch_sample(p, later);
        if (C == 1) {
            const double b = loss_difference(p, i, product, p->x.step, p->step_size * p->x.step);
            product = (double)FLOAT_EPOCH(float_step)(w, h, x, next, fetch, (REAL)b, shrink, d, end, kind);
        } else {
            for (size_t c = 0; c < C; c++) g[c] *= p->x.step;
            loss_differences(p, i, margins, g);
            for (size_t c = 0; c < C; c++, fetch = x) {
                const REAL b = (REAL)(g[c] * (p->step_size * p->x.step));
                g[c] = (double)FLOAT_EPOCH(float_step)(w + c * padded, h + c * padded, x, next, fetch, b, shrink, d, end,
                                                       kind);
            }
        }
        x = next;
    }
    for (size_t c = 0; c < C; c++) memcpy(w_out + c * d, w + c * padded, d * sizeof(REAL));
    free(memory);
    return EPOCH_OK;
}

static int FLOAT_EPOCH(float_dispatch)(const epoch_problem *p, REAL *w) {
    switch (p->x.kind) {
        case X_INT8: return FLOAT_EPOCH(float_run)(p, w, X_INT8);
        case X_UINT8: return FLOAT_EPOCH(float_run)(p, w, X_UINT8);
        case X_FLOAT32: return FLOAT_EPOCH(float_run)(p, w, X_FLOAT32);
        default: return FLOAT_EPOCH(float_run)(p, w, X_FLOAT64);
    }
}
