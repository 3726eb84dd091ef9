"""The timers of csrc/runtime/timers.h for Python, and the most that the machine can do."""


def start_phases(bint with_events):
    """Begin a profile; False where another one is going on, or there are no timers on this system."""
    return bool(phases_start(with_events))


def stop_phases():
    """End it, and return for each thread (nanoseconds, calls, events, events dropped, helpers).

    The first two by phase. Events are (phase, start, end) in nanoseconds of `phase_clock`.
    """
    phases_stop()
    cdef phase_totals totals
    cdef size_t i = 0, j
    threads = []
    while phases_of_thread(i, &totals):
        threads.append((
            [totals.nanoseconds[j] for j in range(N_PHASES)],
            [totals.calls[j] for j in range(N_PHASES)],
            [
                (<int>totals.events[j].phase, totals.events[j].start, totals.events[j].end)
                for j in range(totals.n_events)
            ],
            totals.n_dropped,
            totals.n_helpers,
        ))
        i += 1
    return threads


def phase_clock():
    """Nanoseconds of the clock of the timers."""
    return platform_nanoseconds()


cdef struct Peak:
    const kernel_table *kernels
    size_t amount  # rounds, or numbers of each thread
    char *memory
    double results[MAX_CHUNKS]


cdef void multiply_adds_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Peak *p = <Peak *>context
    cdef double sink = 0
    p.results[chunk] = p.kernels.multiply_adds(p.amount, &sink)


cdef void read_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Peak *p = <Peak *>context
    p.results[chunk] = p.kernels.read_memory(p.memory + chunk * p.amount * 4, p.amount)


cdef void copy_chunk(void *context, size_t chunk) noexcept nogil:
    # The first half of the thread's share to the second.
    cdef Peak *p = <Peak *>context
    cdef char *memory = p.memory + chunk * p.amount * 4
    p.kernels.copy_memory(memory, p.amount // 2, memory + p.amount // 2 * 4)


cdef double seconds_of(
    void (*function)(void *context, size_t chunk) noexcept nogil, Peak *p, int n_threads
) noexcept nogil:
    cdef pool *helpers = pool_begin(n_threads)
    cdef double start = platform_seconds()
    pool_for(helpers, function, p, n_threads)
    cdef double taken = platform_seconds() - start
    pool_end(helpers)
    return taken


def measure_multiply_adds(bint is_double, size_t n_rounds, int n_threads):
    """Floating-point operations per second of n_threads threads in loops of multiply-adds alone."""
    cdef Peak p
    cdef double taken, total = 0
    cdef int i
    p.kernels = chosen.float64 if is_double else chosen.float32
    p.amount = n_rounds
    n_threads = min(n_threads, <int>MAX_CHUNKS)
    with nogil:
        taken = seconds_of(multiply_adds_chunk, &p, n_threads)
    for i in range(n_threads):
        total += p.results[i]
    return total / taken


def measure_bandwidth(memory, bint copies, int n_threads):
    """Bytes per second that n_threads threads read, or read and write, each in its share of the memory."""
    cdef View view = View(memory, True)
    cdef Peak p
    cdef double taken
    n_threads = min(n_threads, <int>MAX_CHUNKS)
    p.kernels, p.memory = chosen.float32, view.start
    p.amount = <size_t>view.buffer.len // 4 // n_threads // 1024 * 1024
    with nogil:
        taken = seconds_of(copy_chunk if copies else read_chunk, &p, n_threads)
    return n_threads * p.amount * 4 / taken
