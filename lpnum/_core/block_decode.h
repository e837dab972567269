/* Values of block formats: element * scale * tensor scale, rounded once. */

/* out <- 16 values looked up by the codes 0..15 in bytes, times a scale: n elements. */
static void look_up_16(const uint8_t *restrict codes, const float *restrict table, float scale, float tensor_scale,
                       float *restrict out, size_t n) {
    size_t i = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512 values =
        _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(table), _mm512_set1_ps(scale)), _mm512_set1_ps(tensor_scale));
    for (; i + 16 <= n; i += 16) {
        const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
        _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(c, values));
    }
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    const __m256 both = _mm256_set1_ps(scale), all = _mm256_set1_ps(tensor_scale);
    const __m256 low = _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(table), both), all);
    const __m256 high = _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(table + 8), both), all);
    for (; i + 8 <= n; i += 8) {
        const __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(codes + i)));
        const __m256 chosen = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28)); /* bit 3 becomes the sign */
        _mm256_storeu_ps(out + i,
                         _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, c), _mm256_permutevar8x32_ps(high, c), chosen));
    }
#endif
    for (; i < n; i++) out[i] = table[codes[i]] * scale * tensor_scale;
}

enum { DECODE_GROUP = 4096 }; /* long: map8_f32 prepares its table at every call */

/* Values in float32 where table * scale is exact in it, so that only the product with the tensor scale rounds. */
static void dequantize_f32(const lpnum_block_format *f, const uint8_t *codes, const uint8_t *scales, size_t n_blocks,
                           float tensor_scale, float *out) {
    const size_t total = n_blocks * f->block;
    uint8_t unpacked[DECODE_GROUP];
    float table[256], unscaled[DECODE_GROUP];
    for (int c = 0; c < 256; c++) table[c] = (float)f->values[c];
    for (size_t first = 0; first < total; first += DECODE_GROUP) {
        const size_t n = total - first < DECODE_GROUP ? total - first : DECODE_GROUP;
        if (f->packed)
            unpack4(codes + first / 2, unpacked, n, 0);
        else
            map8_f32(codes + first, table, unscaled, n);
        for (size_t i = first; i < first + n;) {
            const size_t block = i / f->block, end = (block + 1) * f->block;
            const size_t m = (end < first + n ? end : first + n) - i;
            const float scale = (float)f->scale->values[scales[block]];
            if (f->packed)
                look_up_16(unpacked + (i - first), table, scale, tensor_scale, out + i, m);
            else
                scale_floats(unscaled + (i - first), scale, tensor_scale, out + i, m);
            i += m;
        }
    }
}

/* out (OUT): values of all elements in float32 or float64, rounded once. */
static void dequantize_blocks(const lpnum_block_format *f, const uint8_t *codes, const uint8_t *scales, size_t n_blocks,
                              double tensor_scale, int dtype, void *out) {
    uint8_t unpacked[BLOCK];
    if (dtype == LPNUM_F32 && f->single) {
        dequantize_f32(f, codes, scales, n_blocks, (float)tensor_scale, (float *)out);
        return;
    }
    for (size_t b = 0; b < n_blocks; b++) {
        const double scale = f->scale->values[scales[b]] * tensor_scale;
        for (size_t first = b * f->block; first < (b + 1) * f->block; first += BLOCK) {
            const size_t left = (b + 1) * f->block - first, n = left < BLOCK ? left : BLOCK;
            const uint8_t *c = codes + first;
            if (f->packed) {
                unpack4(codes + first / 2, unpacked, n, 0);
                c = unpacked;
            }
            if (dtype == LPNUM_F64)
                for (size_t i = 0; i < n; i++) ((double *)out)[first + i] = f->values[c[i]] * scale;
            else
                for (size_t i = 0; i < n; i++) ((float *)out)[first + i] = (float)(f->values[c[i]] * scale);
        }
    }
}
