/* Random reads of files of known bytes (known_bytes.h), each checked as it is made.
 *
 *   known_reads MOUNT SEED READS LIMIT_MS PACE_US <NAMES
 *
 * NAMES: "f" and a path relative to MOUNT, ended by NUL. Ends after READS reads, or when its standard
 * input, which stays open behind an empty name, is closed. Each read waits PACE_US before it, up to
 * twice that.
 *
 * An open handle keeps one version: what is read through it must all be of one. EIO is counted as
 * failed, and so is what ESTALE ends. Writes "at READS\n" each second, what is wrong as it is seen,
 * and last a line of JSON. Ends with 1 if anything was wrong. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "known_bytes.h"

#define SLOTS 24

/* What the kernel asks the daemon for at once, where the origin is far: a longer pread waits for
 * several READs, one after the other. */
#define PIECE_BYTES (64 * 1024)
#define BYTES_MAX (256 * 1024)
#define NAMES_MAX 100000
#define WRONG_MAX 10

struct file { const char *name; uint32_t key; };
struct slot { struct file *file; int handle; uint64_t versions; };

static struct file files[NAMES_MAX];
static struct slot slots[SLOTS];
static size_t file_count;
static const char *mount_root;
static uint64_t state, reads, bytes_read, wrong, over_limit, eio, estale, other_errors, opens;
static double longest_ms, limit_ms;
static char longest_what[4400], last_error[4400];
static uint8_t bytes[BYTES_MAX];

