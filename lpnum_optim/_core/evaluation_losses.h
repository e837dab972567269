/* Values and slopes of the losses for a block of samples; output c of sample i at [c * pitch + i].
 *
 * The slopes have the bits of losses.h, in loops without branches. NaN stays NaN.
 */
#ifndef LPNUM_EVALUATION_LOSSES_H
#define LPNUM_EVALUATION_LOSSES_H

/* log(1 + t) for t >= 0, error about 1 ulp: 1 + t = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), s = f / (2 + f),
 * log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), R as in fdlibm. For k = 0 f is t, as it is. */
static inline double loss_log1p(double t) {
    const double ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
    const double u = 1.0 + t;
    uint64_t bits;
    memcpy(&bits, &u, 8);
    const uint64_t half = (uint64_t)0x3FE6A09E << 32, moved = bits + (((uint64_t)0x3FF00000 << 32) - half);
    const double k = (double)((int32_t)(uint32_t)(moved >> 52) - 1023);
    const uint64_t mantissa = (moved & (((uint64_t)1 << 52) - 1)) + half;
    double m;
    memcpy(&m, &mantissa, 8);
    const double f = k == 0.0 ? t : m - 1.0;
    const double s = f / (2.0 + f), z = s * s, w = z * z;
    const double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const double odd = z * (6.666666666666735130e-01 +
                            w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    const double square = 0.5 * f * f;
    const double result = k * ln2_hi - ((square - (s * (square + (odd + even)) + k * ln2_lo)) - f);
    return t == t ? result : t;
}

static void losses_logistic(const double *restrict m, const double *restrict y, size_t n, double *restrict slopes,
                            double *restrict values) {
    for (size_t i = 0; i < n; i++) {
        const double agreement = y[i] * m[i];
        double a = agreement > -700.0 ? agreement : -700.0;
        a = a < 700.0 ? a : 700.0;
        const double power = loss_exp(a), slope = -y[i] / (1.0 + power);
        const double small = agreement < 0.0 ? power : 1.0 / power;
        const double value = loss_log1p(small) - (agreement < 0.0 ? agreement : 0.0);
        slopes[i] = agreement == agreement ? slope : agreement;
        values[i] = agreement == agreement ? value : agreement;
    }
}

static void losses_squared(const double *restrict m, const double *restrict y, size_t n, double *restrict slopes,
                           double *restrict values) {
    for (size_t i = 0; i < n; i++) {
        const double r = m[i] - y[i];
        slopes[i] = r;
        values[i] = 0.5 * r * r;
    }
}

static void losses_huber(const double *restrict m, const double *restrict y, size_t n, double bend,
                         double *restrict slopes, double *restrict values) {
    for (size_t i = 0; i < n; i++) {
        const double r = m[i] - y[i];
        double slope = r < bend ? r : bend;
        slope = slope > -bend ? slope : -bend;
        slopes[i] = r == r ? slope : r;
        values[i] = slope * (r - 0.5 * slope);
    }
}

/* work: 4 n numbers. Where the own class is the likeliest, the loss is log(1 + sum of the others). */
static void losses_softmax(const double *restrict m, const double *restrict y, size_t n, size_t pitch, size_t outputs,
                           double *restrict slopes, double *restrict values, double *restrict work) {
    double *restrict const top = work, *restrict const total = work + n, *restrict const others = work + 2 * n,
                    *restrict const own = work + 3 * n;
    memcpy(top, m, n * sizeof(double));
    for (size_t c = 1; c < outputs; c++)
        for (size_t i = 0; i < n; i++) top[i] = m[c * pitch + i] > top[i] ? m[c * pitch + i] : top[i];
    for (size_t i = 0; i < n; i++) total[i] = others[i] = own[i] = 0.0;
    for (size_t c = 0; c < outputs; c++) {
        const double *restrict const margins = m + c * pitch;
        double *restrict const powers = slopes + c * pitch;
        for (size_t i = 0; i < n; i++) {
            const double a = margins[i] - top[i], power = loss_exp(a > -700.0 ? a : -700.0), poison = margins[i] * 0.0;
            const int mine = (double)c == y[i];
            powers[i] = power;
            total[i] += power + poison;
            others[i] += (mine ? 0.0 : power) + poison;
            own[i] += mine ? a : 0.0;
        }
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = loss_log1p(own[i] == 0.0 ? others[i] : total[i] - 1.0) - own[i];
        total[i] = 1.0 / total[i];
    }
    for (size_t c = 0; c < outputs; c++)
        for (size_t i = 0; i < n; i++) {
            const double power = slopes[c * pitch + i];
            slopes[c * pitch + i] = ((double)c == y[i] ? -others[i] : power) * total[i];
        }
}

static void losses_of(const evaluation_problem *p, size_t first, size_t n, const double *restrict m,
                      double *restrict slopes, double *restrict values, double *restrict work) {
    const double *y = p->targets + first;
    if (p->loss == LOSS_SOFTMAX)
        losses_softmax(m, y, n, p->block, p->outputs, slopes, values, work);
    else if (p->loss == LOSS_LOGISTIC)
        losses_logistic(m, y, n, slopes, values);
    else if (p->loss == LOSS_HUBER)
        losses_huber(m, y, n, p->loss_parameter, slopes, values);
    else
        losses_squared(m, y, n, slopes, values);
}

#endif /* LPNUM_EVALUATION_LOSSES_H */
