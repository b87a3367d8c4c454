/* Plays a file at the speed of music: a thread reads ahead into a buffer, another takes from it what a
 * second sounds like, and counts when there is nothing to take.
 *
 *   player FILE BYTES_PER_SECOND BUFFER_SECONDS PLAY_SECONDS [COPY]
 *
 * Sound starts when the buffer is full (or the file is all in it): then a line "playing" is printed.
 * Every byte is compared with COPY, if it is given. Ends at the end of the file, after PLAY_SECONDS of
 * music, or with a read error, with one line of JSON. Each read is of 64 KiB at most. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES 65536
#define TICK_MS 20

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long long buffered, size, buffer_max, stop_at;
static int at_end, failure, differs, finished;
static const char *path, *copy_path;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void *reader(void *unused) {
  (void)unused;
  static char ours[READ_BYTES], theirs[READ_BYTES];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int copy = copy_path ? open(copy_path, O_RDONLY | O_CLOEXEC) : -1;
  int error = fd < 0 || (copy_path && copy < 0) ? errno : 0;
  long long offset = 0;
  while (!error && offset < stop_at) {
    pthread_mutex_lock(&lock);
    while (buffered + READ_BYTES > buffer_max && !finished) pthread_cond_wait(&changed, &lock);
    int done = finished;
    pthread_mutex_unlock(&lock);
    if (done) break;
    ssize_t got = pread(fd, ours, READ_BYTES, offset);
    if (got <= 0) {
      error = got < 0 ? errno : 0;
      break;
    }
    if (copy >= 0 && (pread(copy, theirs, got, offset) != got || memcmp(ours, theirs, got)))
      differs = 1;
    offset += got;
    pthread_mutex_lock(&lock);
    buffered += got;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
  }
  pthread_mutex_lock(&lock);
  at_end = 1;
  failure = error;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  path = argv[1];
  double rate = atof(argv[2]) / 1e3; /* bytes a ms */
  double begun = now_ms();
  struct stat st;
  if (stat(path, &st)) return perror(path), 1;
  size = st.st_size;
  buffer_max = rate * 1e3 * atof(argv[3]);
  if (buffer_max < 2 * READ_BYTES) buffer_max = 2 * READ_BYTES;
  stop_at = rate * 1e3 * atof(argv[4]);
  if (stop_at > size) stop_at = size;
  copy_path = argc > 5 ? argv[5] : NULL;
  pthread_t id;
  pthread_create(&id, NULL, reader, NULL);
  pthread_mutex_lock(&lock);
  while (buffered + READ_BYTES <= buffer_max && !at_end) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  double start = now_ms(), last = start, stalled = 0, played = 0, lowest = buffered, last_stall = 0;
  int stalls = 0, silent = 0;
  printf("playing\n");
  fflush(stdout);
  for (;;) {
    struct timespec tick = {0, TICK_MS * 1000000L};
    nanosleep(&tick, NULL);
    double now = now_ms(), want = (now - last) * rate;
    pthread_mutex_lock(&lock);
    if (want > buffered) {
      if (at_end) {
        played += buffered, finished = 1;
      } else {
        if (!silent) stalls++, last_stall = last - start;
        stalled += now - last, silent = 1;
      }
    } else {
      buffered -= (long long)want, played += (long long)want, silent = 0;
      /* The fraction of a byte stays for the next tick. */
      now = last + (long long)want / rate;
    }
    if (!at_end && buffered < lowest) lowest = buffered;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    last = now;
    if (finished) break;
  }
  pthread_join(id, NULL);
  printf("{\"stalls\":%d,\"stalledMs\":%.0f,\"startMs\":%.0f,\"playedBytes\":%.0f,"
         "\"lastStallMs\":%.0f,\"lowestBufferBytes\":%.0f,\"errno\":%d,\"differs\":%s}\n",
         stalls, stalled, start - begun, played, last_stall, lowest, failure, differs ? "true" : "false");
  return 0;
}
