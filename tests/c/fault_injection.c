/* Preloaded by tests/backends/test_allocation.py, before the C library: a system that has no memory, or no thread, when it is
 * told so. The kernels are the only ones here who ask for aligned memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t n_bytes);
extern void *__libc_calloc(size_t n, size_t n_bytes);
extern void *__libc_realloc(void *memory, size_t n_bytes);
extern void *__libc_memalign(size_t alignment, size_t n_bytes);
extern void __libc_free(void *memory);

enum { MAX_BLOCKS = 4096 };

static _Thread_local int is_watched; /* the thread that has called system_watch */
static _Thread_local long n_seen, failing;
static _Thread_local size_t least_bytes;
static int (*holds_gil)(void);
static atomic_int denies_threads, n_denied;
static _Atomic(void *) blocks[MAX_BLOCKS]; /* aligned ones that nobody has freed */
static atomic_int n_blocks;

/* From here on the `n`th allocation of this thread fails, none for 0: aligned ones count, or, unless `least` is 0, the
 * others of that many bytes or more. (Not what NumPy asks for without holding the GIL: where its loops get
 * no buffer, they set an error all the same, and crash.) */
void system_watch(long n, size_t least) {
    if (!holds_gil) *(void **)&holds_gil = dlsym(RTLD_DEFAULT, "PyGILState_Check");
    n_seen = 0;
    failing = n;
    least_bytes = least;
    is_watched = 1;
}

/* Returns how many there were. */
long system_stop(void) {
    is_watched = 0;
    return n_seen;
}

int system_blocks(void) { return atomic_load(&n_blocks); }

/* Returns how many threads were refused since the last call. */
int system_deny_threads(int is_denied) {
    atomic_store(&denies_threads, is_denied);
    return atomic_exchange(&n_denied, 0);
}

static int fails(int counts) {
    if (!is_watched || !counts || ++n_seen != failing) return 0;
    errno = ENOMEM;
    return 1;
}

static int is_large(size_t n_bytes) {
    return is_watched && least_bytes && n_bytes >= least_bytes && holds_gil();
}

void *malloc(size_t n_bytes) { return fails(is_large(n_bytes)) ? NULL : __libc_malloc(n_bytes); }

void *calloc(size_t n, size_t n_bytes) {
    return fails(is_large(n * n_bytes)) ? NULL : __libc_calloc(n, n_bytes);
}

void *realloc(void *memory, size_t n_bytes) {
    if (fails(is_large(n_bytes))) return NULL;
    return __libc_realloc(memory, n_bytes);
}

void *aligned_alloc(size_t alignment, size_t n_bytes) {
    if (fails(!least_bytes)) return NULL;
    void *memory = __libc_memalign(alignment, n_bytes);
    for (int i = 0; memory && i < MAX_BLOCKS; ++i) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&blocks[i], &none, memory)) {
            atomic_fetch_add(&n_blocks, 1);
            break;
        }
    }
    return memory;
}

void free(void *memory) {
    for (int i = 0; memory && atomic_load(&n_blocks) && i < MAX_BLOCKS; ++i) {
        void *own = memory;
        if (atomic_load_explicit(&blocks[i], memory_order_relaxed) != memory) continue;
        if (atomic_compare_exchange_strong(&blocks[i], &own, NULL)) atomic_fetch_sub(&n_blocks, 1);
        break;
    }
    __libc_free(memory);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&denies_threads)) {
        atomic_fetch_add(&n_denied, 1);
        return EAGAIN;
    }
    if (!create) *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return create(thread, attributes, start, argument);
}
