/* Prints where the members of the kernel's FUSE structures lie, as JSON, from the installed linux/fuse.h.
 *
 * gcc -o fuse_layout fuse_layout.c && ./fuse_layout > fuse_layout.json
 * The committed file is of linux-libc-dev 6.1 (protocol 7.38).
 */
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#define S(s) printf("%s  \"%s\": { \"sizeof\": %zu", first++ ? " },\n" : "{\n", #s, sizeof(struct s));
#define M(s, m) printf(", \"%s\": %zu", #m, offsetof(struct s, m));
int main(void) {
  int first = 0;
  S(fuse_in_header) M(fuse_in_header, len) M(fuse_in_header, opcode) M(fuse_in_header, unique) M(fuse_in_header, nodeid)
  S(fuse_out_header) M(fuse_out_header, len) M(fuse_out_header, error) M(fuse_out_header, unique)
  S(fuse_attr) M(fuse_attr, ino) M(fuse_attr, size) M(fuse_attr, blocks) M(fuse_attr, mtime) M(fuse_attr, mtimensec) M(fuse_attr, mode) M(fuse_attr, nlink) M(fuse_attr, uid) M(fuse_attr, gid) M(fuse_attr, blksize)
  S(fuse_entry_out) M(fuse_entry_out, nodeid) M(fuse_entry_out, generation) M(fuse_entry_out, entry_valid) M(fuse_entry_out, attr_valid) M(fuse_entry_out, attr)
  S(fuse_attr_out) M(fuse_attr_out, attr_valid) M(fuse_attr_out, attr)
  S(fuse_open_in) M(fuse_open_in, flags)
  S(fuse_open_out) M(fuse_open_out, fh) M(fuse_open_out, open_flags)
  S(fuse_read_in) M(fuse_read_in, fh) M(fuse_read_in, offset) M(fuse_read_in, size)
  S(fuse_init_in) M(fuse_init_in, major) M(fuse_init_in, minor) M(fuse_init_in, max_readahead) M(fuse_init_in, flags) M(fuse_init_in, flags2)
  S(fuse_init_out) M(fuse_init_out, major) M(fuse_init_out, minor) M(fuse_init_out, max_readahead) M(fuse_init_out, flags) M(fuse_init_out, max_background) M(fuse_init_out, congestion_threshold) M(fuse_init_out, max_write) M(fuse_init_out, time_gran) M(fuse_init_out, max_pages) M(fuse_init_out, flags2)
  S(fuse_kstatfs) M(fuse_kstatfs, blocks) M(fuse_kstatfs, files) M(fuse_kstatfs, bsize) M(fuse_kstatfs, namelen) M(fuse_kstatfs, frsize)
  S(fuse_dirent) M(fuse_dirent, ino) M(fuse_dirent, off) M(fuse_dirent, namelen) M(fuse_dirent, type) M(fuse_dirent, name)
  S(fuse_direntplus) M(fuse_direntplus, entry_out) M(fuse_direntplus, dirent)
  S(fuse_lseek_in) M(fuse_lseek_in, offset) M(fuse_lseek_in, whence)
  S(fuse_notify_inval_inode_out) M(fuse_notify_inval_inode_out, ino) M(fuse_notify_inval_inode_out, off) M(fuse_notify_inval_inode_out, len)
  S(fuse_notify_inval_entry_out) M(fuse_notify_inval_entry_out, parent) M(fuse_notify_inval_entry_out, namelen)
  printf(" }\n}\n");
  return 0;
}
