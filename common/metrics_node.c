/* SPDX-License-Identifier: MIT */
/*
 * CPU time, memory and descriptors of the master and its workers, read from /proc at each scrape. Called by metrics.c
 * only. Processes that have gone or may not be looked at are left out without a word.
 */
#include "common/metrics_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/str.h"

/* Fields of /proc/<pid>/stat after the command's closing bracket, counted from 0. */
enum { STAT_UTIME = 11, STAT_STIME = 12, STAT_CUTIME = 13, STAT_CSTIME = 14 };

/* User and system time of a process, and of its children that were waited for if asked. */
static int64_t node_cpu_us(pid_t pid, bool children)
{
	char path[64];
	char text[1024];
	struct str rest;
	struct str word;
	int64_t ticks = 0;
	uint64_t v;
	ssize_t n;
	int field;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* The command's name may contain anything, brackets too: look for the last one. */
	while (n > 0 && text[n - 1] != ')')
		n--;
	rest = str_trim(str_of(text + n));
	for (field = 0; str_split(&rest, ' ', &word) && field <= STAT_CSTIME; field++) {
		if (field < STAT_UTIME || (field > STAT_STIME && !children))
			continue;
		if (str_to_u64(word, INT64_MAX / 1000000, &v))
			ticks += (int64_t)v;
	}
	return ticks * (SEC_US / sysconf(_SC_CLK_TCK));
}

static uint64_t node_fds(pid_t pid)
{
	struct dirent *entry;
	struct stat st;
	char path[64];
	uint64_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	/* Newer kernels tell the number as the folder's size. */
	if (stat(path, &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	dir = opendir(path);
	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

void node_usage(const struct shm *shm, pid_t master, struct node_usage *out)
{
	uint32_t slots = atomic_load(&shm->slots_used);
	uint32_t i;
	pid_t pid;

	*out = (struct node_usage){.cpu_us = node_cpu_us(master, true), .open_fds = node_fds(master)};
	for (i = 0; i < slots && i < SHM_SLOTS_MAX; i++) {
		pid = atomic_load(&shm->slots[i].pid);
		if (atomic_load(&shm->slots[i].state) == SLOT_FREE || pid <= 0)
			continue;
		out->rss_bytes += atomic_load(&shm->slots[i].rss_bytes);
		if (pid == master)
			continue;
		out->cpu_us += node_cpu_us(pid, false);
		out->open_fds += node_fds(pid);
	}
}
