/* SPDX-License-Identifier: MIT */
/*
 * Points at which the test build dies or fails on request of the environment. Called through the macros of fault.h.
 * Deliberately empty in other builds, and without faults that repeat.
 */
#include "common/fault.h"

#ifdef FAULT_POINTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/str.h"

#define FAULT_MAX 16

enum fault_kind { FAULT_KILL, FAULT_FAIL };

struct fault_entry {
	char name[64];
	enum fault_kind kind;
	uint64_t at;               /* fires at this passage */
	_Atomic uint64_t passages; /* in this process */
};

struct fault_table {
	struct fault_entry entries[FAULT_MAX];
	size_t count;
	const char *once_path; /* NULL: no such limit */
	const char *arm_dir;   /* NULL: none */
};

static struct fault_table fault_self;
static pthread_once_t fault_once = PTHREAD_ONCE_INIT;

static void fault_after_fork(void)
{
	for (size_t i = 0; i < fault_self.count; i++)
		fault_self.entries[i].passages = 0;
}

/* "name=kill@3"; a misspelt fault would make a test pass that tests nothing, so it aborts. */
static void fault_parse_entry(struct str text, struct fault_entry *entry)
{
	struct str name, kind, rest = text;

	BUG_ON(!str_split(&rest, '=', &name) || name.n == 0 || name.n >= sizeof(entry->name));
	BUG_ON(!str_split(&rest, '@', &kind));
	BUG_ON(!str_eqz(kind, "kill") && !str_eqz(kind, "fail"));
	memcpy(entry->name, name.p, name.n);
	entry->kind = str_eqz(kind, "kill") ? FAULT_KILL : FAULT_FAIL;
	entry->at = 1;
	BUG_ON(rest.p != NULL && (!str_to_u64(rest, UINT64_MAX, &entry->at) || entry->at == 0));
}

static void fault_parse(void)
{
	struct str text = str_of(getenv("ARAGORA_FAULT"));
	struct str token;

	fault_self.once_path = getenv("ARAGORA_FAULT_ONCE");
	fault_self.arm_dir = getenv("ARAGORA_FAULT_ARM");
	while (str_split(&text, ',', &token)) {
		token = str_trim(token);
		if (token.n == 0)
			continue;
		BUG_ON(fault_self.count == FAULT_MAX);
		fault_parse_entry(token, &fault_self.entries[fault_self.count++]);
	}
	pthread_atfork(NULL, NULL, fault_after_fork);
}

/* The first to create the file fires; a restarted process finds it there. */
static bool fault_may_fire(void)
{
	int fd;

	if (fault_self.once_path == NULL || fault_self.once_path[0] == '\0')
		return true;
	fd = open(fault_self.once_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		BUG_ON(errno != EEXIST);
		return false;
	}
	close(fd);
	return true;
}

static bool fault_passes(const char *name, enum fault_kind kind)
{
	pthread_once(&fault_once, fault_parse);
	for (size_t i = 0; i < fault_self.count; i++) {
		struct fault_entry *entry = &fault_self.entries[i];

		if (entry->kind == kind && strcmp(entry->name, name) == 0 &&
		    atomic_fetch_add(&entry->passages, 1) + 1 == entry->at)
			return fault_may_fire();
	}
	return false;
}

/* One of the files "0" to "9" in the folder, if one is left. The path has room for two more characters. */
static bool fault_ticket(char *path)
{
	size_t n = strlen(path);

	path[n] = '/';
	path[n + 2] = '\0';
	for (path[n + 1] = '0'; path[n + 1] <= '9'; path[n + 1]++)
		if (unlink(path) == 0)
			return true;
	return false;
}

/* The signal that the test has laid out for whoever passes first, or 0. Only one process can remove the file. */
static int fault_armed(const char *name)
{
	char path[4096];
	struct stat st;

	if (fault_self.arm_dir == NULL || fault_self.arm_dir[0] == '\0')
		return 0;
	BUG_ON((size_t)snprintf(path, sizeof(path), "%s/%s", fault_self.arm_dir, name) >= sizeof(path) - 2);
	if (stat(path, &st) != 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		return fault_ticket(path) ? SIGKILL : 0;
	if (unlink(path) != 0)
		return 0;
	return st.st_size > 0 ? SIGSTOP : SIGKILL;
}

void fault_point(const char *name)
{
	int sig = fault_passes(name, FAULT_KILL) ? SIGKILL : fault_armed(name);

	if (sig != 0)
		kill(getpid(), sig);
}

bool fault_fails(const char *name)
{
	return fault_passes(name, FAULT_FAIL);
}

#endif
