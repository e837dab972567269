# The declarations of epochs_api.h for Cython.

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "epochs_api.h" nogil:
    int EPOCH_NO_MEMORY, EPOCH_TOO_WIDE
    int LOSS_SQUARED, LOSS_LOGISTIC, LOSS_SOFTMAX, LOSS_HUBER
    int X_INT8, X_UINT8, X_FLOAT32, X_FLOAT64, X_INT16, X_INT4, X_UINT4

    ctypedef struct data_matrix:
        const void *data
        size_t n, d
        int kind
        double step
        const int32_t *columns
        const int64_t *row_start
        const double *column_scale

    ctypedef struct sample_list:
        const void *index
        size_t count
        int wide

    ctypedef struct epoch_problem:
        data_matrix x
        sample_list samples
        size_t batch, outputs
        const double *targets
        const double *weights
        const double *margins
        const double *anchors
        const double *direction
        const double *shrink
        double step_size, l2, l1
        const double *center
        int loss, centered
        double loss_parameter
        double *intercept
        const double *intercept_direction
        double intercept_step

    ctypedef struct lowbit_iterate:
        void *codes
        int wide
        double step
        int code_min, code_max
        uint64_t seed, stream
        double *mean

    ctypedef struct lowbit_control:
        size_t segments
        int learning
        double narrow, wide, crowded
        size_t stuck
        double widen, limit
        size_t mean_runs

    ctypedef struct lowbit_report:
        double saturated, range_used, last_saturated, beta_saturated, change, seen, crowding
        size_t runs, held, mean_terms

    ctypedef struct epoch_kernels:
        void (*init)() noexcept nogil
        int (*lowbit_epoch)(const epoch_problem *, const lowbit_iterate *, const lowbit_control *,
                            lowbit_report *) noexcept nogil
        int (*float_epoch)(const epoch_problem *, void *, int) noexcept nogil
        int (*row_products)(const data_matrix *, const double *, double *) noexcept nogil
        int (*weighted_row_sum)(const data_matrix *, const double *, double *) noexcept nogil

    const epoch_kernels epoch_kernels_baseline, epoch_kernels_avx2, epoch_kernels_avx512


cdef extern from "evaluation_api.h" nogil:
    int EVALUATION_BLOCK, EVALUATION_MARGINS

    ctypedef struct evaluation_problem:
        data_matrix x
        size_t outputs
        int loss
        double loss_parameter
        const double *targets
        const double *weights
        const double *v
        const double *intercept
        double *margins
        double *slopes
        int known
        size_t block

    ctypedef struct evaluation_sums:
        double losses
        double *slopes
        double *rows

    ctypedef int (*evaluation_kernel)(const evaluation_problem *, size_t, size_t, evaluation_sums *) noexcept nogil

    const evaluation_kernel evaluate_rows_baseline, evaluate_rows_avx2, evaluate_rows_avx512
