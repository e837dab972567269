/* The full gradient: x @ w and x.T @ p in float64, reading the matrix once.
 *
 * Order of the sums (the same bits at every SIMD level):
 *   row_products      element j goes to lane j mod 16 of one accumulator of 16 lanes; lanes l and l + 8 are added, then
 *                     l and l + 4, 2, 1; the sum is multiplied by step.
 *   weighted_row_sum  rows in groups of 8: (((p0 x0 + p1 x1) + p2 x2) + ...) is added to the total; the total is
 *                     multiplied by step.
 */
#ifndef LPNUM_PRODUCTS_H
#define LPNUM_PRODUCTS_H

enum { PRODUCT_ROWS = 4, SUM_ROWS = 8 };

/* Vector k of a row; the last, incomplete one is filled up with zeros. */
static ALWAYS_INLINE vd product_load(const uint8_t *row, size_t k, size_t d, const uint8_t *end, int kind) {
    const size_t from = k * VD_LANES;
    return from + VD_LANES <= d ? vd_load(row + from * x_item_size(kind), kind) : load_tail_f64(row, from, d, end, kind);
}

/* A pass takes 64 elements of several rows; the cache lines of the next group of rows that hold as many elements. */
static ALWAYS_INLINE void prefetch_line(const uint8_t *following, size_t pass, int kind, const uint8_t *end) {
#ifdef __GNUC__
    const size_t bytes = CACHE_LINE * x_item_size(kind);
    const uint8_t *const at = following + pass * bytes;
    if (at < end)
        for (size_t k = 0; k < bytes; k += CACHE_LINE) __builtin_prefetch(at + k, 0, 3);
#else
    (void)following, (void)pass, (void)kind, (void)end;
#endif
}

/* out[r] = row r . w for `rows` (constant) rows; w is padded to a multiple of 16 with zeros. */
static ALWAYS_INLINE void product_rows(const uint8_t *restrict x, const double *restrict w, size_t d, double step,
                                       double *restrict out, size_t rows, const uint8_t *end, int kind) {
    const size_t row_bytes = d * x_item_size(kind), vectors = d / (2 * VD_LANES) * 2;
    vd even[PRODUCT_ROWS], odd[PRODUCT_ROWS];
    for (size_t r = 0; r < rows; r++) even[r] = odd[r] = vd_set(0.0);
    for (size_t k = 0; k < vectors; k += 2) {
        prefetch_line(x + rows * row_bytes, k / 2, kind, end);
        const vd w0 = vd_load_f64(w + k * VD_LANES), w1 = vd_load_f64(w + (k + 1) * VD_LANES);
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *at = x + r * row_bytes + k * VD_LANES * x_item_size(kind);
            even[r] = vd_add(even[r], vd_mul(vd_load(at, kind), w0));
            odd[r] = vd_add(odd[r], vd_mul(vd_load(at + VD_LANES * x_item_size(kind), kind), w1));
        }
    }
    for (size_t k = vectors; k * VD_LANES < d; k++)
        for (size_t r = 0; r < rows; r++) {
            const vd v = vd_mul(product_load(x + r * row_bytes, k, d, end, kind), vd_load_f64(w + k * VD_LANES));
            if (k & 1)
                odd[r] = vd_add(odd[r], v);
            else
                even[r] = vd_add(even[r], v);
        }
    for (size_t r = 0; r < rows; r++) out[r] = vd_sum(vd_add(even[r], odd[r])) * step;
}

static ALWAYS_INLINE int product_run(const data_matrix *x, const double *w, double *out, int kind) {
    const size_t d = x->d, padded = (d + 15) / 16 * 16, row_bytes = d * x_item_size(kind);
    const uint8_t *row = (const uint8_t *)x->data, *const end = row + x->n * row_bytes;
    double *const w_padded = calloc(padded ? padded : 1, sizeof(double));
    if (!w_padded) return EPOCH_NO_MEMORY;
    memcpy(w_padded, w, d * sizeof(double));
    size_t i = 0;
    for (; i + PRODUCT_ROWS <= x->n; i += PRODUCT_ROWS, row += PRODUCT_ROWS * row_bytes)
        product_rows(row, w_padded, d, x->step, out + i, PRODUCT_ROWS, end, kind);
    for (; i < x->n; i++, row += row_bytes) product_rows(row, w_padded, d, x->step, out + i, 1, end, kind);
    free(w_padded);
    return EPOCH_OK;
}

/* total += sum of p[r] * row r; total is padded to a multiple of 8. */
static ALWAYS_INLINE void sum_rows(const uint8_t *restrict x, const double *restrict p, size_t d,
                                   double *restrict total, size_t rows, const uint8_t *end, int kind) {
    const size_t item = x_item_size(kind), row_bytes = d * item, whole = d / VD_LANES;
    const uint8_t *const following = x + rows * row_bytes;
    for (size_t k = 0; k < whole; k++) {
        prefetch_line(following, k, kind, end);
        vd sum = vd_mul(vd_set(p[0]), vd_load(x + k * VD_LANES * item, kind));
        for (size_t r = 1; r < rows; r++)
            sum = vd_add(sum, vd_mul(vd_set(p[r]), vd_load(x + r * row_bytes + k * VD_LANES * item, kind)));
        vd_store(total + k * VD_LANES, vd_add(vd_load_f64(total + k * VD_LANES), sum));
    }
    if (whole * VD_LANES < d) {
        vd sum = vd_mul(vd_set(p[0]), load_tail_f64(x, whole * VD_LANES, d, end, kind));
        for (size_t r = 1; r < rows; r++) {
            const vd tail = load_tail_f64(x + r * row_bytes, whole * VD_LANES, d, end, kind);
            sum = vd_add(sum, vd_mul(vd_set(p[r]), tail));
        }
        vd_store(total + whole * VD_LANES, vd_add(vd_load_f64(total + whole * VD_LANES), sum));
    }
}

static ALWAYS_INLINE int sum_run(const data_matrix *x, const double *p, double *out, int kind) {
    const size_t d = x->d, padded = (d + 7) / 8 * 8, row_bytes = d * x_item_size(kind);
    const uint8_t *row = (const uint8_t *)x->data, *const end = row + x->n * row_bytes;
    double *const total = calloc(padded ? padded : 1, sizeof(double));
    if (!total) return EPOCH_NO_MEMORY;
    size_t i = 0;
    for (; i + SUM_ROWS <= x->n; i += SUM_ROWS, row += SUM_ROWS * row_bytes)
        sum_rows(row, p + i, d, total, SUM_ROWS, end, kind);
    if (i < x->n) sum_rows(row, p + i, d, total, x->n - i, end, kind);
    for (size_t j = 0; j < d; j++) out[j] = total[j] * x->step;
    free(total);
    return EPOCH_OK;
}

#define BY_KIND(run)                                          \
    switch (x->kind) {                                        \
        case X_INT8: return run(x, vector, out, X_INT8);      \
        case X_UINT8: return run(x, vector, out, X_UINT8);    \
        case X_FLOAT32: return run(x, vector, out, X_FLOAT32);\
        default: return run(x, vector, out, X_FLOAT64);       \
    }

static int row_products(const data_matrix *x, const double *vector, double *out) { BY_KIND(product_run) }

static int weighted_row_sum(const data_matrix *x, const double *vector, double *out) { BY_KIND(sum_run) }

#undef BY_KIND

#endif /* LPNUM_PRODUCTS_H */
