/* SPDX-License-Identifier: MIT */
/*
 * What systemd is told (Type=notify, see sd_notify(3)): readiness, reloads, the end, the main process, that we live.
 * Without NOTIFY_SOCKET in the environment nothing is sent.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

struct master;

/* Reads WATCHDOG_USEC; from then on notify_tick keeps the watchdog quiet. */
void notify_init(struct master *m);
/* Ready for the first time, after a reload, or after a reload that failed (`status` says so). */
void notify_ready(const struct master *m, const char *status);
void notify_reloading(const struct master *m);
void notify_stopping(const struct master *m);
/* Which of two masters is the main process. */
void notify_main_pid(const struct master *m);
void notify_tick(struct master *m);

#endif
