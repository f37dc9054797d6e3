/* /dev/i2c-N without a kernel driver: a library for LD_PRELOAD that forwards open and ioctl of such
 * a path to the bus simulator (i2c_bus.py) at the Unix socket that HOLTER_I2C_SOCKET names.
 *
 * The file descriptor that the program gets is that socket, so that close, poll and inheritance are
 * the kernel's own. SMBus calls are lowered to plain messages, as the kernel's i2c-core does, so
 * that a simulated chip knows only writes and reads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FUNCTIONALITY 0x0eff0009UL /* I2C_FUNC_I2C and I2C_FUNC_SMBUS_EMUL, as a Pi reports */
#define MAX_FD 1024
#define MAX_PACKET 65536
#define MAX_MESSAGES 42 /* I2C_RDWR_IOCTL_MAX_MSGS */

static uint16_t slave_of[MAX_FD];

struct header {
    uint16_t address, flags, length;
} __attribute__((packed));

/* Send a request and get its answer: the length of what follows the errno, or -1 with errno. */
static ssize_t ask(int fd, const void *request, size_t size, char *answer, size_t room)
{
    char packet[MAX_PACKET];
    int32_t status;
    ssize_t got;

    if (send(fd, request, size, MSG_NOSIGNAL) < 0 ||
        (got = recv(fd, packet, sizeof packet, 0)) < (ssize_t)sizeof status) {
        errno = ENODEV; /* the simulator is gone */
        return -1;
    }
    memcpy(&status, packet, sizeof status);
    if (status) {
        errno = status;
        return -1;
    }
    got -= sizeof status;
    if ((size_t)got > room)
        got = room;
    memcpy(answer, packet + sizeof status, got);
    return got;
}

static int ask_number(int fd, char kind, int32_t number)
{
    char request[1 + sizeof number];

    request[0] = kind;
    memcpy(request + 1, &number, sizeof number);
    return ask(fd, request, sizeof request, NULL, 0) < 0 ? -1 : 0;
}

/* The number of a bus whose device file this is, where a simulator is told of; else -1. */
static int bus_number(const char *path)
{
    int number, end = 0;

    if (!path || !getenv("HOLTER_I2C_SOCKET"))
        return -1;
    if (sscanf(path, "/dev/i2c-%d%n", &number, &end) != 1 || path[end])
        return -1;
    return number;
}

static int open_bus(int number, int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);

    if (fd < 0)
        return -1;
    strncpy(address.sun_path, getenv("HOLTER_I2C_SOCKET"), sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    if (ask_number(fd, 'O', number)) {
        int status = errno;
        close(fd);
        errno = status;
        return -1;
    }
    if (fd < MAX_FD)
        slave_of[fd] = 0;
    return fd;
}

#define OPEN(name, parameters, arguments)                          \
    int name parameters                                            \
    {                                                              \
        static int(*real) parameters;                              \
        mode_t mode = 0;                                           \
        int number = bus_number(path);                             \
        if (number >= 0)                                           \
            return open_bus(number, flags);                        \
        if (flags & (O_CREAT | __O_TMPFILE)) {                     \
            va_list list;                                          \
            va_start(list, flags);                                 \
            mode = va_arg(list, mode_t);                           \
            va_end(list);                                          \
        }                                                          \
        if (!real)                                                 \
            real = dlsym(RTLD_NEXT, #name);                        \
        return real arguments;                                     \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int directory, const char *path, int flags, ...), (directory, path, flags, mode))
OPEN(openat64, (int directory, const char *path, int flags, ...), (directory, path, flags, mode))

/* One transaction. Returns the number of messages, as the kernel does, or -1 with errno. */
static int transact(int fd, struct i2c_msg *messages, unsigned count)
{
    char request[MAX_PACKET], data[MAX_PACKET];
    size_t size = 2, offset = 0;
    ssize_t got;
    unsigned i;

    if (count == 0 || count > MAX_MESSAGES) {
        errno = EINVAL;
        return -1;
    }
    request[0] = 'X';
    request[1] = (char)count;
    for (i = 0; i < count; i++) {
        struct header header = {messages[i].addr, messages[i].flags, messages[i].len};
        memcpy(request + size, &header, sizeof header);
        size += sizeof header;
    }
    for (i = 0; i < count; i++) {
        if (messages[i].flags & I2C_M_RD)
            continue;
        if (size + messages[i].len > sizeof request) {
            errno = EINVAL;
            return -1;
        }
        memcpy(request + size, messages[i].buf, messages[i].len);
        size += messages[i].len;
    }
    got = ask(fd, request, size, data, sizeof data);
    if (got < 0)
        return -1;
    for (i = 0; i < count; i++) {
        if (!(messages[i].flags & I2C_M_RD))
            continue;
        if (offset + messages[i].len > (size_t)got) {
            errno = EIO;
            return -1;
        }
        memcpy(messages[i].buf, data + offset, messages[i].len);
        offset += messages[i].len;
    }
    return (int)count;
}

