/* SPDX-License-Identifier: MIT */
/*
 * The conditions under which a debate's rows may go, for the scheduler and for `aragorad cleanup`. $1 is a time in
 * milliseconds.
 */
#ifndef WORKER_RETENTION_SQL_H
#define WORKER_RETENTION_SQL_H

#define RETENTION_ENDED_BEFORE \
	"SELECT d.id FROM debates d WHERE d.status NOT IN ('queued', 'running') AND d.completed_at < $1"
#define RETENTION_NOT_DELIVERED                                                                                       \
	" AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.debate_id = d.id AND o.state IN ('pending', 'sending', " \
	"'retrying'))"
#define RETENTION_OPEN_DEBATES "SELECT id FROM debates WHERE status IN ('queued', 'running')"

#endif
