/* SPDX-License-Identifier: MIT */
/*
 * The system call filter of workers. Called in each new worker after its privileges are dropped and before its first
 * thread. It is a list of what is taken away: libpq, OpenSSL, NSS modules and the C library take rare paths that a list
 * of what is allowed would meet in production only. What matters is on it: no program can be started, no process made
 * or looked into, no file system, module, namespace or identity changed, no page both written and executed.
 */
#include "master/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* The leak checker stops the process by a tracer of its own, which it clones. */
#ifdef __SANITIZE_ADDRESS__
#define SANDBOX_SANITIZED 1
#else
#define SANDBOX_SANITIZED 0
#endif

/* Names, so that a kernel or an architecture without one of them is no matter. */
static const char *const sandbox_denied[] = {
    /* programs and processes; threads are made by clone, see below */
    "execve",
    "execveat",
    "fork",
    "vfork",
    /* other processes */
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "pidfd_getfd",
    "pidfd_send_signal",
    /* file systems and namespaces */
    "mount",
    "umount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "mknod",
    "mknodat",
    "quotactl",
    "quotactl_fd",
    "open_by_handle_at",
    "fanotify_init",
    "swapon",
    "swapoff",
    /* the kernel */
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "lookup_dcookie",
    "nfsservctl",
    "syslog",
    "acct",
    "reboot",
    "iopl",
    "ioperm",
    "modify_ldt",
    "vhangup",
    "personality",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    /* keys of the kernel */
    "add_key",
    "request_key",
    "keyctl",
    /* who and where we are */
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "setuid32",
    "setgid32",
    "setreuid32",
    "setregid32",
    "setresuid32",
    "setresgid32",
    "setgroups32",
    "capset",
    "sethostname",
    "setdomainname",
    /* time */
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "clock_adjtime",
    "clock_adjtime64",
    "adjtimex",
};

/* Not under the sanitizers, which need them. */
static const char *const sandbox_denied_plain[] = {"ptrace"};

/* Sockets of these families only: the rest is attack surface of the kernel that nobody here uses. */
static const int sandbox_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK /* getaddrinfo asks for addresses */};

size_t sandbox_size(void)
{
	return countof(sandbox_denied) + (SANDBOX_SANITIZED ? 0 : countof(sandbox_denied_plain));
}

static int sandbox_names(scmp_filter_ctx f, uint32_t action, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		int call = seccomp_syscall_resolve_name(names[i]);
		int code = call == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(f, action, call, 0);

		/* -EDOM: not of this architecture. */
		if (code != 0 && code != -EDOM)
			return code;
	}
	return 0;
}

/* Families up to the highest that is used one by one, and all above. */
static int sandbox_sockets(scmp_filter_ctx f)
{
	int family, code = 0;
	size_t i;

	for (family = 0; family <= AF_NETLINK && code == 0; family++) {
		for (i = 0; i < countof(sandbox_families) && sandbox_families[i] != family; i++)
			;
		if (i == countof(sandbox_families))
			code = seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
						SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
	}
	return code != 0 ? code
			 : seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
					    SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0));
}

/* Memory that is both written and executed, and processes made by the calls that also make threads. */
static int sandbox_arguments(scmp_filter_ctx f, uint32_t action)
{
	const scmp_datum_t both = PROT_WRITE | PROT_EXEC;
	int code = seccomp_rule_add(f, action, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));

	if (code == 0)
		code = seccomp_rule_add(f, action, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));
	if (code == 0)
		code = seccomp_rule_add(f, action, SCMP_SYS(pkey_mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));
	/* Its flags are behind a pointer: the C library falls back to clone. */
	if (code == 0)
		code = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (code == 0 && !SANDBOX_SANITIZED)
		code = seccomp_rule_add(f, action, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	return code;
}

static int sandbox_load(enum conf_seccomp mode)
{
	uint32_t action = mode == SECCOMP_KILL ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int code;

	if (f == NULL)
		return -ENOMEM;
	code = sandbox_names(f, action, sandbox_denied, countof(sandbox_denied));
	if (code == 0 && !SANDBOX_SANITIZED)
		code = sandbox_names(f, action, sandbox_denied_plain, countof(sandbox_denied_plain));
	if (code == 0)
		code = sandbox_arguments(f, action);
	if (code == 0)
		code = sandbox_sockets(f);
	if (code == 0)
		code = seccomp_load(f);
	seccomp_release(f);
	return code;
}

bool sandbox_enter(enum conf_seccomp mode, struct error *err)
{
	int code;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return error_set(err, ERR_FORBIDDEN, "no_new_privs: %s", strerror(errno));
	if (mode == SECCOMP_OFF)
		return true;
	code = sandbox_load(mode);
	return code == 0 || error_set(err, ERR_FORBIDDEN, "system call filter: %s", strerror(-code));
}
