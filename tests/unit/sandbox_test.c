/* SPDX-License-Identifier: MIT */
/*
 * Tests of the system call filter: what it refuses, and that what workers live on goes on. Each in a child, for there
 * is no way back.
 */
#include "master/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* 0: refused with the errno that was expected. */
static int refused(long result, int wanted)
{
	return result == -1 && errno == wanted ? 0 : 1;
}

static int try_execve(void)
{
	char name[] = "true", *argv[] = {name, NULL};

	return refused(execv("/bin/true", argv), EPERM);
}
static int try_fork(void)
{
	return refused(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM);
}
static int try_clone3(void)
{
	return refused(syscall(SYS_clone3, NULL, 0), ENOSYS);
}
static int try_ptrace(void)
{
	return refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM);
}
static int try_mount(void)
{
	return refused(mount("none", "/tmp", "tmpfs", 0, NULL), EPERM);
}
static int try_chroot(void)
{
	return refused(chroot("/"), EPERM);
}
static int try_unshare(void)
{
	return refused(unshare(CLONE_NEWUSER), EPERM);
}
static int try_setuid(void)
{
	return refused(syscall(SYS_setuid, 0), EPERM);
}
static int try_bpf(void)
{
	return refused(syscall(SYS_bpf, 0, NULL, 0), EPERM);
}
static int try_read_others(void)
{
	return refused(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0), EPERM);
}
static int try_keyring(void)
{
	return refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
}
static int try_uring(void)
{
	return refused(syscall(SYS_io_uring_setup, 1, NULL), EPERM);
}
static int try_writable_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return refused(p == MAP_FAILED ? -1 : 0, EPERM);
}
static int try_code_later(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? 2 : refused(mprotect(p, 4096, PROT_WRITE | PROT_EXEC), EPERM);
}
static int try_packets(void)
{
	return refused(socket(AF_PACKET, SOCK_RAW, 0), EAFNOSUPPORT) |
	       refused(socket(AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT);
}
static int try_no_new_privs(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
}

static void *thread(void *arg)
{
	(void)arg;
	/* The filter holds in threads that come later. */
	return refused(chroot("/"), EPERM) == 0 ? (void *)1 : NULL;
}
static int try_thread(void)
{
	void *result = NULL;
	pthread_t t;

	return pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, &result) == 0 && result != NULL ? 0 : 1;
}
static int try_names(void)
{
	struct addrinfo *found = NULL;
	int code = getaddrinfo("localhost", "80", NULL, &found);

	if (code == 0)
		freeaddrinfo(found);
	return code;
}
static int try_files(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600), s = socket(AF_INET6, SOCK_STREAM, 0),
	    u = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	return fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && u >= 0 && (s >= 0 || errno == EAFNOSUPPORT) ? 0
														  : 1;
}

static int in_child(enum conf_seccomp mode, int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct error err = ERROR_INIT;

		if (!sandbox_enter(mode, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			_exit(100);
		}
		_exit(fn());
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

static const struct {
	const char *name;
	int (*fn)(void);
	bool plain; /* the sanitizers need it */
} attempts[] = {
    {"execve", try_execve, false},
    {"fork", try_fork, true},
    {"clone3", try_clone3, false},
    {"ptrace", try_ptrace, true},
    {"mount", try_mount, false},
    {"chroot", try_chroot, false},
    {"unshare", try_unshare, false},
    {"setuid", try_setuid, false},
    {"bpf", try_bpf, false},
    {"process_vm_readv", try_read_others, false},
    {"keyctl", try_keyring, false},
    {"io_uring", try_uring, false},
    {"mmap", try_writable_code, false},
    {"mprotect", try_code_later, false},
    {"sockets", try_packets, false},
    {"no_new_privs", try_no_new_privs, false},
    {"threads", try_thread, false},
    {"names", try_names, false},
    {"files", try_files, false},
};

static void test_errno(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(attempts); i++) {
#if defined(__SANITIZE_ADDRESS__)
		if (attempts[i].plain)
			continue;
#endif
		int status = in_child(SECCOMP_ERRNO, attempts[i].fn);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("%s: status %#x", attempts[i].name, (unsigned)status);
	}
	assert_true(sandbox_size() > 60);
}

static void test_kill(void **state)
{
	int status;

	(void)state;
	status = in_child(SECCOMP_KILL, try_chroot);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	status = in_child(SECCOMP_KILL, try_files);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_off(void **state)
{
	int status;

	(void)state;
	status = in_child(SECCOMP_OFF, try_no_new_privs);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_errno),
	    cmocka_unit_test(test_kill),
	    cmocka_unit_test(test_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
