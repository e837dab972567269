/* The kernels of this folder at one SIMD level, and their table. */
#include "adam_api.h"
#include "simd.h"
/* the level's instruction set is in force from here on */
#include <math.h>
#include "ars.h"
#include "adam.h"

static void init(void) { ars_init(); }

const adam_kernels LEVEL_NAME(adam_kernels) = {init, adam_step, largest};
