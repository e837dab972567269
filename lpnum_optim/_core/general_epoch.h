/* Epochs on everything that the fast path (lowbit_epoch.h, float_epoch.h) does not take: sparse rows, float and 16-bit
 * data under codes, batches, L1. One template for iterates of int8, int16, float32 and float64; all arithmetic is in
 * float64, in the order written here, so every SIMD level gives the same bits; _general_reference.py is it in NumPy.
 *
 * With z in fine units (2^16 to a code, 1 to a float), i the sample of step t and c an output, all rounded to nearest:
 *
 *     m_c = (margins[i, c] + dot * x_i.z_c) + b_c
 *     g_c = weights[i] * (l'_c(m) - anchors[i, c])                      codes: within +-2^100, NaN is 0
 *     b_c = b_c - intercept_step * (g_c + intercept_direction_c)
 *     y_j = (keep_j * z_cj - h_cj) - (beta * g_c) * x_ij                keep = 1 - step_size * shrink
 *     y_j = max(y_j - threshold_j, min(y_j + threshold_j, rest_cj))     with L1; rest = -center: the proximal step of
 *                                                                       center + y, without forming that sum
 *     z_j = Q(y_j)
 *
 * A batch has y_j = (keep_j * z_cj - h_cj) - v_cj, v the sum of (beta / count * g_c) * x_ij in the order of the
 * samples, and the mean of g_c for the intercept. For floats Q is the conversion. For codes, with u_t 32 random bits of
 * the step and output and r_j 16 of the coordinate (dither.h; the keys of step t and output c are those of number
 * t * C + c, the base has 16 bits for every coordinate of an output),
 *
 *     Q(y) = (rint(clip(y + (u_t - 1/2))) + r_j) >> 16                  general_vec.h
 *
 * so the mean of Q(y) is y to 2^-48 of the distance of two codes, not to 2^-16 only.
 *
 * Products: dense rows have 32 lanes, element j in lane j mod 32; sparse rows 8, stored value k in lane k mod 8.
 * The grid is observed after every 64 steps and at the end of every run of steps; for sparse rows, whose steps touch
 * nnz / n of the d coordinates, after every 64 * d * n / nnz of them. There all coordinates catch up (general_sparse.h)
 * and are rounded, with word c * d_padded + j of refresh k of the epoch; d_padded is d rounded up to a multiple of 64.
 * The same words of a change (lowbit_epoch.h) belong to codes that go to another grid.
 *
 * L1 on sparse rows takes dense steps, on rows filled up with their zeros. */
#ifndef LPNUM_GENERAL_EPOCH_H
#define LPNUM_GENERAL_EPOCH_H

#include "general_vec.h"
#include "general_state.h"
#include "general_rows.h"

#define ELEMENT int8_t
#define IS_CODE 1
#define GENERAL(f) general_##f##_i8
#define LOAD(z) vd_load_i8(z)
#define PUT(z, y, k, random) round_codes_i8(z, vd_add(y, (k)->shift), (k)->low, (k)->high, random)
#include "general_iterate.h"

#define ELEMENT int16_t
#define IS_CODE 1
#define GENERAL(f) general_##f##_i16
#define LOAD(z) vd_load_i16(z)
#define PUT(z, y, k, random) round_codes_i16(z, vd_add(y, (k)->shift), (k)->low, (k)->high, random)
#include "general_iterate.h"

#define ELEMENT float
#define IS_CODE 0
#define GENERAL(f) general_##f##_f32
#define LOAD(z) vd_load_f32(z)
#define PUT(z, y, k, random) ((void)(k), (void)(random), vd_store_f32(z, y), vd_load_f32(z))
#include "general_iterate.h"

#define ELEMENT double
#define IS_CODE 0
#define GENERAL(f) general_##f##_f64
#define LOAD(z) vd_load_f64(z)
#define PUT(z, y, k, random) ((void)(k), (void)(random), vd_store(z, y), y)
#include "general_iterate.h"

static int general_lowbit_epoch(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                                lowbit_report *report) {
    return z->wide ? general_run_i16(p, z, control, report) : general_run_i8(p, z, control, report);
}

static int general_float_epoch(const epoch_problem *p, void *w, int w_is_double) {
    const lowbit_iterate iterate = {.codes = w, .step = 1.0};
    const lowbit_control control = {.segments = 1};
    lowbit_report report;
    return w_is_double ? general_run_f64(p, &iterate, &control, &report)
                       : general_run_f32(p, &iterate, &control, &report);
}

#endif /* LPNUM_GENERAL_EPOCH_H */
