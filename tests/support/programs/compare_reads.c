/* Random operations on a mount and on a plain copy, compared byte by byte.
 *
 *   compare_reads MOUNT COPY SEED OPERATIONS <NAMES
 *
 * NAMES: "f" or "d" and a path relative to both, ended by NUL. The same seed does the same things.
 * Prints "ok OPERATIONS", or what was wrong and ends with 1. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 24
#define BYTES_MAX (300 * 1024)
#define NAMES_MAX 200000

struct slot { const char *name; int ours, theirs; off_t size; char *map; };

static struct slot slots[SLOTS];
static char *files[NAMES_MAX], *folders[NAMES_MAX];
static size_t file_count, folder_count;
static const char *mount_root, *copy_root;
static uint64_t state, operation;
static char ours_bytes[BYTES_MAX], theirs_bytes[BYTES_MAX];

/* splitmix64: every seed is a good one. */
static uint64_t chance(uint64_t below) {
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (z ^ (z >> 31)) % below;
}

static void wrong(const char *what, const char *name, long long at, long long got, long long want) {
  printf("wrong: operation %llu: %s: %s at %lld: got %lld, want %lld (%s)\n",
         (unsigned long long)operation, what, name, at, got, want, strerror(errno));
  exit(1);
}

static const char *path_in(const char *root, const char *name) {
  static char paths[2][8192];
  static int turn;
  turn ^= 1;
  snprintf(paths[turn], sizeof paths[turn], "%s/%s", root, name);
  return paths[turn];
}

static void compare(const char *what, struct slot *slot, off_t at, ssize_t n, ssize_t m) {
  if (n != m) wrong(what, slot->name, at, n, m);
  for (ssize_t i = 0; i < n; i++)
    if (ours_bytes[i] != theirs_bytes[i])
      wrong(what, slot->name, at + i, (unsigned char)ours_bytes[i], (unsigned char)theirs_bytes[i]);
}

