/* Opens many files at once and reads each while all are open, against a plain copy.
 *
 *   open_many MOUNT COPY <NAMES        names separated by NUL, relative to both
 *
 * Prints how many were open at once. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_MAX 20000
#define BYTES 65536

static int handles[FILES_MAX];
static char *names[FILES_MAX];

static int open_in(const char *folder, const char *name) {
  char path[4400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  if (handle < 0) {
    perror(path);
    exit(1);
  }
  return handle;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int count = 0;
  char *name = NULL;
  size_t size = 0;
  while (count < FILES_MAX && getdelim(&name, &size, 0, stdin) > 1) {
    names[count] = strdup(name);
    handles[count++] = open_in(argv[1], name);
  }
  static char ours[BYTES], theirs[BYTES];
  for (int i = 0; i < count; i++) {
    int copy = open_in(argv[2], names[i]);
    off_t size = lseek(copy, 0, SEEK_END), at = size > 8192 ? size / 2 : 0;
    ssize_t n = pread(handles[i], ours, BYTES, at), m = pread(copy, theirs, BYTES, at);
    if (n != m || memcmp(ours, theirs, (size_t)n) != 0) {
      printf("wrong: %s: %zd bytes, not %zd, or other ones\n", names[i], n, m);
      return 1;
    }
    close(copy);
  }
  for (int i = 0; i < count; i++) close(handles[i]);
  printf("%d\n", count);
  return 0;
}
