/* One tile of a product: blocks along the contracted axis, packing, register tiles, and the result's scale. */

static inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Parts of the workspace; each begins at a multiple of 64 bytes. */
typedef struct {
    uint32_t *a, *b;     /* packed blocks */
    void *sums;          /* int32, or float64 in a product of floats or with blocks: [m rounded up][ldc] */
    double *totals;      /* float64 [m][n], where the contracted axis is longer than GEMM_EXACT */
    int32_t *row_bias, *column_bias;
    double *scales_a, *scales_b; /* of the packed blocks, see gemm_blocks.h */
    size_t ldc, bytes;
} gemm_parts;

static inline int has_wide_sums(const lpnum_product *p) { return p->a.values != NULL || p->block; }

static gemm_parts gemm_layout(const lpnum_product *p, char *workspace) {
    gemm_parts parts;
    const int wide = has_wide_sums(p), long_k = !wide && p->k > GEMM_EXACT;
    const size_t m = round_up(p->m, GEMM_MR), blocks = p->block ? 4 * GEMM_DEPTH / p->block : 0;
    parts.ldc = round_up(p->n, GEMM_LANES);
    const size_t sizes[8] = {sizeof(uint32_t) * (GEMM_DEPTH * (GEMM_ROWS < m ? GEMM_ROWS : m) + 8), /* see transpose_8() */
                             sizeof(uint32_t) * (GEMM_DEPTH * parts.ldc + 8),
                             (wide ? sizeof(double) : sizeof(int32_t)) * m * parts.ldc,
                             long_k ? sizeof(double) * p->m * p->n : 0,
                             sizeof(int32_t) * m,
                             sizeof(int32_t) * parts.ldc,
                             sizeof(double) * blocks * m,
                             sizeof(double) * blocks * parts.ldc};
    char *at[8];
    size_t used = 0;
    for (int i = 0; i < 8; i++) {
        at[i] = workspace + used;
        used += round_up(sizes[i], 64);
    }
    parts.a = (uint32_t *)at[0], parts.b = (uint32_t *)at[1], parts.sums = at[2], parts.totals = (double *)at[3];
    parts.row_bias = (int32_t *)at[4], parts.column_bias = (int32_t *)at[5];
    parts.scales_a = (double *)at[6], parts.scales_b = (double *)at[7];
    parts.bytes = used;
    return parts;
}

static size_t gemm_workspace(const lpnum_product *p) { return gemm_layout(p, NULL).bytes + 64; }

#if GEMM_BYTES
/* Packed are a' = a - alpha (s8) and b' = b + beta (u8), so that
 *   sum a b = sum a' b' - beta sum a' + alpha sum b:   one number for each row and one for each column, modulo 2^32. */
static void add_row_bias(const uint32_t *panels, size_t rows, size_t words, int32_t *bias) {
    const __m256i ones = _mm256_set1_epi8(1);
    for (size_t r = 0; r < rows; r += GEMM_MR) {
        __m256i sums = _mm256_setzero_si256();
        for (size_t g = 0; g < words; g++) /* of a panel of fewer rows than 8, the excess is dropped */
            sums = DPBUSD_256(sums, ones, _mm256_loadu_si256((const __m256i *)(panels + (r * words) + g * GEMM_MR)));
        uint32_t lane[8];
        _mm256_storeu_si256((__m256i *)lane, _mm256_slli_epi32(sums, 7));
        for (size_t i = 0; i < GEMM_MR; i++) bias[r + i] = (int32_t)((uint32_t)bias[r + i] - lane[i]);
    }
}

/* alpha sum b = alpha (sum b' - beta depth), over `depth` words filled up with b' = 0: sums of b' are of true elements. */
static void add_column_bias(const uint32_t *panels, size_t columns, size_t words, size_t depth, int beta, int32_t *bias) {
    const uint32_t ones[GEMM_LANES] = {[0 ... GEMM_LANES - 1] = 0x01010101u};
    const uint32_t less = (uint32_t)depth * (uint32_t)beta;
    for (size_t c = 0; c < columns; c += GEMM_LANES) {
        const size_t panel = c / GEMM_NR * GEMM_NR;
        const size_t width = columns - panel < GEMM_NR ? columns - panel : GEMM_NR;
        const gemm_int one = INT_LOAD(ones);
        gemm_int sums = INT_ZERO();
        for (size_t g = 0; g < words; g++)
            sums = INT_MULTIPLY_ADD(sums, one, INT_LOAD(panels + panel * words + g * width + (c - panel)));
        uint32_t lane[GEMM_LANES];
        INT_STORE(lane, sums);
        for (size_t i = 0; i < GEMM_LANES; i++) bias[c + i] = (int32_t)((uint32_t)bias[c + i] + ((lane[i] - less) << 7));
    }
}
#endif