/* read(2) may be short in the middle of a file only for a signal; a loop keeps the two in step. */
static ssize_t read_whole(int handle, char *into, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = read(handle, into + done, length - done);
    if (n < 0) return -1;
    if (n == 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

static void close_slot(struct slot *slot) {
  if (!slot->name) return;
  if (slot->map) munmap(slot->map, (size_t)slot->size);
  close(slot->ours);
  close(slot->theirs);
  *slot = (struct slot){0};
}

static struct slot *opened(void) {
  struct slot *slot = &slots[chance(SLOTS)];
  if (slot->name && chance(8) != 0) return slot;
  close_slot(slot);
  const char *name = files[chance(file_count)];
  int ours = open(path_in(mount_root, name), O_RDONLY | O_CLOEXEC);
  int theirs = open(path_in(copy_root, name), O_RDONLY | O_CLOEXEC);
  if (ours < 0 || theirs < 0) wrong("open", name, 0, ours, theirs);
  if (chance(10) == 0) posix_fadvise(ours, 0, 0, POSIX_FADV_RANDOM);
  struct stat status;
  fstat(theirs, &status);
  *slot = (struct slot){name, ours, theirs, status.st_size, NULL};
  return slot;
}

/* Without this most reads would be answered by the kernel and test nothing of ours. */
static void forget_pages(struct slot *slot) {
  if (!slot->map && chance(3) != 0) posix_fadvise(slot->ours, 0, 0, POSIX_FADV_DONTNEED);
}

static off_t some_offset(struct slot *slot) {
  switch (chance(8)) {
    case 0: return slot->size;
    case 1: return slot->size > 64 ? slot->size - 64 : 0;
    case 2: return slot->size + (off_t)chance(100000);
    case 3: return 0;
    default: return (off_t)chance((uint64_t)slot->size + 1);
  }
}

static size_t some_length(void) {
  switch (chance(4)) {
    case 0: return 1 + chance(64);
    case 1: return 1 + chance(5000);
    case 2: return 4096 << chance(6);
    default: return 1 + chance(BYTES_MAX);
  }
}

static void do_pread(void) {
  struct slot *slot = opened();
  forget_pages(slot);
  off_t at = some_offset(slot);
  size_t length = some_length();
  compare("pread", slot, at, pread(slot->ours, ours_bytes, length, at),
          pread(slot->theirs, theirs_bytes, length, at));
}

static void do_read(void) {
  struct slot *slot = opened();
  forget_pages(slot);
  if (chance(3) == 0) {
    int whence = (int)chance(3);
    off_t by = whence == SEEK_SET ? some_offset(slot) : -(off_t)chance((uint64_t)slot->size + 1);
    off_t ours = lseek(slot->ours, by, whence), theirs = lseek(slot->theirs, by, whence);
    if (ours != theirs) wrong("lseek", slot->name, by, ours, theirs);
  }
  off_t at = lseek(slot->theirs, 0, SEEK_CUR);
  size_t length = some_length();
  compare("read", slot, at, read_whole(slot->ours, ours_bytes, length),
          read_whole(slot->theirs, theirs_bytes, length));
}

static void do_mmap(void) {
  struct slot *slot = opened();
  if (slot->size == 0) return;
  if (!slot->map) {
    forget_pages(slot);
    slot->map = mmap(NULL, (size_t)slot->size, PROT_READ, MAP_SHARED, slot->ours, 0);
    if (slot->map == MAP_FAILED) wrong("mmap", slot->name, 0, -1, 0);
  }
  off_t at = (off_t)chance((uint64_t)slot->size);
  size_t length = some_length();
  if ((off_t)length > slot->size - at) length = (size_t)(slot->size - at);
  memcpy(ours_bytes, slot->map + at, length);
  compare("mmap", slot, at, (ssize_t)length, pread(slot->theirs, theirs_bytes, length, at));
  if (chance(2)) {
    munmap(slot->map, (size_t)slot->size);
    slot->map = NULL;
  }
}

static void must_be_zeros(struct slot *slot, off_t at, off_t end) {
  while (at < end) {
    size_t length = end - at < BYTES_MAX ? (size_t)(end - at) : BYTES_MAX;
    ssize_t n = pread(slot->theirs, theirs_bytes, length, at);
    if (n <= 0) wrong("pread of the copy", slot->name, at, n, (long long)length);
    for (ssize_t i = 0; i < n; i++)
      if (theirs_bytes[i]) wrong("SEEK_DATA skipped data", slot->name, at + i, theirs_bytes[i], 0);
    at += n;
  }
}

/* A file without holes may be all data; but what is called a hole must hold only zeros. */
static void do_seek_data(void) {
  struct slot *slot = opened();
  off_t at = some_offset(slot);
  off_t data = lseek(slot->ours, at, SEEK_DATA);
  if (at >= slot->size) {
    if (data != -1 || errno != ENXIO) wrong("SEEK_DATA past the end", slot->name, at, data, -1);
  } else {
    off_t end = data < 0 ? slot->size : data;
    if (data < 0 && errno != ENXIO) wrong("SEEK_DATA", slot->name, at, data, at);
    if (end < at || end > slot->size) wrong("SEEK_DATA", slot->name, at, end, at);
    must_be_zeros(slot, at, end);
    off_t hole = lseek(slot->ours, at, SEEK_HOLE);
    if (hole < at || hole > slot->size) wrong("SEEK_HOLE", slot->name, at, hole, slot->size);
  }
  lseek(slot->ours, 0, SEEK_SET);
  lseek(slot->theirs, 0, SEEK_SET);
}

static void do_stat(void) {
  const char *name = files[chance(file_count)];
  struct stat ours, theirs;
  if (stat(path_in(mount_root, name), &ours) || stat(path_in(copy_root, name), &theirs))
    wrong("stat", name, 0, -1, 0);
  if (ours.st_size != theirs.st_size) wrong("size", name, 0, ours.st_size, theirs.st_size);
  if (ours.st_mtim.tv_sec != theirs.st_mtim.tv_sec || ours.st_mtim.tv_nsec != theirs.st_mtim.tv_nsec)
    wrong("mtime", name, 0, ours.st_mtim.tv_nsec, theirs.st_mtim.tv_nsec);
  if ((ours.st_mode & S_IFMT) != (theirs.st_mode & S_IFMT))
    wrong("kind", name, 0, ours.st_mode, theirs.st_mode);
}

static int listed(const char *root, const char *name, struct dirent ***entries) {
  return scandir(path_in(root, name), entries, NULL, alphasort);
}

static void do_readdir(void) {
  const char *name = folders[chance(folder_count)];
  struct dirent **ours, **theirs;
  int n = listed(mount_root, name, &ours), m = listed(copy_root, name, &theirs);
  if (n != m) wrong("names in the folder", name, 0, n, m);
  for (int i = 0; i < n; i++) {
    if (strcmp(ours[i]->d_name, theirs[i]->d_name)) wrong("a name", ours[i]->d_name, i, 0, 0);
    free(ours[i]);
    free(theirs[i]);
  }
  free(ours);
  free(theirs);
}

static void read_names(void) {
  char *line = NULL;
  size_t room = 0;
  while (getdelim(&line, &room, 0, stdin) > 1) {
    if (line[0] == 'f' && file_count < NAMES_MAX) files[file_count++] = strdup(line + 1);
    if (line[0] == 'd' && folder_count < NAMES_MAX) folders[folder_count++] = strdup(line + 1);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  mount_root = argv[1];
  copy_root = argv[2];
  state = strtoull(argv[3], NULL, 10);
  uint64_t operations = strtoull(argv[4], NULL, 10);
  read_names();
  if (!file_count || !folder_count) return 2;
  for (operation = 0; operation < operations; operation++) {
    uint64_t kind = chance(100);
    if (kind < 40) do_pread();
    else if (kind < 65) do_read();
    else if (kind < 77) do_mmap();
    else if (kind < 82) do_seek_data();
    else if (kind < 92) do_stat();
    else do_readdir();
  }
  printf("ok %llu\n", (unsigned long long)operations);
  return 0;
}
