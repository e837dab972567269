/* All kernels of the package at one SIMD level, and their table. */
#include "epochs_api.h"
#include "simd.h"
#include "dither.h"
#include "losses.h"
#include "vec.h"
#include "float_epoch.h"
#include "lowbit_epoch.h"
#include "general_epoch.h"
#include "products.h"
#include "evaluation.h"

/* Dense rows, one sample a step, no L1. */
static int epoch_is_plain(const epoch_problem *p) { return !p->x.columns && p->batch == 1 && p->l1 == 0.0; }

static int any_lowbit_epoch(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                            lowbit_report *report) {
    const int kind = p->x.kind, integer = kind == X_INT8 || kind == X_UINT8 || kind == X_INT4 || kind == X_UINT4;
    return integer && epoch_is_plain(p) ? lowbit_epoch(p, z, control, report)
                                        : general_lowbit_epoch(p, z, control, report);
}

static int any_float_epoch(const epoch_problem *p, void *w, int w_is_double) {
    const int fast = epoch_is_plain(p) && p->x.kind <= X_FLOAT64 && !p->shrink;
    return fast ? float_epoch(p, w, w_is_double) : general_float_epoch(p, w, w_is_double);
}

const epoch_kernels LEVEL_NAME(epoch_kernels) = {ars_init, any_lowbit_epoch, any_float_epoch, row_products,
                                                 weighted_row_sum};