/* sums over k in [begin, end): int32 modulo 2^32, or float64 */
static void gemm_sums(const lpnum_product *p, const gemm_parts *parts, const pack_plan *plan_a, const pack_plan *plan_b,
                      size_t begin, size_t end) {
    const size_t group = (size_t)pack_group(plan_a), block = GEMM_DEPTH * group;
    const int floats = p->a.values != NULL;
    const size_t m = round_up(p->m, GEMM_MR), per_block = p->block ? p->block / group : 0;
    memset(parts->row_bias, 0, sizeof(int32_t) * m);
    memset(parts->column_bias, 0, sizeof(int32_t) * parts->ldc);
    for (size_t k = begin; k < end; k += block) {
        const size_t depth = end - k < block ? end - k : block, words = (depth + group - 1) / group;
        const size_t rest = p->n % GEMM_NR;
        pack_block(plan_b, &p->b, 0, p->n, k, depth, parts->b, GEMM_NR, round_up(rest, GEMM_LANES));
#if GEMM_BYTES
        if (!has_wide_sums(p) && p->a.dtype == LPNUM_U8)
            add_column_bias(parts->b, parts->ldc, words, depth, p->b.dtype == LPNUM_U8 ? 0 : 128, parts->column_bias);
#endif
        const size_t blocks = p->block ? depth / p->block : 0, first_block = p->block ? k / p->block : 0;
        if (blocks) pack_scales(&p->scales_b, 0, p->n, first_block, blocks, parts->scales_b, parts->ldc);
        for (size_t i = 0; i < p->m; i += GEMM_ROWS) {
            const size_t rows = p->m - i < GEMM_ROWS ? p->m - i : GEMM_ROWS;
            pack_block(plan_a, &p->a, i, rows, k, depth, parts->a, GEMM_MR, GEMM_MR);
#if GEMM_BYTES
            if (!has_wide_sums(p) && p->b.dtype != LPNUM_U8) add_row_bias(parts->a, rows, words, parts->row_bias + i);
#endif
            const size_t padded = round_up(rows, GEMM_MR);
            if (blocks) pack_scales(&p->scales_a, i, rows, first_block, blocks, parts->scales_a, padded);
            for (size_t j = 0; j < p->n; j += GEMM_NR) {
                const size_t columns = parts->ldc - j < GEMM_NR ? parts->ldc - j : GEMM_NR;
                const int vectors = (int)(columns / GEMM_LANES), first = k == begin;
                const uint32_t *b = parts->b + j * words;
                for (size_t r = 0; r < rows; r += GEMM_MR) {
                    const int live = (int)(rows - r < GEMM_MR ? rows - r : GEMM_MR);
                    const uint32_t *a = parts->a + r * words;
                    double *wide = (double *)parts->sums + (i + r) * parts->ldc + j;
                    int32_t *narrow = (int32_t *)parts->sums + (i + r) * parts->ldc + j;
                    if (blocks) {
                        const block_scales s = {per_block, parts->scales_a + r, parts->scales_b + j, padded, parts->ldc};
                        if (floats) float_blocks_tile_any(words, a, live, b, vectors, wide, parts->ldc, first, &s);
                        else int_blocks_tile_any(words, a, live, b, vectors, wide, parts->ldc, first, &s);
                    } else if (floats) {
                        float_tile_any(words, a, live, b, vectors, wide, parts->ldc, first);
                    } else {
                        int_tile_any(words, a, live, b, vectors, narrow, parts->ldc, first);
                    }
                }
            }
        }
    }
}

static inline double factor_at(lpnum_factor f, size_t i) { return f.data[(ptrdiff_t)i * f.stride]; }

/* One row of the result from float64 sums, scaled in place where the result is of floats. */
static void scale_row(const lpnum_product *p, size_t i, double *restrict row) {
    const double step = factor_at(p->step_a, i);
    const double *restrict columns = p->step_b.data;
    if (p->step_b.stride) {
        for (size_t j = 0; j < p->n; j++) row[j] *= step * columns[j];
    } else {
        const double both = step * columns[0];
        for (size_t j = 0; j < p->n; j++) row[j] *= both;
    }
    for (int t = 0; t < p->n_terms; t++) {
        const double mine = factor_at(p->row_term[t], i);
        const double *restrict theirs = p->column_term[t].data;
        const ptrdiff_t stride = p->column_term[t].stride;
        if (stride) for (size_t j = 0; j < p->n; j++) row[j] += mine * theirs[j];
        else for (size_t j = 0; j < p->n; j++) row[j] += mine * theirs[0];
    }
}

static void store_row(const lpnum_product *p, size_t i, const double *restrict row) {
    char *out = p->out + (ptrdiff_t)i * p->out_row;
    const ptrdiff_t stride = p->out_column;
    if (p->out_dtype == LPNUM_OUT_F32) {
        float *restrict target = (float *)out;
        if (stride == sizeof(float)) for (size_t j = 0; j < p->n; j++) target[j] = (float)row[j];
        else for (size_t j = 0; j < p->n; j++) *(float *)(out + (ptrdiff_t)j * stride) = (float)row[j];
    } else if (p->out_dtype == LPNUM_OUT_F64) {
        if (stride == sizeof(double)) memcpy(out, row, sizeof(double) * p->n);
        else for (size_t j = 0; j < p->n; j++) *(double *)(out + (ptrdiff_t)j * stride) = row[j];
    } else if (p->out_dtype == LPNUM_OUT_I64) {
        for (size_t j = 0; j < p->n; j++) *(int64_t *)(out + (ptrdiff_t)j * stride) = (int64_t)row[j];
    } else {
        for (size_t j = 0; j < p->n; j++) *(int32_t *)(out + (ptrdiff_t)j * stride) = (int32_t)row[j];
    }
}

