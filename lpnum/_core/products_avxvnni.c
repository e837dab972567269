/* The products of the avx2 level with vpdpbusd of AVX-VNNI, for processors that have it without AVX-512: four bytes at
 * once, as in the avx512 level, instead of two int16. Same bits. */
#define LPNUM_LEVEL 1
#define LPNUM_AVX_VNNI 1
#include "simd.h"
#if LPNUM_AVX_VNNI_COMPILED
#include <string.h>
#include "elementwise.h"
#include "gemm_kernel.h"
#include "gemm_blocks.h"
#include "gemm_pack.h"
#include "gemm_drive.h"

void lpnum_products_avxvnni(lpnum_kernels *table);
void lpnum_products_avxvnni(lpnum_kernels *table) { table->gemm_workspace = gemm_workspace, table->gemm = gemm; }
#endif
