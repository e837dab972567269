/* Epochs on everything that the fast path (lowbit_epoch.h, float_epoch.h) does not take: sparse rows, float and 16-bit
 * data under codes, batches, L1. */
#ifndef LPNUM_GENERAL_EPOCH_H
#define LPNUM_GENERAL_EPOCH_H

static int general_lowbit_epoch(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                                lowbit_report *report) {
    (void)p, (void)z, (void)control, (void)report;
    return EPOCH_UNSUPPORTED;
}

static int general_float_epoch(const epoch_problem *p, void *w, int w_is_double) {
    (void)p, (void)w, (void)w_is_double;
    return EPOCH_UNSUPPORTED;
}

#endif /* LPNUM_GENERAL_EPOCH_H */
