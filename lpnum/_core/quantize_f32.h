/* float32 -> 8-bit codes at memory speed, with the same bits as the float64 path.
 *
 * The defined result is round((x - offset) / step) in float64. Here t = (x - offset) * (1 / step) is formed in float32,
 * which can differ from it by at most `slack`; only where the rounding decision lies closer than that (about one value
 * in ten thousand) is the element computed again the slow way. NaN fails the same comparison, so it costs nothing.
 */
enum { QUANTIZE_BLOCK = 512 };

typedef struct {
    float inverse, offset, lo, hi;
    float slack; /* bound of |t - y|; 0 where t is exact */
} f32_plan;

#if LPNUM_X86 && LPNUM_LEVEL > 0

/* |t - y| in float32: 2^-24 relative for each of 1/step, the subtraction and the product, and of the offset itself.
 * Values beyond the range are clamped by both computations, so |y| <= 256 bounds what matters. */
static f32_plan f32_plan_of(double step, double offset, int lo, int hi) {
    f32_plan plan = {(float)(1.0 / step), (float)offset, (float)lo, (float)hi, 0};
    int exponent;
    const int exact = offset == 0 && fabs(frexp(step, &exponent)) == 0.5;
    if (!exact) plan.slack = (float)(0x1p-24 * (4.0 * 257.0 + 2.0 * fabs(offset / step)));
    return plan;
}

#endif

/* May this row take the fast path? Then plan (OUT) is set. */
static int quantize_f32_applies(const lpnum_row *in, const lpnum_row *out, const lpnum_policy *p, f32_plan *plan) {
#if LPNUM_X86 && LPNUM_LEVEL > 0
    if (in->is_code || in->dtype != LPNUM_F32 || in->codes.stride != sizeof(float)) return 0;
    if (!out->is_code || out->format->is_float || (out->dtype != LPNUM_I8 && out->dtype != LPNUM_U8) || out->codes.stride != 1) return 0;
    if (out->step.stride != 0 || out->offset.stride != 0) return 0;
    if (p->overflow != LPNUM_CLAMP || p->count || p->dry_run) return 0;
    if (p->rounding != LPNUM_NEAREST_EVEN && !(p->rounding == LPNUM_STOCHASTIC && p->random_bits <= 16)) return 0;
    const double step = *(const double *)out->step.data, offset = *(const double *)out->offset.data;
    if (!(fabs(step) > 0x1p-60 && fabs(step) < 0x1p60)) return 0;
    *plan = f32_plan_of(step, offset, out->format->code_min, out->format->code_max);
    return plan->slack < 0x1p-8f;
#else
    (void)in, (void)out, (void)p, (void)plan;
    return 0;
#endif
}

#if LPNUM_X86 && LPNUM_LEVEL > 0

/* One element by definition; used where the float32 decision was too close to call, and for NaN. */
static void quantize_f32_exact(const lpnum_row *out, const float *x, uint8_t *code, double threshold, uint64_t index,
                               const lpnum_policy *p, lpnum_events *e) {
    const double step = *(const double *)out->step.data, offset = *(const double *)out->offset.data;
    const double y = ((double)*x - offset) / step;
    lpnum_events ignored = {0};
    *code = (uint8_t)(int)code_counted(y, threshold, p->rounding, out, index, p, y != y ? e : &ignored);
}

/* The vector kernels return the number of elements done (a multiple of the vector width) and collect the positions of
 * undecided ones in `again`. */
static inline size_t note_undecided(uint16_t *again, size_t n_again, size_t position, unsigned mask) {
    for (; mask; mask &= mask - 1) again[n_again++] = (uint16_t)(position + (size_t)__builtin_ctz(mask));
    return n_again;
}

#if LPNUM_LEVEL == 2

static inline __m512 f32_code_units(const float *x, const f32_plan *plan) {
    const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x), _mm512_set1_ps(plan->offset));
    const __m512 t = _mm512_mul_ps(shifted, _mm512_set1_ps(plan->inverse));
    /* min and max return their second operand when one is NaN: NaN goes through */
    return _mm512_min_ps(_mm512_set1_ps(plan->hi), _mm512_max_ps(_mm512_set1_ps(plan->lo), t));
}

