/* /dev/gpiochipN without a kernel driver: a library for LD_PRELOAD that forwards open and the ioctls
 * of such a path to the simulated chip (gpio_chip.py) at the Unix socket that HOLTER_GPIO_SOCKET
 * names. Each ioctl is a connection of its own; that of a request for lines stays, is the request's
 * file descriptor, and brings its edges, so that poll, read and close are the kernel's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define PREFIX "/dev/gpiochip"
#define GPIO_IOCTL 0xB4
#define MAJOR 254
#define SYSFS "/sys/dev/char/254:"
#define MAX_STRUCT 1024

struct packet {
    uint32_t word; /* an ioctl's number, or 0 to open; in an answer its errno */
    char data[MAX_STRUCT];
};

static int is_chip(const char *path)
{
    return getenv("HOLTER_GPIO_SOCKET") && !strncmp(path, PREFIX, strlen(PREFIX));
}

/* Ask on a new connection, and change data to the answer: the connection, or -1 with errno. */
static int ask(uint32_t word, void *data, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct packet packet = {.word = word};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, getenv("HOLTER_GPIO_SOCKET"), sizeof address.sun_path - 1);
    memcpy(packet.data, data, size);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) ||
        send(fd, &packet, sizeof packet.word + size, MSG_NOSIGNAL) < 0 ||
        recv(fd, &packet, sizeof packet, 0) < (ssize_t)sizeof packet.word)
        packet.word = ENODEV; /* the simulator is gone */
    if (packet.word) {
        close(fd);
        errno = packet.word;
        return -1;
    }
    memcpy(data, packet.data, size);
    return fd;
}

static int open_chip(const char *path)
{
    uint32_t number = atoi(path + strlen(PREFIX));
    return ask(0, &number, sizeof number);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);                             \
        mode_t mode = 0;                                                                           \
        va_list rest;                                                                              \
                                                                                                   \
        if (is_chip(path))                                                                         \
            return open_chip(path);                                                                \
        va_start(rest, flags);                                                                     \
        if (flags & (O_CREAT | O_TMPFILE))                                                         \
            mode = va_arg(rest, mode_t);                                                           \
        va_end(rest);                                                                              \
        return real(path, flags, mode);                                                            \
    }

OPEN(open)
OPEN(open64)

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    struct gpio_v2_line_request *lines;
    void *data;
    va_list rest;
    int answer;

    va_start(rest, request);
    data = va_arg(rest, void *);
    va_end(rest);
    if (_IOC_TYPE(request) != GPIO_IOCTL || !getenv("HOLTER_GPIO_SOCKET"))
        return real(fd, request, data);
    answer = ask((uint32_t)request, data, _IOC_SIZE(request));
    if (answer < 0)
        return -1;
    if (request == GPIO_V2_GET_LINE_IOCTL) {
        lines = data;
        lines->fd = answer;
    } else {
        close(answer);
    }
    return 0;
}

static int stat_chip(const char *path, struct stat *found)
{
    memset(found, 0, sizeof *found);
    found->st_mode = S_IFCHR | 0660;
    found->st_rdev = makedev(MAJOR, atoi(path + strlen(PREFIX)));
    return 0;
}

#define STAT(name)                                                                                 \
    int name(const char *restrict path, struct stat *restrict found)                               \
    {                                                                                              \
        int (*real)(const char *, struct stat *) = dlsym(RTLD_NEXT, #name);                        \
                                                                                                   \
        return is_chip(path) ? stat_chip(path, found) : real(path, found);                         \
    }

STAT(stat)
STAT(lstat)

/* What they are in programs that were built for a glibc before 2.33, as gpiod's wheels are. */
#define XSTAT(name)                                                                                \
    int name(int version, const char *path, struct stat *found)                                    \
    {                                                                                              \
        int (*real)(int, const char *, struct stat *) = dlsym(RTLD_NEXT, #name);                   \
                                                                                                   \
        return is_chip(path) ? stat_chip(path, found) : real(version, path, found);                \
    }

XSTAT(__xstat)
XSTAT(__lxstat)

char *realpath(const char *restrict path, char *restrict resolved)
{
    char *(*real)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");

    if (!getenv("HOLTER_GPIO_SOCKET") || strncmp(path, SYSFS, strlen(SYSFS)))
        return real(path, resolved);
    return resolved ? strcpy(resolved, "/sys/bus/gpio") : strdup("/sys/bus/gpio");
}
