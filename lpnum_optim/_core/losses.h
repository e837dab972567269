/* Slopes of the losses, and the scalar part shared by all epochs.
 *
 * Everything here is plain float64 arithmetic in a written-out order, without fused operations and without libm, so
 * that a margin gives the same slope at every SIMD level, on every machine, and in lpnum_optim/_reference.py.
 */
#ifndef LPNUM_LOSSES_H
#define LPNUM_LOSSES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __GNUC__
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif

/* exp(a) for |a| <= 700, error about 1 ulp: a = k ln2 + r, |r| <= ln2/2, Taylor polynomial of degree 13 in Estrin's
 * order (first neglected term r^14/14! < 5e-18). k ln2 is split as in fdlibm: k * LN2_HI is exact. */
static inline double loss_exp(double a) {
    const double log2e = 1.4426950408889634, ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer, kept in the low bits */
    const double shifted = a * log2e + shift, k = shifted - shift;
    const double r = (a - k * ln2_hi) - k * ln2_lo;
    const double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    const double p0 = (1.0 + r) + r2 * (1.0 / 2 + r * (1.0 / 6));
    const double p1 = (1.0 / 24 + r * (1.0 / 120)) + r2 * (1.0 / 720 + r * (1.0 / 5040));
    const double p2 = (1.0 / 40320 + r * (1.0 / 362880)) + r2 * (1.0 / 3628800 + r * (1.0 / 39916800));
    const double p3 = 1.0 / 479001600 + r * (1.0 / 6227020800.0);
    const double p = (p0 + r4 * p1) + r8 * (p2 + r4 * p3);
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return p * power;
}

#ifdef __GNUC__
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COLD __attribute__((noinline, cold))
#else
#define UNLIKELY(condition) (condition)
#define COLD
#endif

/* Beyond +-700 exp would leave the normal numbers. A call, so that the test is a branch, which costs no latency. */
static COLD double loss_clamp(double a) { return a < 0.0 ? -700.0 : 700.0; }

/* Logistic, d/dm of log(1 + exp(-y m)) = -y / (1 + exp(y m)): relatively accurate in both tails. */
static ALWAYS_INLINE double loss_logistic(double margin, double target) {
    double a = target * margin;
    if (UNLIKELY(!(a > -700.0 && a < 700.0))) a = loss_clamp(a);
    return -target / (1.0 + loss_exp(a));
}

/* Huber, d/dm: m - y, at most `bend` in magnitude. */
static ALWAYS_INLINE double loss_huber(double margin, double target, double bend) {
    double r = margin - target;
    r = r < bend ? r : bend;
    return r > -bend ? r : -bend;
}

/* Softmax, d/dm_c of log(sum exp(m)) - m_target: e_c / sum(e) with e = exp(m - max m), and for the target minus the sum
 * of the others over sum(e), relatively accurate in its tail too. Sums run from class 0 on. */
static inline void loss_softmax(const double *restrict margins, double target, size_t classes,
                                double *restrict slopes) {
    double top = margins[0], total = 0.0, others = 0.0;
    for (size_t c = 1; c < classes; c++) top = margins[c] > top ? margins[c] : top;
    for (size_t c = 0; c < classes; c++) {
        const double a = margins[c] - top;
        slopes[c] = loss_exp(a > -700.0 ? a : -700.0);
    }
    for (size_t c = 0; c < classes; c++) {
        total += slopes[c];
        others += (double)c == target ? 0.0 : slopes[c];
    }
    const double inverse = 1.0 / total;
    for (size_t c = 0; c < classes; c++) slopes[c] = ((double)c == target ? -others : slopes[c]) * inverse;
}

/* Of the losses with one output. */
static ALWAYS_INLINE double loss_slope(double margin, double target, int loss, double parameter) {
    if (loss == LOSS_SQUARED) return margin - target;
    return loss == LOSS_HUBER ? loss_huber(margin, target, parameter) : loss_logistic(margin, target);
}

/* slopes (OUT): l'_c(margins, target of sample i) for every output c. */
static ALWAYS_INLINE void loss_slopes(const epoch_problem *p, size_t i, const double *restrict margins,
                                      double *restrict slopes) {
    if (p->loss == LOSS_SOFTMAX)
        loss_softmax(margins, p->targets[i], p->outputs, slopes);
    else
        slopes[0] = loss_slope(margins[0], p->targets[i], p->loss, p->loss_parameter);
}

static inline size_t sample_at(const sample_list *s, size_t t) {
    return s->wide ? (size_t)((const int64_t *)s->index)[t] : (size_t)((const uint32_t *)s->index)[t];
}

static ALWAYS_INLINE void loss_move_intercept(const epoch_problem *p, double g) {
    if (p->intercept) p->intercept[0] -= p->intercept_step * (g + p->intercept_direction[0]);
}

/* The scalar part of a step with one output: from the product of the codes, x_i.z = unit * product, to factor * g with
 * g = weights[i] * (l'(margins[i] + x_i.z + b) - anchors[i]). Moves the intercept b.
 *
 * Where the anchors are the slopes at the margins (centered), the difference is taken without cancellation, and sooner:
 * its latency is that of a step on short rows, so what does not need the product is multiplied out beside the chain.
 * Squared: g = t, t = x_i.z + b. Logistic, with y = +-1, s = -y * anchor and T = tanh(y t / 2) from its Pade approximant
 * [7/6], whose relative error for |y t| <= 3 is below 4e-10,
 *     l'(m + t) - l'(m) = 2 y s (1 - s) T / (1 + (1 - 2 s) T).
 * There the anchor tells s and y: one number of the sample, and one cache line, is read. No branch may depend on y: labels
 * cannot be predicted. */
