/* One epoch of a linear model on a float32 or float64 iterate: SGD and SVRG in full precision.
 *
 *     w_j <- (shrink * w_j - h_j) - b * x_j       shrink = 1 - step_size*l2, h = step_size*direction, b = beta*x_step
 *
 * with all O(d) work in the precision of w and beta in float64. The product of the next row with the new w is taken in
 * the same pass, in four vectors of lanes: element j goes to lane j mod (4 * lanes), the four vectors are added pairwise
 * ((0 + 1) + (2 + 3)), then lanes are folded in halves. Same bits at every SIMD level. */
#ifndef LPNUM_FLOAT_EPOCH_H
#define LPNUM_FLOAT_EPOCH_H

#include <stdlib.h>

#define REAL float
#define VEC vf
#define LANES VF_LANES
#define V(f) vf_##f
#define FLOAT_EPOCH(f) f##_f32
#include "float_driver.h"
#undef REAL
#undef VEC
#undef LANES
#undef V
#undef FLOAT_EPOCH

#define REAL double
#define VEC vd
#define LANES VD_LANES
#define V(f) vd_##f
#define FLOAT_EPOCH(f) f##_f64
#include "float_driver.h"

static int float_epoch(const epoch_problem *p, void *w, int w_is_double) {
    return w_is_double ? float_dispatch_f64(p, (double *)w) : float_dispatch_f32(p, (float *)w);
}

#endif /* LPNUM_FLOAT_EPOCH_H */
