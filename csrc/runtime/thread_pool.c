/* The thread pool; see runtime/thread_pool.h.
 *
 * Decisions:
 *   - What to do next is one atomic word per share, the ticket: the end of the share and the next chunk to take.
 *     Adding 1 to it takes a chunk, and tells at the same time whether there was one. A thread that comes late
 *     finds no chunk left and touches nothing else.
 *   - A loop ends when the count of unfinished chunks is 0, not when all threads have met: a thread that holds no
 *     chunk is not waited for.
 *   - Waiting is a short spin (MAX_SPINS), since the next loop of a training step comes within
 *     microseconds, then sleep: a thread that spins on a busy machine uses up the time slice that its partner needs.
 *   - How many threads sleep is counted under the lock that a sleeper holds until it sleeps; the count is read after
 *     the ticket (or the count of chunks) is written, both sequentially consistent. So either the sleeper sees the
 *     new work or the thread that brings it sees the sleeper.
 *   - A thread that starts a loop on the CPU of another thread of the pool moves away. Linux wakes a thread on the CPU
 *     of its waker, and two that wake each other in turn never look like too much for one CPU: they were seen to
 *     share it for seconds, with the other one idle.
 *   - So sleeping workers are woken with an affinity that leaves out the CPU of the borrower, and get back all CPUs as soon
 *     as they run. Virtual machines need it most: to Linux a virtual CPU that has halted for long looks taken away by
 *     the host, so that a worker is woken behind the borrower, to wait there for the end of its time slice, in every
 *     loop before which it slept. Measured on two CPUs of such a machine, after a pause of 0.2 s: linear_cross_entropy of
 *     4096 x 256 x 1000 took 49 ms without and takes 33 with it, by one thread 44.
 *   - Workers start when first needed and stay. A child after fork has none: the fork handler forgets them.
 *   - Workers inherit from the thread that happens to start them which CPUs they may run on and how they round. They
 *     may run where the process may, which is looked up each time the pool is lent. They round by default, since every
 *     call sets that state before it borrows the pool (runtime/float_state.h).
 *   - No OpenMP: two runtimes in one process clash, and libgomp hangs after fork.
 */
#include "runtime/thread_pool.h"

#include "runtime/platform.h"
#include "runtime/timers.h"

/* By this name threadpoolctl tells the library from others (backends/thread_limit.py). */
extern EXPORTED const int fastsoftmax_thread_pool;
const int fastsoftmax_thread_pool = PLATFORM_HAS_THREADS;

#if PLATFORM_HAS_THREADS

/* For how many pause instructions a thread waits before it sleeps, some 20 to 50 microseconds: the next loop of a
 * training step comes sooner, and longer spinning would use up the time slice of its partner on a busy machine.
 *   python -m benchmarks.tune MAX_SPINS=100 --shape 60000 784 10 128 --threads 2
 *   python -m benchmarks.guard   beside busy processes */
enum { MAX_SPINS = 1000 };

/* No loop of the kernels has more than 64 chunks that take long. */
enum { MAX_WORKERS = 63 };

/* The chunks of one thread, on a cache line of its own, which avoids false sharing. */
struct share {
    _Alignas(CACHE_LINE) atomic_uint_fast64_t ticket; /* end << 32 | next chunk */
    atomic_int cpu;                                   /* on which its thread began the last loop */
    /* Under the lock: whether its worker sleeps, and whether it is woken away from the CPU of the borrower. */
    int sleeps, is_away;
    atomic_uint_fast64_t
        busy; /* in a profile: nanoseconds that its thread has spent in chunks since the pool was lent */
};

struct pool {
    atomic_int is_lent;
    int n_workers; /* started; only the borrower touches it and the next two */
    platform_thread workers[MAX_WORKERS];
    platform_cpu_mask cpus; /* that all of them may run on; written under the lock */
    atomic_int n_active;    /* of the workers, those that the borrower asked for */
    uint64_t lent_since;    /* 0 without a profile */

    void (*function)(void *context, size_t chunk);
    void *context;
    struct share shares[MAX_WORKERS + 1]; /* the borrower's, then the workers' */
    _Alignas(CACHE_LINE) atomic_size_t unfinished;

    platform_mutex lock;
    platform_condition work_has_come, work_is_done;
    atomic_int sleeping_workers, borrower_sleeps;
};

#define POOL_INITIAL                              \
    {.lock = PLATFORM_MUTEX_INITIAL,              \
     .work_has_come = PLATFORM_CONDITION_INITIAL, \
     .work_is_done = PLATFORM_CONDITION_INITIAL}

static struct pool the_pool = POOL_INITIAL;

