# What the wrappers share: the table of the SIMD level in use, formats, buffers.
# The C kernels are compiled into `kernels` alone; the other modules call them through its table, so that
# `set_simd_level` means them all.

from lpnum._core.kernels_api cimport lpnum_events, lpnum_format, lpnum_kernels, lpnum_policy
from libc.stdint cimport uint64_t

cdef const lpnum_kernels *kernels

cdef int dtype_of(Py_buffer *view) except -1
cdef int check_alignment(Py_buffer *view) except -1
cdef int set_policy(lpnum_policy *policy, int rounding, int overflow, int random_bits, uint64_t seed, uint64_t stream,
                    bint count) except -1
cdef void clear_events(lpnum_events *events) noexcept nogil
cdef tuple events_tuple(const lpnum_events *events)


cdef class Format:
    cdef lpnum_format c
    cdef double table[256]


cdef class Contiguous:
    cdef Py_buffer view
    cdef bint held
    cdef int dtype
    cdef size_t size

    cdef int take(self, object array, bint writable) except -1
