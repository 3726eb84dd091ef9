/* Timers of the phases of a training (profile), which each thread keeps for itself.
 *
 *   uint64_t start = phase_begin();
 *   ...                                         scores
 *   start = phase_next(PHASE_SCORES, start);    adds the time since `start`, and returns the current time
 *   ...                                         loss
 *   phase_next(PHASE_LOSS, start);
 *
 * Decisions:
 *   - Off, a timer is one load and a branch, a few times per chunk of work: not measurable. On, it reads the clock,
 *     some 25 ns.
 *   - A thread writes to a record of its own and nobody else does; a reader finds whole numbers at any time. Records
 *     outlive their threads and are reused by later profiles.
 *   - What began before a profile, or in an earlier one, does not count.
 */
#ifndef FASTSOFTMAX_TIMERS_H
#define FASTSOFTMAX_TIMERS_H

#include "runtime/system.h"

enum phase { PHASE_CONVERT, PHASE_SCORES, PHASE_LOSS, PHASE_UPDATE, PHASE_WAIT, N_PHASES };

/* One interval of work, in nanoseconds of platform_nanoseconds. */
struct phase_event {
    enum phase phase;
    uint64_t start, end;
};

enum { MAX_PHASE_EVENTS = 1 << 16 /* per thread; further ones are only counted */ };

#if PLATFORM_HAS_THREADS

extern atomic_int phases_are_on;

/* Add an interval to the record of the calling thread. */
void phase_add(enum phase phase, uint64_t start, uint64_t end);

/* Add the time that n_helpers threads together have waited since `since`: the thread that they help
 * records it. */
void phase_add_idle(uint64_t since, uint64_t nanoseconds, size_t n_helpers);

/* Return the time, or 0 without a profile. */
static inline uint64_t phase_begin(void) {
    return atomic_load_explicit(&phases_are_on, memory_order_relaxed) ? platform_nanoseconds() : 0;
}

/* Add the time since `start` to a phase, and return the current time. */
static inline uint64_t phase_next(enum phase phase, uint64_t start) {
    if (!start) return 0;
    uint64_t now = platform_nanoseconds();
    phase_add(phase, start, now);
    return now;
}

#else

static inline uint64_t phase_begin(void) { return 0; }
static inline uint64_t phase_next(enum phase phase, uint64_t start) {
    (void)phase;
    return start;
}
static inline void phase_add_idle(uint64_t since, uint64_t nanoseconds, size_t n_helpers) {
    (void)since;
    (void)nanoseconds;
    (void)n_helpers;
}

#endif

/* What one thread did. `events` are in order of their ends, n_events of them, and n_dropped were too many;
 * n_helpers is the largest number of helpers that it had, some of which may have found nothing to do. */
struct phase_totals {
    uint64_t nanoseconds[N_PHASES], calls[N_PHASES];
    const struct phase_event *events;
    size_t n_events, n_dropped, n_helpers;
};

/* Start a profile, with events or without; return 0 where one is running already, or there are no timers. */
int phases_start(int with_events);

/* End the profile. */
void phases_stop(void);

/* Fill *totals with those of the i-th thread of the last profile; return 0 where there are no more. */
int phases_of_thread(size_t i, struct phase_totals *totals);

#endif
