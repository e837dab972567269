/* The kernels of this folder compiled for the avx512 level (see simd.h). */
#define LPNUM_LEVEL 2
#include "level.h"
