/* The n-dimensional loop over rows; everything per element is in elementwise_row.h. */
#include "elementwise.h"
#include "simd.h"

extern const lpnum_kernels lpnum_kernels_baseline;
#if LPNUM_X86
extern const lpnum_kernels lpnum_kernels_avx2, lpnum_kernels_avx512;
#endif

#if LPNUM_AVX_VNNI_COMPILED
void lpnum_products_avxvnni(lpnum_kernels *table);

static const lpnum_kernels *avx2_with_vnni(void) {
    static lpnum_kernels table;
    if (!table.gemm) {
        table = lpnum_kernels_avx2;
        lpnum_products_avxvnni(&table);
    }
    return &table;
}
#endif

const lpnum_kernels *lpnum_kernels_of_level(int level, int vnni) {
#if LPNUM_AVX_VNNI_COMPILED
    if (level == LPNUM_AVX2 && vnni && lpnum_detect_avx_vnni()) return avx2_with_vnni();
#endif
#if LPNUM_X86
    if (level == LPNUM_AVX512) return &lpnum_kernels_avx512;
    if (level == LPNUM_AVX2) return &lpnum_kernels_avx2;
#endif
    (void)level, (void)vnni;
    return &lpnum_kernels_baseline;
}

/* True if axis k and axis k + 1 of the operand can be walked as one. */
static int joins(const lpnum_operand *a, const ptrdiff_t *shape, int k) {
    if (a->strides[k] != a->strides[k + 1] * shape[k + 1]) return 0;
    return !a->is_code || (a->step_strides[k] == a->step_strides[k + 1] * shape[k + 1] &&
                           a->offset_strides[k] == a->offset_strides[k + 1] * shape[k + 1]);
}

static void drop_axis(lpnum_operand *a, int k, int ndim) {
    for (int j = k; j + 1 < ndim; j++) {
        a->strides[j] = a->strides[j + 1];
        a->step_strides[j] = a->step_strides[j + 1];
        a->offset_strides[j] = a->offset_strides[j + 1];
    }
}

static lpnum_row row_at(const lpnum_operand *a, const ptrdiff_t *position, int ndim) {
    const int last = ndim - 1;
    lpnum_row row = {a->dtype, a->is_code, {a->data, ndim ? a->strides[last] : 0}, {a->step, 0}, {a->offset, 0},
                     a->format};
    if (a->is_code && ndim) row.step.stride = a->step_strides[last], row.offset.stride = a->offset_strides[last];
    for (int k = 0; k < last; k++) {
        row.codes.data += position[k] * a->strides[k];
        if (a->is_code) {
            row.step.data += position[k] * a->step_strides[k];
            row.offset.data += position[k] * a->offset_strides[k];
        }
    }
    return row;
}

int lpnum_elementwise(const lpnum_kernels *kernels, int op, int n_in, const lpnum_operand *const *in,
                      const lpnum_operand *out, int ndim, const ptrdiff_t *shape, const lpnum_policy *policy,
                      lpnum_events *events) {
    if (ndim <= 1) { /* nothing to walk: no copies of the operands, so that small arrays cost little */
        const ptrdiff_t origin = 0;
        lpnum_row rows[LPNUM_MAXIN + 1];
        for (int i = 0; i < n_in; i++) rows[i] = row_at(in[i], &origin, ndim);
        rows[n_in] = row_at(out, &origin, ndim);
        const size_t length = ndim ? (size_t)shape[0] : 1;
        return length ? kernels->elementwise_row(op, n_in, rows, &rows[n_in], length, policy->first_index, policy, events)
                      : LPNUM_OK;
    }
    lpnum_operand operands[LPNUM_MAXIN + 1];
    ptrdiff_t dims[LPNUM_MAXDIM], position[LPNUM_MAXDIM] = {0};
    for (int i = 0; i < n_in; i++) operands[i] = *in[i];
    operands[n_in] = *out;
    for (int k = 0; k < ndim; k++) {
        dims[k] = shape[k];
        if (dims[k] == 0) return LPNUM_OK;
    }
    for (int k = ndim - 2; k >= 0; k--) { /* walk as few, as long rows as the strides allow */
        int all = 1;
        for (int i = 0; i <= n_in; i++) all &= joins(&operands[i], dims, k);
        if (!all) continue;
        dims[k] *= dims[k + 1];
        for (int j = k + 1; j + 1 < ndim; j++) dims[j] = dims[j + 1];
        for (int i = 0; i <= n_in; i++) drop_axis(&operands[i], k, ndim);
        ndim--;
    }
    const size_t n = ndim ? (size_t)dims[ndim - 1] : 1;
    uint64_t index = policy->first_index;
    int status = LPNUM_OK;
    for (;;) {
        lpnum_row rows[LPNUM_MAXIN + 1];
        for (int i = 0; i <= n_in; i++) rows[i] = row_at(&operands[i], position, ndim);
        status |= kernels->elementwise_row(op, n_in, rows, &rows[n_in], n, index, policy, events);
        index += n;
        int k = ndim - 2;
        for (; k >= 0; k--) {
            if (++position[k] < dims[k]) break;
            position[k] = 0;
        }
        if (k < 0) return status;
    }
}