/* Return whether a share has chunks that nobody has taken. */
static int share_has_chunks(struct share *share) {
    uint64_t ticket = atomic_load(&share->ticket);
    return (uint32_t)ticket < (ticket >> 32);
}

/* Return whether any share has chunks that nobody has taken. */
static int has_chunks(struct pool *pool) {
    int n_shares = 1 + atomic_load(&pool->n_active);
    for (int i = 0; i < n_shares; ++i) {
        if (share_has_chunks(&pool->shares[i])) return 1;
    }
    return 0;
}

/* Take and run the chunks of one share until none is left; the time goes to the share `own`. */
static void work_on(struct pool *pool, struct share *share, struct share *own) {
    while (share_has_chunks(share)) {
        uint64_t ticket = atomic_fetch_add(&share->ticket, 1);
        if ((uint32_t)ticket >= (ticket >> 32)) return;
        /* This chunk is unfinished, so the loop that it belongs to has not ended: function is that of the
         * loop. */
        uint64_t begun = phase_begin();
        pool->function(pool->context, (uint32_t)ticket);
        if (begun) atomic_fetch_add(&own->busy, platform_nanoseconds() - begun);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->borrower_sleeps)) {
            platform_lock(&pool->lock);
            platform_wake_one(&pool->work_is_done);
            platform_unlock(&pool->lock);
        }
    }
}

/* Move to another CPU if an earlier thread of the pool is on this one. */
static void spread_out(struct pool *pool, int own) {
    int cpu = platform_cpu(), is_shared = 0, cpus[MAX_WORKERS + 1];
    for (int i = 0; i < own; ++i) {
        cpus[i] = atomic_load_explicit(&pool->shares[i].cpu, memory_order_relaxed);
        is_shared |= cpus[i] == cpu;
    }
    if (is_shared && cpu >= 0) {
        platform_lock(&pool->lock); /* or it would undo what start_workers does meanwhile */
        platform_leave_cpus(cpus, own);
        platform_unlock(&pool->lock);
        cpu = platform_cpu();
    }
    atomic_store_explicit(&pool->shares[own].cpu, cpu, memory_order_relaxed);
}

/* The share of the calling thread; a caller has the first one. */
static _Thread_local int own_share;

int pool_thread_index(void) { return own_share; }

/* Run chunks: those of the own share first, then those of the others. */
static void work(struct pool *pool, int own) {
    own_share = own;
    spread_out(pool, own);
    int n_shares = 1 + atomic_load(&pool->n_active);
    for (int i = 0; i < n_shares; ++i) {
        work_on(pool, &pool->shares[(own + i) % n_shares], &pool->shares[own]);
    }
}

/* Return whether a worker takes part and there is a chunk left. */
static int may_work(struct pool *pool, int index) {
    return index < atomic_load(&pool->n_active) && has_chunks(pool);
}

/* The main function of a worker. */
static THREAD_RESULT THREAD_CALL worker(void *index_as_pointer) {
    struct pool *pool = &the_pool;
    int index = (int)(intptr_t)index_as_pointer;
    struct share *own = &pool->shares[index + 1];
    for (;;) {
        for (int spin = 0; spin < MAX_SPINS && !may_work(pool, index); ++spin) platform_pause();
        if (!may_work(pool, index)) {
            platform_lock(&pool->lock);
            atomic_fetch_add(&pool->sleeping_workers, 1);
            own->sleeps = 1;
            while (!may_work(pool, index)) {
                platform_wait(&pool->work_has_come, &pool->lock);
                if (own->is_away) platform_allow_cpus(pool->workers[index], &pool->cpus);
                own->is_away = 0;
            }
            own->sleeps = 0;
            atomic_fetch_sub(&pool->sleeping_workers, 1);
            platform_unlock(&pool->lock);
        }
        work(pool, index + 1);
    }
    return 0;
}

/* Start workers until there are `wanted`, or the system gives no more, and let all of them run where the
 * process may. */
static void start_workers(struct pool *pool, int wanted) {
    int before = pool->n_workers;
    for (; pool->n_workers < wanted; ++pool->n_workers) {
        intptr_t index = pool->n_workers;
        if (!platform_start_thread(&pool->workers[index], worker, (void *)index)) break;
    }
    platform_cpu_mask cpus;
    if (!platform_process_cpus(&cpus)) return;
    if (pool->n_workers == before && platform_same_cpus(&cpus, &pool->cpus)) return;
    platform_lock(&pool->lock);
    for (int i = 0; i < pool->n_workers; ++i) platform_allow_cpus(pool->workers[i], &cpus);
    pool->cpus = cpus;
    platform_unlock(&pool->lock);
}

