/* Reads a library as tag readers do: open, first HEAD bytes, last TAIL bytes, close, for every file.
 *
 *   tag_scan FOLDER THREADS [HEAD TAIL]
 *
 * Files in the order of their paths. Prints one line of JSON: files, errors, and wall, median and
 * longest time in ms. The walk is part of the wall time. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 200000

static char *paths[FILES_MAX];
static double times[FILES_MAX];
static size_t count;
static size_t head = 65536, tail = 131072;
static atomic_size_t next, errors;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)ftw;
  if (type == FTW_F && count < FILES_MAX) paths[count++] = strdup(path);
  return 0;
}

static int by_path(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_time(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* All of [offset, offset + length), or -1; a short read is an error. */
static int read_all(int fd, char *buffer, size_t length, off_t offset) {
  while (length > 0) {
    ssize_t got = pread(fd, buffer, length, offset);
    if (got <= 0) return -1;
    length -= got, offset += got;
  }
  return 0;
}

static int scan(const char *path, char *buffer) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  struct stat st;
  int bad = fstat(fd, &st);
  if (!bad) {
    size_t size = st.st_size;
    size_t first = size < head ? size : head, last = size < tail ? size : tail;
    bad = read_all(fd, buffer, first, 0) || read_all(fd, buffer, last, size - last);
  }
  if (bad) fprintf(stderr, "%s: %s\n", path, strerror(errno));
  close(fd);
  return bad;
}

static void *work(void *unused) {
  (void)unused;
  char *buffer = malloc(head > tail ? head : tail);
  for (size_t i; (i = atomic_fetch_add(&next, 1)) < count;) {
    double start = now_ms();
    if (scan(paths[i], buffer)) atomic_fetch_add(&errors, 1);
    times[i] = now_ms() - start;
  }
  free(buffer);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 3 && argc != 5) return 2;
  int threads = atoi(argv[2]);
  if (argc == 5) head = atol(argv[3]), tail = atol(argv[4]);
  double start = now_ms();
  if (nftw(argv[1], visit, 32, FTW_PHYS) != 0) return perror(argv[1]), 1;
  qsort(paths, count, sizeof *paths, by_path);
  pthread_t ids[64];
  if (threads < 1 || threads > 64) return 2;
  for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, work, NULL);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  double wall = now_ms() - start;
  qsort(times, count, sizeof *times, by_time);
  printf("{\"files\":%zu,\"errors\":%zu,\"wallMs\":%.1f,\"medianMs\":%.2f,\"longestMs\":%.2f}\n", count,
         (size_t)errors, wall, count ? times[count / 2] : 0, count ? times[count - 1] : 0);
  return 0;
}
