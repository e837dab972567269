/* The kernels of this package compiled for the avx512 level (see simd.h). */
#define LPNUM_LEVEL 2
#include "simd.h"
#if LPNUM_X86
#include "level.h"
#endif
