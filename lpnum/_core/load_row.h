/* The load stage of an elementwise operation: a block of a row, of any dtype and stride, as float64 or float32. */
#include <string.h>

#define LOAD(type)                                                                                        \
    do {                                                                                                  \
        if (stride == (ptrdiff_t)sizeof(type)) {                                                          \
            const type *restrict p = (const type *)data;                                                  \
            for (size_t i = 0; i < n; i++) v[i] = (double)p[i];                                           \
        } else {                                                                                          \
            for (size_t i = 0; i < n; i++) v[i] = (double)*(const type *)(data + (ptrdiff_t)i * stride);  \
        }                                                                                                 \
    } while (0)

static void load_raw(double *restrict v, int dtype, const char *data, ptrdiff_t stride, size_t n) {
    switch (dtype) {
    case LPNUM_I8: LOAD(int8_t); break;
    case LPNUM_U8: LOAD(uint8_t); break;
    case LPNUM_I16: LOAD(int16_t); break;
    case LPNUM_U16: LOAD(uint16_t); break;
    case LPNUM_F32: LOAD(float); break;
    default: LOAD(double); break;
    }
}
#undef LOAD

static inline const char *at(lpnum_vector v, size_t i) { return v.data + (ptrdiff_t)i * v.stride; }
static inline double f64_at(lpnum_vector v, size_t i) { return *(const double *)at(v, i); }

/* v <- offset + step * v */
static void decode_block(double *restrict v, const lpnum_row *a, size_t first, size_t n) {
    const double step = f64_at(a->step, first), offset = f64_at(a->offset, first);
    if (a->step.stride == 0 && a->offset.stride == 0) {
        for (size_t i = 0; i < n; i++) v[i] = offset + step * v[i];
    } else if (a->step.stride == 0 && a->offset.stride == sizeof(double)) { /* a bit-centered array */
        const double *restrict offsets = (const double *)at(a->offset, first);
        for (size_t i = 0; i < n; i++) v[i] = offsets[i] + step * v[i];
    } else {
        for (size_t i = 0; i < n; i++) v[i] = f64_at(a->offset, first + i) + f64_at(a->step, first + i) * v[i];
    }
}

/* Scale 1 and offset 0 leave the value alone, and with it the sign of a zero. */
static int is_identity(const lpnum_row *a) {
    return a->step.stride == 0 && a->offset.stride == 0 && f64_at(a->step, 0) == 1 && f64_at(a->offset, 0) == 0;
}

static void load_float_codes(uint16_t *restrict codes, const lpnum_row *a, size_t first, size_t n) {
    const char *data = at(a->codes, first);
    const ptrdiff_t stride = a->codes.stride;
    if (a->dtype == LPNUM_U8) {
        for (size_t i = 0; i < n; i++) codes[i] = *(const uint8_t *)(data + (ptrdiff_t)i * stride);
    } else if (stride == sizeof(uint16_t)) {
        memcpy(codes, data, n * sizeof(uint16_t));
    } else {
        for (size_t i = 0; i < n; i++) codes[i] = *(const uint16_t *)(data + (ptrdiff_t)i * stride);
    }
}

static void load_block(double *restrict v, const lpnum_row *a, size_t first, size_t n) {
    if (a->is_code && a->format->is_float) {
        uint16_t codes[BLOCK];
        load_float_codes(codes, a, first, n);
        float_values_block(codes, v, a->format, n);
        if (is_identity(a)) return;
    } else {
        load_raw(v, a->dtype, at(a->codes, first), a->codes.stride, n);
        if (!a->is_code) return;
    }
    decode_block(v, a, first, n);
}

/* A float64 as the float32 next to it whose last bit is set if that is not exact ("round to odd"): two or more bits above
 * the last one, every rounding decides as it does on the float64. */
static inline float round_to_odd(double x) {
    float nearest = (float)x;
    const double back = nearest;
    uint32_t bits;
    memcpy(&bits, &nearest, 4);
    bits -= fabs(back) > fabs(x);
    bits |= back != x;
    memcpy(&nearest, &bits, 4);
    return nearest;
}

/* Values first .. first + n - 1 of the row as float32, in place or in `buffer`. */
static const float *load_f32_block(float *restrict buffer, const lpnum_row *a, size_t first, size_t n) {
    const char *data = at(a->codes, first);
    const ptrdiff_t stride = a->codes.stride;
    if (a->is_code) {
        uint16_t codes[BLOCK];
        load_float_codes(codes, a, first, n);
        float_values_f32(codes, buffer, n, a->format);
    } else if (a->dtype == LPNUM_F64) {
        if (stride == sizeof(double)) {
            const double *restrict x = (const double *)data;
            for (size_t i = 0; i < n; i++) buffer[i] = round_to_odd(x[i]);
        } else {
            for (size_t i = 0; i < n; i++) buffer[i] = round_to_odd(*(const double *)(data + (ptrdiff_t)i * stride));
        }
    } else if (stride == sizeof(float)) {
        return (const float *)data;
    } else {
        for (size_t i = 0; i < n; i++) buffer[i] = *(const float *)(data + (ptrdiff_t)i * stride);
    }
    return buffer;
}
