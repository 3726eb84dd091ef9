/* Portability, the part that threads include: how they start, wait and wake each other, where they may run, and the
 * clock. On Windows this is the system's own (SRWLOCK and CONDITION_VARIABLE), elsewhere POSIX. */
#ifndef FASTSOFTMAX_SYSTEM_H
#define FASTSOFTMAX_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#endif

#if defined(__linux__)
#include <sched.h>
#endif

/* Elsewhere, as with MSVC, the kernels run on one thread. */
#if defined(__STDC_NO_ATOMICS__)
#define PLATFORM_HAS_THREADS 0
#else
#define PLATFORM_HAS_THREADS 1
#include <stdatomic.h>
#endif

/* ---- Threads ---- */

#if defined(_WIN32)
#define PLATFORM_HAS_FORK 0

typedef HANDLE platform_thread;
typedef SRWLOCK platform_mutex;
typedef CONDITION_VARIABLE platform_condition;
#define PLATFORM_MUTEX_INITIAL SRWLOCK_INIT
#define PLATFORM_CONDITION_INITIAL CONDITION_VARIABLE_INIT

/* The main function of a thread: static THREAD_RESULT THREAD_CALL name(void *argument). */
#define THREAD_RESULT DWORD
#define THREAD_CALL WINAPI

static inline void platform_lock(platform_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static inline void platform_unlock(platform_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }

static inline void platform_wait(platform_condition *condition, platform_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

static inline void platform_wake_one(platform_condition *condition) {
    WakeConditionVariable(condition);
}

static inline void platform_wake_all(platform_condition *condition) {
    WakeAllConditionVariable(condition);
}

static inline int platform_start_thread(platform_thread *thread, LPTHREAD_START_ROUTINE run,
                                        void *argument) {
    *thread = CreateThread(NULL, 0, run, argument, 0, NULL);
    return *thread != NULL;
}

#else
#define PLATFORM_HAS_FORK 1

typedef pthread_t platform_thread;
typedef pthread_mutex_t platform_mutex;
typedef pthread_cond_t platform_condition;
#define PLATFORM_MUTEX_INITIAL PTHREAD_MUTEX_INITIALIZER
#define PLATFORM_CONDITION_INITIAL PTHREAD_COND_INITIALIZER

/* The main function of a thread: static THREAD_RESULT THREAD_CALL name(void *argument). */
#define THREAD_RESULT void *
#define THREAD_CALL

/* Lock a mutex. */
static inline void platform_lock(platform_mutex *mutex) { pthread_mutex_lock(mutex); }

/* Unlock a mutex. */
static inline void platform_unlock(platform_mutex *mutex) { pthread_mutex_unlock(mutex); }

/* Unlock a mutex, sleep until the condition is woken, or for no reason, and lock it again. */
static inline void platform_wait(platform_condition *condition, platform_mutex *mutex) {
    pthread_cond_wait(condition, mutex);
}

/* Wake one thread that waits for the condition. */
static inline void platform_wake_one(platform_condition *condition) {
    pthread_cond_signal(condition);
}

/* Wake all threads that wait for the condition. */
static inline void platform_wake_all(platform_condition *condition) {
    pthread_cond_broadcast(condition);
}

/* Start a thread that nobody joins, with all signals blocked: they are for the threads of the program. Return 0
 * where the system has no thread to give. */
static inline int platform_start_thread(platform_thread *thread, void *(*run)(void *),
                                        void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) pthread_detach(*thread);
    return !failed;
}
#endif

/* ---- Where they run ---- */

/* Return the bytes of the second level of a core's cache, or 0 where the system does not say. */
static inline size_t platform_cache_bytes(void) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    long n_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return n_bytes > 0 ? (size_t)n_bytes : 0;
#else
    return 0;
#endif
}

/* Return the number of the CPU that the calling thread runs on, or -1 where the system does not tell. */
static inline int platform_cpu(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Move the calling thread to a CPU other than these, if it may run on one, and leave its affinity as it
 * was: the system is free to move it again. */
static inline void platform_leave_cpus(const int *cpus, int n) {
#if defined(__linux__)
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    others = allowed;
    for (int i = 0; i < n; ++i) {
        if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_CLR(cpus[i], &others);
    }
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)cpus;
    (void)n;
#endif
}

/* The CPUs that this process may run on: those of its main thread, which taskset shows and sets. */
#if defined(__linux__)
typedef cpu_set_t platform_cpu_mask;

static inline int platform_process_cpus(platform_cpu_mask *cpus) {
    CPU_ZERO(cpus);
    return sched_getaffinity(getpid(), sizeof *cpus, cpus) == 0;
}

static inline int platform_same_cpus(const platform_cpu_mask *a, const platform_cpu_mask *b) {
    return CPU_EQUAL(a, b);
}

static inline void platform_allow_cpus(platform_thread thread, const platform_cpu_mask *cpus) {
    pthread_setaffinity_np(thread, sizeof *cpus, cpus);
}

/* Remove a CPU from the mask; return how many are left. */
static inline int platform_remove_cpu(platform_cpu_mask *cpus, int cpu) {
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, cpus);
    return CPU_COUNT(cpus);
}
#else
typedef char platform_cpu_mask;

/* macOS does not tell, and Windows keeps the threads of a process where it may run without being asked to. */
static inline int platform_process_cpus(platform_cpu_mask *cpus) {
    (void)cpus;
    return 0;
}

static inline int platform_same_cpus(const platform_cpu_mask *a, const platform_cpu_mask *b) {
    return *a == *b;
}

static inline void platform_allow_cpus(platform_thread thread, const platform_cpu_mask *cpus) {
    (void)thread;
    (void)cpus;
}

static inline int platform_remove_cpu(platform_cpu_mask *cpus, int cpu) {
    (void)cpus;
    (void)cpu;
    return 0;
}
#endif

/* Return how many CPUs are online, on Windows those that the process may run on; a large number where the system
 * does not tell. */
static inline int platform_cpus(void) {
#if defined(_WIN32)
    /* 0 where the process runs in several groups of 64 CPUs: then all of them. */
    DWORD_PTR allowed = 0, installed;
    int n_cpus = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &allowed, &installed)) {
        for (; allowed; allowed &= allowed - 1) ++n_cpus;
    }
    if (n_cpus == 0) n_cpus = (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    if (n_cpus > 0) return n_cpus;
#elif defined(_SC_NPROCESSORS_ONLN)
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (online > 0) return (int)online;
#endif
    return 1 << 16;
}

/* ---- The clock ---- */

/* Return the nanoseconds of a monotonic clock, from an arbitrary start. */
static inline uint64_t platform_nanoseconds(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    uint64_t seconds = (uint64_t)(ticks.QuadPart / per_second.QuadPart);
    uint64_t rest = (uint64_t)(ticks.QuadPart % per_second.QuadPart);
    return seconds * 1000000000 + rest * 1000000000 / (uint64_t)per_second.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
#endif
}

static inline double platform_seconds(void) { return 1e-9 * (double)platform_nanoseconds(); }

#endif
