/* SPDX-License-Identifier: MIT */
/*
 * The master's signals as a table; gunicorn's names and meanings. Called at start; runs from the loop through signalfd,
 * so that no handler interrupts anything. Does none of the work itself.
 */
#include "master/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "master/slots.h"
#include "master/supervisor.h"
#include "master/upgrade.h"

static void signal_term(struct master *m)
{
	supervisor_stop(m, STOP_GRACEFUL);
}

static void signal_quit(struct master *m)
{
	supervisor_stop(m, STOP_QUICK);
}

/* Ctrl-C at a terminal wants the decent end; from elsewhere it means: now. */
static void signal_int(struct master *m)
{
	supervisor_stop(m, m->options->foreground_tty ? STOP_GRACEFUL : STOP_QUICK);
}

static void signal_ttin(struct master *m)
{
	supervisor_add_workers(m, 1);
}

static void signal_ttou(struct master *m)
{
	supervisor_add_workers(m, -1);
}

static const struct signal_row {
	int sig;
	const char *name;
	void (*act)(struct master *m);
} signal_table[] = {
    {SIGHUP, "HUP", reload_request},
    {SIGTERM, "TERM", signal_term},
    {SIGINT, "INT", signal_int},
    {SIGQUIT, "QUIT", signal_quit},
    {SIGTTIN, "TTIN", signal_ttin},
    {SIGTTOU, "TTOU", signal_ttou},
    {SIGUSR1, "USR1", supervisor_reopen_logs},
    {SIGUSR2, "USR2", upgrade_request},
    {SIGWINCH, "WINCH", upgrade_retire_workers},
    {SIGCHLD, "CHLD", slots_reap},
};

static sigset_t signals_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < countof(signal_table); i++)
		sigaddset(&set, signal_table[i].sig);
	return set;
}

void signals_block(void)
{
	sigset_t set = signals_set();

	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool signals_pause(int64_t us)
{
	struct timespec limit = {.tv_sec = us / SEC_US, .tv_nsec = us % SEC_US * 1000};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	return sigtimedwait(&set, NULL, &limit) == -1;
}

void signals_restore(void)
{
	sigset_t none;

	for (size_t i = 0; i < countof(signal_table); i++)
		signal(signal_table[i].sig, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void signals_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct signalfd_siginfo info;

	(void)what;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		/* They are read in the order of their numbers: a process may have ended before the signal came. */
		slots_reap(m);
		upgrade_look(m);
		for (size_t i = 0; i < countof(signal_table); i++) {
			if (signal_table[i].sig != (int)info.ssi_signo)
				continue;
			if (signal_table[i].sig != SIGCHLD)
				log_info("signals", "signal", KV_S("name", signal_table[i].name),
					 KV_I("from", info.ssi_pid));
			signal_table[i].act(m);
		}
	}
}

void signals_open(struct master *m)
{
	sigset_t set = signals_set();

	m->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	BUG_ON(m->signal_fd == -1);
	event_assign(&m->signal_event, loop_base(m->loop), m->signal_fd, EV_READ | EV_PERSIST, signals_on_readable, m);
	event_add(&m->signal_event, NULL);
}

void signals_close(struct master *m)
{
	if (m->signal_fd == -1)
		return;
	event_del(&m->signal_event);
	close(m->signal_fd);
	m->signal_fd = -1;
}
