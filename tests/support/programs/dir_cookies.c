/* Reads a folder with readdir, then seeks to places it noted by telldir, and reads on from there.
 *
 *   dir_cookies FOLDER SEED
 *
 * Prints the number of names; fails when a name comes twice or a place has lost its name. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place { long cookie; char *name; };

static struct place *places;
static size_t count, room;

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

static void fail(const char *what, const char *name) {
  printf("wrong: %s: %s\n", what, name);
  exit(1);
}

static void read_all(DIR *dir) {
  while (1) {
    long cookie = telldir(dir);
    errno = 0;
    struct dirent *entry = readdir(dir);
    if (!entry) break;
    if (count == room) {
      room = room ? room * 2 : 1024;
      places = realloc(places, room * sizeof *places);
    }
    places[count++] = (struct place){cookie, strdup(entry->d_name)};
  }
  if (errno) fail("readdir", strerror(errno));
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  srandom((unsigned)atoi(argv[2]));
  DIR *dir = opendir(argv[1]);
  if (!dir) {
    perror(argv[1]);
    return 2;
  }
  read_all(dir);
  for (int i = 0; i < 2000; i++) {
    size_t at = (size_t)random() % count;
    seekdir(dir, places[at].cookie);
    for (size_t next = at; next < at + 5 && next < count; next++) {
      struct dirent *entry = readdir(dir);
      if (!entry) fail("nothing after seekdir", places[next].name);
      if (strcmp(entry->d_name, places[next].name) != 0) fail("another name after seekdir", entry->d_name);
    }
  }
  rewinddir(dir);
  struct dirent *first = readdir(dir);
  if (!first || strcmp(first->d_name, places[0].name) != 0) fail("rewinddir", places[0].name);
  closedir(dir);
  qsort(places, count, sizeof *places, by_name);
  for (size_t i = 1; i < count; i++)
    if (strcmp(places[i - 1].name, places[i].name) == 0) fail("twice", places[i].name);
  printf("%zu\n", count);
  return 0;
}