/* Wake the workers that sleep, those that take part anywhere but on the CPU of the caller. */
static void wake_workers(struct pool *pool) {
    platform_lock(&pool->lock);
    platform_cpu_mask others = pool->cpus;
    if (platform_remove_cpu(&others, platform_cpu()) > 0) {
        for (int i = 0; i < atomic_load(&pool->n_active); ++i) {
            struct share *share = &pool->shares[i + 1];
            if (!share->sleeps) continue;
            platform_allow_cpus(pool->workers[i], &others);
            share->is_away = 1;
        }
    }
    platform_wake_all(&pool->work_has_come);
    platform_unlock(&pool->lock);
}

#if PLATFORM_HAS_FORK
/* Reset the pool in a child process: the workers do not exist there, nor does what they held. */
static void forget_workers(void) { the_pool = (struct pool)POOL_INITIAL; }

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, forget_workers); }

static void watch_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
}
#else
static void watch_forks(void) {}
#endif

struct pool *pool_begin(int n_threads) {
    struct pool *pool = &the_pool;
    int is_free = 0;
    if (n_threads <= 1) return NULL;
    watch_forks();
    if (!atomic_compare_exchange_strong(&pool->is_lent, &is_free, 1)) return NULL;
    /* More threads than CPUs would only take turns; n_threads is an upper bound. */
    int wanted = n_threads < platform_cpus() ? n_threads - 1 : platform_cpus() - 1;
    if (wanted > MAX_WORKERS) wanted = MAX_WORKERS;
    start_workers(pool, wanted);
    if (pool->n_workers == 0) {
        atomic_store(&pool->is_lent, 0);
        return NULL;
    }
    if (wanted > pool->n_workers) wanted = pool->n_workers; /* the system gave no more */
    atomic_store(&pool->n_active, wanted);
    pool->lent_since = phase_begin();
    for (int i = 0; i <= wanted; ++i) atomic_store(&pool->shares[i].busy, 0);
    return pool;
}

int pool_threads(const struct pool *pool) { return pool ? 1 + atomic_load(&pool->n_active) : 1; }

/* Wait until the workers have finished their chunks. */
static void wait_for_workers(struct pool *pool) {
    uint64_t begun = phase_begin();
    for (int spin = 0; spin < MAX_SPINS && atomic_load(&pool->unfinished); ++spin) platform_pause();
    if (atomic_load(&pool->unfinished)) {
        platform_lock(&pool->lock);
        atomic_store(&pool->borrower_sleeps, 1);
        while (atomic_load(&pool->unfinished)) {
            platform_wait(&pool->work_is_done, &pool->lock);
        }
        atomic_store(&pool->borrower_sleeps, 0);
        platform_unlock(&pool->lock);
    }
    phase_next(PHASE_WAIT, begun);
}

void pool_for(struct pool *pool, void (*function)(void *context, size_t chunk), void *context,
              size_t n_chunks) {
    if (!pool || n_chunks <= 1 || n_chunks >= UINT32_MAX / 2) {
        for (size_t chunk = 0; chunk < n_chunks; ++chunk) function(context, chunk);
        return;
    }
    pool->function = function;
    pool->context = context;
    atomic_store(&pool->unfinished, n_chunks);
    uint64_t n_shares = (uint64_t)pool_threads(pool);
    for (uint64_t i = 0; i < n_shares; ++i) {
        uint64_t first = i * n_chunks / n_shares, end = (i + 1) * n_chunks / n_shares;
        atomic_store(&pool->shares[i].ticket, end << 32 | first);
    }
    if (atomic_load(&pool->sleeping_workers)) wake_workers(pool);
    work(pool, 0);
    if (atomic_load(&pool->unfinished)) wait_for_workers(pool);
}

/* Add to the profile the time in which the workers had no chunk. */
static void note_idle(struct pool *pool) {
    uint64_t lent = platform_nanoseconds() - pool->lent_since, idle = 0;
    int n_workers = atomic_load(&pool->n_active);
    for (int i = 1; i <= n_workers; ++i) idle += lent - atomic_load(&pool->shares[i].busy);
    phase_add_idle(pool->lent_since, idle, (size_t)n_workers);
}

void pool_end(struct pool *pool) {
    if (!pool) return;
    if (pool->lent_since) note_idle(pool);
    atomic_store(&pool->is_lent, 0);
}

#else

struct pool *pool_begin(int n_threads) {
    (void)n_threads;
    return NULL;
}

int pool_threads(const struct pool *pool) {
    (void)pool;
    return 1;
}

int pool_thread_index(void) { return 0; }

void pool_for(struct pool *pool, void (*function)(void *context, size_t chunk), void *context,
              size_t n_chunks) {
    (void)pool;
    for (size_t chunk = 0; chunk < n_chunks; ++chunk) function(context, chunk);
}

void pool_end(struct pool *pool) { (void)pool; }

#endif
