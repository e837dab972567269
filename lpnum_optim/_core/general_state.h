/* Scratch memory and scalar arithmetic of a general epoch (general_epoch.h). */
#ifndef LPNUM_GENERAL_STATE_H
#define LPNUM_GENERAL_STATE_H

#include <stdlib.h>

enum {
    GENERAL_BLOCK = 32,          /* coordinates that share one call of dither_64, 16 bits each */
    GENERAL_OBSERVE = 64,        /* observations of the grid: one per 64 d updated coordinates of an output */
    GENERAL_STEP_WORDS = 64,     /* steps times outputs whose keys are made at once */
    GENERAL_MAX_OBSERVE = 1 << 30,
    SPARSE_CHUNK = 64 /* coordinates that catch up together */
};

/* Everything beside the current row. Vectors of `padded` entries per output; those from d on are zero and stay zero.
 * Fine units: 2^16 to a code, 1 to a float iterate. */
typedef struct {
    const epoch_problem *p;
    size_t d, padded, outputs, capacity; /* capacity: stored values of a sparse batch, per output */
    int sparse;         /* steps on stored values */
    size_t ahead;       /* rows that are prefetched */
    int code_min, code_max;
    double unit, dot, beta; /* margin = dot * product, step in fine units = beta * g * x */
    void *z;
    uint8_t *base, *words;      /* of the dither */
    double *h;                  /* step_size * direction, in fine units */
    double *keep;               /* 1 - step_size * shrink; dense: times the fine units of a z */
    size_t keep_stride;         /* 0: one value (eight times) for all coordinates */
    double *threshold, *rest;   /* L1: length of its step, and -center, in fine units; NULL without */
    double *sum;                /* outputs x padded: b x summed over a batch */
    double *product, *slope, *total, *b;
    double *row[2];             /* dense rows: of this step and of the next one */
    uint32_t *in_a_row;
    uint32_t *last, *slot;      /* sparse: steps a coordinate has taken since `synced`; where it is in `list` */
    int32_t *list;
    double *values, *y, *v;
    size_t synced, refreshes, clipped;
} general_state;

static inline void *general_take(uintptr_t *cursor, size_t bytes) {
    void *const taken = (void *)*cursor;
    *cursor += (bytes + 63) & ~(size_t)63;
    return taken;
}

static size_t general_capacity(const epoch_problem *p) {
    size_t longest = 0;
    for (size_t i = 0; i < p->x.n; i++) {
        const size_t stored = (size_t)(p->x.row_start[i + 1] - p->x.row_start[i]);
        longest = stored > longest ? stored : longest;
    }
    const size_t batch = p->batch < p->samples.count ? p->batch : p->samples.count;
    const size_t all = longest == 0 || batch <= p->x.d / longest ? longest * batch : p->x.d; /* no more than d in all */
    return ((all > longest ? all : longest) + 7) / 8 * 8;
}

static general_state general_new_state(const epoch_problem *p, double unit, int code_min, int code_max) {
    general_state s = {.p = p, .d = p->x.d, .outputs = p->outputs, .unit = unit};
    s.padded = (s.d + 63) / 64 * 64;
    s.code_min = code_min, s.code_max = code_max;
    s.sparse = p->x.columns && p->l1 == 0;
    s.capacity = p->x.columns ? general_capacity(p) : 0;
    return s;
}

/* Steps between two observations: those that update 64 d coordinates of an output. */
static size_t general_observe_steps(const general_state *s) {
    const data_matrix *x = &s->p->x;
    const size_t stored = s->sparse ? (size_t)x->row_start[x->n] : 0;
    if (!s->sparse) return GENERAL_OBSERVE;
    const size_t steps = stored ? (x->n * x->d + stored - 1) / stored : GENERAL_MAX_OBSERVE;
    return steps < GENERAL_MAX_OBSERVE / GENERAL_OBSERVE ? GENERAL_OBSERVE * steps : GENERAL_MAX_OBSERVE;
}

