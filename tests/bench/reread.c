/* Opens a file, reads it to its end and closes it, ROUNDS times; prints the seconds of each round.
 *
 * reread FILE ROUNDS
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20] __attribute__((aligned(4096)));

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **words) {
  if (count != 3) {
    fprintf(stderr, "usage: reread FILE ROUNDS\n");
    return 2;
  }
  for (int round = atoi(words[2]); round > 0; round -= 1) {
    double start = seconds();
    int file = open(words[1], O_RDONLY | O_CLOEXEC);
    ssize_t bytes;
    if (file < 0) {
      perror(words[1]);
      return 1;
    }
    while ((bytes = read(file, buffer, sizeof buffer)) > 0) {
    }
    if (bytes < 0) {
      perror(words[1]);
      return 1;
    }
    close(file);
    printf("%.9f\n", seconds() - start);
  }
  return 0;
}