static size_t nearest_block(const float *restrict x, uint8_t *restrict q, size_t n, const f32_plan *plan,
                            uint16_t *restrict again, size_t *n_again) {
    const __m512 decided = _mm512_set1_ps(0.5f - plan->slack);
    size_t i = 0, count = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i r[4];
        unsigned masks[4], any = 0;
        for (int k = 0; k < 4; k++) {
            const __m512 t = f32_code_units(x + i + 16 * (size_t)k, plan);
            r[k] = _mm512_cvtps_epi32(t);
            const __m512 distance = _mm512_abs_ps(_mm512_sub_ps(t, _mm512_cvtepi32_ps(r[k])));
            masks[k] = _mm512_cmp_ps_mask(distance, decided, _CMP_NLE_UQ);
            any |= masks[k];
        }
        for (int k = 0; k < 4; k++) _mm_storeu_si128((__m128i *)(q + i + 16 * k), _mm512_cvtepi32_epi8(r[k]));
        if (__builtin_expect(any != 0, 0))
            for (int k = 0; k < 4; k++) count = note_undecided(again, count, i + 16 * (size_t)k, masks[k]);
    }
    *n_again = count;
    return i;
}

static size_t stochastic_block(const float *restrict x, uint8_t *restrict q, size_t n, const f32_plan *plan,
                               const uint16_t *restrict words, int random_bits, uint16_t *restrict again,
                               size_t *n_again) {
    const __m512 undecided = _mm512_set1_ps(plan->slack + 0x1p-15f); /* + rounding of t + u */
    const float unit = 1.0f / (float)(1 << random_bits);
    size_t i = 0, count = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 t = f32_code_units(x + i, plan);
        const __m512i w = _mm512_srli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(words + i))),
                                            (unsigned)(16 - random_bits));
        const __m512 u = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepi32_ps(w), _mm512_set1_ps(0.5f)), _mm512_set1_ps(unit));
        const __m512 s = _mm512_add_ps(t, u);
        const __m512 f = _mm512_roundscale_ps(s, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        /* undecided: s closer than slack to an integer, i.e. fraction < slack or fraction > 1 - slack */
        const __m512 centred = _mm512_abs_ps(_mm512_sub_ps(_mm512_sub_ps(s, f), _mm512_set1_ps(0.5f)));
        const unsigned mask = _mm512_cmp_ps_mask(centred, _mm512_sub_ps(_mm512_set1_ps(0.5f), undecided), _CMP_NLE_UQ);
        _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(f)));
        if (__builtin_expect(mask != 0, 0)) count = note_undecided(again, count, i, mask);
    }
    *n_again = count;
    return i;
}

#else /* AVX2 */

static inline __m256 f32_code_units(const float *x, const f32_plan *plan) {
    const __m256 shifted = _mm256_sub_ps(_mm256_loadu_ps(x), _mm256_set1_ps(plan->offset));
    const __m256 t = _mm256_mul_ps(shifted, _mm256_set1_ps(plan->inverse));
    return _mm256_min_ps(_mm256_set1_ps(plan->hi), _mm256_max_ps(_mm256_set1_ps(plan->lo), t));
}