/* Cuts memory from *cursor on into the parts; called with 0 to learn how much it takes. */
static void general_layout(general_state *s, uintptr_t *cursor, size_t code_size) {
    const epoch_problem *p = s->p;
    const size_t wide = s->outputs * s->padded, row = s->padded * sizeof(double), all = wide * sizeof(double);
    s->z = general_take(cursor, wide * code_size);
    s->base = general_take(cursor, s->padded * 2);
    s->words = general_take(cursor, (s->outputs > GENERAL_STEP_WORDS ? s->outputs : GENERAL_STEP_WORDS) * STEP_WORDS);
    s->h = general_take(cursor, all);
    s->keep_stride = p->shrink != NULL;
    s->keep = general_take(cursor, p->shrink ? row : VD_LANES * sizeof(double));
    s->threshold = p->l1 > 0 ? general_take(cursor, row) : NULL;
    s->rest = p->l1 > 0 ? general_take(cursor, all) : NULL;
    s->sum = p->batch > 1 && !s->sparse ? general_take(cursor, all) : NULL;
    s->product = general_take(cursor, s->outputs * sizeof(double));
    s->slope = general_take(cursor, s->outputs * sizeof(double));
    s->total = general_take(cursor, s->outputs * sizeof(double));
    s->b = general_take(cursor, s->outputs * sizeof(double));
    for (int k = 0; k < 2; k++) s->row[k] = s->sparse ? NULL : general_take(cursor, row);
    s->in_a_row = general_take(cursor, wide * sizeof(uint32_t));
    s->values = p->x.columns ? general_take(cursor, s->capacity * sizeof(double)) : NULL;
    if (!s->sparse) return;
    s->last = general_take(cursor, s->padded * sizeof(uint32_t));
    s->slot = p->batch > 1 ? general_take(cursor, s->padded * sizeof(uint32_t)) : NULL;
    s->list = p->batch > 1 ? general_take(cursor, s->capacity * sizeof(int32_t)) : NULL;
    s->y = general_take(cursor, s->outputs * s->capacity * sizeof(double));
    s->v = p->batch > 1 ? general_take(cursor, s->outputs * s->capacity * sizeof(double)) : NULL;
}

/* Within +-2^100, so that sums stay finite; NaN becomes 0. */
static inline double general_bounded(double v) {
    const double bound = 0x1p100;
    return v > bound ? bound : v < -bound ? -bound : v == v ? v : 0.0;
}

/* Everything that depends on the distance of neighboring values; floats (unit 1) have none, and no bound. */
static void general_set_scales(general_state *s, double z_step) {
    const epoch_problem *p = s->p;
    const int exact = s->unit == 1.0;
    const double fine = s->unit / z_step, step = p->step_size * fine, l1 = step * p->l1;
    s->dot = s->sparse ? p->x.step * (z_step / s->unit) : p->x.step * z_step;
    s->beta = step * p->x.step;
    for (size_t c = 0; c < s->outputs; c++)
        for (size_t j = 0; j < s->d; j++) {
            const double h = step * p->direction[c * s->d + j];
            s->h[c * s->padded + j] = exact ? h : general_bounded(h);
        }
    if (!s->threshold) return;
    for (size_t j = 0; j < s->d; j++) {
        const double t = p->x.column_scale ? l1 * p->x.column_scale[j] : l1;
        s->threshold[j] = exact ? t : general_bounded(t);
    }
    for (size_t c = 0; c < s->outputs; c++)
        for (size_t j = 0; j < s->d; j++) {
            const double rest = p->center ? -(p->center[c * s->d + j] * fine) : 0.0;
            s->rest[c * s->padded + j] = exact ? rest : general_bounded(rest);
        }
}

static void general_set_keep(general_state *s) {
    const epoch_problem *p = s->p;
    const double unit = s->sparse ? 1.0 : s->unit;
    const size_t count = p->shrink ? s->d : VD_LANES;
    for (size_t j = 0; j < count; j++) s->keep[j] = (1.0 - p->step_size * (p->shrink ? p->shrink[j] : p->l2)) * unit;
}

/* b (OUT): factors of row i for every output, in fine units; adds the g to `total` for the intercepts. */
static void general_slopes(general_state *s, size_t i, double beta) {
    const epoch_problem *p = s->p;
    const size_t C = s->outputs;
    for (size_t c = 0; c < C; c++) {
        s->product[c] = p->margins[i * C + c] + s->dot * s->product[c];
        if (p->intercept) s->product[c] += p->intercept[c];
    }
    loss_slopes(p, i, s->product, s->slope);
    for (size_t c = 0; c < C; c++) {
        double g = s->slope[c] - p->anchors[i * C + c];
        if (p->weights) g = p->weights[i] * g;
        const double b = beta * g;
        s->b[c] = b;
        if (s->unit != 1.0) {
            g = general_bounded(g);
            s->b[c] = general_bounded(beta * g);
            s->clipped += s->b[c] != b; /* NaN counts */
        }
        s->total[c] += g;
    }
}

/* The intercepts' step with the mean of `total`, which is zeroed. */
static void general_intercepts(general_state *s, double count) {
    const epoch_problem *p = s->p;
    for (size_t c = 0; c < s->outputs; c++) {
        if (p->intercept) p->intercept[c] -= p->intercept_step * (s->total[c] / count + p->intercept_direction[c]);
        s->total[c] = 0.0;
    }
}

#endif /* LPNUM_GENERAL_STATE_H */
