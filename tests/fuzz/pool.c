/* A target of libFuzzer for the pool of threads: any numbers of threads and of chunks, loops of different lengths
 * after one another, a pool that is lent already. Every chunk is done exactly once, and all of them before
 * the loop ends.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/thread_pool.h"

struct loop {
    atomic_int *n_done; /* of each chunk */
    size_t n_chunks;
};

static void fail(const char *what, size_t at) {
    fprintf(stderr, "finding: pool: %s (%zu)\n", what, at);
    abort();
}

static void work(void *context, size_t chunk) {
    struct loop *loop = context;
    if (chunk >= loop->n_chunks) fail("a chunk that is none", chunk);
    atomic_fetch_add(&loop->n_done[chunk], 1);
}

static void run_loop(struct pool *pool, size_t n_chunks) {
    struct loop loop = {malloc((n_chunks ? n_chunks : 1) * sizeof *loop.n_done), n_chunks};
    for (size_t i = 0; i < n_chunks; ++i) atomic_init(&loop.n_done[i], 0);
    pool_for(pool, work, &loop, n_chunks);
    for (size_t i = 0; i < n_chunks; ++i) {
        if (atomic_load(&loop.n_done[i]) != 1) fail("a chunk was not done once", i);
    }
    free(loop.n_done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const int threads[] = {1, 2, 3, 4, 64, 65, 1000, 0, -1, 2147483647};
    struct pool *pool = NULL;
    for (size_t i = 0; i < n && i < 64; ++i) {
        size_t chunks = data[i] >> 2, choice = data[i] & 3;
        if (choice == 0) {
            pool_end(pool);
            int wanted = threads[chunks % (sizeof threads / sizeof *threads)];
            pool = pool_begin(wanted);
            if (pool && pool_threads(pool) > wanted) fail("more threads than asked for", i);
            if (pool_threads(pool) < 1) fail("no thread", i);
            if (pool && pool_begin(2) != NULL) fail("lent twice", i);
        } else {
            run_loop(pool, choice == 1 ? chunks : choice == 2 ? chunks * 17 : chunks % 3);
        }
    }
    pool_end(pool);
    return 0;
}