/* Sums of codes to float64, exactly: each is below 2^31, totals below 2^53. */
static void integer_row(const lpnum_product *p, const gemm_parts *parts, size_t i, double *restrict row) {
    const int32_t *restrict sums = (const int32_t *)parts->sums + i * parts->ldc, *restrict bias = parts->column_bias;
    const uint32_t mine = (uint32_t)parts->row_bias[i];
    for (size_t j = 0; j < p->n; j++) row[j] = (double)(int32_t)((uint32_t)sums[j] + mine + (uint32_t)bias[j]);
}

/* The same of one row without terms, in one pass: float64 values of the sums, times their steps. */
#define SCALED_SUMS(type)                                                                                             \
    {                                                                                                                 \
        type *restrict target = (type *)(p->out + (ptrdiff_t)i * p->out_row);                                         \
        if (p->step_b.stride)                                                                                         \
            for (size_t j = 0; j < p->n; j++)                                                                         \
                target[j] = (type)((double)(int32_t)((uint32_t)sums[j] + mine + (uint32_t)bias[j]) * (step * steps[j])); \
        else                                                                                                          \
            for (size_t j = 0; j < p->n; j++)                                                                         \
                target[j] = (type)((double)(int32_t)((uint32_t)sums[j] + mine + (uint32_t)bias[j]) * both);           \
    }
static void scaled_integer_row(const lpnum_product *p, const gemm_parts *parts, size_t i) {
    const int32_t *restrict sums = (const int32_t *)parts->sums + i * parts->ldc, *restrict bias = parts->column_bias;
    const uint32_t mine = (uint32_t)parts->row_bias[i];
    const double *restrict steps = p->step_b.data;
    const double step = factor_at(p->step_a, i), both = step * steps[0];
    if (p->out_dtype == LPNUM_OUT_F32) SCALED_SUMS(float)
    else SCALED_SUMS(double)
}
#undef SCALED_SUMS

static void gemm_store(const lpnum_product *p, const gemm_parts *parts) {
    double row[LPNUM_TILE];
    const int wide = has_wide_sums(p);
    if (!wide && p->k <= GEMM_EXACT && p->n_terms == 0 &&
        p->out_column == (p->out_dtype == LPNUM_OUT_F32 ? (ptrdiff_t)sizeof(float)
                          : p->out_dtype == LPNUM_OUT_F64 ? (ptrdiff_t)sizeof(double) : 0)) {
        for (size_t i = 0; i < p->m; i++) scaled_integer_row(p, parts, i);
        return;
    }
    for (size_t i = 0; i < p->m; i++) {
        if (wide) memcpy(row, (const double *)parts->sums + i * parts->ldc, sizeof(double) * p->n);
        else if (p->k > GEMM_EXACT) memcpy(row, parts->totals + i * p->n, sizeof(double) * p->n);
        else integer_row(p, parts, i, row);
        if (p->out_dtype == LPNUM_OUT_F32 || p->out_dtype == LPNUM_OUT_F64) scale_row(p, i, row);
        store_row(p, i, row);
    }
}

/* p->m and p->n at most LPNUM_TILE; workspace of gemm_workspace(p) bytes. */
static void gemm(const lpnum_product *p, void *workspace) {
    char *aligned = (char *)(((uintptr_t)workspace + 63) / 64 * 64);
    const gemm_parts parts = gemm_layout(p, aligned);
    const pack_plan plan_a = pack_plan_of(&p->a, 0), plan_b = pack_plan_of(&p->b, 1);
    const int split = !has_wide_sums(p) && p->k > GEMM_EXACT;
    if (p->k == 0) {
        memset(parts.sums, 0, (has_wide_sums(p) ? sizeof(double) : sizeof(int32_t)) * round_up(p->m, GEMM_MR) * parts.ldc);
        memset(parts.row_bias, 0, sizeof(int32_t) * round_up(p->m, GEMM_MR));
        memset(parts.column_bias, 0, sizeof(int32_t) * parts.ldc);
    }
    if (split) memset(parts.totals, 0, sizeof(double) * p->m * p->n);
    const size_t step = split ? GEMM_EXACT : p->k;
    for (size_t k = 0; k < p->k; k += step) {
        gemm_sums(p, &parts, &plan_a, &plan_b, k, p->k - k < step ? p->k : k + step);
        if (!split) break;
        double row[LPNUM_TILE];
        for (size_t i = 0; i < p->m; i++) {
            double *restrict total = parts.totals + i * p->n;
            integer_row(p, &parts, i, row);
            for (size_t j = 0; j < p->n; j++) total[j] += row[j];
        }
    }
    gemm_store(p, &parts);
}