/* Lower an SMBus call to messages, as i2c_smbus_xfer_emulated does in the kernel. */
static int smbus(int fd, uint16_t slave, struct i2c_smbus_ioctl_data *call)
{
    union i2c_smbus_data *data = call->data;
    int reads = call->read_write == I2C_SMBUS_READ;
    unsigned char out[I2C_SMBUS_BLOCK_MAX + 2] = {call->command}, in[I2C_SMBUS_BLOCK_MAX + 2] = {0};
    struct i2c_msg messages[2] = {{slave, 0, 1, out}, {slave, I2C_M_RD, 0, in}};
    unsigned count = reads ? 2 : 1;

    switch (call->size) {
    case I2C_SMBUS_QUICK:
        messages[0].len = 0;
        messages[0].flags = reads ? I2C_M_RD : 0;
        count = 1;
        break;
    case I2C_SMBUS_BYTE:
        if (reads) {
            messages[0] = (struct i2c_msg){slave, I2C_M_RD, 1, in};
            count = 1;
        }
        break;
    case I2C_SMBUS_BYTE_DATA:
        messages[0].len = reads ? 1 : 2;
        messages[1].len = 1;
        if (!reads)
            out[1] = data->byte;
        break;
    case I2C_SMBUS_PROC_CALL:
        reads = 1;
        count = 2;
        messages[0].len = 3;
        messages[1].len = 2;
        out[1] = data->word & 0xff;
        out[2] = data->word >> 8;
        break;
    case I2C_SMBUS_WORD_DATA:
        messages[0].len = reads ? 1 : 3;
        messages[1].len = 2;
        if (!reads) {
            out[1] = data->word & 0xff;
            out[2] = data->word >> 8;
        }
        break;
    case I2C_SMBUS_I2C_BLOCK_DATA:
        if (data->block[0] < 1 || data->block[0] > I2C_SMBUS_BLOCK_MAX) {
            errno = EINVAL;
            return -1;
        }
        messages[0].len = reads ? 1 : 1 + data->block[0];
        messages[1].len = data->block[0];
        if (!reads)
            memcpy(out + 1, data->block + 1, data->block[0]);
        break;
    default:
        errno = EOPNOTSUPP;
        return -1;
    }
    if (transact(fd, messages, count) < 0)
        return -1;
    if (!reads || !data)
        return 0;
    if (call->size == I2C_SMBUS_BYTE || call->size == I2C_SMBUS_BYTE_DATA)
        data->byte = in[0];
    else if (call->size == I2C_SMBUS_WORD_DATA || call->size == I2C_SMBUS_PROC_CALL)
        data->word = in[0] | in[1] << 8;
    else if (call->size == I2C_SMBUS_I2C_BLOCK_DATA)
        memcpy(data->block + 1, in, data->block[0]);
    return 0;
}

static int is_bus(int fd)
{
    struct stat status;

    return fd >= 0 && fd < MAX_FD && !fstat(fd, &status) && S_ISSOCK(status.st_mode);
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list list;
    void *argument;

    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if ((request & ~0xffUL) != 0x0700 || !is_bus(fd)) {
        if (!real)
            real = dlsym(RTLD_NEXT, "ioctl");
        return real(fd, request, argument);
    }
    switch (request) {
    case I2C_FUNCS:
        *(unsigned long *)argument = FUNCTIONALITY;
        return 0;
    case I2C_SLAVE:
    case I2C_SLAVE_FORCE:
        if (request == I2C_SLAVE && ask_number(fd, 'S', (int32_t)(uintptr_t)argument))
            return -1;
        slave_of[fd] = (uint16_t)(uintptr_t)argument;
        return 0;
    case I2C_RDWR: {
        struct i2c_rdwr_ioctl_data *data = argument;
        return transact(fd, data->msgs, data->nmsgs);
    }
    case I2C_SMBUS:
        return smbus(fd, slave_of[fd], argument);
    case I2C_TIMEOUT:
    case I2C_RETRIES:
    case I2C_PEC:
    case I2C_TENBIT:
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}
