/* The least that a punctual loop can be: absolute deadlines by clock_nanosleep, and nothing else.
 *
 *     nanosleep RATE_HZ SECONDS PRIORITY
 *
 * Prints for each tick by how many nanoseconds it was late; ticks that passed meanwhile are left
 * out. Runs under SCHED_FIFO with its memory locked, or says why not and ends.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define NANOS 1000000000LL

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NANOS + now.tv_nsec;
}

int main(int argc, char **argv)
{
    double rate = argc > 3 ? atof(argv[1]) : 0;
    long ticks = argc > 3 ? (long)(rate * atof(argv[2])) : 0, tick, count = 0;
    struct sched_param parameter = {.sched_priority = argc > 3 ? atoi(argv[3]) : 0};
    long long *late = calloc(ticks + 1, sizeof *late), start = now_ns() + NANOS / 10;

    if (sched_setscheduler(0, SCHED_FIFO, &parameter)) {
        perror("SCHED_FIFO");
        return 1;
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
        perror("mlockall");
        return 1;
    }
    for (tick = 0; tick < ticks; tick++) {
        long long due = start + (long long)(tick * (NANOS / rate) + 0.5), by;
        struct timespec deadline = {due / NANOS, due % NANOS};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL);
        by = now_ns() - due;
        if (by < NANOS / rate)
            late[count++] = by;
    }
    for (tick = 0; tick < count; tick++)
        printf("%lld\n", late[tick]);
    return 0;
}
