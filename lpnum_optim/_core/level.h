/* All epoch kernels at one SIMD level, and their table. */
#include "epochs_api.h"
#include "simd.h"
#include "dither.h"
#include "losses.h"
#include "vec.h"
#include "float_epoch.h"
#include "lowbit_epoch.h"
#include "products.h"

const epoch_kernels LEVEL_NAME(epoch_kernels) = {ars_init, lowbit_epoch, float_epoch, row_products, weighted_row_sum};
