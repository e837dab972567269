/* All kernels of the package at one SIMD level, and the table through which they are called. */
#include "simd.h"
/* the level's instruction set is in force from here on */
#include "ars.h"
#include "elementwise.h"
#include "rounding.h"

enum { BLOCK = 512 }; /* elements taken at a time: they stay in the first-level cache */

static double code_counted(double y, double threshold, int rounding, const lpnum_row *out, uint64_t index,
                           const lpnum_policy *p, lpnum_events *e);

#include "float_codec.h"
#include "decode_f32.h"
#include "encode_f32.h"
#include "quantize_f32.h"
#include "lookup.h"
#include "float_pairs.h"
#include "elementwise_row.h"
#include "round_floats.h"
#include "reduce.h"
#include "pack.h"
#include "block.h"
#include "block_decode.h"
#include "gemm_kernel.h"
#include "gemm_blocks.h"
#include "gemm_pack.h"
#include "gemm_drive.h"
#include "matvec_digits.h"
#include "matvec.h"

extern const lpnum_kernels LEVEL_NAME(lpnum_kernels);
const lpnum_kernels LEVEL_NAME(lpnum_kernels) = {
    .elementwise_row = elementwise_row,
    .random_words = random_words,
    .map8 = map8,
    .map8_pairs = map8_pairs,
    .float_pairs = float_pairs,
    .add_saturating = add_saturating,
    .sum_codes = sum_codes,
    .dot_codes = dot_codes,
    .first_nonfinite = first_nonfinite,
    .float_value = float_value,
    .pack4 = pack4,
    .unpack4 = unpack4,
    .largest_finite = largest_finite,
    .quantize_blocks = quantize_blocks,
    .dequantize_blocks = dequantize_blocks,
    .gemm_workspace = gemm_workspace,
    .gemm = gemm,
    .matvec_workspace = matvec_workspace,
    .matvec = matvec,
    .round_floats_applies = round_floats_applies,
    .round_floats = round_floats,
    .decode_floats_applies = decode_floats_applies,
    .decode_floats = decode_floats,
    .largest_magnitude = largest_magnitude,
};
void LEVEL_NAME(lpnum_init)(void);
void LEVEL_NAME(lpnum_init)(void) { ars_init(); }