static inline __m256 f32_abs(__m256 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

/* 4 x 8 integers within -128..255 -> 32 bytes in order (the low byte of each). */
static inline __m256i pack_bytes(const __m256i r[4]) {
    const __m256i low = _mm256_set1_epi32(0xFF);
    const __m256i a = _mm256_packus_epi32(_mm256_and_si256(r[0], low), _mm256_and_si256(r[1], low));
    const __m256i b = _mm256_packus_epi32(_mm256_and_si256(r[2], low), _mm256_and_si256(r[3], low));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Codes i .. i+31, and note of those where the comparison `far` says that the decision was too close. */
static inline size_t store_32(uint8_t *q, size_t i, const __m256i r[4], const __m256 far[4], uint16_t *again, size_t n_again) {
    _mm256_storeu_si256((__m256i *)(q + i), pack_bytes(r));
    const __m256 any = _mm256_or_ps(_mm256_or_ps(far[0], far[1]), _mm256_or_ps(far[2], far[3]));
    if (__builtin_expect(_mm256_movemask_ps(any) != 0, 0))
        for (int k = 0; k < 4; k++)
            n_again = note_undecided(again, n_again, i + 8 * (size_t)k, (unsigned)_mm256_movemask_ps(far[k]));
    return n_again;
}

static size_t nearest_block(const float *restrict x, uint8_t *restrict q, size_t n, const f32_plan *plan,
                            uint16_t *restrict again, size_t *n_again) {
    const __m256 decided = _mm256_set1_ps(0.5f - plan->slack);
    size_t i = 0, count = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i r[4];
        __m256 far[4];
        for (int k = 0; k < 4; k++) {
            const __m256 t = f32_code_units(x + i + 8 * (size_t)k, plan);
            r[k] = _mm256_cvtps_epi32(t);
            far[k] = _mm256_cmp_ps(f32_abs(_mm256_sub_ps(t, _mm256_cvtepi32_ps(r[k]))), decided, _CMP_NLE_UQ);
        }
        count = store_32(q, i, r, far, again, count);
    }
    *n_again = count;
    return i;
}

static size_t stochastic_block(const float *restrict x, uint8_t *restrict q, size_t n, const f32_plan *plan,
                               const uint16_t *restrict words, int random_bits, uint16_t *restrict again,
                               size_t *n_again) {
    const __m256 half = _mm256_set1_ps(0.5f), decided = _mm256_set1_ps(0.5f - (plan->slack + 0x1p-15f));
    const __m256 unit = _mm256_set1_ps(1.0f / (float)(1 << random_bits));
    const __m128i shift = _mm_cvtsi32_si128(16 - random_bits);
    size_t i = 0, count = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i r[4];
        __m256 far[4];
        for (int k = 0; k < 4; k++) {
            const size_t j = i + 8 * (size_t)k;
            const __m256 t = f32_code_units(x + j, plan);
            const __m256i w =
                _mm256_srl_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(words + j))), shift);
            const __m256 s = _mm256_add_ps(t, _mm256_mul_ps(_mm256_add_ps(_mm256_cvtepi32_ps(w), half), unit));
            const __m256 f = _mm256_floor_ps(s);
            far[k] = _mm256_cmp_ps(f32_abs(_mm256_sub_ps(_mm256_sub_ps(s, f), half)), decided, _CMP_NLE_UQ);
            r[k] = _mm256_cvtps_epi32(f);
        }
        count = store_32(q, i, r, far, again, count);
    }
    *n_again = count;
    return i;
}

#endif

/* Elements first .. first + n - 1 of the row, n <= QUANTIZE_BLOCK. */
static void quantize_f32_block(const lpnum_row *in, const lpnum_row *out, const f32_plan *plan, size_t first, size_t n,
                               uint64_t index, const lpnum_policy *p, lpnum_events *e) {
    const float *x = (const float *)in->codes.data + first;
    uint8_t *q = (uint8_t *)out->codes.data + first;
    uint16_t again[QUANTIZE_BLOCK];
    uint16_t words[QUANTIZE_BLOCK + 16];
    size_t n_again, done;
    const int stochastic = p->rounding == LPNUM_STOCHASTIC;
    const uint16_t *w = words;
    if (stochastic) {
        const size_t skip = (size_t)(index % 8);
        ars_fill((uint8_t *)words, (ars_key){p->seed, p->stream}, index / 8, (skip + n + 7) / 8);
        w = words + skip;
        done = stochastic_block(x, q, n, plan, w, p->random_bits, again, &n_again);
    } else {
        done = nearest_block(x, q, n, plan, again, &n_again);
    }
    for (size_t k = 0; k < n_again + (n - done); k++) {
        const size_t i = k < n_again ? again[k] : done + (k - n_again);
        const double threshold = stochastic ? stochastic_threshold(w[i], 16, p->random_bits) : 0.0;
        quantize_f32_exact(out, x + i, q + i, threshold, index + i, p, e);
    }
}

#else

static void quantize_f32_block(const lpnum_row *in, const lpnum_row *out, const f32_plan *plan, size_t first, size_t n,
                               uint64_t index, const lpnum_policy *p, lpnum_events *e) {
    (void)in, (void)out, (void)plan, (void)first, (void)n, (void)index, (void)p, (void)e;
}

#endif
