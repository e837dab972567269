/* Float64 vectors as planes of integer digits, of a width that is known beforehand.
 *
 * With 2^(e - 1) <= max |a| < 2^e the vector is rounded to multiples of its unit 2^(e - 54), half to even: less than what
 * float64 rounds in a sum of such elements. |A| <= 2^54 takes 7 balanced digits of 8 bits or 4 of 16; sums of products of
 * the digits are exact, and a sum is rounded once: the same bits at every level. (matvec_digits.h takes any width exactly,
 * and time for it.) Vectors below 2^-900 keep the unit 2^-954.
 */
#ifndef LPNUM_EVALUATION_DIGITS_H
#define LPNUM_EVALUATION_DIGITS_H

#if LPNUM_X86 && LPNUM_LEVEL == 2
enum { PLANES = 7, DIGIT_BITS = 8 };
typedef int8_t digit_type;
typedef int32_t plane_sum; /* of a block */
#else
enum { PLANES = 4, DIGIT_BITS = 16 };
typedef int16_t digit_type;
typedef int64_t plane_sum;
#endif

static inline double two_to(int exponent) { /* a normal number */
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* e above; INT32_MAX if an element is not finite, INT32_MIN if all are 0. */
static int largest_exponent(const double *restrict a, size_t n) {
    uint64_t largest = 0; /* without the sign, floats are ordered like their bits */
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, a + i, 8);
        bits &= ~(uint64_t)0 >> 1;
        largest = bits > largest ? bits : largest;
    }
    const int field = (int)(largest >> 52);
    if (field == 0x7FF) return INT32_MAX;
    return largest == 0 ? INT32_MIN : field - 1022 < -900 ? -900 : field - 1022;
}

/* planes (OUT): plane p of element i at [p * pitch + i], 0 from n to the next multiple of 64. totals (OUT): sums of the
 * planes. Returns the unit; 0 for a vector of zeros, NaN if an element is not finite (then with digits 0). */
static double split_digits(const double *restrict a, size_t n, digit_type *restrict planes, size_t pitch,
                           int64_t *restrict totals) {
    const int exponent = largest_exponent(a, n), whole = exponent != INT32_MAX && exponent != INT32_MIN;
    const double scale = whole ? two_to(54 - exponent) : 0.0, shift = 6755399441055744.0; /* 1.5 * 2^52 */
    const uint64_t shift_bits = (uint64_t)0x4338 << 48;
    uint64_t bias = 0;
    for (int p = 0; p < PLANES; p++) bias |= (uint64_t)1 << (DIGIT_BITS * p + DIGIT_BITS - 1);
    memset(totals, 0, PLANES * sizeof *totals);
    for (size_t first = 0; first < n; first += 64) {
        const size_t count = n - first < 64 ? n - first : 64;
        double part[64];
        uint64_t biased[64];
        memcpy(part, a + first, count * sizeof(double));
        for (size_t i = whole ? count : 0; i < 64; i++) part[i] = 0.0;
        for (size_t i = 0; i < 64; i++) { /* adding `shift` rounds to an integer, kept in the low bits: 32 at a time */
            const double v = part[i] * scale, high = v * 0x1p-32 + shift;
            const double low = (v - (high - shift) * 0x1p32) + shift;
            uint64_t high_bits, low_bits;
            memcpy(&high_bits, &high, 8);
            memcpy(&low_bits, &low, 8);
            biased[i] = ((high_bits - shift_bits) << 32) + (low_bits - shift_bits) + bias;
        }
        for (int p = 0; p < PLANES; p++) {
            digit_type *restrict plane = planes + (size_t)p * pitch + first;
            int32_t total = 0;
            for (size_t i = 0; i < 64; i++)
                plane[i] = (digit_type)((biased[i] >> DIGIT_BITS * p) ^ (uint64_t)1 << (DIGIT_BITS - 1));
            for (size_t i = 0; i < 64; i++) total += plane[i];
            totals[p] += total;
        }
    }
    return exponent == INT32_MAX ? NAN : whole ? two_to(exponent - 54) : 0.0;
}

/* sum_p (s[p * stride] - bias * totals[p]) 2^(DIGIT_BITS p) = high 2^32 + low, rounded once while high is below 2^53. */
#define JOIN_DIGITS(s, stride, bias, totals, value)                                                                   \
    do {                                                                                                              \
        int64_t low_ = 0, high_ = 0;                                                                                  \
        for (int p_ = 0; p_ < PLANES; p_++) {                                                                         \
            const int64_t sum_ = (int64_t)(s)[(size_t)p_ * (stride)] - (bias) * (totals)[p_];                         \
            if (p_ * DIGIT_BITS < 32)                                                                                 \
                low_ += sum_ * ((int64_t)1 << p_ * DIGIT_BITS);                                                       \
            else                                                                                                      \
                high_ += sum_ * ((int64_t)1 << (p_ * DIGIT_BITS & 31));                                               \
        }                                                                                                             \
        high_ += low_ >> 32;                                                                                          \
        (value) = (double)high_ * 0x1p32 + (double)(low_ & 0xFFFFFFFF);                                               \
    } while (0)

#endif /* LPNUM_EVALUATION_DIGITS_H */
