/* The kernels of this folder compiled for the baseline level (see simd.h). */
#define LPNUM_LEVEL 0
#include "level.h"
