/* The pool, with more threads than CPUs, under whatever sanitizer it is compiled with:
 *
 *   - every chunk is done once, and its work is seen by who has lent the pool;
 *   - what one loop has written the next one reads, chunks being done by whichever thread;
 *   - one of several callers at once has the pool, the others go on alone, and the results are the same;
 *   - kernels give the same bits on the pool as alone;
 *   - a profile begins and ends while threads work;
 *   - a child after fork has a pool of its own: where there is fork, and without the argument "no-fork".
 *
 * Nothing here is atomic but the pool itself: what it does not order is a data race, for ThreadSanitizer.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/system.h"

#if PLATFORM_HAS_FORK
#include <sys/wait.h>
#endif

/* This many on any machine. */
enum { N_THREADS = 6 };
#define platform_cpus() N_THREADS
#include "../../csrc/runtime/thread_pool.c"

#include "kernels/kernel_table.h"

#define REQUIRE(condition)                                                            \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* ---- Threads that end ---- */

#if defined(_WIN32)
static void join(platform_thread thread) {
    REQUIRE(WaitForSingleObject(thread, INFINITE) == WAIT_OBJECT_0);
    CloseHandle(thread);
}

#define start_joinable platform_start_thread
#else
static void join(platform_thread thread) { REQUIRE(!pthread_join(thread, NULL)); }

static int start_joinable(platform_thread *thread, void *(*run)(void *), void *argument) {
    return !pthread_create(thread, NULL, run, argument);
}
#endif

/* ---- Loops ---- */

enum { MAX_COUNTED_CHUNKS = 200, STEPS = 2000 };

struct counts {
    long done[MAX_COUNTED_CHUNKS], sum[MAX_COUNTED_CHUNKS];
    size_t n_chunks;
};

static void count(void *context, size_t chunk) {
    struct counts *counts = context;
    ++counts->done[chunk];
}

/* Reads what all chunks of the loop before have written. */
static void sum_all(void *context, size_t chunk) {
    struct counts *counts = context;
    long sum = 0;
    for (size_t i = 0; i < counts->n_chunks; ++i) sum += counts->done[i];
    counts->sum[chunk] = sum;
}

/* Steps of two loops, as those of a training: all of a loop is done before the next one begins. */
static void run_loops(int n_threads) {
    struct counts counts = {.n_chunks = 1};
    struct pool *pool = pool_begin(n_threads);
    long expected = 0;
    for (int step = 0; step < STEPS; ++step) {
        counts.n_chunks = 1 + (size_t)(step * 7 % MAX_COUNTED_CHUNKS);
        memset(counts.done, 0, sizeof counts.done);
        pool_for(pool, count, &counts, counts.n_chunks);
        pool_for(pool, sum_all, &counts, counts.n_chunks);
        expected += (long)counts.n_chunks;
        for (size_t i = 0; i < counts.n_chunks; ++i) {
            REQUIRE(counts.done[i] == 1);
            REQUIRE(counts.sum[i] == (long)counts.n_chunks);
            expected -= counts.done[i];
        }
    }
    REQUIRE(expected == 0);
    pool_end(pool);
}

static THREAD_RESULT THREAD_CALL run_loops_in_thread(void *n_threads) {
    run_loops((int)(intptr_t)n_threads);
    return 0;
}

static void run_callers_at_once(void) {
    platform_thread callers[8];
    for (size_t i = 0; i < 8; ++i) {
        REQUIRE(start_joinable(callers + i, run_loops_in_thread, (void *)(1 + i % 6)));
    }
    for (size_t i = 0; i < 8; ++i) join(callers[i]);
}

/* Threads that come, use the pool once and go. */
static void run_short_lives(void) {
    for (int i = 0; i < 50; ++i) {
        platform_thread thread;
        REQUIRE(start_joinable(&thread, run_loops_in_thread, (void *)(intptr_t)(i ? 1 : 4)));
        join(thread);
    }
}

static void there_is_one_pool(void) {
    struct pool *pool = pool_begin(3);
    REQUIRE(pool && pool_threads(pool) == 3);
    REQUIRE(!pool_begin(3));
    pool_end(pool);
    REQUIRE(!pool_begin(1));
    pool = pool_begin(1000);
    REQUIRE(pool_threads(pool) == N_THREADS);
    pool_end(pool);
}

/* ---- Kernels ---- */

enum { ROWS = 640, CLASSES = 37, ROWS_PER_CHUNK = 16 };

struct rows {
    const struct kernels *kernels;
    char *logits, *out;
    int64_t labels[ROWS];
    double losses[ROWS];
};

