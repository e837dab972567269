/* One row of an elementwise operation, in blocks that stay in the first-level cache: load -> operate -> store. */
#include "load_row.h"

/* ---- operations: a <- a op b ------------------------------------------------------------------------------------- */

static void op_copy(double *restrict a, const double *restrict b, size_t n) { (void)a, (void)b, (void)n; }
static void op_add(double *restrict a, const double *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] += b[i];
}
static void op_subtract(double *restrict a, const double *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] -= b[i];
}
static void op_multiply(double *restrict a, const double *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] *= b[i];
}
static void op_divide(double *restrict a, const double *restrict b, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] /= b[i];
}

static void (*const OPERATIONS[LPNUM_N_OPS])(double *restrict, const double *restrict, size_t) = {
    [LPNUM_COPY] = op_copy,         [LPNUM_ADD] = op_add,       [LPNUM_SUBTRACT] = op_subtract,
    [LPNUM_MULTIPLY] = op_multiply, [LPNUM_DIVIDE] = op_divide,
};

/* ---- store stage -------------------------------------------------------------------------------------------------- */

/* Random words of elements index .. index + n - 1, as thresholds. */
static void thresholds_block(double *restrict t, const lpnum_policy *p, uint64_t index, size_t n) {
    const ars_key key = {p->seed, p->stream};
    uint8_t bytes[4 * BLOCK + 32];
    const int word_bits = p->random_bits <= 16 ? 16 : 32;
    const uint64_t per_block = 128 / (unsigned)word_bits, first = index / per_block;
    const size_t skip = (size_t)(index % per_block);
    ars_fill(bytes, key, first, (skip + n + per_block - 1) / per_block);
    const double unit = 1.0 / (double)(1ull << p->random_bits);
    const int shift = word_bits - p->random_bits;
    if (word_bits == 16) {
        uint16_t w[BLOCK];
        memcpy(w, bytes + 2 * skip, 2 * n);
        for (size_t i = 0; i < n; i++) t[i] = 1.0 - ((double)(w[i] >> shift) + 0.5) * unit;
    } else {
        uint32_t w[BLOCK];
        memcpy(w, bytes + 4 * skip, 4 * n);
        for (size_t i = 0; i < n; i++) t[i] = 1.0 - ((double)(w[i] >> shift) + 0.5) * unit;
    }
}

static void subtract_offset(double *restrict v, const lpnum_row *out, size_t first, size_t n) {
    const double offset = f64_at(out->offset, first);
    if (out->offset.stride == 0) {
        if (offset != 0)
            for (size_t i = 0; i < n; i++) v[i] -= offset;
    } else if (out->offset.stride == sizeof(double)) {
        const double *restrict offsets = (const double *)at(out->offset, first);
        for (size_t i = 0; i < n; i++) v[i] -= offsets[i];
    } else {
        for (size_t i = 0; i < n; i++) v[i] -= f64_at(out->offset, first + i);
    }
}

/* v <- v / step, v without its offset. */
static void divide_by_step(double *restrict v, const lpnum_row *out, size_t first, size_t n) {
    if (out->step.stride == 0) {
        const double step = f64_at(out->step, first);
        if (step == 1) return;
        for (size_t i = 0; i < n; i++) v[i] /= step;
    } else {
        for (size_t i = 0; i < n; i++) v[i] /= f64_at(out->step, first + i);
    }
}

/* Rounding without division: t = v * (1 / step) differs from y = v / step by at most 3 * 2^-53 |y| < slack inside the
 * range. Returns 1 with the codes in q if every decision is farther than slack from t (nearly always; ties and NaN are
 * not), else 0 and the caller divides. Near an integer stochastic rounding gives that integer from either side. */
static int round_by_reciprocal(const double *restrict v, double *restrict q, const double *restrict t, size_t n,
                               double step, const lpnum_row *out, int rounding) {
    if (!(fabs(step) > 0x1p-900 && fabs(step) < 0x1p900)) return 0;
    const double inverse = 1.0 / step, lo = out->format->code_min, hi = out->format->code_max, slack = (hi - lo + 2.0) * 0x1p-51;
    int undecided = 0;
    if (rounding == LPNUM_NEAREST_EVEN) {
        const double decided = 0.5 - slack;
        for (size_t i = 0; i < n; i++) {
            double y = v[i] * inverse;
            y = y < lo ? lo : y;
            y = y > hi ? hi : y;
            q[i] = round_even(y);
            undecided |= !(fabs(y - q[i]) <= decided);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            double y = v[i] * inverse;
            y = y < lo ? lo : y;
            y = y > hi ? hi : y;
            const double f = round_floor(y), above = (y - f) - t[i];
            q[i] = f + (above >= 0 ? 1.0 : 0.0);
            undecided |= !(fabs(above) >= slack);
        }
    }
    return !undecided;
}

