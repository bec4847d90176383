/* Preloaded into a process: lets the n-th file operation below a folder fail, or kills the process group there.
 * `fault_arm` starts the count, over all threads and over what the process forks, not over programs that it starts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char under[PATH_MAX], calls[256];
static long nth;
static int error_number, lasting;
static struct {
  long count;
  char struck[PATH_MAX + 32]; /* the call that failed first, and its path */
} *shared; /* with forked processes */

/* n from 1, 0: never. error: an errno, 0: SIGKILL to the process group. lasts: the later ones fail, too. */
void fault_arm(const char *folder, const char *names, long n, int error, int lasts) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  snprintf(calls, sizeof calls, ",%s,", names);
  nth = n, error_number = error, lasting = lasts;
  snprintf(under, sizeof under, "%s", folder);
}

long fault_count(void) { return shared->count; }
const char *fault_struck(void) { return shared->struck; }

static int fails(const char *call, const char *path) {
  char name[32];
  snprintf(name, sizeof name, ",%s,", call);
  if (!under[0] || !path || strncmp(path, under, strlen(under)) || !strstr(calls, name)) return 0;
  long count = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
  if (!nth || (lasting ? count < nth : count != nth)) return 0;
  if (count == nth) snprintf(shared->struck, sizeof shared->struck, "%s %s", call, path);
  if (!error_number) kill(0, SIGKILL);
  errno = error_number;
  return 1;
}

static int fails_fd(const char *call, int fd) {
  char link[64], path[PATH_MAX];
  if (!under[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(call, path);
}

static int fails_at(const char *call, int folder, const char *path) {
  return folder == AT_FDCWD || (path && path[0] == '/') ? fails(call, path) : fails_fd(call, folder);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  return fails_fd("write", fd) ? -1 : REAL(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  return fails_fd("write", fd) ? -1 : REAL(writev)(fd, parts, number);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return fails_fd("write", fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  return fails_fd("write", fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int fsync(int fd) { return fails_fd("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails_fd("fsync", fd) ? -1 : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
  return fails_at("rename", b, to) ? -1 : REAL(renameat)(a, from, b, to);
}

/* Making a folder counts where there is none; opening, where it may make a file. */
int mkdir(const char *path, mode_t mode) {
  return access(path, F_OK) && fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int at, const char *path, mode_t mode) {
  return faccessat(at, path, F_OK, 0) && fails_at("mkdir", at, path) ? -1 : REAL(mkdirat)(at, path, mode);
}
int unlink(const char *path) { return fails("remove", path) ? -1 : REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) {
  return fails_at("remove", at, path) ? -1 : REAL(unlinkat)(at, path, flags);
}
int rmdir(const char *path) { return fails("remove", path) ? -1 : REAL(rmdir)(path); }

#define OPEN(name)                                                                \
  int name(const char *path, int flags, ...) {                                    \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    mode_t mode = va_arg(rest, mode_t);                                           \
    va_end(rest);                                                                 \
    return flags & O_CREAT && fails("open", path) ? -1 : REAL(name)(path, flags, mode); \
  }
#define OPENAT(name)                                                              \
  int name(int at, const char *path, int flags, ...) {                            \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    mode_t mode = va_arg(rest, mode_t);                                           \
    va_end(rest);                                                                 \
    return flags & O_CREAT && fails_at("open", at, path) ? -1 : REAL(name)(at, path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
