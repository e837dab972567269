/* The decision between two runs of steps: lpnum_optim/grid_control.py, GridControl.next_factor, with its parameters as
 * data. No constant of the rule is written here.
 *
 * The mean of the iterate over the last control->mean_runs runs: a driver begins every run with lowbit_begin_watch and
 * adds unit * codes to watch.mean, where that is not NULL, at every point of observation. */
#ifndef LPNUM_LOWBIT_CONTROL_H
#define LPNUM_LOWBIT_CONTROL_H

/* What a run saw: codes at an end and the largest magnitude, over its points of observation. */
typedef struct {
    size_t at_end, observed;
    int largest;
    double *mean; /* IN/OUT: sum of z as values, C x d, or NULL */
    double unit;  /* value = unit * code */
} lowbit_watch;

/* Run number k, from 0, of `segments`. */
static inline lowbit_watch lowbit_begin_watch(const lowbit_control *c, const lowbit_iterate *z,
                                              const lowbit_report *report, size_t k, size_t segments) {
    const lowbit_watch watch = {.mean = k + c->mean_runs >= segments ? z->mean : NULL, .unit = z->step * report->change};
    return watch;
}

/* Adds a run to the record; report->held is up to date. */
static inline void lowbit_record(lowbit_report *report, const lowbit_watch *w, size_t d, int code_max) {
    report->last_saturated = (double)w->at_end / ((double)w->observed * (double)d);
    report->range_used = w->largest >= code_max ? 1.0 : (double)w->largest / code_max;
    report->crowding += report->last_saturated;
    report->runs++;
    const double seen = report->range_used * report->change;
    report->seen = seen > report->seen ? seen : report->seen;
    if (w->mean) report->mean_terms += w->observed;
}

/* Factor on the distance of neighboring values, 1 to leave the grid alone. */
static inline double lowbit_next_factor(const lowbit_control *c, const lowbit_report *report) {
    const double used = report->range_used;
    double factor = 1.0;
    if (!c->learning)
        factor = report->last_saturated > c->crowded || report->held >= c->stuck ? c->widen : 1.0;
    else if (used > c->wide)
        factor = 2.0;
    else if (used > 0)
        while (used < c->narrow * factor) factor *= 0.5;
    return factor > 1 && report->change * factor > c->limit ? 1.0 : factor;
}

#endif /* LPNUM_LOWBIT_CONTROL_H */
