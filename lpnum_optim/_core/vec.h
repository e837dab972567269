/* The few vector operations of the floating-point kernels: vf = 16 float32, vd = 8 float64, at every SIMD level.
 * keep(a, count) clears the lanes from count (1 .. lanes) on.
 *
 * The width is the same everywhere, so lane sums, and with them the results, have the same bits at every level. */
#ifndef LPNUM_VEC_H
#define LPNUM_VEC_H

#include <stdint.h>
#include <string.h>

enum { VF_LANES = 16, VD_LANES = 8 };

#if LPNUM_X86 && LPNUM_LEVEL == 2

typedef __m512 vf;
typedef __m512d vd;
static inline vf vf_set(float a) { return _mm512_set1_ps(a); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf vf_load_f32(const float *p) { return _mm512_loadu_ps(p); }
static inline vf vf_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf vf_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf vf_load_f64(const double *p) {
    const __m256 a = _mm512_cvtpd_ps(_mm512_loadu_pd(p)), b = _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8));
    return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}
static inline vf vf_keep(vf a, size_t count) { return _mm512_maskz_mov_ps((__mmask16)((1u << count) - 1), a); }
static inline vd vd_set(double a) { return _mm512_set1_pd(a); }
static inline vd vd_keep(vd a, size_t count) { return _mm512_maskz_mov_pd((__mmask8)((1u << count) - 1), a); }
static inline vd vd_add(vd a, vd b) { return _mm512_add_pd(a, b); }
static inline vd vd_sub(vd a, vd b) { return _mm512_sub_pd(a, b); }
static inline vd vd_mul(vd a, vd b) { return _mm512_mul_pd(a, b); }
static inline void vd_store(double *p, vd a) { _mm512_storeu_pd(p, a); }
static inline vd vd_load_f64(const double *p) { return _mm512_loadu_pd(p); }
static inline vd vd_load_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
static inline vd vd_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vd vd_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vd vd_load_i16(const int16_t *p) {
    return _mm512_cvtepi32_pd(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)));
}

#elif LPNUM_X86 && LPNUM_LEVEL == 1

