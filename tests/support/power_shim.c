/* Journals what a process does to files, for LD_PRELOAD: see power.py, which cuts the power after
 * any of it. Below POWER_ROOT it notes each open, write, truncation, sync, mapping, mkdir, rename
 * and unlink, in the order in which they are done, with the data; and what is written to stdout,
 * for that is what the process told others. All of it goes to the file POWER_JOURNAL.
 *
 * A record is: kind (1 byte), inode (8), a number (8), length (8), then so many bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 1024

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int journal = -1;
static char root[PATH_MAX];
static uint64_t inodes[MAX_FD]; /* 0: not followed */

#define REAL(result, name, ...)                                                                   \
    static result (*real_##name)(__VA_ARGS__);                                                    \
    if (!real_##name)                                                                             \
        real_##name = dlsym(RTLD_NEXT, #name)

static void put(const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (real_write(journal, data, size) != (ssize_t)size)
        abort();
}

static void note(char kind, uint64_t inode, uint64_t number, const void *data, size_t size)
{
    uint64_t header[3] = {inode, number, size};
    int saved = errno;

    put(&kind, 1);
    put(header, sizeof header);
    if (size)
        put(data, size);
    errno = saved;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWER_JOURNAL");

    if (!path || !getenv("POWER_ROOT") || !realpath(getenv("POWER_ROOT"), root))
        return;
    journal = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

/* Whether a path is below the root, and what it is called from there. */
static const char *below(int directory, const char *path)
{
    size_t length = strlen(root);

    if (journal < 0 || !path)
        return NULL;
    if (path[0] != '/' && directory != AT_FDCWD)
        abort(); /* nobody here names files by a directory's descriptor */
    if (strncmp(path, root, length) || (path[length] && path[length] != '/'))
        return NULL;
    return path[length] ? path + length + 1 : "";
}

static int opened(const char *name, int existed, int flags, int fd)
{
    struct stat status;

    if (fd < 0 || fd >= MAX_FD || fstat(fd, &status))
        return fd;
    inodes[fd] = status.st_ino;
    if (S_ISDIR(status.st_mode))
        note('d', status.st_ino, 0, name, strlen(name));
    else
        note(existed ? 'o' : 'c', status.st_ino, flags & O_TRUNC ? 1 : 0, name, strlen(name));
    return fd;
}

#define OPEN(function, parameters, call, directory, path)                                         \
    int function parameters                                                                       \
    {                                                                                             \
        va_list rest;                                                                             \
        va_start(rest, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                   \
        va_end(rest);                                                                             \
        const char *name = below(directory, path);                                                \
        pthread_mutex_lock(&lock);                                                                \
        int existed = name && !access(path, F_OK);                                                \
        int fd = call;                                                                            \
        if (name)                                                                                 \
            opened(name, existed, flags, fd);                                                     \
        pthread_mutex_unlock(&lock);                                                              \
        return fd;                                                                                \
    }

#define OPEN_PATH(function)                                                                       \
    static int real_call_##function(const char *path, int flags, mode_t mode)                     \
    {                                                                                             \
        REAL(int, function, const char *, int, ...);                                              \
        return real_##function(path, flags, mode);                                                \
    }                                                                                             \
    OPEN(function, (const char *path, int flags, ...), real_call_##function(path, flags, mode),   \
         AT_FDCWD, path)

#define OPEN_AT(function)                                                                         \
    static int real_call_##function(int at, const char *path, int flags, mode_t mode)             \
    {                                                                                             \
        REAL(int, function, int, const char *, int, ...);                                         \
        return real_##function(at, path, flags, mode);                                            \
    }                                                                                             \
    OPEN(function, (int at, const char *path, int flags, ...),                                    \
         real_call_##function(at, path, flags, mode), at, path)

OPEN_PATH(open)
OPEN_PATH(open64)
OPEN_AT(openat)
OPEN_AT(openat64)

static uint64_t followed(int fd)
{
    return fd >= 0 && fd < MAX_FD && journal >= 0 ? inodes[fd] : 0;
}

int close(int fd)
{
    REAL(int, close, int);
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < MAX_FD)
        inodes[fd] = 0;
    int result = real_close(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (!followed(fd) && (fd != 1 || journal < 0))
        return real_write(fd, data, size);
    pthread_mutex_lock(&lock);
    off_t offset = fd == 1 ? 0 : lseek(fd, 0, SEEK_CUR);
    ssize_t done = real_write(fd, data, size);
    if (done > 0)
        note(fd == 1 ? 's' : 'w', followed(fd), offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

#define PWRITE(function, type)                                                                    \
    ssize_t function(int fd, const void *data, size_t size, type offset)                          \
    {                                                                                             \
        REAL(ssize_t, function, int, const void *, size_t, type);                                 \
        if (!followed(fd))                                                                        \
            return real_##function(fd, data, size, offset);                                       \
        pthread_mutex_lock(&lock);                                                                \
        ssize_t done = real_##function(fd, data, size, offset);                                   \
        if (done > 0)                                                                             \
            note('w', followed(fd), offset, data, done);                                          \
        pthread_mutex_unlock(&lock);                                                              \
        return done;                                                                              \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(function, type)                                                                  \
    int function(int fd, type size)                                                               \
    {                                                                                             \
        REAL(int, function, int, type);                                                           \
        pthread_mutex_lock(&lock);                                                                \
        int result = real_##function(fd, size);                                                   \
        if (!result && followed(fd))                                                              \
            note('t', followed(fd), size, NULL, 0);                                               \
        pthread_mutex_unlock(&lock);                                                              \
        return result;                                                                            \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* What it adds reads as zeros: to a file it is a truncation to a greater length. */
#define FALLOCATE(function, type)                                                                 \
    int function(int fd, type offset, type size)                                                  \
    {                                                                                             \
        REAL(int, function, int, type, type);                                                     \
        pthread_mutex_lock(&lock);                                                                \
        off64_t before = lseek64(fd, 0, SEEK_END);                                                \
        int result = real_##function(fd, offset, size);                                           \
        if (!result && followed(fd) && offset + size > before)                                    \
            note('t', followed(fd), offset + size, NULL, 0);                                      \
        pthread_mutex_unlock(&lock);                                                              \
        return result;                                                                            \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define SYNC(function)                                                                            \
    int function(int fd)                                                                          \
    {                                                                                             \
        REAL(int, function, int);                                                                 \
        pthread_mutex_lock(&lock);                                                                \
        int result = real_##function(fd);                                                         \
        if (!result && followed(fd))                                                              \
            note('f', followed(fd), 0, NULL, 0);                                                  \
        pthread_mutex_unlock(&lock);                                                              \
        return result;                                                                            \
    }
SYNC(fsync)
SYNC(fdatasync)

#define MAP(function, type)                                                                       \
    void *function(void *at, size_t size, int protection, int flags, int fd, type offset)         \
    {                                                                                             \
        REAL(void *, function, void *, size_t, int, int, int, type);                              \
        if (followed(fd) && flags & MAP_SHARED && protection & PROT_WRITE)                        \
            note('m', followed(fd), 0, NULL, 0);                                                  \
        return real_##function(at, size, protection, flags, fd, offset);                          \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t);
    const char *name = below(AT_FDCWD, path);
    pthread_mutex_lock(&lock);
    int result = real_mkdir(path, mode);
    struct stat status;
    if (!result && name && !stat(path, &status))
        note('k', status.st_ino, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    const char *name = below(AT_FDCWD, path);
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    if (!result && name)
        note('u', 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    const char *old = below(AT_FDCWD, from), *new = below(AT_FDCWD, to);
    pthread_mutex_lock(&lock);
    int result = real_rename(from, to);
    if (!result && (old || new)) {
        char both[2 * PATH_MAX];
        int length = snprintf(both, sizeof both, "%s%c%s", old ? old : "", 0, new ? new : "");
        note('r', 0, 0, both, length);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* What would escape the journal ends the process. */
#define REFUSE(result, function, parameters, fd)                                                  \
    result function parameters                                                                    \
    {                                                                                             \
        if (followed(fd))                                                                         \
            abort();                                                                              \
        errno = ENOSYS;                                                                           \
        return -1;                                                                                \
    }
REFUSE(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), fd)
REFUSE(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), fd)
REFUSE(int, fallocate, (int fd, int mode, off_t at, off_t size), fd)
REFUSE(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), fd)
