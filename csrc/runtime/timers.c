/* Timers of the phases of a training; see runtime/timers.h. */
#include "runtime/timers.h"

#include <stdlib.h>

#if PLATFORM_HAS_THREADS

/* The record of a thread. Each profile has a number; a record of an earlier one is cleared by its thread. */
struct record {
    struct record *next;
    atomic_uint_fast64_t profile;
    atomic_uint_fast64_t nanoseconds[N_PHASES], calls[N_PHASES];
    _Atomic(struct phase_event *) events;
    atomic_size_t n_events, n_dropped, n_helpers;
};

atomic_int phases_are_on;

static atomic_int is_taken, events_are_wanted;
static atomic_uint_fast64_t current_profile, profile_start;
static _Atomic(struct record *) records;
static _Thread_local struct record *own;

/* Add to a counter. Only its thread writes to a record: no read-modify-write is needed. */
static void add_to(atomic_uint_fast64_t *counter, uint64_t amount) {
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + amount, memory_order_relaxed);
}

/* Return the record of the calling thread, cleared for the current profile; NULL without memory. */
static struct record *own_record(void) {
    if (!own) {
        own = calloc(1, sizeof *own);
        if (!own) return NULL;
        own->next = atomic_load(&records);
        while (!atomic_compare_exchange_weak(&records, &own->next, own)) continue;
    }
    uint64_t profile = atomic_load(&current_profile);
    if (atomic_load_explicit(&own->profile, memory_order_relaxed) != profile) {
        for (int i = 0; i < N_PHASES; ++i) {
            atomic_store_explicit(&own->nanoseconds[i], 0, memory_order_relaxed);
            atomic_store_explicit(&own->calls[i], 0, memory_order_relaxed);
        }
        atomic_store(&own->n_events, 0);
        atomic_store(&own->n_dropped, 0);
        atomic_store(&own->n_helpers, 0);
        atomic_store(&own->profile, profile);
    }
    return own;
}

/* Append an event to a record, or count it as dropped. */
static void add_event(struct record *record, enum phase phase, uint64_t start, uint64_t end) {
    struct phase_event *events = atomic_load(&record->events);
    if (!events) {
        events = malloc(MAX_PHASE_EVENTS * sizeof *events);
        atomic_store(&record->events, events);
    }
    size_t n = atomic_load(&record->n_events);
    if (!events || n == MAX_PHASE_EVENTS) {
        atomic_fetch_add(&record->n_dropped, 1);
        return;
    }
    events[n] = (struct phase_event){phase, start, end};
    atomic_store(&record->n_events, n + 1);
}

/* Return the record for what began at `start`, or NULL if that does not count. */
static struct record *record_since(uint64_t start) {
    int counts = atomic_load(&phases_are_on) && start >= atomic_load(&profile_start);
    return counts ? own_record() : NULL;
}

void phase_add(enum phase phase, uint64_t start, uint64_t end) {
    struct record *record = record_since(start);
    if (!record) return;
    add_to(&record->nanoseconds[phase], end - start);
    add_to(&record->calls[phase], 1);
    if (atomic_load(&events_are_wanted)) add_event(record, phase, start, end);
}

void phase_add_idle(uint64_t since, uint64_t nanoseconds, size_t n_helpers) {
    struct record *record = record_since(since);
    if (!record) return;
    add_to(&record->nanoseconds[PHASE_WAIT], nanoseconds);
    add_to(&record->calls[PHASE_WAIT], n_helpers);
    if (n_helpers > atomic_load(&record->n_helpers)) atomic_store(&record->n_helpers, n_helpers);
}

int phases_start(int with_events) {
    int is_free = 0;
    if (!atomic_compare_exchange_strong(&is_taken, &is_free, 1)) return 0;
    atomic_store(&events_are_wanted, with_events);
    atomic_store(&profile_start, platform_nanoseconds());
    atomic_fetch_add(&current_profile, 1);
    atomic_store(&phases_are_on, 1);
    return 1;
}

void phases_stop(void) {
    atomic_store(&phases_are_on, 0);
    atomic_store(&is_taken, 0);
}

int phases_of_thread(size_t i, struct phase_totals *totals) {
    uint64_t profile = atomic_load(&current_profile);
    for (struct record *record = atomic_load(&records); record; record = record->next) {
        if (atomic_load(&record->profile) != profile || i-- > 0) continue;
        for (int phase = 0; phase < N_PHASES; ++phase) {
            totals->nanoseconds[phase] = atomic_load(&record->nanoseconds[phase]);
            totals->calls[phase] = atomic_load(&record->calls[phase]);
        }
        totals->events = atomic_load(&record->events);
        totals->n_events = atomic_load(&record->n_events);
        totals->n_dropped = atomic_load(&record->n_dropped);
        totals->n_helpers = atomic_load(&record->n_helpers);
        return 1;
    }
    return 0;
}

#else

int phases_start(int with_events) {
    (void)with_events;
    return 0;
}

void phases_stop(void) {}

int phases_of_thread(size_t i, struct phase_totals *totals) {
    (void)i;
    (void)totals;
    return 0;
}

#endif