typedef struct {
    __m256 a, b;
} vf;
typedef struct {
    __m256d a, b;
} vd;
#define VEC2(type, f) ((type){f(x.a, y.a), f(x.b, y.b)})
static inline vf vf_set(float a) { return (vf){_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
static inline vf vf_add(vf x, vf y) { return VEC2(vf, _mm256_add_ps); }
static inline vf vf_sub(vf x, vf y) { return VEC2(vf, _mm256_sub_ps); }
static inline vf vf_mul(vf x, vf y) { return VEC2(vf, _mm256_mul_ps); }
static inline void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
static inline vf vf_load_f32(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline __m128i vec_load8(const void *p) { return _mm_loadl_epi64((const __m128i *)p); }
static inline vf vf_load_i8(const int8_t *p) {
    return (vf){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(vec_load8(p))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(vec_load8(p + 8)))};
}
static inline vf vf_load_u8(const uint8_t *p) {
    return (vf){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(vec_load8(p))),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(vec_load8(p + 8)))};
}
static inline __m256 vec_narrow(const double *p) {
    return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p)));
}
static inline vf vf_load_f64(const double *p) { return (vf){vec_narrow(p), vec_narrow(p + 8)}; }
static inline vd vd_set(double a) { return (vd){_mm256_set1_pd(a), _mm256_set1_pd(a)}; }
static inline vd vd_add(vd x, vd y) { return VEC2(vd, _mm256_add_pd); }
static inline vd vd_sub(vd x, vd y) { return VEC2(vd, _mm256_sub_pd); }
static inline vd vd_mul(vd x, vd y) { return VEC2(vd, _mm256_mul_pd); }
#undef VEC2
static const int32_t vec_keep[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
static inline __m256 vec_mask(const int32_t *p) { return _mm256_loadu_ps((const float *)p); }
static inline vf vf_keep(vf x, size_t count) {
    const int32_t *mask = vec_keep + 16 - count;
    return (vf){_mm256_and_ps(x.a, vec_mask(mask)), _mm256_and_ps(x.b, vec_mask(mask + 8))};
}
static inline vd vd_keep(vd x, size_t count) {
    const int32_t *mask = vec_keep + 16 - 2 * count;
    return (vd){_mm256_and_pd(x.a, _mm256_castps_pd(vec_mask(mask))),
                _mm256_and_pd(x.b, _mm256_castps_pd(vec_mask(mask + 8)))};
}
static inline void vd_store(double *p, vd x) { _mm256_storeu_pd(p, x.a), _mm256_storeu_pd(p + 4, x.b); }
static inline vd vd_load_f64(const double *p) { return (vd){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
static inline vd vd_load_f32(const float *p) {
    return (vd){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
static inline __m256d vec_widen(__m128i four) { return _mm256_cvtepi32_pd(four); }
static inline vd vd_load_i8(const int8_t *p) {
    const __m128i v = vec_load8(p);
    return (vd){vec_widen(_mm_cvtepi8_epi32(v)), vec_widen(_mm_cvtepi8_epi32(_mm_srli_si128(v, 4)))};
}
static inline vd vd_load_u8(const uint8_t *p) {
    const __m128i v = vec_load8(p);
    return (vd){vec_widen(_mm_cvtepu8_epi32(v)), vec_widen(_mm_cvtepu8_epi32(_mm_srli_si128(v, 4)))};
}
static inline vd vd_load_i16(const int16_t *p) {
    const __m128i v = _mm_loadu_si128((const __m128i *)p);
    return (vd){vec_widen(_mm_cvtepi16_epi32(v)), vec_widen(_mm_cvtepi16_epi32(_mm_srli_si128(v, 8)))};
}

#else

typedef struct {
    float v[16];
} vf;
typedef struct {
    double v[8];
} vd;
#define VEC_OP(type, name, lanes, expression)   \
    static inline type name(type x, type y) {   \
        type r;                                 \
        for (int l = 0; l < lanes; l++) r.v[l] = x.v[l] expression y.v[l]; \
        return r;                               \
    }
#define VEC_LOAD(type, name, lanes, real, source)               \
    static inline type name(const source *p) {                  \
        type r;                                                 \
        for (int l = 0; l < lanes; l++) r.v[l] = (real)p[l];    \
        return r;                                               \
    }
#define VEC_TYPE(type, lanes, real)                                                        \
    VEC_OP(type, type##_add, lanes, +)                                                     \
    VEC_OP(type, type##_sub, lanes, -)                                                     \
    VEC_OP(type, type##_mul, lanes, *)                                                     \
    VEC_LOAD(type, type##_load_f32, lanes, real, float)                                    \
    VEC_LOAD(type, type##_load_f64, lanes, real, double)                                   \
    VEC_LOAD(type, type##_load_i8, lanes, real, int8_t)                                    \
    VEC_LOAD(type, type##_load_u8, lanes, real, uint8_t)                                   \
    static inline void type##_store(real *p, type x) { memcpy(p, x.v, sizeof(x.v)); }      \
    static inline type type##_keep(type x, size_t count) {                                 \
        for (size_t l = count; l < lanes; l++) x.v[l] = 0;                                 \
        return x;                                                                          \
    }                                                                                      \
    static inline type type##_set(real a) {                                                \
        type r;                                                                            \
        for (int l = 0; l < lanes; l++) r.v[l] = a;                                        \
        return r;                                                                          \
    }
VEC_TYPE(vf, 16, float)
VEC_TYPE(vd, 8, double)
VEC_LOAD(vd, vd_load_i16, 8, double, int16_t)
#undef VEC_TYPE
#undef VEC_LOAD
#undef VEC_OP

#endif

/* Lane l plus lane l + half, halving until one is left. */
#if LPNUM_X86 && LPNUM_LEVEL > 0
static inline float vec_sum128(__m128 a) {
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
static inline double vec_sum256(__m256d a) {
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}
static inline float vf_sum(vf a) {
#if LPNUM_LEVEL == 2
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
#else
    const __m256 half = _mm256_add_ps(a.a, a.b);
#endif
    return vec_sum128(_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
static inline double vd_sum(vd a) {
#if LPNUM_LEVEL == 2
    return vec_sum256(_mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1)));
#else
    return vec_sum256(_mm256_add_pd(a.a, a.b));
#endif
}
#else
static inline float vf_sum(vf a) {
    for (int half = VF_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) a.v[l] += a.v[l + half];
    return a.v[0];
}
static inline double vd_sum(vd a) {
    for (int half = VD_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) a.v[l] += a.v[l + half];
    return a.v[0];
}
#endif

static inline size_t x_item_size(int kind) { return kind == X_FLOAT64 ? 8 : kind == X_FLOAT32 ? 4 : kind == X_INT16 ? 2 : 1; }

/* kind is a constant at every call, so the switch costs nothing. */
static inline vf vf_load(const void *p, int kind) {
    switch (kind) {
        case X_INT8: return vf_load_i8((const int8_t *)p);
        case X_UINT8: return vf_load_u8((const uint8_t *)p);
        case X_FLOAT32: return vf_load_f32((const float *)p);
        default: return vf_load_f64((const double *)p);
    }
}

static inline vd vd_load(const void *p, int kind) {
    switch (kind) {
        case X_INT8: return vd_load_i8((const int8_t *)p);
        case X_UINT8: return vd_load_u8((const uint8_t *)p);
        case X_INT16: return vd_load_i16((const int16_t *)p);
        case X_FLOAT32: return vd_load_f32((const float *)p);
        default: return vd_load_f64((const double *)p);
    }
}

#endif /* LPNUM_VEC_H */
