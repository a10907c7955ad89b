/* SPDX-License-Identifier: MIT */
/*
 * User, group and limits of the processes. Called by the master at start, by the child that prepares the store and in
 * each new worker before it opens anything. Never raises a privilege that the process was not started with.
 */
#include "master/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"

static bool privileges_find_user(const char *name, struct privileges *p, struct error *err)
{
	const struct passwd *found;
	int64_t id;

	found = str_to_i64(str_of(name), 0, INT32_MAX, &id) ? getpwuid((uid_t)id) : getpwnam(name);
	if (found == NULL)
		return error_field(err, ERR_INVALID_VALUE, "server.user", "server.user: no user %s", name);
	p->uid = found->pw_uid;
	p->gid = found->pw_gid;
	snprintf(p->user, sizeof(p->user), "%s", found->pw_name);
	return true;
}

static bool privileges_find_group(const char *name, struct privileges *p, struct error *err)
{
	const struct group *found;
	int64_t id;

	found = str_to_i64(str_of(name), 0, INT32_MAX, &id) ? getgrgid((gid_t)id) : getgrnam(name);
	if (found == NULL)
		return error_field(err, ERR_INVALID_VALUE, "server.group", "server.group: no group %s", name);
	p->gid = found->gr_gid;
	return true;
}

bool privileges_find(const struct conf *c, struct privileges *p, struct error *err)
{
	*p = (struct privileges){.uid = geteuid(), .gid = getegid()};
	if (c->server.user[0] != '\0' && !privileges_find_user(c->server.user, p, err))
		return false;
	if (c->server.group[0] != '\0' && !privileges_find_group(c->server.group, p, err))
		return false;
	p->drop = p->uid != geteuid() || p->gid != getegid();
	if (p->drop && geteuid() != 0)
		return error_field(err, ERR_FORBIDDEN, "server.user",
				   "server.user: only root can become another user or group");
	return true;
}

bool privileges_drop(const struct privileges *p, struct error *err)
{
	bool ok;

	if (!p->drop)
		return true;
	ok = p->user[0] != '\0' ? initgroups(p->user, p->gid) == 0 : setgroups(1, &p->gid) == 0;
	ok = ok && setresgid(p->gid, p->gid, p->gid) == 0 && setresuid(p->uid, p->uid, p->uid) == 0;
	if (!ok)
		return error_set(err, ERR_FORBIDDEN, "cannot become user %u and group %u: %s", (unsigned)p->uid,
				 (unsigned)p->gid, strerror(errno));
	/* No way back, and nothing that is executed gets more. */
	if (p->uid != 0 && setuid(0) == 0)
		return error_set(err, ERR_FORBIDDEN, "privileges could be taken back");
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ||
	       error_set(err, ERR_FORBIDDEN, "no_new_privs: %s", strerror(errno));
}

/* Failing here would open files as somebody else than wanted. */
void privileges_enter(const struct privileges *p)
{
	if (p->drop)
		BUG_ON(setegid(p->gid) == -1 || seteuid(p->uid) == -1);
}

void privileges_leave(const struct privileges *p)
{
	if (p->drop)
		BUG_ON(seteuid(getuid()) == -1 || setegid(getgid()) == -1);
}

static void privileges_set_limit(int resource, int64_t bytes, const char *key)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) == -1)
		return;
	limit.rlim_cur = limit.rlim_max < (rlim_t)bytes ? limit.rlim_max : (rlim_t)bytes;
	if (setrlimit((__rlimit_resource_t)resource, &limit) == -1)
		log_warn("master", "cannot set a limit", KV_S("key", key), KV_S("error", strerror(errno)));
}

void privileges_limit(const struct conf *c, bool worker)
{
	privileges_set_limit(RLIMIT_CORE, c->server.core_size, "server.core_size");
	if (worker && c->server.memory_limit > 0)
		privileges_set_limit(RLIMIT_DATA, c->server.memory_limit, "server.memory_limit");
		/*
		 * A process that is not dumpable leaves no core, and no process of its user can read its memory. A
		 * change of user makes it so, execve undoes it. The leak checker must be able to look.
		 */
#ifdef __SANITIZE_ADDRESS__
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#else
	(void)prctl(PR_SET_DUMPABLE, c->server.core_size > 0 ? 1 : 0, 0, 0, 0);
#endif
}
