/* Rows of data under a general epoch: in float64, whatever they are stored in, and filled up with zeros. */
#ifndef LPNUM_GENERAL_ROWS_H
#define LPNUM_GENERAL_ROWS_H

/* dst (OUT): values first .. first + count - 1 of an array of kind x->kind. */
static void general_convert(const data_matrix *x, size_t first, size_t count, double *restrict dst) {
#define CONVERT(type)                                                 \
    do {                                                              \
        const type *restrict src = (const type *)x->data + first;     \
        for (size_t k = 0; k < count; k++) dst[k] = (double)src[k];   \
    } while (0)
    switch (x->kind) {
        case X_INT8: CONVERT(int8_t); break;
        case X_UINT8: CONVERT(uint8_t); break;
        case X_INT16: CONVERT(int16_t); break;
        case X_FLOAT32: CONVERT(float); break;
        default: CONVERT(double); break;
    }
#undef CONVERT
}

/* Two codes to a byte, the even one in the low half. */
static void general_unpack(const uint8_t *restrict src, size_t d, int is_signed, double *restrict dst) {
    const int flip = is_signed ? 8 : 0;
    for (size_t k = 0; k < d / 2; k++) {
        dst[2 * k] = (double)(((src[k] & 15) ^ flip) - flip);
        dst[2 * k + 1] = (double)(((src[k] >> 4) ^ flip) - flip);
    }
    if (d & 1) dst[d - 1] = (double)(((src[d / 2] & 15) ^ flip) - flip);
}

static inline int general_is_packed(const data_matrix *x) { return x->kind == X_INT4 || x->kind == X_UINT4; }

/* Of a value or, packed, of two. */
static inline size_t general_item(const data_matrix *x) {
    return x->kind == X_FLOAT64 ? 8 : x->kind == X_FLOAT32 ? 4 : x->kind == X_INT16 ? 2 : 1;
}

static inline size_t general_row_bytes(const data_matrix *x) {
    return general_is_packed(x) ? (x->d + 1) / 2 : x->d * general_item(x);
}

/* Puts the values stored for row i of a sparse matrix into s->values, with zeros up to a multiple of 8; returns their
 * number. */
static size_t general_stored_values(const general_state *s, size_t i) {
    const data_matrix *x = &s->p->x;
    const size_t first = (size_t)x->row_start[i], count = (size_t)x->row_start[i + 1] - first;
    general_convert(x, first, count, s->values);
    for (size_t k = count; k % VD_LANES; k++) s->values[k] = 0.0;
    return count;
}

/* row (OUT): row i, dense; beyond d it is zero and stays so. */
static void general_dense_row(const general_state *s, size_t i, double *restrict row) {
    const data_matrix *x = &s->p->x;
    if (x->columns) {
        const size_t count = general_stored_values(s, i);
        const int32_t *const columns = x->columns + x->row_start[i];
        memset(row, 0, s->d * sizeof(double));
        for (size_t k = 0; k < count; k++) row[columns[k]] = s->values[k];
    } else if (general_is_packed(x)) {
        general_unpack((const uint8_t *)x->data + i * general_row_bytes(x), s->d, x->kind == X_INT4, row);
    } else {
        general_convert(x, i * s->d, s->d, row);
    }
}

/* sum += b * row, or = b * row for the first row of a batch. */
static void general_add_row(const general_state *s, double *restrict sum, double b, const double *restrict row,
                            int first) {
    if (first)
        for (size_t j = 0; j < s->d; j++) sum[j] = b * row[j];
    else
        for (size_t j = 0; j < s->d; j++) sum[j] = sum[j] + b * row[j];
}

/* Sum of values * y of `count` stored values; both are filled up with zeros. Element k goes to lane k mod 8. */
static inline double general_sparse_product(const double *restrict values, const double *restrict y, size_t count) {
    vd sum = vd_set(0.0);
    for (size_t k = 0; k < count; k += VD_LANES) sum = vd_add(sum, vd_mul(vd_load_f64(values + k), vd_load_f64(y + k)));
    return vd_sum(sum);
}

/* Adds b x of one row to the sum of a sparse batch; `listed` coordinates are in it. Returns how many there are then. */
static size_t general_collect(general_state *s, const int32_t *restrict columns, size_t stored, size_t listed) {
    for (size_t k = 0; k < stored; k++) {
        const int32_t j = columns[k];
        size_t at = s->slot[j]; /* anything, if j is not in the list yet */
        const int known = at < listed && s->list[at] == j;
        if (!known) s->slot[j] = (uint32_t)(at = listed), s->list[listed++] = j;
        for (size_t c = 0; c < s->outputs; c++) {
            double *const v = s->v + c * s->capacity + at;
            const double term = s->b[c] * s->values[k];
            *v = known ? *v + term : term;
        }
    }
    return listed;
}

static ALWAYS_INLINE void general_prefetch_bytes(const void *data, size_t from, size_t bytes) {
#ifdef __GNUC__
    const char *const at = (const char *)data + from;
    for (size_t k = 0; k < bytes; k += CACHE_LINE) __builtin_prefetch(at + k, 0, 3);
    if (bytes) __builtin_prefetch(at + bytes - 1, 0, 3); /* rows need not be aligned */
#else
    (void)data, (void)from, (void)bytes;
#endif
}

/* What the sample `ahead` of number u needs; where its stored values lie has to be known before: twice as early. */
static ALWAYS_INLINE void general_prefetch(const general_state *s, size_t u) {
    const epoch_problem *p = s->p;
    const data_matrix *x = &p->x;
    if (x->columns && u + 2 * s->ahead < p->samples.count)
        general_prefetch_bytes(x->row_start + sample_at(&p->samples, u + 2 * s->ahead), 0, 2 * sizeof(int64_t));
    if (u + s->ahead >= p->samples.count) return;
    const size_t i = sample_at(&p->samples, u + s->ahead), C = s->outputs;
    if (x->columns) {
        const size_t first = (size_t)x->row_start[i], count = (size_t)x->row_start[i + 1] - first;
        general_prefetch_bytes(x->data, first * general_item(x), count * general_item(x));
        general_prefetch_bytes(x->columns, first * sizeof(int32_t), count * sizeof(int32_t));
    } else {
        general_prefetch_bytes(x->data, i * general_row_bytes(x), general_row_bytes(x));
    }
    general_prefetch_bytes(p->margins + i * C, 0, C * sizeof(double));
    general_prefetch_bytes(p->anchors + i * C, 0, C * sizeof(double));
    general_prefetch_bytes(p->targets + i, 0, sizeof(double));
    if (p->weights) general_prefetch_bytes(p->weights + i, 0, sizeof(double));
}

static size_t general_ahead(const data_matrix *x) {
    const size_t stored = x->columns ? (size_t)x->row_start[x->n] / x->n : 0;
    const size_t bytes = x->columns ? stored * (general_item(x) + sizeof(int32_t)) : general_row_bytes(x);
    return prefetch_distance(bytes ? bytes : 1);
}

#endif /* LPNUM_GENERAL_ROWS_H */
