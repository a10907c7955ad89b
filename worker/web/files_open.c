/* SPDX-License-Identifier: MIT */
/*
 * Opening a path so that it cannot lead out of a folder, whatever symbolic links somebody makes meanwhile. Called on
 * the slow lane. It does not look at what was opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/web/files.h"

/* A FIFO must not be waited for, a terminal not become ours. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define OPEN_RETRIES 8 /* openat2 says EAGAIN when folders are renamed under it */

int files_open_stepwise(int root, const char *path)
{
	struct str rest = str_of(path), segment;
	int dir = root, next, saved;
	char name[256];

	while (str_split(&rest, '/', &segment)) {
		errno = segment.n < sizeof(name) ? ENOENT : ENAMETOOLONG;
		next = -1;
		if (segment.n > 0 && segment.n < sizeof(name) && !str_eqz(segment, "..")) {
			memcpy(name, segment.p, segment.n);
			name[segment.n] = '\0';
			next = openat(dir, name, OPEN_FLAGS | O_NOFOLLOW | (rest.p != NULL ? O_PATH | O_DIRECTORY : 0));
		}
		saved = errno;
		if (dir != root)
			close(dir);
		errno = saved;
		dir = next;
		if (dir == -1)
			return -1;
	}
	return dir;
}

int files_open_beneath(int root, const char *path)
{
	static atomic_bool missing; /* the kernel, or its filter, has no openat2 */
	struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	unsigned tries = 0;
	int fd = -1;

	while (!atomic_load(&missing)) {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd != -1 || (errno != ENOSYS && errno != EPERM && (errno != EAGAIN || ++tries > OPEN_RETRIES)))
			return fd;
		if (errno != EAGAIN)
			atomic_store(&missing, true);
	}
	return files_open_stepwise(root, path);
}
