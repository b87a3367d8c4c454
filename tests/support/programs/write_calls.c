/* Every way to change something below a folder, one line each: the call and what it answered.
 *
 *   write_calls FOLDER
 *
 * FOLDER holds file (not empty), folder/inner, empty/ and link -> file. Run on a read-only ext4 and
 * on a musicfs mount with the same content, the lines must be the same. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static void say(const char *call, long result) {
  printf("%-44s %s\n", call, result >= 0 ? "ok" : strerrorname_np(errno));
}

#define CALL(expression) say(#expression, (long)(expression))
/* For what gives a descriptor: closed again. */
#define OPEN(expression) do { int d = (expression); say(#expression, d); if (d >= 0) close(d); } while (0)

static long map(int descriptor, int protection, int flags) {
  void *at = mmap(NULL, 4096, protection, flags, descriptor, 0);
  if (at == MAP_FAILED) return -1;
  munmap(at, 4096);
  return 0;
}

static long map_then_protect(int descriptor) {
  void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
  if (at == MAP_FAILED) return -1;
  long result = mprotect(at, 4096, PROT_READ | PROT_WRITE);
  int kept = errno;
  munmap(at, 4096);
  errno = kept;
  return result;
}

static long bind_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  long result = bind(s, (struct sockaddr *)&address, sizeof address);
  int kept = errno;
  close(s);
  errno = kept;
  return result;
}

static long set_flags(int descriptor) {
  int flags = 0;
  return ioctl(descriptor, FS_IOC_SETFLAGS, &flags);
}

static long write_lock(int descriptor) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(descriptor, F_SETLK, &lock);
}

static long read_lock(int descriptor) {
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  return fcntl(descriptor, F_SETLK, &lock);
}

static void opening(void) {
  OPEN(open("file", O_RDONLY));
  OPEN(open("file", O_WRONLY));
  OPEN(open("file", O_RDWR));
  OPEN(open("file", O_WRONLY | O_APPEND));
  OPEN(open("file", O_RDONLY | O_TRUNC));
  OPEN(open("file", O_WRONLY | O_TRUNC));
  OPEN(open("file", O_RDONLY | O_CREAT, 0644));
  OPEN(open("file", O_RDWR | O_CREAT, 0644));
  OPEN(open("file", O_WRONLY | O_CREAT | O_EXCL, 0644));
  OPEN(open("new", O_WRONLY | O_CREAT, 0644));
  OPEN(open("new", O_RDONLY | O_CREAT, 0644));
  OPEN(open("new", O_RDWR | O_CREAT | O_EXCL, 0644));
  OPEN(open("new", O_WRONLY));
  OPEN(open("missing/new", O_WRONLY | O_CREAT, 0644));
  OPEN(open("file/new", O_WRONLY | O_CREAT, 0644));
  OPEN(open("folder", O_WRONLY));
  OPEN(open("folder", O_RDONLY | O_CREAT, 0644));
  OPEN(open("link", O_WRONLY));
  OPEN(open("link", O_WRONLY | O_NOFOLLOW));
  OPEN(open(".", O_WRONLY | O_TMPFILE, 0600));
  OPEN(creat("file", 0644));
  OPEN(creat("new", 0644));
}