/* splitmix64: every seed is a good one. */
static uint64_t chance(uint64_t below) {
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (z ^ (z >> 31)) % below;
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void took(double began, const char *what, const char *name, uint64_t at) {
  double ms = now_ms() - began;
  if (ms > limit_ms) {
    over_limit++;
    printf("slow: %s of %s at %llu took %.0f ms\n", what, name, (unsigned long long)at, ms);
  }
  if (ms <= longest_ms) return;
  longest_ms = ms;
  snprintf(longest_what, sizeof longest_what, "%s of %s at %llu", what, name,
           (unsigned long long)at);
}

static void count_error(int reason, const char *what, const char *name) {
  if (reason == EIO) eio++;
  else if (reason == ESTALE) estale++;
  else {
    other_errors++;
    snprintf(last_error, sizeof last_error, "%s of %s: %s", what, name, strerror(reason));
  }
}

static void is_wrong(struct slot *slot, const char *what, uint64_t at, size_t length,
                     uint64_t wrong_at) {
  uint64_t unused, each = known_versions(slot->file->key, at, bytes, length, KNOWN_ALL_VERSIONS,
                                         &unused);
  printf("wrong: %s: %s: %zu bytes at %llu, the first at %llu; alone they would be of %llx, the "
         "handle is of %llx\n", slot->file->name, what, length, (unsigned long long)at,
         (unsigned long long)wrong_at, (unsigned long long)each,
         (unsigned long long)slot->versions);
  fflush(stdout);
  if (++wrong >= WRONG_MAX) exit(1);
}

static void close_slot(struct slot *slot) {
  if (slot->file) close(slot->handle);
  slot->file = NULL;
}

static struct slot *opened(void) {
  struct slot *slot = &slots[chance(SLOTS)];
  if (slot->file && chance(100) != 0) return slot;
  close_slot(slot);
  struct file *file = &files[chance(file_count)];
  char path[8192];
  snprintf(path, sizeof path, "%s/%s", mount_root, file->name);
  double began = now_ms();
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  int reason = errno;
  took(began, "open", file->name, 0);
  opens++;
  if (handle < 0) {
    count_error(reason, "open", file->name);
    return NULL;
  }
  *slot = (struct slot){file, handle, KNOWN_ALL_VERSIONS};
  if (chance(6) == 0) posix_fadvise(handle, 0, 0, POSIX_FADV_RANDOM);
  return slot;
}

/* Reads on after a short read: it is the end only if nothing comes after it. An error behind the first
 * pages is told to the next read. */
static size_t read_on(struct slot *slot, uint64_t at, size_t length, int *reason) {
  size_t done = 0;
  *reason = 0;
  while (done < length) {
    double began = now_ms();
    size_t piece = PIECE_BYTES - (at + done) % PIECE_BYTES;
    if (piece > length - done) piece = length - done;
    ssize_t n = pread(slot->handle, bytes + done, piece, (off_t)(at + done));
    if (n < 0) *reason = errno;
    took(began, "read", slot->file->name, at);
    if (n <= 0) break;
    done += (size_t)n;
  }
  return done;
}

/* The versions that can have so many bytes there. */
static uint64_t fitting(struct slot *slot, uint64_t at, size_t got, int is_end) {
  uint32_t key = slot->file->key;
  if (!is_end) return known_reaching(key, at + got);
  if (got > 0) return known_of_size(key, at + got);
  return ~known_reaching(key, at + 1);
}

static void one_read(void) {
  struct slot *slot = opened();
  reads++;
  if (!slot) return;
  const char *name = slot->file->name;
  /* Else the kernel would answer most of them. */
  if (chance(2) != 0) posix_fadvise(slot->handle, 0, 0, POSIX_FADV_DONTNEED);
  uint64_t size = known_size(slot->file->key, 1 + (unsigned)chance(5));
  uint64_t at = chance(6) == 0 ? 0 : chance(size);
  if (chance(8) == 0) at = size > 4096 ? size - 1 - chance(4096) : 0;
  size_t length = chance(8) == 0 ? 1 + chance(BYTES_MAX) : 1 + chance(16384);
  int reason;
  size_t got = read_on(slot, at, length, &reason);
  bytes_read += got;
  if (reason) count_error(reason, "read", name);
  uint64_t fits = slot->versions & fitting(slot, at, got, got < length && !reason), wrong_at = at;
  if (fits == 0) {
    is_wrong(slot, "a length that no version has", at, got, at + got);
    return close_slot(slot);
  }
  uint64_t versions = known_versions(slot->file->key, at, bytes, got, fits, &wrong_at);
  if (versions == 0) {
    is_wrong(slot, "bytes", at, got, wrong_at);
    return close_slot(slot);
  }
  slot->versions = versions;
  /* The next one is to meet the file as it is now. */
  if (reason == ESTALE) close_slot(slot);
}

static void read_names(void) {
  char name[8192];
  size_t length = 0;
  for (;;) {
    char byte;
    if (read(0, &byte, 1) != 1) return;
    if (length >= sizeof name) exit(2);
    name[length++] = byte;
    if (byte != 0) continue;
    if (length == 1) return;
    if (name[0] == 'f' && file_count < NAMES_MAX) {
      char *path = strdup(name + 1);
      files[file_count++] = (struct file){path, known_path_hash(path)};
    }
    length = 0;
  }
}

/* Whoever started this closes our input to end it. */
static int was_ended(void) {
  struct pollfd input = {0, POLLIN, 0};
  return poll(&input, 1, 0) != 0;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  mount_root = argv[1];
  state = strtoull(argv[2], NULL, 10);
  uint64_t reads_max = strtoull(argv[3], NULL, 10);
  limit_ms = strtod(argv[4], NULL);
  uint64_t pace_us = strtoull(argv[5], NULL, 10);
  read_names();
  if (!file_count) return 2;
  double told = now_ms();
  while (reads < reads_max) {
    if (pace_us) usleep((useconds_t)chance(2 * pace_us));
    one_read();
    if (reads % 16 == 0 && was_ended()) break;
    if (now_ms() - told < 1000) continue;
    told = now_ms();
    printf("at %llu\n", (unsigned long long)reads);
    fflush(stdout);
  }
  for (size_t i = 0; i < SLOTS; i++) close_slot(&slots[i]);
  printf("{\"reads\":%llu,\"opens\":%llu,\"bytes\":%llu,\"wrong\":%llu,\"over_limit\":%llu,"
         "\"eio\":%llu,\"estale\":%llu,\"other_errors\":%llu,\"longest_ms\":%.1f,"
         "\"longest\":\"%s\",\"last_error\":\"%s\"}\n",
         (unsigned long long)reads, (unsigned long long)opens, (unsigned long long)bytes_read,
         (unsigned long long)wrong, (unsigned long long)over_limit, (unsigned long long)eio,
         (unsigned long long)estale, (unsigned long long)other_errors, longest_ms, longest_what,
         last_error);
  return wrong != 0;
}
