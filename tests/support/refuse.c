// Preloaded into a process, a file system that lacks functions: $REFUSE lists them, with commas,
// and $REFUSE_ERRNO is what they answer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static int refuses(const char* function) {
  const char* list = getenv("REFUSE");
  const size_t length = strlen(function);
  for (const char* at = list; at != NULL; at = strchr(at, ',')) {
    if (*at == ',') ++at;
    if (strncmp(at, function, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
      const char* number = getenv("REFUSE_ERRNO");
      errno = number != NULL ? atoi(number) : EPERM;
      return 1;
    }
  }
  return 0;
}

int fchmod(int fd, mode_t mode) {
  if (refuses("fchmod")) return -1;
  int (*real)(int, mode_t) = (int (*)(int, mode_t))dlsym(RTLD_NEXT, "fchmod");
  return real(fd, mode);
}

int fsync(int fd) {
  if (refuses("fsync")) return -1;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return real(fd);
}

int syncfs(int fd) {
  if (refuses("fsync")) return -1;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "syncfs");
  return real(fd);
}

int flock(int fd, int operation) {
  if (refuses("flock")) return -1;
  int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
  return real(fd, operation);
}

int rename(const char* from, const char* to) {
  if (refuses("rename")) return -1;
  int (*real)(const char*, const char*) =
      (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  return real(from, to);
}

void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && refuses("mmap")) return MAP_FAILED;
  void* (*real)(void*, size_t, int, int, int, off_t) =
      (void* (*)(void*, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  return real(address, length, protection, flags, fd, offset);
}