/* Clamped rounding of a block without NaN. A negative step turns the direction of directed rounding around. */
static void round_block(double *restrict y, const double *restrict t, size_t n, int rounding, double lo, double hi) {
    for (size_t i = 0; i < n; i++) {
        const double a = y[i] < lo ? lo : y[i];
        y[i] = a > hi ? hi : a;
    }
    switch (rounding) {
    case LPNUM_NEAREST_AWAY:
        for (size_t i = 0; i < n; i++) y[i] = round_away(y[i]);
        break;
    case LPNUM_TOWARDS_ZERO:
        for (size_t i = 0; i < n; i++) y[i] = round_trunc(y[i]);
        break;
    case LPNUM_TOWARDS_POSITIVE:
        for (size_t i = 0; i < n; i++) y[i] = round_ceil(y[i]);
        break;
    case LPNUM_TOWARDS_NEGATIVE:
        for (size_t i = 0; i < n; i++) y[i] = round_floor(y[i]);
        break;
    case LPNUM_STOCHASTIC:
        for (size_t i = 0; i < n; i++) y[i] = round_stochastic(y[i], t[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++) y[i] = round_even(y[i]);
    }
}

#define STORE(type)                                                                                              \
    do {                                                                                                         \
        if (stride == (ptrdiff_t)sizeof(type)) {                                                                 \
            type *restrict p = (type *)data;                                                                     \
            for (size_t i = 0; i < n; i++) p[i] = (type)(int32_t)v[i];                                           \
        } else {                                                                                                 \
            for (size_t i = 0; i < n; i++) *(type *)(data + (ptrdiff_t)i * stride) = (type)(int32_t)v[i];        \
        }                                                                                                        \
    } while (0)

static void store_integers(const double *restrict v, int dtype, char *data, ptrdiff_t stride, size_t n) {
    switch (dtype) {
    case LPNUM_I8: STORE(int8_t); break;
    case LPNUM_U8: STORE(uint8_t); break;
    case LPNUM_I16: STORE(int16_t); break;
    default: STORE(uint16_t); break;
    }
}
#undef STORE

static void store_floats(const double *restrict v, int dtype, char *data, ptrdiff_t stride, size_t n) {
    if (dtype == LPNUM_F64) {
        if (stride == sizeof(double))
            memcpy(data, v, n * sizeof(double));
        else
            for (size_t i = 0; i < n; i++) *(double *)(data + (ptrdiff_t)i * stride) = v[i];
    } else {
        if (stride == sizeof(float)) {
            float *restrict p = (float *)data;
            for (size_t i = 0; i < n; i++) p[i] = (float)v[i];
        } else {
            for (size_t i = 0; i < n; i++) *(float *)(data + (ptrdiff_t)i * stride) = (float)v[i];
        }
    }
}

static int direction_on_codes(int rounding, double step) {
    if (step < 0 && rounding == LPNUM_TOWARDS_POSITIVE) return LPNUM_TOWARDS_NEGATIVE;
    if (step < 0 && rounding == LPNUM_TOWARDS_NEGATIVE) return LPNUM_TOWARDS_POSITIVE;
    return rounding;
}

static double wrap_code(double q, int lo, int hi) {
    const double span = (double)hi - (double)lo + 1.0;
    const double m = fmod(q, span);
    return m > hi ? m - span : m < lo ? m + span : m;
}

/* One value in code units, with all policies and counters; the slow, complete path. Returns the code. */
static double code_counted(double y, double threshold, int rounding, const lpnum_row *out, uint64_t index,
                           const lpnum_policy *p, lpnum_events *e) {
    if (y != y || (p->overflow == LPNUM_WRAP && isinf(y))) {
        if (e->invalid++ == 0) e->first_invalid = (int64_t)index;
        return p->has_nan_code ? (double)p->nan_code : 0.0;
    }
    double q = round_any(y, rounding, threshold);
    if (q != y) e->inexact++;
    if (q == 0 && y != 0) e->underflow++;
    if (q > out->format->code_max || q < out->format->code_min) {
        if (e->overflow++ == 0) e->first_overflow = (int64_t)index;
        if (p->overflow == LPNUM_WRAP) return wrap_code(q, out->format->code_min, out->format->code_max);
        return q > 0 ? out->format->code_max : out->format->code_min;
    }
    return q;
}

/* The value of every element in code units, one at a time: all policies, counters and special cases. */
static void codes_counted(double *restrict v, const double *restrict t, const lpnum_row *out, size_t first, size_t n,
                          uint64_t index, const lpnum_policy *p, lpnum_events *e) {
    for (size_t i = 0; i < n; i++) {
        const int rounding = direction_on_codes(p->rounding, f64_at(out->step, first + i));
        const double threshold = p->rounding == LPNUM_STOCHASTIC ? t[i] : 0.0;
        const uint64_t position = index + first + i;
        v[i] = out->format->is_float ? float_code_counted(v[i], threshold, rounding, out->format, position, p, e)
                                     : code_counted(v[i], threshold, rounding, out, position, p, e);
    }
}

/* Words of elements index .. index + n - 1 for stochastic rounding with up to 16 bits; returns their place in `words`. */
static const uint16_t *words_block(uint16_t words[BLOCK + 16], const lpnum_policy *p, uint64_t index, size_t n) {
    const size_t skip = (size_t)(index % 8);
    ars_fill((uint8_t *)words, (ars_key){p->seed, p->stream}, index / 8, (skip + n + 7) / 8);
    return words + skip;
}

/* Values in units of the step to codes of a float format by way of float32. Returns 0, with nothing lost, where that does
 * not apply. */
static int store_by_float32(const double *restrict v, const lpnum_row *out, size_t first, size_t n, uint64_t index,
                            const lpnum_policy *p, int rounding) {
    if (!out->format->is_float || !encode_f32_applies(out->format, p, 1)) return 0;
    float x[BLOCK];
    uint16_t words[BLOCK + 16];
    uint8_t codes[2 * BLOCK];
    const ptrdiff_t width = out->format->code_max > 255 ? 2 : 1, stride = out->codes.stride;
    char *data = (char *)at(out->codes, first);
    const uint16_t *w = p->rounding == LPNUM_STOCHASTIC ? words_block(words, p, index + first, n) : NULL;
    for (size_t i = 0; i < n; i++) x[i] = round_to_odd(v[i]);
    void *target = stride == width ? (void *)data : codes;
    if (!encode_f32_block(x, target, w, p->random_bits, n, out->format, rounding, p->overflow)) return 0;
    if (stride != width)
        for (size_t i = 0; i < n; i++) memcpy(data + (ptrdiff_t)i * stride, codes + (size_t)width * i, (size_t)width);
    return 1;
}

static void store_codes(double *restrict v, double *restrict q, const lpnum_row *out, size_t first, size_t n,
                        uint64_t index, const lpnum_policy *p, lpnum_events *e) {
    double t[BLOCK];
    const double *codes = v;
    const int stochastic = p->rounding == LPNUM_STOCHASTIC, is_float = out->format->is_float;
    const int plain = !p->count && p->overflow != LPNUM_ERROR && p->overflow != LPNUM_WRAP;
    const int one_way = p->rounding == LPNUM_TOWARDS_POSITIVE || p->rounding == LPNUM_TOWARDS_NEGATIVE;
    const int mixed = one_way && out->step.stride != 0; /* the sign of the step may change inside the row */
    const int rounding = direction_on_codes(p->rounding, f64_at(out->step, first));
    const int to_unit = is_float && is_identity(out);
    if (!to_unit) subtract_offset(v, out, first, n);
    if (is_float) {
        if (!to_unit) divide_by_step(v, out, first, n);
        if (!mixed && store_by_float32(v, out, first, n, index, p, rounding)) return;
    }
    if (stochastic) thresholds_block(t, p, index + first, n);
    if (!is_float && plain && out->step.stride == 0 && (stochastic || rounding == LPNUM_NEAREST_EVEN) &&
        round_by_reciprocal(v, q, t, n, f64_at(out->step, first), out, rounding)) {
        codes = q;
    } else {
        if (!is_float) divide_by_step(v, out, first, n);
        int nans = 0;
        for (size_t i = 0; i < n; i++) nans |= v[i] != v[i];
        if (plain && !mixed && is_float && float_codes_block(v, q, t, n, out->format, rounding, p->overflow))
            codes = q;
        else if (plain && !mixed && !is_float && !nans)
            round_block(v, t, n, rounding, out->format->code_min, out->format->code_max);
        else
            codes_counted(v, t, out, first, n, index, p, e);
    }
    if (!p->dry_run) store_integers(codes, out->dtype, (char *)at(out->codes, first), out->codes.stride, n);
}

/* ---- to float codes at scale 1, without float64 --------------------------------------------------------------------- */

/* May the row go through float32? */
static int encode_f32_row_applies(const lpnum_row *in, const lpnum_row *out, const lpnum_policy *p) {
    const int codes = in->is_code && in->format->is_float && f32_holds(in->format) && is_identity(in);
    if (in->is_code && !codes) return 0;
    return out->is_code && out->format->is_float && is_identity(out) &&
           out->codes.stride == (out->format->code_max > 255 ? 2 : 1) &&
           encode_f32_applies(out->format, p, !in->is_code && in->dtype == LPNUM_F64);
}

/* Returns 0, with nothing lost, if the block has to be done in float64. */
static int encode_f32_row_block(const lpnum_row *in, const lpnum_row *out, size_t first, size_t n, uint64_t index,
                                const lpnum_policy *p) {
    uint16_t words[BLOCK + 16];
    float buffer[BLOCK];
    const uint16_t *w = p->rounding == LPNUM_STOCHASTIC ? words_block(words, p, index, n) : NULL;
    return encode_f32_block(load_f32_block(buffer, in, first, n), (void *)at(out->codes, first), w, p->random_bits, n,
                            out->format, p->rounding, p->overflow);
}

/* ---- the row ------------------------------------------------------------------------------------------------------ */

static int row_status(const lpnum_policy *p, const lpnum_events *e) {
    int status = LPNUM_OK;
    if (e->invalid && !p->has_nan_code) status |= LPNUM_GOT_INVALID;
    if (e->overflow && p->overflow == LPNUM_ERROR) status |= LPNUM_GOT_OVERFLOW;
    return status;
}

/* Float codes at scale 1 to float32. */
static int decode_f32_row(const lpnum_row *in, const lpnum_row *out, size_t n) {
    if (!in->is_code || !in->format->is_float || !f32_holds(in->format) || !is_identity(in)) return 0;
    if (out->is_code || out->dtype != LPNUM_F32 || out->codes.stride != sizeof(float)) return 0;
    for (size_t first = 0; first < n; first += BLOCK) {
        const size_t m = n - first < BLOCK ? n - first : BLOCK;
        uint16_t codes[BLOCK];
        load_float_codes(codes, in, first, m);
        float_values_f32(codes, (float *)out->codes.data + first, m, in->format);
    }
    return 1;
}

/* 8-bit codes of one grid to floats: a table of the 256 values, in the storage's order of bytes. */
static int decode_by_table(const lpnum_row *in, const lpnum_row *out, size_t n) {
    if (!in->is_code || in->codes.stride != 1 || in->step.stride != 0 || in->offset.stride != 0 || n < 512) return 0;
    if (out->is_code || out->codes.stride != (ptrdiff_t)(out->dtype == LPNUM_F32 ? sizeof(float) : sizeof(double))) return 0;
    if (in->dtype != LPNUM_I8 && in->dtype != LPNUM_U8) return 0;
    uint8_t bytes[256];
    double values[256];
    float table[256];
    for (int c = 0; c < 256; c++) bytes[c] = (uint8_t)c;
    lpnum_row all = *in;
    all.codes.data = (char *)bytes;
    load_block(values, &all, 0, 256);
    const uint8_t *restrict codes = (const uint8_t *)in->codes.data;
    if (out->dtype == LPNUM_F32) {
        for (int c = 0; c < 256; c++) table[c] = (float)values[c];
        map8_f32(codes, table, (float *)out->codes.data, n);
    } else {
        double *restrict v = (double *)out->codes.data;
        for (size_t i = 0; i < n; i++) v[i] = values[codes[i]];
    }
    return 1;
}

static int elementwise_row(int op, int n_in, const lpnum_row *in, const lpnum_row *out, size_t n, uint64_t index,
                           const lpnum_policy *p, lpnum_events *e) {
    double a[BLOCK], b[BLOCK];
    if (op == LPNUM_COPY && (decode_by_table(&in[0], out, n) || decode_f32_row(&in[0], out, n))) {
        e->total += (int64_t)n;
        return LPNUM_OK;
    }
    f32_plan plan = {0};
    const int fixed_f32 = op == LPNUM_COPY && quantize_f32_applies(in, out, p, &plan);
    const int float_f32 = op == LPNUM_COPY && encode_f32_row_applies(in, out, p);
    for (size_t first = 0; first < n; first += BLOCK) {
        const size_t m = n - first < BLOCK ? n - first : BLOCK;
        if (fixed_f32) {
            quantize_f32_block(in, out, &plan, first, m, index + first, p, e);
            continue;
        }
        if (float_f32 && encode_f32_row_block(in, out, first, m, index + first, p)) continue;
        load_block(a, &in[0], first, m);
        if (n_in > 1) load_block(b, &in[1], first, m);
        OPERATIONS[op](a, b, m);
        if (out->is_code)
            store_codes(a, b, out, first, m, index, p, e);
        else
            store_floats(a, out->dtype, (char *)at(out->codes, first), out->codes.stride, m);
    }
    e->total += (int64_t)n;
    return row_status(p, e);
}
