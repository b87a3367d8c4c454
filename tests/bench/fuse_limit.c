/* The limit beside which musicfs is measured: the least that a FUSE daemon can do, in C.
 *
 * One file, "f", whose bytes are a pread(2) of DATA away. One thread, no cache, no index, no
 * checks; the same INIT flags, request size and lifetimes as musicfs, so that only the daemon's
 * own work differs. Serves until it is unmounted. Needs root. Source: include/uapi/linux/fuse.h.
 *
 * fuse_limit MOUNTPOINT DATA
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUEST_BYTES = 1 << 20, PAGE = 4096, ROOT = 1, FILE_NODE = 2, TTL_S = 3600 };

static char in[REQUEST_BYTES + PAGE] __attribute__((aligned(PAGE)));
static char out[REQUEST_BYTES + PAGE] __attribute__((aligned(PAGE)));
static int device, data;
static struct stat data_stat;

static void reply(uint64_t unique, int error, size_t bytes) {
  struct fuse_out_header *header = (void *)out;
  header->len = sizeof *header + bytes;
  header->error = error;
  header->unique = unique;
  /* ENOENT: the reader was interrupted and no longer waits. */
  if (write(device, out, header->len) < 0 && errno != ENOENT) perror("fuse_limit: write");
}

static void describe(struct fuse_attr *attr, uint64_t node) {
  memset(attr, 0, sizeof *attr);
  attr->ino = node;
  attr->mode = node == ROOT ? S_IFDIR | 0555 : S_IFREG | 0444;
  attr->nlink = 1;
  attr->blksize = PAGE;
  if (node == FILE_NODE) attr->size = data_stat.st_size;
}

static void init(uint64_t unique, void *body) {
  struct fuse_init_out *init = body;
  memset(init, 0, sizeof *init);
  init->major = FUSE_KERNEL_VERSION;
  init->minor = 31;
  init->max_readahead = REQUEST_BYTES;
  init->flags = FUSE_ASYNC_READ | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES;
  init->max_background = 64;
  init->congestion_threshold = 48;
  init->max_write = REQUEST_BYTES;
  init->time_gran = 1;
  init->max_pages = REQUEST_BYTES / PAGE;
  reply(unique, 0, sizeof *init);
}

static void lookup(uint64_t unique, const char *name, void *body) {
  struct fuse_entry_out *entry = body;
  if (strcmp(name, "f") != 0) {
    reply(unique, -ENOENT, 0);
    return;
  }
  memset(entry, 0, sizeof *entry);
  entry->nodeid = FILE_NODE;
  entry->entry_valid = entry->attr_valid = TTL_S;
  describe(&entry->attr, FILE_NODE);
  reply(unique, 0, sizeof *entry);
}

static void serve(struct fuse_in_header *header) {
  void *argument = header + 1, *body = out + sizeof(struct fuse_out_header);
  uint64_t unique = header->unique;
  switch (header->opcode) {
  case FUSE_INIT:
    init(unique, body);
    break;
  case FUSE_LOOKUP:
    lookup(unique, argument, body);
    break;
  case FUSE_GETATTR: {
    struct fuse_attr_out *attr = body;
    memset(attr, 0, sizeof *attr);
    attr->attr_valid = TTL_S;
    describe(&attr->attr, header->nodeid);
    reply(unique, 0, sizeof *attr);
    break;
  }
  case FUSE_OPEN:
  case FUSE_OPENDIR: {
    struct fuse_open_out *open = body;
    memset(open, 0, sizeof *open);
    open->open_flags = FOPEN_KEEP_CACHE;
    reply(unique, 0, sizeof *open);
    break;
  }
  case FUSE_READ: {
    struct fuse_read_in *read = argument;
    ssize_t bytes = pread(data, body, read->size, read->offset);
    if (bytes < 0) reply(unique, -errno, 0);
    else reply(unique, 0, bytes);
    break;
  }
  case FUSE_READDIR:
  case FUSE_RELEASE:
  case FUSE_RELEASEDIR:
    reply(unique, 0, 0);
    break;
  case FUSE_FORGET:
  case FUSE_BATCH_FORGET:
  case FUSE_INTERRUPT:
    break;
  default:
    reply(unique, -ENOSYS, 0);
  }
}

int main(int count, char **words) {
  char options[200];
  if (count != 3) {
    fprintf(stderr, "usage: fuse_limit MOUNTPOINT DATA\n");
    return 2;
  }
  device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  data = open(words[2], O_RDONLY | O_CLOEXEC);
  if (device < 0 || data < 0 || fstat(data, &data_stat) != 0) {
    perror("fuse_limit: open");
    return 1;
  }
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
  if (mount("fuse_limit", words[1], "fuse.limit", MS_NOSUID | MS_NODEV | MS_RDONLY, options) != 0) {
    perror("fuse_limit: mount");
    return 1;
  }
  for (;;) {
    ssize_t bytes = read(device, in, sizeof in);
    if (bytes > 0) serve((struct fuse_in_header *)in);
    else if (errno == ENODEV) return 0; /* unmounted */
    else if (errno != EINTR && errno != EAGAIN && errno != ENOENT) return 1;
  }
}
