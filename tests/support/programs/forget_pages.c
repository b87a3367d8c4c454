/* Has the kernel forget what it has of files, so that who reads them next asks the filesystem.
 *
 *   forget_pages FILE... */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  int failed = 0;
  for (int i = 1; i < argc; i++) {
    int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
    if (fd < 0) perror(argv[i]), failed = 1;
    else posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), close(fd);
  }
  return failed;
}
