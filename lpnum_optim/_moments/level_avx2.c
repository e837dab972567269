/* The kernels of this folder compiled for the avx2 level (see simd.h). */
#define LPNUM_LEVEL 1
#include "level.h"
