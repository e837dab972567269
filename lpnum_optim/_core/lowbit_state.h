/* What an epoch on codes allocates and keeps: once, before its first step. */
#ifndef LPNUM_LOWBIT_STATE_H
#define LPNUM_LOWBIT_STATE_H

/* decay (L of lowbit_epoch.h): none; all below 2^31 in magnitude, so that 32-bit multiplications serve; any. */
enum { DECAY_NONE = 0, DECAY_NARROW = 1, DECAY_WIDE = 2 };

/* The part of a step that does not depend on the sample: D of all outputs, L of all coordinates, in their positions. */
typedef struct {
    int64_t *fixed, *decay;
    int decays;
} lowbit_constants;

typedef struct {
    void *memory;
    lowbit_constants constants;
    int32_t *in_a_row;
    double *products, *margins; /* C each */
    uint8_t *words;             /* keys of the dither of LOWBIT_WORDS steps, or of the C outputs of one */
    uint8_t *unpacked[4], *spare;
    size_t row_stride;          /* bytes of a row of the matrix */
} lowbit_memory;

/* What depends on z_step: value = dot * product of codes; fine units of a coordinate of the step = beta * slope * code. */
typedef struct {
    double dot, beta;
} lowbit_scales;

static int lowbit_variant(int kind) {
    return (kind == X_INT8 || kind == X_INT4 ? SIGNED_DATA : 0) | (kind == X_INT4 || kind == X_UINT4 ? PACKED : 0);
}

/* fixed (OUT): D of an update by `steps` steps, and zero in the padding. */
static lowbit_scales lowbit_set_scales(const epoch_problem *p, double z_step, const lowbit_constants *k,
                                       size_t steps, size_t d_padded, int data) {
    const double h_scale = (double)steps * p->step_size / z_step * 0x1p40, x_step = data & PACKED ? p->x.step / 16 : p->x.step;
    const size_t d = p->x.d;
    for (size_t c = 0; c < p->outputs; c++)
        for (size_t j = 0; j < d; j++)
            k->fixed[c * d_padded + lowbit_position(j, data)] = lowbit_fixed(p->direction[c * d + j] * h_scale, 60);
    return (lowbit_scales){x_step * z_step, p->step_size * x_step / z_step * (1 << LOWBIT_SHIFT)};
}

static ALWAYS_INLINE double lowbit_penalty(const epoch_problem *p, size_t j) { return p->shrink ? p->shrink[j] : p->l2; }

static int lowbit_refresh_steps_of(const epoch_problem *p) {
    double l2 = 0.0;
    for (size_t j = 0; j < p->x.d; j++) l2 = lowbit_penalty(p, j) > l2 ? lowbit_penalty(p, j) : l2;
    return lowbit_refresh_steps(p->step_size, l2, p->samples.count);
}

/* L of an update by `steps` steps. */
static void lowbit_set_decay(const epoch_problem *p, lowbit_constants *k, size_t steps, int data) {
    int64_t largest = 0;
    for (size_t j = 0; j < p->x.d; j++) {
        const int64_t L = lowbit_fixed((double)steps * p->step_size * lowbit_penalty(p, j) * 0x1p40, 44);
        const int64_t magnitude = L < 0 ? -L : L;
        k->decay[lowbit_position(j, data)] = L;
        largest = magnitude > largest ? magnitude : largest;
    }
    k->decays = largest == 0 ? DECAY_NONE : largest < INT32_MAX ? DECAY_NARROW : DECAY_WIDE;
}

/* The smallest shift with which h, at most (|D| + 128 |L|) / 2^32 + 1, fits 8 bits. */
static int lowbit_drift_shift(const lowbit_constants *k, size_t d_padded) {
    int64_t largest = 0;
    for (size_t j = 0; j < d_padded; j++) {
        const int64_t D = k->fixed[j], L = k->decay[j], bound = (D < 0 ? -D : D) + 128 * (L < 0 ? -L : L);
        largest = bound > largest ? bound : largest;
    }
    int shift = 0;
    while (shift < 9 && ((int64_t)127 << shift) <= (largest >> 32)) shift++;
    return shift;
}

static void *lowbit_part(uint8_t **cursor, size_t bytes) {
    void *const part = *cursor;
    *cursor += (bytes + 63) / 64 * 64;
    return part;
}

/* All parts at multiples of 64 bytes of one allocation, zero at first; memory is NULL where there is none. */
static lowbit_state lowbit_new_state(const epoch_problem *p, const lowbit_iterate *iterate, int data, size_t code_bytes,
                                     size_t fine_bytes, int takes_packed, lowbit_memory *m) {
    const size_t span = data & PACKED ? 128 : 64, d = p->x.d, d_padded = (d + span - 1) / span * span, C = p->outputs;
    const size_t steps = C < LOWBIT_WORDS ? LOWBIT_WORDS : C, total = C * d_padded;
    const size_t size = total * (sizeof(int64_t) + fine_bytes + code_bytes + sizeof(int32_t)) +
                        d_padded * (sizeof(int64_t) + 1 + 6) + (C + 4) * 2 * sizeof(double) + steps * STEP_WORDS +
                        LOWBIT_CHUNK * sizeof(int16_t) + 64 + 20 * 64;
    lowbit_state s = {.d = d, .d_padded = d_padded, .outputs = C, .data = data,
                      .code_min = iterate->code_min, .code_max = iterate->code_max};
    m->memory = calloc(size, 1);
    if (!m->memory) return s;
    uint8_t *cursor = (uint8_t *)(((uintptr_t)m->memory + 63) & ~(uintptr_t)63), *keep;
    m->constants.fixed = lowbit_part(&cursor, total * sizeof(int64_t));
    m->constants.decay = lowbit_part(&cursor, d_padded * sizeof(int64_t));
    s.h = lowbit_part(&cursor, total * fine_bytes);
    s.z = lowbit_part(&cursor, total * code_bytes);
    m->in_a_row = lowbit_part(&cursor, total * sizeof(int32_t));
    s.base = lowbit_part(&cursor, d_padded);
    for (int r = 0; r < 4; r++) m->unpacked[r] = lowbit_part(&cursor, d_padded);
    m->spare = lowbit_part(&cursor, d_padded);
    s.drift = lowbit_part(&cursor, d_padded);
    m->products = lowbit_part(&cursor, (C + 4) * sizeof(double));
    m->margins = lowbit_part(&cursor, C * sizeof(double));
    m->words = lowbit_part(&cursor, steps * STEP_WORDS);
    s.ready = lowbit_part(&cursor, LOWBIT_CHUNK * sizeof(int16_t));
    s.keep = keep = lowbit_part(&cursor, 64);

    m->row_stride = data & PACKED ? (d + 1) / 2 : d;
    s.row_bytes = (data & PACKED) && !takes_packed ? d_padded : m->row_stride;
    s.end = (const uint8_t *)p->x.data + p->x.n * m->row_stride;
    s.half = (data & PACKED) && d % 2;
    const size_t rest = (m->row_stride - s.half) % 64;
    memset(keep, 0xFF, rest);
    if (s.half) keep[rest] = 0x0F;
    const int32_t never = INT32_MIN;
    for (size_t j = 0; j < total; j++) m->in_a_row[j] = never;
    for (size_t c = 0; c < C; c++)
        for (size_t j = 0; j < d; j++) m->in_a_row[c * d_padded + lowbit_position(j, data)] = 0;
    return s;
}

#endif /* LPNUM_LOWBIT_STATE_H */
