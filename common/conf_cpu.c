/* SPDX-License-Identifier: MIT */
/*
 * How many cores this process may use: affinity and the CPU quota of its control group, version 2 or 1. Called through
 * conf_workers when the number of workers is not set. Does not look at load or memory.
 */
#include "common/conf_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

#define CONF_CPUS_MAX 8192

/* First bytes of a small file, NUL-terminated; false if it cannot be read. */
static bool conf_small_file(const char *path, char *text, size_t size)
{
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
}

/* Cores of a quota, rounded up; 0 = no limit. */
static unsigned conf_quota_cores(int64_t quota, int64_t period)
{
	if (quota <= 0 || period <= 0 || quota / period >= CONF_CPUS_MAX)
		return 0;
	return (unsigned)((quota + period - 1) / period);
}

static bool conf_cpu_number(struct str s, int64_t *n)
{
	return str_to_i64(str_trim(s), INT64_MIN, INT64_MAX, n);
}

/* cpu.max of version 2: "max 100000" or "150000 100000". */
static unsigned conf_cpu_max(const char *folder)
{
	char path[PATH_MAX];
	char text[128];
	struct str rest;
	struct str quota;
	int64_t q;
	int64_t p;

	snprintf(path, sizeof(path), "%s/cpu.max", folder);
	if (!conf_small_file(path, text, sizeof(text)))
		return 0;
	rest = str_trim(str_of(text));
	if (!str_split(&rest, ' ', &quota) || !conf_cpu_number(quota, &q) || !conf_cpu_number(rest, &p))
		return 0;
	return conf_quota_cores(q, p);
}

/* The two files of version 1. */
static unsigned conf_cfs_quota(const char *folder)
{
	char path[PATH_MAX];
	char text[64];
	int64_t quota;
	int64_t period;

	snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
	if (!conf_small_file(path, text, sizeof(text)) || !conf_cpu_number(str_of(text), &quota))
		return 0;
	snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
	if (!conf_small_file(path, text, sizeof(text)) || !conf_cpu_number(str_of(text), &period))
		return 0;
	return conf_quota_cores(quota, period);
}

/* The smaller of two limits, where 0 is none. */
static unsigned conf_tighter(unsigned a, unsigned b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

/* Limits of a group and of all above it, down to `base`, which is the mount point. */
static unsigned conf_walk(const char *base, struct str group, unsigned (*read_one)(const char *folder))
{
	char folder[2048];
	unsigned cores;
	size_t floor = strlen(base);
	size_t n;

	n = (size_t)snprintf(folder, sizeof(folder), "%s%.*s", base, STR_ARG(group));
	if (n >= sizeof(folder) || floor == 0)
		return 0;
	cores = read_one(folder);
	while (n > floor) {
		while (n > floor && folder[n - 1] != '/')
			n--;
		while (n > floor && folder[n - 1] == '/')
			n--;
		folder[n] = '\0';
		cores = conf_tighter(cores, read_one(folder));
	}
	return cores;
}

static bool conf_has_controller(struct str list, const char *name)
{
	struct str one;

	while (str_split(&list, ',', &one))
		if (str_eqz(one, name))
			return true;
	return false;
}

unsigned conf_cgroup_cores(const char *self_cgroup, const char *root)
{
	char text[4096];
	char base[512];
	struct str rest;
	struct str line;
	struct str number;
	struct str controllers;
	unsigned cores = 0;

	if (!conf_small_file(self_cgroup, text, sizeof(text)))
		return 0;
	/* Lines are "0::/group" (version 2) or "4:cpu,cpuacct:/group" (version 1). */
	rest = str_of(text);
	while (str_split(&rest, '\n', &line)) {
		if (!str_split(&line, ':', &number) || !str_split(&line, ':', &controllers) || line.p == NULL)
			continue;
		if (str_eqz(number, "0") && controllers.n == 0) {
			cores = conf_tighter(cores, conf_walk(root, line, conf_cpu_max));
		} else if (conf_has_controller(controllers, "cpu")) {
			snprintf(base, sizeof(base), "%s/cpu", root);
			cores = conf_tighter(cores, conf_walk(base, line, conf_cfs_quota));
		}
	}
	return cores;
}

static unsigned conf_affinity_cores(void)
{
	size_t size = CPU_ALLOC_SIZE(CONF_CPUS_MAX);
	cpu_set_t *set = CPU_ALLOC(CONF_CPUS_MAX);
	int n = 0;

	BUG_ON(set == NULL);
	if (sched_getaffinity(0, size, set) == 0)
		n = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return n > 0 ? (unsigned)n : 1;
}

unsigned conf_workers(const struct conf *c)
{
	unsigned most = (unsigned)(c->server.max_slots / 3);
	unsigned n = (unsigned)c->server.workers;

	if (n == 0)
		n = 2 * conf_tighter(conf_affinity_cores(), conf_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup")) +
		    1;
	if (n > most)
		n = most;
	return n > 0 ? n : 1;
}
