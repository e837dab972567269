/* A float64 vector in fixed point: v[k] = V[k] * 2^bottom with integers V, and V in digits of 8 or 16 bits.
 *
 * The unit 2^bottom is the last bit that is set anywhere in v, so nothing is rounded, and with it every product and sum
 * of matvec.h is exact. Digits are balanced (-128 .. 127): the digits of V are the bytes of V + 0x80..8080, less 128 each.
 */

enum {
    DIGITS_BITS = 96, /* of V: sums of 2^24 products with 8-bit codes stay within 127 bits */
    DIGITS_MAX = DIGITS_BITS / 8,
    DIGITS_LENGTH = 1 << 23 /* longest contracted axis in one pass */
};

#ifdef __SIZEOF_INT128__
typedef __int128 wide_int;
typedef unsigned __int128 wide_uint;

typedef struct {
    int bits;    /* of a digit: 8 or 16 */
    int count;   /* of digits */
    int bottom;
    size_t pitch; /* between planes, in digits; planes are filled up with 0 */
    wide_int total; /* sum of V */
} digits;

/* Magnitude of a finite float64 as mantissa * 2^exponent. */
static inline uint64_t magnitude_of(double v, int *exponent) {
    uint64_t bits;
    memcpy(&bits, &v, 8);
    const int field = (int)(bits >> 52 & 0x7FF);
    *exponent = (field ? field : 1) - 1075;
    return (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)(field != 0) << 52;
}

/* Lowest and highest bit of all elements (bottom > top if all are 0). */
static int digits_range(const double *v, size_t n, int *bottom, int *top) {
    *bottom = INT32_MAX, *top = INT32_MIN;
    for (size_t k = 0; k < n; k++) {
        int exponent;
        const uint64_t mantissa = magnitude_of(v[k], &exponent);
        if (exponent == 0x7FF - 1075) return LPNUM_MATVEC_NOT_FINITE;
        if (mantissa == 0) continue;
        const int low = exponent + __builtin_ctzll(mantissa), high = exponent + 63 - __builtin_clzll(mantissa);
        if (low < *bottom) *bottom = low;
        if (high > *top) *top = high;
    }
    return 0;
}

static inline wide_int fixed_point(double v, int bottom) {
    int exponent;
    const uint64_t mantissa = magnitude_of(v, &exponent);
    if (mantissa == 0) return 0;
    const int shift = exponent - bottom;
    const wide_int V = shift >= 0 ? (wide_int)((wide_uint)mantissa << shift) : (wide_int)(mantissa >> -shift);
    return v < 0 ? -V : V;
}

/* As many digits as the largest |V| < 2^length needs. */
static inline int digits_needed(const double *v, size_t n, int bottom, int length, int bits) {
    int count = (length + bits) / bits;
    if (length % bits == bits - 1) { /* the top bit is that of the sign: only magnitudes near the bound need one more */
        const wide_int bound = ((wide_int)1 << (length - bits + 1)) * (((wide_int)1 << (bits - 1)) - 1);
        for (size_t k = 0; k < n; k++) {
            const wide_int V = fixed_point(v[k], bottom);
            if ((V < 0 ? -V : V) > bound) return count + 1;
        }
    }
    return count;
}

/* Planes of digits, int8 or (also for digits of 8 bits) int16: plane p of element k at [p * pitch + k]. */
static int digits_split(const double *v, size_t n, int bits, int halves, void *planes, digits *d) {
    int bottom, top;
    const int status = digits_range(v, n, &bottom, &top);
    if (status) return status;
    d->bits = bits, d->count = 0, d->bottom = 0, d->total = 0, d->pitch = (n + 63) / 64 * 64;
    if (bottom > top) return 0;
    const int length = top - bottom + 1;
    if (length > DIGITS_BITS - 2) return LPNUM_MATVEC_TOO_WIDE;
    d->bottom = bottom, d->count = digits_needed(v, n, bottom, length, bits);
    wide_uint bias = 0;
    for (int p = 0; p < d->count; p++) bias |= (wide_uint)1 << (bits * p + bits - 1);
    for (size_t first = 0; first < d->pitch; first += 64) {
        uint8_t bytes[64][16];
        for (size_t i = 0; i < 64; i++) {
            const wide_int V = first + i < n ? fixed_point(v[first + i], bottom) : 0;
            d->total += V;
            const wide_uint biased = (wide_uint)V + bias;
            if (bits == 8) {
                for (int p = 0; p < DIGITS_MAX; p++) bytes[i][p] = (uint8_t)(biased >> 8 * p);
            } else {
                for (int p = 0; p < DIGITS_MAX / 2; p++) {
                    const uint16_t digit = (uint16_t)(biased >> 16 * p);
                    memcpy(&bytes[i][2 * p], &digit, 2);
                }
            }
        }
        for (int p = 0; p < d->count; p++) {
            if (!halves) {
                int8_t *plane = (int8_t *)planes + (size_t)p * d->pitch + first;
                for (size_t i = 0; i < 64; i++) plane[i] = (int8_t)(bytes[i][p] ^ 0x80);
                continue;
            }
            int16_t *plane = (int16_t *)planes + (size_t)p * d->pitch + first;
            for (size_t i = 0; i < 64; i++) {
                uint16_t digit = bytes[i][p] ^ 0x80;
                if (bits == 8) {
                    plane[i] = (int8_t)digit;
                } else {
                    memcpy(&digit, &bytes[i][2 * p], 2);
                    plane[i] = (int16_t)(digit ^ 0x8000);
                }
            }
        }
    }
    return 0;
}

/* (sum_p sums[p * stride] * 2^(bits p) + bias * total) * 2^bottom, rounded once */
static double digits_value(const digits *d, const int64_t *sums, size_t stride, int bias) {
    wide_int total = d->total * bias;
    for (int p = 0; p < d->count; p++) total += (wide_int)((wide_uint)(wide_int)sums[p * stride] << d->bits * p);
    const int half = d->bottom / 2;
    return (double)total * power_of_two(half) * power_of_two(d->bottom - half);
}
#endif