static void cross_entropy_of_chunk(void *context, size_t chunk) {
    struct rows *rows = context;
    size_t first = chunk * ROWS_PER_CHUNK, bytes = CLASSES * rows->kernels->element_size;
    struct targets_view targets = {rows->labels + first, NULL, NULL, CLASSES};
    ptrdiff_t bad = rows->kernels->loss->cross_entropy(
        rows->logits + first * bytes, CLASSES, ROWS_PER_CHUNK, &targets, 1.0 / ROWS,
        rows->losses + first, rows->out + first * bytes, CLASSES);
    REQUIRE(bad == -1);
}

/* The sum of a column of all gradients, by whichever thread. */
static void sum_of_columns(void *context, size_t chunk) {
    struct rows *rows = context;
    size_t bytes = CLASSES * rows->kernels->element_size;
    rows->kernels->dense->column_sums(rows->out, CLASSES, ROWS, CLASSES, 0,
                                      rows->logits + chunk * bytes);
}

static void put_logits(struct rows *rows) {
    for (size_t i = 0; i < ROWS * CLASSES; ++i) {
        double z = (double)(i * 2654435761u % 10007) / 500 - 10;
        if (rows->kernels->element_size == sizeof(float)) {
            ((float *)(void *)rows->logits)[i] = (float)z;
        } else {
            ((double *)(void *)rows->logits)[i] = z;
        }
    }
    for (size_t i = 0; i < ROWS; ++i) rows->labels[i] = (int64_t)(i * 5 % CLASSES);
}

static void run_kernels(const struct kernels *kernels) {
    size_t bytes = ROWS * CLASSES * kernels->element_size;
    static struct rows alone, shared;
    struct rows *both[] = {&alone, &shared};
    for (int times = 0; times < 20; ++times) {
        for (int i = 0; i < 2; ++i) {
            struct rows *rows = both[i];
            rows->kernels = kernels;
            rows->logits = malloc(bytes);
            rows->out = malloc(bytes);
            REQUIRE(rows->logits && rows->out);
            put_logits(rows);
            struct pool *pool = pool_begin(i ? N_THREADS : 1);
            pool_for(pool, cross_entropy_of_chunk, rows, ROWS / ROWS_PER_CHUNK);
            pool_for(pool, sum_of_columns, rows, ROWS / ROWS_PER_CHUNK);
            pool_end(pool);
        }
        REQUIRE(!memcmp(alone.losses, shared.losses, sizeof alone.losses));
        REQUIRE(!memcmp(alone.out, shared.out, bytes));
        REQUIRE(!memcmp(alone.logits, shared.logits, bytes));
        for (int i = 0; i < 2; ++i) {
            free(both[i]->logits);
            free(both[i]->out);
        }
    }
}

/* ---- Profiles ---- */

static atomic_int loops_go_on;

static THREAD_RESULT THREAD_CALL profile_meanwhile(void *nothing) {
    (void)nothing;
    while (atomic_load(&loops_go_on)) {
        REQUIRE(phases_start(1));
        struct phase_totals totals;
        for (size_t i = 0; phases_of_thread(i, &totals); ++i) continue;
        phases_stop();
    }
    return 0;
}

static void run_profiles(void) {
    platform_thread profiler;
    atomic_store(&loops_go_on, 1);
    REQUIRE(start_joinable(&profiler, profile_meanwhile, NULL));
    for (int i = 0; i < 3; ++i) run_loops(N_THREADS);
    atomic_store(&loops_go_on, 0);
    join(profiler);
}

/* ---- Forks ---- */

/* Before the pool is first used, after, and while it is lent. */
static int is_forked = PLATFORM_HAS_FORK;

static void fork_and_run(void) {
#if PLATFORM_HAS_FORK
    if (!is_forked) return;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        run_loops(2);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "no-fork")) is_forked = 0;
    fork_and_run();
    for (int n_threads = 1; n_threads <= N_THREADS + 2; ++n_threads) run_loops(n_threads);
    there_is_one_pool();
    fork_and_run();
    struct pool *pool = pool_begin(3);
    fork_and_run();
    pool_end(pool);
    for (const struct instruction_set *set = instruction_sets; set->name; ++set) {
        if (!set->is_supported()) continue;
        run_kernels(set->float32);
        run_kernels(set->float64);
    }
    run_callers_at_once();
    run_short_lives();
    run_profiles();
    printf("the pool: all as it must be%s\n", is_forked ? "" : "; fork was not tried");
    return 0;
}
