/* What the kernels of Adam on 8-bit moments take and return; no Python, no NumPy, no SIMD level.
 *
 *     g = sign * gradient + l2 * p
 *     m = m + (g - m) * (1 - beta1)          v = beta2 * v + (1 - beta2) * g * g
 *     p = keep * p - step_size * m / (sqrt(v) / correction + epsilon)
 *
 * in float32, after which the moments are rounded to their codes; see adam.h.
 */
#ifndef LPNUM_ADAM_API_H
#define LPNUM_ADAM_API_H

#include <stddef.h>
#include <stdint.h>

enum { ADAM_BLOCK = 32 };                        /* elements that share two scales */
enum { SECOND_MANTISSA = 3, SECOND_BIAS = 31 }; /* of the codes of v, floats without sign */

typedef struct {
    float *parameter;      /* IN/OUT: n */
    const float *gradient; /* IN: n */
    int8_t *first;         /* IN/OUT: n codes of m */
    uint8_t *second;       /* IN/OUT: n codes of v */
    uint8_t *first_scales, *second_scales; /* IN/OUT: one for each block, of the last, shorter one as well */
    size_t n;
} adam_tensor;

typedef struct {
    float sign, l2, keep;
    float take1, beta2, take2; /* 1 - beta1, beta2, 1 - beta2 */
    float step_size, correction, epsilon;
    uint64_t first_block;  /* of the whole tensor, whose words are taken */
    uint64_t seed, stream; /* key of the random bits; a stream of its own for every tensor and step */
} adam_numbers;

typedef struct {
    void (*init)(void);
    void (*step)(const adam_tensor *tensor, const adam_numbers *numbers);
    float (*largest)(const float *values, size_t n); /* largest magnitude; NaN if there is one */
} adam_kernels;

extern const adam_kernels adam_kernels_baseline, adam_kernels_avx2, adam_kernels_avx512;

#endif
