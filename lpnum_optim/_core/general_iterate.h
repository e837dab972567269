/* The template of a general epoch for one type of the iterate. general_epoch.h sets: ELEMENT, its type; IS_CODE, 1 for
 * integers; GENERAL(f), the name of f for this type; LOAD(z), eight of them as vd; PUT(z, y, k, random), which stores
 * Q(y) with the constants *k and 16 random bytes, and gives it as vd. */
#include "general_dense.h"
#include "general_sparse.h"
#include "general_driver.h"

#undef ELEMENT
#undef IS_CODE
#undef GENERAL
#undef LOAD
#undef PUT