static ALWAYS_INLINE double loss_difference(const epoch_problem *p, size_t i, double product, double unit,
                                            double factor) {
    const double weight = p->weights ? p->weights[i] : 1.0;
    if (p->centered && p->loss == LOSS_LOGISTIC) {
        const double anchor = p->anchors[i], s = fabs(anchor), half = copysign(0.5, -anchor);
        const double slope = weight * (4.0 * half * (s * (1.0 - s))), scaled = factor * slope, rest = 1.0 - 2.0 * s;
        double a = (half * unit) * product;
        if (p->intercept) a += half * p->intercept[0];
        if (a > -1.5 && a < 1.5) {
            const double a2 = a * a, a4 = a2 * a2;
            const double above = (135135.0 + 17325.0 * a2) + a4 * (378.0 + a2);
            const double below = (135135.0 + 62370.0 * a2) + a4 * (3150.0 + 28.0 * a2) + (a * rest) * above;
            if (p->intercept) loss_move_intercept(p, (a * slope) * above / below);
            return (a * scaled) * above / below;
        }
    }
    const double value = unit * product, b = p->intercept ? p->intercept[0] : 0.0;
    const int linear = p->centered && p->loss == LOSS_SQUARED;
    const double g = weight * (linear ? value + b
                                      : loss_slope((p->margins[i] + b) + value, p->targets[i], p->loss,
                                                   p->loss_parameter) - p->anchors[i]);
    loss_move_intercept(p, g);
    return factor * g;
}

/* The second step of a pair, whose product, product + rate * amount, waits for amount. Where that changes the margin by
 * less than 1/16, the difference of a centered logistic loss is taken at product and continued by its Taylor polynomial of
 * second degree, all of whose coefficients are there before amount is. */
static ALWAYS_INLINE double loss_difference_after(const epoch_problem *p, size_t i, double product, double rate,
                                                  double amount, double unit, double factor) {
    if (p->centered && p->loss == LOSS_LOGISTIC && !p->intercept) {
        const double weight = p->weights ? p->weights[i] : 1.0;
        const double anchor = p->anchors[i], s = fabs(anchor), half = copysign(0.5, -anchor);
        const double scaled = factor * (weight * (4.0 * half * (s * (1.0 - s)))), rest = 1.0 - 2.0 * s;
        const double a = (half * unit) * product, change = (half * unit * rate) * amount;
        if (a > -1.5 && a < 1.5 && change > -0x1p-5 && change < 0x1p-5) {
            const double a2 = a * a, a4 = a2 * a2;
            const double above = a * ((135135.0 + 17325.0 * a2) + a4 * (378.0 + a2));
            const double below = (135135.0 + 62370.0 * a2) + a4 * (3150.0 + 28.0 * a2);
            const double inverse = 1.0 / (below + rest * above);
            const double f1 = (scaled * (below * below - above * above)) * (inverse * inverse);
            const double f2 = f1 * (inverse * (above + rest * below));
            return (scaled * above) * inverse + change * (f1 - change * f2);
        }
    }
    return loss_difference(p, i, product + rate * amount, unit, factor);
}

/* The same for C outputs. margins, g: scratch of C numbers; g (IN: x_i.z_c, OUT: the factors of x_i). */
static inline void loss_differences(const epoch_problem *p, size_t i, double *restrict margins, double *restrict g) {
    const size_t outputs = p->outputs;
    for (size_t c = 0; c < outputs; c++)
        margins[c] = (p->margins[i * outputs + c] + (p->intercept ? p->intercept[c] : 0.0)) + g[c];
    loss_slopes(p, i, margins, g);
    for (size_t c = 0; c < outputs; c++) {
        g[c] -= p->anchors[i * outputs + c];
        if (p->weights) g[c] *= p->weights[i];
        if (p->intercept) p->intercept[c] -= p->intercept_step * (g[c] + p->intercept_direction[c]);
    }
}

enum { CACHE_LINE = 64 };

/* Always inlined, because gcc takes a function that only prefetches for one without effect and drops the calls. */
static ALWAYS_INLINE void prefetch(const void *at) {
#ifdef __GNUC__
    __builtin_prefetch(at, 0, 3);
#else
    (void)at;
#endif
}

/* What belongs to sample i besides its row. Rows are visited in random order: without this every step waits for memory.
 * The row itself is prefetched line by line within a step, so that the requests do not pile up. */
static ALWAYS_INLINE void prefetch_sample(const epoch_problem *p, size_t i) {
    const size_t last = p->outputs - 1;
    if (p->weights) prefetch(p->weights + i);
    if (p->centered && !last && p->loss != LOSS_HUBER) { /* all that loss_difference reads, but in rare large steps */
        prefetch(p->anchors + i);
        return;
    }
    prefetch(p->targets + i);
    for (size_t c = 0; c <= last; c += CACHE_LINE / sizeof(double)) {
        prefetch(p->margins + i * p->outputs + c);
        prefetch(p->anchors + i * p->outputs + c);
    }
    if (last) { /* not aligned */
        prefetch(p->margins + i * p->outputs + last);
        prefetch(p->anchors + i * p->outputs + last);
    }
}

/* How many rows ahead: enough to cover the latency of memory, few enough that they stay in the first-level cache. */
static inline size_t prefetch_distance(size_t row_bytes) {
    const size_t rows = 16384 / row_bytes;
    return rows < 1 ? 1 : rows > 8 ? 8 : rows;
}

#endif /* LPNUM_LOSSES_H */