static void contents(int file) {
  char byte = 'x';
  loff_t zero = 0;
  CALL(write(file, &byte, 1));
  CALL(pwrite(file, &byte, 1, 0));
  CALL(ftruncate(file, 0));
  CALL(ftruncate(file, 1 << 20));
  CALL(truncate("file", 0));
  CALL(truncate("file", -1));
  CALL(truncate("link", 0));
  CALL(truncate("folder", 0));
  CALL(truncate("new", 0));
  CALL(fallocate(file, 0, 0, 4096));
  CALL(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
  CALL(copy_file_range(file, NULL, file, &zero, 1, 0));
  CALL(sendfile(file, file, NULL, 1));
  CALL(ioctl(file, FICLONE, file));
  CALL(map(file, PROT_READ, MAP_SHARED));
  CALL(map(file, PROT_READ | PROT_WRITE, MAP_PRIVATE));
  CALL(map(file, PROT_READ | PROT_WRITE, MAP_SHARED));
  CALL(map_then_protect(file));
  CALL(fsync(file));
  CALL(fdatasync(file));
}

static void names(void) {
  char long_name[257];
  memset(long_name, 'n', 256);
  long_name[256] = 0;
  CALL(mkdir("new", 0755));
  CALL(mkdir("folder", 0755));
  CALL(mkdir("file", 0755));
  CALL(mkdir("link", 0755));
  CALL(mkdir("missing/new", 0755));
  CALL(mkdir("file/new", 0755));
  CALL(mkdir(long_name, 0755));
  CALL(mkdirat(AT_FDCWD, "folder/new", 0755));
  CALL(rmdir("empty"));
  CALL(rmdir("folder"));
  CALL(rmdir("file"));
  CALL(rmdir("new"));
  CALL(rmdir("."));
  CALL(unlink("file"));
  CALL(unlink("folder"));
  CALL(unlink("link"));
  CALL(unlink("new"));
  CALL(unlink("missing/new"));
  CALL(unlinkat(AT_FDCWD, "empty", AT_REMOVEDIR));
  CALL(rename("file", "new"));
  CALL(rename("file", "link"));
  CALL(rename("folder", "new"));
  CALL(rename("new", "newer"));
  CALL(rename("file", "folder/file"));
  CALL(renameat2(AT_FDCWD, "file", AT_FDCWD, "link", RENAME_EXCHANGE));
  CALL(renameat2(AT_FDCWD, "file", AT_FDCWD, "new", RENAME_NOREPLACE));
  CALL(rename("/tmp", "new"));
  CALL(link("file", "new"));
  CALL(link("file", "link"));
  CALL(symlink("file", "new"));
  CALL(symlink("file", "link"));
  CALL(mknod("new", S_IFREG | 0644, 0));
  CALL(mknod("new", S_IFIFO | 0644, 0));
  CALL(mknod("file", S_IFREG | 0644, 0));
  CALL(mkfifo("new", 0644));
  CALL(bind_socket("new"));
  CALL(bind_socket("file"));
}

static void attributes(int file, int folder) {
  struct timespec omitted[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
  struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
  CALL(chmod("file", 0644));
  CALL(chmod("folder", 0755));
  CALL(chmod("new", 0755));
  CALL(fchmod(file, 0644));
  CALL(fchmod(folder, 0755));
  CALL(fchmodat(AT_FDCWD, "link", 0644, 0));
  CALL(chown("file", 0, 0));
  CALL(chown("file", -1, -1));
  CALL(lchown("link", 0, 0));
  CALL(fchown(file, 0, 0));
  CALL(fchown(folder, 1, 1));
  CALL(utimensat(AT_FDCWD, "file", NULL, 0));
  CALL(utimensat(AT_FDCWD, "file", times, 0));
  CALL(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
  CALL(utimensat(AT_FDCWD, "file", omitted, 0));
  CALL(futimens(file, times));
  CALL(futimens(folder, NULL));
  CALL(utime("file", NULL));
  CALL(setxattr("file", "user.name", "value", 5, 0));
  CALL(setxattr("folder", "user.name", "value", 5, XATTR_CREATE));
  CALL(fsetxattr(file, "user.name", "value", 5, 0));
  CALL(setxattr("file", "trusted.name", "value", 5, 0));
  CALL(removexattr("file", "user.name"));
  CALL(lremovexattr("link", "trusted.name"));
  CALL(fremovexattr(file, "user.name"));
  CALL(set_flags(file));
  CALL(set_flags(folder));
}

static void permissions_and_locks(int file, int folder) {
  CALL(access("file", R_OK));
  CALL(access("file", W_OK));
  CALL(access("folder", W_OK));
  CALL(access("folder", R_OK | X_OK));
  CALL(access("link", W_OK));
  CALL(access(".", W_OK));
  CALL(access("new", W_OK));
  CALL(faccessat(AT_FDCWD, "file", W_OK, AT_EACCESS));
  CALL(flock(file, LOCK_EX | LOCK_NB));
  CALL(flock(file, LOCK_UN));
  CALL(write_lock(file));
  CALL(read_lock(file));
  CALL(fsync(folder));
  CALL(write(folder, "x", 1));
  CALL(ftruncate(folder, 0));
}

int main(int argc, char **argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    fprintf(stderr, "usage: write_calls FOLDER\n");
    return 2;
  }
  int file = open("file", O_RDONLY), folder = open("folder", O_RDONLY | O_DIRECTORY);
  if (file < 0 || folder < 0) {
    perror("write_calls: file or folder is missing");
    return 2;
  }
  opening();
  contents(file);
  names();
  attributes(file, folder);
  permissions_and_locks(file, folder);
  return 0;
}
