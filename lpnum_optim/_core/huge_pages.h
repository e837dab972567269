/* Ask the system to back memory by huge pages: rows visited at random then do not miss the address translation. */
#ifndef LPNUM_HUGE_PAGES_H
#define LPNUM_HUGE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

/* 1 where the system took the advice. Only whole pages within the memory are advised. */
static inline int advise_huge_pages_of(void *memory, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = ((uintptr_t)memory + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)memory + bytes) & ~(page - 1);
    return end > start && madvise((void *)start, end - start, MADV_HUGEPAGE) == 0;
}
#else
static inline int advise_huge_pages_of(void *memory, size_t bytes) {
    (void)memory, (void)bytes;
    return 0;
}
#endif

#endif /* LPNUM_HUGE_PAGES_H */
