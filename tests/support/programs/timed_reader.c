/* Reads files over and over and says how long its calls took, at the speed of music or as fast as it can.
 *
 *   timed_reader MOUNT COPY BYTES_PER_SECOND SEED PASSES <NAMES
 *
 * NAMES are paths below MOUNT, each ended by NUL, read in a random order that SEED decides. Each file
 * is read from its start to its end with read(2) of 64 KiB; what the kernel has of it is forgotten
 * before. BYTES_PER_SECOND 0: as fast as it goes. PASSES 0: until SIGTERM.
 *
 * Every byte is compared with the file of the same name below COPY. If COPY is "-", names are those of
 * known_bytes.h, and each pass over a file must be of one version; a file may be gone or replaced
 * then (ENOENT, ESTALE), which is counted. For each error a line goes to stderr; the file is left for
 * the next one. At the end one line of JSON on stdout. Exit code 1 for wrong bytes, 2 for errors,
 * else 0. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "known_bytes.h"

#define READ_BYTES 65536
#define NAMES_MAX 4096
#define SLOW_MS 500
#define ERRORS_SHOWN 20

static volatile sig_atomic_t stopped;
static const char *mount_root, *copy_root;
static double bytes_per_ms;
static uint64_t state;
static char *names[NAMES_MAX];
static size_t name_count;

static long long opens, reads, bytes_read, errors, wrong, replaced, slow;
static double longest_read_ms, longest_open_ms;

static void stop(int unused) {
  (void)unused;
  stopped = 1;
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* splitmix64 */
static uint64_t chance(uint64_t below) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) % below;
}

static void shuffle(void) {
  for (size_t i = name_count; i > 1; i--) {
    size_t j = chance(i);
    char *other = names[i - 1];
    names[i - 1] = names[j], names[j] = other;
  }
}

static void note_time(double took, double *longest) {
  if (took > SLOW_MS) slow++;
  if (took > *longest) *longest = took;
}

static void tell(const char *call, const char *name, long long at, int error) {
  if (errors + wrong > ERRORS_SHOWN) return;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  fprintf(stderr, "%lld.%03ld %s %s at %lld: %s\n", (long long)t.tv_sec, t.tv_nsec / 1000000, call, name,
          at, error ? strerror(error) : "wrong bytes");
}

static void note_error(const char *call, const char *name, long long at, int error) {
  /* The signal to stop interrupted it; that is no error of the mount's. */
  if (error == EINTR && stopped) return;
  if (!copy_root && (error == ENOENT || error == ESTALE)) {
    replaced++;
    return;
  }
  errors++;
  tell(call, name, at, error);
  /* A mount that is dead says so at once, to each of a million calls a second. */
  usleep(10000);
}

static const char *path_in(const char *root, const char *name) {
  static char path[8192];
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static int open_timed(const char *name) {
  const char *path = path_in(mount_root, name);
  double begun = now_ms();
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int error = errno;
  note_time(now_ms() - begun, &longest_open_ms);
  opens++;
  if (fd < 0) note_error("open", name, 0, error);
  else posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  return fd;
}

static void wait_for_due(double begun, long long offset) {
  if (bytes_per_ms <= 0) return;
  double wait = begun + offset / bytes_per_ms - now_ms();
  if (wait <= 0) return;
  struct timespec t = {(time_t)(wait / 1e3), (long)((wait - (long)(wait / 1e3) * 1e3) * 1e6)};
  nanosleep(&t, NULL);
}

/* What the bytes are judged by: a copy, or the versions that all of them so far can be of. */
struct judge {
  int copy;
  uint32_t key;
  uint64_t versions;
};

static struct judge judge_of(const char *name) {
  struct judge judge = {-1, known_path_hash(name), KNOWN_ALL_VERSIONS};
  if (!copy_root) return judge;
  judge.copy = open(path_in(copy_root, name), O_RDONLY | O_CLOEXEC);
  if (judge.copy < 0) perror(name), exit(3);
  return judge;
}

/* `got` is 0 at the end of the file. */
static int is_right(struct judge *judge, long long offset, const char *ours, ssize_t got) {
  static char theirs[READ_BYTES];
  if (judge->copy >= 0) {
    /* At the end of ours one more byte is asked of the copy: a file cut short is wrong, too. */
    ssize_t there = pread(judge->copy, theirs, got ? got : 1, offset);
    return there == got && !memcmp(ours, theirs, got);
  }
  uint64_t wrong_at;
  if (got == 0) return (known_of_size(judge->key, offset) & judge->versions) != 0;
  judge->versions =
      known_versions(judge->key, offset, (const uint8_t *)ours, got, judge->versions, &wrong_at);
  return judge->versions != 0;
}

static void read_file(const char *name) {
  static char ours[READ_BYTES];
  int fd = open_timed(name);
  if (fd < 0) return;
  struct judge judge = judge_of(name);
  long long offset = 0;
  double begun = now_ms();
  while (!stopped) {
    wait_for_due(begun, offset);
    double asked = now_ms();
    ssize_t got = read(fd, ours, READ_BYTES);
    int error = errno;
    note_time(now_ms() - asked, &longest_read_ms);
    if (got < 0) {
      note_error("read", name, offset, error);
      break;
    }
    reads++;
    if (!is_right(&judge, offset, ours, got)) {
      wrong++, tell("read", name, offset, 0);
      break;
    }
    if (got == 0) break;
    offset += got, bytes_read += got;
  }
  if (judge.copy >= 0) close(judge.copy);
  close(fd);
}

static void read_names(void) {
  char *line = NULL;
  size_t room = 0;
  while (name_count < NAMES_MAX && getdelim(&line, &room, 0, stdin) > 1)
    names[name_count++] = strdup(line);
  free(line);
}

int main(int argc, char **argv) {
  if (argc != 6) return 3;
  mount_root = argv[1], copy_root = strcmp(argv[2], "-") ? argv[2] : NULL;
  bytes_per_ms = atof(argv[3]) / 1e3;
  state = strtoull(argv[4], NULL, 10);
  long long passes = atoll(argv[5]);
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGTERM, &action, NULL);
  read_names();
  if (!name_count) return 3;
  for (long long pass = 0; !stopped && (passes == 0 || pass < passes); pass++) {
    shuffle();
    for (size_t i = 0; i < name_count && !stopped; i++) read_file(names[i]);
  }
  printf("{\"opens\":%lld,\"reads\":%lld,\"bytes\":%lld,\"errors\":%lld,\"wrong\":%lld,\"replaced\":%lld,"
         "\"slow\":%lld,\"longestReadMs\":%.1f,\"longestOpenMs\":%.1f}\n",
         opens, reads, bytes_read, errors, wrong, replaced, slow, longest_read_ms, longest_open_ms);
  return wrong ? 1 : errors ? 2 : 0;
}
