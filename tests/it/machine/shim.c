/* Stands between the gateway and its C library (LD_PRELOAD) and makes the machine fail on command, without root.
 *
 * SHIM_CONTROL names a file of 64-bit integers that the test writes and this reads at each call; see shim.rs.
 * SHIM_DIR names the state directory: files elsewhere, sockets and pipes are never touched, but by the faults of one
 * thread: those make a single part of the gateway die or hang; and by the files that hang. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile long long sync_error;     /* fsync and fdatasync of files */
    volatile long long sync_dir_error; /* fsync of the directory */
    volatile long long sync_delay;     /* milliseconds before each sync is done */
    volatile long long write_error;    /* whatever changes a file or its name */
    volatile long long read_error;     /* opening a file to read it */
    volatile long long clock_offset;   /* milliseconds that the wall clock is ahead */
    volatile char victim[16];          /* the name of the thread that the following is for */
    volatile long long poll_error;     /* waiting for events; -1: it hangs */
    volatile long long victim_clock;     /* as clock_offset */
    volatile long long write_lie;      /* a write tells that it wrote more than it was given, by so much */
    volatile long long after_sync_dir; /* as write_error, from the first fsync of the directory that fails */
    volatile long long lookup_hangs;   /* no name is found, nor not found */
    volatile char hanging[64];         /* what begins so is opened to be read only once this is empty again */
};

static struct control none;
static struct control *control = &none;
static const char *state_dir = "";

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL"), *dir = getenv("SHIM_DIR");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0 || !dir) {
        fprintf(stderr, "the shim has no SHIM_CONTROL or SHIM_DIR\n");
        abort();
    }
    void *shared = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    state_dir = dir;
    control = shared;
    close(file);
}

static int is_ours(const char *path) { return *state_dir && strncmp(path, state_dir, strlen(state_dir)) == 0; }

static int is_open_ours(int file) {
    char link[64], path[4096];
    struct stat about;
    if (fstat(file, &about) != 0 || (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int fails(long long error) {
    if (error) errno = (int)error;
    return error != 0;
}

/* The disk turned read-only, or the like, when the sync of the directory failed. */
static volatile long long broken;

static long long write_error(void) {
    if (!control->sync_dir_error) broken = 0;
    return control->write_error ? control->write_error : broken;
}

static int is_victim(void) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return strncmp(name, (const char *)control->victim, sizeof name) == 0;
}

int epoll_wait(int poll, struct epoll_event *events, int most, int timeout) {
    if (control->poll_error && is_victim()) {
        /* In short pieces, so that a hang can be ended. */
        while (control->poll_error == -1) usleep(10 * 1000);
        if (fails(control->poll_error)) return -1;
    }
    return REAL(epoll_wait)(poll, events, most, timeout);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    /* In short pieces, so that a hang can be ended. */
    while (control->lookup_hangs) usleep(10 * 1000);
    return REAL(getaddrinfo)(host, service, hints, found);
}

static int sync_fails(int file) {
    struct stat about;
    if (!is_open_ours(file) || fstat(file, &about) != 0) return 0;
    /* In short pieces, so that a delay can be ended. */
    for (long long waited = 0; waited < control->sync_delay; waited += 10) usleep(10 * 1000);
    if (!S_ISDIR(about.st_mode)) return fails(control->sync_error);
    if (control->sync_dir_error) broken = control->after_sync_dir;
    return fails(control->sync_dir_error);
}

int fsync(int file) { return sync_fails(file) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return sync_fails(file) ? -1 : REAL(fdatasync)(file); }

ssize_t write(int file, const void *bytes, size_t count) {
    if (write_error() && is_open_ours(file) && fails(write_error())) return -1;
    ssize_t written = REAL(write)(file, bytes, count);
    return control->write_lie && written > 0 && is_victim() ? written + control->write_lie : written;
}

int ftruncate64(int file, off64_t length) {
    if (is_open_ours(file) && fails(write_error())) return -1;
    return REAL(ftruncate64)(file, length);
}

int rename(const char *from, const char *to) {
    if (is_ours(to) && fails(write_error())) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (is_ours(path) && fails(write_error())) return -1;
    return REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
    /* What is there already is told to be there. */
    if (is_ours(path) && access(path, F_OK) != 0 && fails(write_error())) return -1;
    return REAL(mkdir)(path, mode);
}

static int hangs(const char *path) {
    const char *hanging = (const char *)control->hanging;
    return *hanging && strncmp(path, hanging, strlen(hanging)) == 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    /* In short pieces, so that a hang can be ended. */
    while ((flags & O_ACCMODE) == O_RDONLY && hangs(path)) usleep(10 * 1000);
    if (is_ours(path)) {
        struct stat about;
        int is_there = stat(path, &about) == 0, to_write = (flags & O_ACCMODE) != O_RDONLY;
        /* A read-only disk refuses every open to write, any other broken one only what makes a new file. */
        int is_refused = to_write && (write_error() == EROFS || ((flags & O_CREAT) && !is_there));
        if (is_refused && fails(write_error())) return -1;
        if (!to_write && is_there && S_ISREG(about.st_mode) && fails(control->read_error)) return -1;
    }
    return REAL(open64)(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(clock_gettime)(clock, time);
    if (result != 0 || clock != CLOCK_REALTIME) return result;
    long long offset = control->clock_offset;
    if (control->victim_clock && is_victim()) offset += control->victim_clock;
    if (offset) {
        long long nanoseconds = time->tv_nsec + (offset % 1000) * 1000000LL;
        time->tv_sec += offset / 1000 + (nanoseconds < 0 ? -1 : nanoseconds / 1000000000LL);
        time->tv_nsec = nanoseconds < 0 ? nanoseconds + 1000000000LL : nanoseconds % 1000000000LL;
    }
    return result;
}
