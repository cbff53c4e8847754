/* A wall clock that can be set, for one process: LD_PRELOAD this, and name in STEPPED_CLOCK a file of eight bytes, the
   seconds (int64, native order) by which the process's clock is ahead of the machine's. Whoever writes the file steps
   the clock of the process at once. Monotonic clocks stay as they are, as they do when a machine's clock is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* No wall clock of a test is set before 2001; no machine of a test has been up for 31 years. So a time that a caller
   waits for tells by its size which clock it is of. */
#define WALL_CLOCK_FROM 1000000000

static const volatile int64_t *ahead;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        ahead = page;
}

static int64_t seconds(void) { return ahead == NULL ? 0 : *ahead; }

static void *real(const char *name, const char *version) {
    void *found = version == NULL ? NULL : dlvsym(RTLD_NEXT, name, version);
    return found != NULL ? found : dlsym(RTLD_NEXT, name);
}

#define REAL(name, version)                                                                                            \
    static __typeof__(name) *call;                                                                                     \
    if (call == NULL)                                                                                                  \
    call = (__typeof__(name) *)real(#name, version)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime, NULL);
    int failed = call(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += seconds();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    REAL(gettimeofday, NULL);
    int failed = call(now, zone);
    if (!failed)
        now->tv_sec += seconds();
    return failed;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into != NULL)
        *into = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    REAL(timespec_get, NULL);
    int answer = call(now, base);
    if (answer == TIME_UTC)
        now->tv_sec += seconds();
    return answer;
}

/* A time that was made by the clock above is given to the kernel by the machine's. */
static struct timespec machine_time(const struct timespec *until) {
    struct timespec at = *until;
    if (at.tv_sec >= WALL_CLOCK_FROM)
        at.tv_sec -= seconds();
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    REAL(pthread_cond_timedwait, "GLIBC_2.3.2");
    struct timespec at = machine_time(until);
    return call(condition, mutex, &at);
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    REAL(cnd_timedwait, NULL);
    struct timespec at = machine_time(until);
    return call(condition, mutex, &at);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    REAL(sem_timedwait, NULL);
    struct timespec at = machine_time(until);
    return call(semaphore, &at);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
    REAL(pthread_mutex_timedlock, NULL);
    struct timespec at = machine_time(until);
    return call(mutex, &at);
}
