/* Preloaded into a process that records: kills it, fails it or logs it at a chosen write.
 *
 * Counts the writes to files below SHIM_ROOT. shim_kill(n): SIGKILL at the n-th write from now, of
 * which only some pages are done. shim_fail(n): from the n-th on writes that lengthen a file fail
 * with ENOSPC, until shim_fail(0). shim_log(path): append every write, allocation, truncation,
 * rename, removal and fsync to a log: op (1 byte), inode, offset, length (8 bytes each), data. shim_note(data, n): add a remark.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static long kill_at = 0, fail_at = 0;
static int log_fd = -1;
static pid_t owner = 0;

void shim_kill(long n) { kill_at = n; owner = getpid(); }
void shim_fail(long n) { fail_at = n; }
long shim_left(void) { return kill_at; }

static ssize_t real_write(int fd, const void *data, size_t n) {
    static ssize_t (*f)(int, const void *, size_t);
    if (!f) f = dlsym(RTLD_NEXT, "write");
    return f(fd, data, n);
}
static ssize_t real_pwrite(int fd, const void *data, size_t n, off_t at) {
    static ssize_t (*f)(int, const void *, size_t, off_t);
    if (!f) f = dlsym(RTLD_NEXT, "pwrite64");
    return f(fd, data, n, at);
}

static int tracked(int fd, char *path) {
    const char *root = getenv("SHIM_ROOT");
    char link[64];
    if (!root || fd == log_fd) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

static void record(char op, uint64_t inode, uint64_t at, uint64_t n, const void *data) {
    uint64_t head[3] = {inode, at, n};
    if (log_fd < 0) return;
    real_write(log_fd, &op, 1);
    real_write(log_fd, head, sizeof head);
    if (data && n) real_write(log_fd, data, n);
}
static uint64_t inode_of(int fd) { struct stat s; return fstat(fd, &s) ? 0 : s.st_ino; }

/* The name of a file is logged with each write: cheap enough, and never out of date. */
static void name(int fd, const char *path) {
    if (log_fd >= 0) record('N', inode_of(fd), 0, strlen(path), path);
}

void shim_log(const char *path) { log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600); }
void shim_note(const char *data, long n) { record('!', 0, 0, n, data); }

/* A full disk refuses what needs new blocks, not what lies in blocks that a file has. */
static int full(int fd, off_t end) {
    struct stat s;
    if (!fail_at || fstat(fd, &s) || end <= s.st_size) return 0;
    if (fail_at == 1) return 1;
    fail_at--;
    return 0;
}

static int allocate(int fd, off_t at, off_t n) {
    static int (*f)(int, off_t, off_t);
    char path[4096];
    if (!f) f = dlsym(RTLD_NEXT, "posix_fallocate64");
    int ours = tracked(fd, path);
    if (ours && full(fd, at + n)) return ENOSPC;
    int result = f(fd, at, n);
    if (!result && ours) { name(fd, path); record('A', inode_of(fd), at + n, 0, 0); }
    return result;
}
int posix_fallocate(int fd, off_t at, off_t n) { return allocate(fd, at, n); }
int posix_fallocate64(int fd, off_t at, off_t n) { return allocate(fd, at, n); }

static ssize_t guarded(int fd, const void *data, size_t n, off_t at, int positioned) {
    char path[4096];
    if (!tracked(fd, path)) return positioned ? real_pwrite(fd, data, n, at) : real_write(fd, data, n);
    if (!positioned) at = lseek(fd, 0, SEEK_CUR);
    if (full(fd, at + n)) { errno = ENOSPC; return -1; }
    if (kill_at && --kill_at == 0) {
        /* The system can be interrupted between two pages of a write, not within one. */
        off_t edge = (at + (off_t)n) / 4096 * 4096;
        if (edge > at) real_pwrite(fd, data, edge - at, at);
        kill(owner, SIGKILL);
        for (;;) pause();
    }
    ssize_t done = positioned ? real_pwrite(fd, data, n, at) : real_write(fd, data, n);
    if (done > 0) { name(fd, path); record('W', inode_of(fd), at, done, data); }
    return done;
}
ssize_t write(int fd, const void *data, size_t n) { return guarded(fd, data, n, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return guarded(fd, data, n, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return guarded(fd, data, n, at, 1); }

static int truncated(int fd, off_t size) {
    static int (*f)(int, off_t);
    char path[4096];
    if (!f) f = dlsym(RTLD_NEXT, "ftruncate64");
    int result = f(fd, size);
    if (!result && tracked(fd, path)) { name(fd, path); record('T', inode_of(fd), size, 0, 0); }
    return result;
}
int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

int fsync(int fd) {
    static int (*f)(int);
    char path[4096];
    if (!f) f = dlsym(RTLD_NEXT, "fsync");
    int result = f(fd);
    if (!result && tracked(fd, path)) record('S', inode_of(fd), 0, 0, 0);
    return result;
}
int rename(const char *old, const char *new) {
    static int (*f)(const char *, const char *);
    char both[8200];
    if (!f) f = dlsym(RTLD_NEXT, "rename");
    int result = f(old, new);
    int n = snprintf(both, sizeof both, "%s\n%s", old, new);
    if (!result) record('R', 0, 0, n, both);
    return result;
}
int unlink(const char *path) {
    static int (*f)(const char *);
    if (!f) f = dlsym(RTLD_NEXT, "unlink");
    int result = f(path);
    if (!result) record('U', 0, 0, strlen(path), path);
    return result;
}
