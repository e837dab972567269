/* What a pass over all rows takes and returns: margins, losses, slopes and the gradient. */
#ifndef LPNUM_EVALUATION_API_H
#define LPNUM_EVALUATION_API_H

#include "epochs_api.h"

typedef struct {
    data_matrix x;
    size_t outputs;
    int loss; /* or EVALUATION_MARGINS: the margins are all that is wanted */
    double loss_parameter;
    const double *targets;         /* IN: n */
    const double *weights;         /* IN: n, factors of the losses, or NULL for 1 */
    const double *v, *intercept;   /* IN: C x d in units of the rows; C */
    double *margins, *slopes;      /* OUT: n x C, or NULL */
    int known;                     /* margins are IN, too: all but the intercept */
    size_t block;                  /* rows taken at a time, 1 .. EVALUATION_BLOCK */
} evaluation_problem;

/* Over a range of rows: of weight * loss, of weight * slope (C), of weight * slope * row (C x d; NULL: not wanted). */
typedef struct {
    double losses;
    double *slopes, *rows; /* OUT */
} evaluation_sums;

enum { EVALUATION_BLOCK = 4096, EVALUATION_MARGINS = -1 };

typedef int (*evaluation_kernel)(const evaluation_problem *p, size_t first, size_t last, evaluation_sums *sums);

extern const evaluation_kernel evaluate_rows_baseline, evaluate_rows_avx2, evaluate_rows_avx512;

#endif /* LPNUM_EVALUATION_API_H */
