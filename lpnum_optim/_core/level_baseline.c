/* The kernels of this package compiled for the baseline level (see simd.h). */
#define LPNUM_LEVEL 0
#include "level.h"
