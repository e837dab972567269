/* What the epoch kernels take and return; no Python, no NumPy, no SIMD level.
 *
 * One inner step of every method, i = samples[t], for every output c (one, or one per class):
 *     m_c = margins[i, c] + x_i.z_c + b_c
 *     g_c = weights[i] * (l'_c(m, targets[i]) - anchors[i, c])
 *     z_c = Q(z_c - step_size * (g_c x_i + direction_c + shrink * z_c))
 *     b_c = b_c - intercept_step * (g_c + intercept_direction_c)
 * With a batch, the means of g_c x_i and of g_c over the samples of the batch; z is rounded once.
 */
#ifndef LPNUM_EPOCHS_API_H
#define LPNUM_EPOCHS_API_H

#include <stddef.h>
#include <stdint.h>

enum { EPOCH_OK = 0, EPOCH_NO_MEMORY = 1, EPOCH_TOO_WIDE = 2 };
enum { LOSS_SQUARED = 0, LOSS_LOGISTIC = 1, LOSS_SOFTMAX = 2, LOSS_HUBER = 3 };
enum { X_INT8 = 0, X_UINT8 = 1, X_FLOAT32 = 2, X_FLOAT64 = 3, X_INT16 = 4, X_INT4 = 5, X_UINT4 = 6 };

/* value = step * data / (scale of the column: the caller's change of variables, see lpnum_optim/data.py).
 * Dense: n x d, row after row. X_INT4, X_UINT4: two codes to a byte, the even one in the low half; every row starts at
 * a new byte. Sparse (columns is not NULL): the values of row i are data[row_start[i]] ... data[row_start[i + 1] - 1],
 * in the columns of the same numbers. */
typedef struct {
    const void *data;
    size_t n, d;
    int kind; /* X_INT8 ... */
    double step;
    const int32_t *columns;
    const int64_t *row_start; /* n + 1 */
    const double *column_scale; /* d, or NULL for 1: the factors of l1 */
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
    size_t batch;                    /* samples of one step, at least 1; the last step may have fewer */
    size_t outputs;                  /* C: 1, or the number of classes for softmax */
    const double *targets;           /* IN: n; for softmax the numbers of the classes */
    const double *weights;           /* IN: n, or NULL for 1 */
    const double *margins, *anchors; /* IN: n x C each */
    const double *direction;         /* IN: C x d */
    const double *shrink;            /* IN: d, the L2 penalty of every coordinate, or NULL: l2 for all of them */
    double step_size, l2, l1;
    const double *center; /* IN: C x d, or NULL for 0; what z is relative to, for l1 alone */
    int loss, centered;                /* centered: the anchors are the slopes at the margins */
    double loss_parameter;             /* huber: where the loss becomes linear */
    double *intercept;                 /* IN/OUT: C, relative to the margins, or NULL */
    const double *intercept_direction; /* IN: C */
    double intercept_step;
} epoch_problem;

typedef struct {
    void *codes; /* IN/OUT: C x d codes, int8 or int16; value = step * code */
    int wide;    /* 1: int16, 0: int8 */
    double step;
    int code_min, code_max; /* code_min <= 0 < code_max, within the storage */
    uint64_t seed, stream;  /* key of all random bits; the stream must be fresh for every epoch */
    double *mean;           /* OUT: C x d, zero at first; sum of z over report->mean_terms points; may be NULL */
} lowbit_iterate;

/* How an epoch may change the grid between runs of steps: the parameters of GridControl (lpnum_optim/grid_control.py),
 * which states the rule. One segment: the grid stays. */
typedef struct {
    size_t segments;
    int learning;
    double narrow, wide, crowded;
    size_t stuck;
    double widen, limit;
    size_t mean_runs; /* at the end, over which the mean of z is taken */
} lowbit_control;

typedef struct {
    double saturated;                  /* averaged over the runs of steps */
    double range_used, last_saturated; /* of the last run */
    double beta_saturated;
    double change, seen, crowding; /* the record of GridControl; the step of the codes is now change times that given */
    size_t runs, held, mean_terms;
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
