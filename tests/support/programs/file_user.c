/* Opens, reads and closes files as it is told, one command a line, each answered by one line:
 *
 *   open PATH             ok HANDLE | errno N
 *   read HANDLE AT COUNT  ok HEX    | errno N      COUNT is 4096 at most
 *   close HANDLE          ok
 *
 * What a read leaves in the page cache is dropped first, so that reads reach the filesystem. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BYTES_MAX 4096

static void read_at(int handle, long long at, size_t count) {
  static unsigned char bytes[BYTES_MAX];
  posix_fadvise(handle, 0, 0, POSIX_FADV_DONTNEED);
  ssize_t n = pread(handle, bytes, count, at);
  if (n < 0) {
    printf("errno %d\n", errno);
    return;
  }
  printf("ok ");
  for (ssize_t i = 0; i < n; i++) printf("%02x", bytes[i]);
  printf("\n");
}

int main(void) {
  char line[8192];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    int handle;
    long long at;
    size_t count;
    if (strncmp(line, "open ", 5) == 0) {
      handle = open(line + 5, O_RDONLY | O_CLOEXEC);
      if (handle < 0) printf("errno %d\n", errno);
      else printf("ok %d\n", handle);
    } else if (sscanf(line, "read %d %lld %zu", &handle, &at, &count) == 3 && count <= BYTES_MAX) {
      read_at(handle, at, count);
    } else if (sscanf(line, "close %d", &handle) == 1) {
      close(handle);
      printf("ok\n");
    } else {
      return 2;
    }
    fflush(stdout);
  }
  return 0;
}
