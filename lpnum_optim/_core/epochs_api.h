/* What the epoch kernels take and return; no Python, no NumPy, no SIMD level.
 *
 * One inner step of every method, i = samples[t]:
 *     beta = step_size * (l'(margins[i] + x_i.z, targets[i]) - anchors[i])
 *     z    = Q(z - beta*x_i - step_size*(direction + l2*z))
 */
#ifndef LPNUM_EPOCHS_API_H
#define LPNUM_EPOCHS_API_H

#include <stddef.h>
#include <stdint.h>

enum { EPOCH_OK = 0, EPOCH_NO_MEMORY = 1 };
enum { LOSS_SQUARED = 0, LOSS_LOGISTIC = 1 };
enum { X_INT8 = 0, X_UINT8 = 1, X_FLOAT32 = 2, X_FLOAT64 = 3 };

typedef struct {
    const void *data; /* IN: n x d, row after row; value = step * data */
    size_t n, d;
    int kind; /* X_INT8 ... */
    double step;
} data_matrix;

typedef struct {
    const void *index; /* IN: T row numbers, all below n */
    size_t count;
    int wide; /* 1: 64-bit, 0: 32-bit */
} sample_list;

/* The gradient estimate as data, and which samples to visit. */
typedef struct {
    data_matrix x;
    sample_list samples;
    const double *targets, *margins, *anchors; /* IN: n each */
    const double *direction;                   /* IN: d */
    double step_size, l2;
    int loss;
} epoch_problem;

typedef struct {
    void *codes; /* IN/OUT: d codes, int8 or int16; value = step * code */
    int wide;    /* 1: int16, 0: int8 */
    double step;
    int code_min, code_max; /* code_min <= 0 < code_max, within the storage */
    uint64_t seed, stream;  /* key of all random bits; the stream must be fresh for every epoch */
} lowbit_iterate;

/* How an epoch may change the grid between runs of steps: the parameters of GridControl (lpnum_optim/grid_control.py),
 * which states the rule. One segment: the grid stays. */
typedef struct {
    size_t segments;
    int learning;
    double narrow, wide, crowded;
    size_t stuck;
    double widen, limit;
} lowbit_control;

typedef struct {
    double saturated;                  /* averaged over the runs of steps */
    double range_used, last_saturated; /* of the last run */
    double beta_saturated;
    double change, seen, crowding; /* the record of GridControl; the step of the codes is now change times that given */
    size_t runs, held;
} lowbit_report;

typedef struct {
    void (*init)(void);
    int (*lowbit_epoch)(const epoch_problem *problem, const lowbit_iterate *z, const lowbit_control *control,
                        lowbit_report *report);
    int (*float_epoch)(const epoch_problem *problem, void *w, int w_is_double);
    int (*row_products)(const data_matrix *x, const double *w, double *out);
    int (*weighted_row_sum)(const data_matrix *x, const double *p, double *out);
} epoch_kernels;

extern const epoch_kernels epoch_kernels_baseline, epoch_kernels_avx2, epoch_kernels_avx512;

#endif /* LPNUM_EPOCHS_API_H */
