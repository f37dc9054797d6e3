/* A wall clock that a test steps: a library for LD_PRELOAD that shifts CLOCK_REALTIME, and nothing
 * else, by what the file HOLTER_WALL_CLOCK says while the process runs. What the kernel says of its
 * wall clock (adjtimex) is what the file says too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define NANOS 1000000000LL

struct wall {
    int64_t shift_ns;     /* added to CLOCK_REALTIME */
    int64_t max_error_us; /* of adjtimex; below 0 it is not permitted */
    int64_t status;       /* of adjtimex */
};

static const struct wall none;
static const volatile struct wall *wall = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("HOLTER_WALL_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at;

    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0)
        return;
    at = mmap(NULL, sizeof *wall, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        wall = at;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int64_t nanos;
    int status;

    if (!real_clock_gettime) /* a constructor before ours */
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    status = real_clock_gettime(clock, now);
    if (status || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return status;
    nanos = now->tv_sec * NANOS + now->tv_nsec + wall->shift_ns;
    now->tv_sec = nanos / NANOS;
    now->tv_nsec = nanos % NANOS;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;
    int status = clock_gettime(CLOCK_REALTIME, &at);

    (void)zone;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return status;
}

time_t time(time_t *now)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    if (now)
        *now = at.tv_sec;
    return at.tv_sec;
}

int adjtimex(struct timex *timex)
{
    if (wall->max_error_us < 0 || timex->modes) {
        errno = EPERM;
        return -1;
    }
    timex->maxerror = wall->max_error_us;
    timex->status = (int)wall->status;
    return timex->status & STA_UNSYNC ? TIME_ERROR : TIME_OK;
}
