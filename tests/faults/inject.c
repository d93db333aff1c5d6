/* Makes system calls fail, for a program that is started with LD_PRELOAD.
 *
 * The file named by POSTERN_FAULTS holds a rule a line; it is read again when it has changed:
 *
 *     sync|write|open PATH SKIP TIMES eio|enospc|erofs        fails
 *     sync            PATH SKIP TIMES slow MILLISECONDS       takes longer
 *     sync|write      PATH SKIP TIMES kill|torn|kill-after    dies before, in the middle of (write), or after it
 *     clock SECONDS                                           moves the computer's clock
 *
 * A rule is about paths that hold PATH if that has a slash, else that end in it; SKIP calls pass, then TIMES calls are
 * struck (-1: all). Each stroke is a line in the file named by POSTERN_FAULTS with `.fired` behind it. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct rule {
    char call[8], path[128], action[16];
    long skip, times, number;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[16];
static int count;
static long offset;
static struct timespec read_at;
static ino_t inode;

static const char *control(void) { return getenv("POSTERN_FAULTS"); }

/* Reads the rules if they have changed. Called with the lock. */
static void refresh(void) {
    const char *path = control();
    struct stat now;
    if (!path || syscall(SYS_newfstatat, AT_FDCWD, path, &now, 0) != 0) return;
    if (now.st_ino == inode && now.st_mtim.tv_sec == read_at.tv_sec && now.st_mtim.tv_nsec == read_at.tv_nsec) return;
    char text[4096];
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    long size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size < 0) return;
    text[size] = 0;
    read_at = now.st_mtim;
    inode = now.st_ino;
    count = 0;
    offset = 0;
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line && count < 16; line = strtok_r(NULL, "\n", &rest)) {
        struct rule *rule = &rules[count];
        memset(rule, 0, sizeof *rule);
        if (sscanf(line, "clock %ld", &offset) == 1) continue;
        if (sscanf(line, "%7s %127s %ld %ld %15s %ld", rule->call, rule->path, &rule->skip, &rule->times,
                   rule->action, &rule->number) >= 5)
            count++;
    }
}

static int fits(const struct rule *rule, const char *call, const char *path) {
    if (strcmp(rule->call, call) != 0) return 0;
    if (strchr(rule->path, '/')) return strstr(path, rule->path) != NULL;
    size_t all = strlen(path), end = strlen(rule->path);
    return all >= end && strcmp(path + all - end, rule->path) == 0;
}

static void note(const char *call, const char *path, const char *action) {
    char name[512], line[512];
    snprintf(name, sizeof name, "%s.fired", control());
    int size = snprintf(line, sizeof line, "%s %s %s\n", call, path, action);
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, size);
    syscall(SYS_close, fd);
}

/* The rule that strikes this call, if one does. */
static int struck(const char *call, const char *path, struct rule *by) {
    int found = 0;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < count && !found; i++) {
        if (!fits(&rules[i], call, path)) continue;
        if (rules[i].skip > 0) {
            rules[i].skip--;
        } else if (rules[i].times != 0) {
            if (rules[i].times > 0) rules[i].times--;
            *by = rules[i];
            found = 1;
        }
    }
    pthread_mutex_unlock(&lock);
    if (found) note(call, path, by->action);
    return found;
}

static int struck_fd(const char *call, int fd, struct rule *by) {
    if (!control()) return 0;
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0 || path[0] != '/') return 0;
    path[size] = 0;
    return struck(call, path, by);
}

static int is(const struct rule *rule, const char *action) { return strcmp(rule->action, action) == 0; }

static int failed(const struct rule *rule) {
    errno = is(rule, "enospc") ? ENOSPC : is(rule, "erofs") ? EROFS : is(rule, "eio") ? EIO : 0;
    return errno != 0;
}

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); }

static int sync_with(long number, int fd) {
    struct rule rule;
    if (!struck_fd("sync", fd, &rule)) return syscall(number, fd);
    if (failed(&rule)) return -1;
    if (is(&rule, "kill")) die();
    if (is(&rule, "slow")) usleep(rule.number * 1000);
    int answer = syscall(number, fd);
    if (is(&rule, "kill-after")) die();
    return answer;
}

int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

static ssize_t written(int fd, const void *bytes, size_t size, off_t place, int placed) {
    struct rule rule;
    int strikes = struck_fd("write", fd, &rule);
    if (strikes) {
        if (failed(&rule)) return -1;
        if (is(&rule, "kill")) die();
        if (is(&rule, "torn")) size /= 2;
    }
    ssize_t answer = placed ? syscall(SYS_pwrite64, fd, bytes, size, place) : syscall(SYS_write, fd, bytes, size);
    if (strikes && (is(&rule, "torn") || is(&rule, "kill-after"))) die();
    return answer;
}

ssize_t write(int fd, const void *bytes, size_t size) { return written(fd, bytes, size, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t place) { return written(fd, bytes, size, place, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t place) { return written(fd, bytes, size, place, 1); }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    struct rule rule;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (writes && control() && struck("open", path, &rule) && failed(&rule)) return -1;
    return syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(flags, mode)                                   \
    mode_t mode = 0;                                        \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                \
        va_list rest;                                       \
        va_start(rest, flags);                              \
        mode = va_arg(rest, mode_t);                        \
        va_end(rest);                                       \
    }

int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, mode) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, mode) return opened(at, path, flags, mode); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int answer = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && answer == 0 && control()) {
        pthread_mutex_lock(&lock);
        refresh();
        time->tv_sec += offset;
        pthread_mutex_unlock(&lock);
    }
    return answer;
}
