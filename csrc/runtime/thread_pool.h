/* The thread pool: one for the process, lent to one caller at a time.
 *
 *   struct pool *pool = pool_begin(n_threads);       NULL: do the work alone
 *   pool_for(pool, function, context, n_chunks);     any number of times; calls function(context, chunk)
 *   pool_end(pool);                                  for every chunk, the caller taking part
 *
 * Every thread starts with a share of the chunks, the same in each loop of as many chunks, so that it finds in its
 * caches what it left there; then it takes what is left of the other shares, chunk by chunk. So a thread that the system
 * has preempted delays no more than the chunk it holds. Which thread runs which chunk must not matter to the
 * result.
 */
#ifndef FASTSOFTMAX_THREAD_POOL_H
#define FASTSOFTMAX_THREAD_POOL_H

#include <stddef.h>

struct pool;

/* Borrow the pool. Returns NULL where n_threads is 1, another caller has the pool, or no thread can start. */
struct pool *pool_begin(int n_threads);

/* Return how many threads take part, the caller included; 1 for a NULL pool. */
int pool_threads(const struct pool *pool);

/* Run function(context, chunk) for every chunk, and return when all are done. With a NULL pool the caller
 * runs them all, in order. */
void pool_for(struct pool *pool, void (*function)(void *context, size_t chunk), void *context,
              size_t n_chunks);

/* Return which of the threads of the loop the calling one is, from 0 to pool_threads - 1: for memory that a thread works
 * in and that no result depends on. */
int pool_thread_index(void);

/* Return the pool; NULL is accepted. */
void pool_end(struct pool *pool);

#endif
