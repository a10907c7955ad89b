/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT. Called once per process after the fork. Uses only
 * calls that are safe in a handler (write, backtrace_symbols_fd after a warm-up), on a stack of its own.
 */
#include "common/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <unistd.h>

#define CRASH_FRAMES 48
#define CRASH_STACK 65536
#define CRASH_NAME 64

static const char *crash_action;
static char crash_who[CRASH_NAME]; /* a signal may come when the process has freed what was its */
static char crash_stack[CRASH_STACK];

static void crash_say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n; /* nobody is left to tell */
}

static const char *crash_name(int sig)
{
	switch (sig) {
	case SIGSEGV:
		return "SIGSEGV";
	case SIGBUS:
		return "SIGBUS";
	case SIGFPE:
		return "SIGFPE";
	case SIGILL:
		return "SIGILL";
	default:
		return "SIGABRT";
	}
}

static void crash_handler(int sig)
{
	void *frames[CRASH_FRAMES];
	int n;

	crash_say("fatal: ");
	crash_say(crash_who);
	crash_say(": ");
	crash_say(crash_name(sig));
	if (crash_action != NULL && crash_action[0] != '\0') {
		crash_say(" while ");
		crash_say(crash_action);
	}
	crash_say("\n");
	n = backtrace(frames, CRASH_FRAMES);
	backtrace_symbols_fd(frames, n, STDERR_FILENO);
	(void)raise(sig); /* SA_RESETHAND: the default action ends the process */
}

void crash_install(const char *who, const char *action)
{
#if defined(__SANITIZE_ADDRESS__)
	static const int signals[] = {SIGABRT};
#else
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#endif
	struct sigaction sa = {.sa_handler = crash_handler, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND | SA_NODEFER};
	stack_t stack = {.ss_sp = crash_stack, .ss_size = sizeof(crash_stack)};
	void *warm[1];
	size_t i;

	(void)snprintf(crash_who, sizeof(crash_who), "%s", who);
	crash_action = action;
	(void)backtrace(warm, 1); /* loads libgcc now, not in the handler */
#if !defined(__SANITIZE_ADDRESS__)
	(void)sigaltstack(&stack, NULL); /* without it only a stack overflow goes unreported */
#else
	(void)stack;
#endif
	for (i = 0; i < countof(signals); i++)
		(void)sigaction(signals[i], &sa, NULL); /* cannot fail for these */
}
