/* Where the time of a training goes: timers that each thread keeps for itself.
 *
 *   uint64_t start = phase_begin();
 *   ...                                         scores
 *   start = phase_next(PHASE_SCORES, start);    adds the time since `start`, and returns now
 *   ...                                         loss
 *   phase_next(PHASE_LOSS, start);
 *
 * Decisions:
 *   - Off, a timer is one load and a branch, and there are a few of them for a chunk of work: nothing that
 *     can be measured. On, it is a look at the clock, some 25 ns.
 *   - A thread writes to a record of its own and nobody else does; who reads the records meanwhile finds
 *     whole numbers. Records outlive their threads and are used again by later profiles.
 *   - What was begun before a profile does not count, nor does what began in an earlier one.
 */
#ifndef FASTSOFTMAX_TIMERS_H
#define FASTSOFTMAX_TIMERS_H

#include "runtime/platform.h"

enum phase { PHASE_CONVERT, PHASE_SCORES, PHASE_LOSS, PHASE_UPDATE, PHASE_WAIT, N_PHASES };

/* One stretch of work, in nanoseconds of platform_nanoseconds. */
struct phase_event {
    enum phase phase;
    uint64_t start, end;
};

enum { MAX_PHASE_EVENTS = 1 << 16 /* of a thread; more are only counted */ };

#if PLATFORM_HAS_THREADS

extern atomic_int phases_are_on;

void phase_add(enum phase phase, uint64_t start, uint64_t end);

/* What n_helpers threads together have waited since `since`: the one that they help notes it for them. */
void phase_add_idle(uint64_t since, uint64_t nanoseconds, size_t n_helpers);

static inline uint64_t phase_begin(void) {
    return atomic_load_explicit(&phases_are_on, memory_order_relaxed) ? platform_nanoseconds() : 0;
}

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

/* What one thread did. events are in order of their ends, n_events of them, and n_dropped were too many;
 * n_helpers is the most that it had, some of which may have found nothing to do. */
struct phase_totals {
    uint64_t nanoseconds[N_PHASES], calls[N_PHASES];
    const struct phase_event *events;
    size_t n_events, n_dropped, n_helpers;
};

/* Begin a profile, with events or without; returns 0 where there is one already, or no timers. */
int phases_start(int with_events);

/* End it. */
void phases_stop(void);

/* The i-th thread of the last profile; returns 0 where there are no more. */
int phases_of_thread(size_t i, struct phase_totals *totals);

#endif
