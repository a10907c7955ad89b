/* SPDX-License-Identifier: MIT */
/*
 * What the product stores. Times are milliseconds UTC, money is micro-dollars, shares are parts per million, ratings
 * are milli-points. Every table that belongs to somebody carries org_id and workspace_id from its first migration.
 * Migrations only add; what a release stops using is removed one release later. An applied migration is never edited.
 */
#include "worker/schema.h"

static const char up_0001[] =
    /*
     * status: queued, running, completed, failed, timeout, cancelled. A running debate without owner waits to be taken
     * over. epoch rises with each claim and fences writes together with last_seq.
     */
    "CREATE TABLE debates ("
    " id TEXT PRIMARY KEY NOT NULL,"
    " org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " slug TEXT NOT NULL, task TEXT NOT NULL, context TEXT NOT NULL DEFAULT '',"
    " title TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]', metadata TEXT NOT NULL DEFAULT '{}',"
    " status TEXT NOT NULL, archived INTEGER NOT NULL DEFAULT 0, demo INTEGER NOT NULL DEFAULT 0,"
    " engine_version INTEGER NOT NULL, plan TEXT NOT NULL," /* resolved at creation; resume uses nothing else */
    " epoch INTEGER NOT NULL DEFAULT 0, owner TEXT NOT NULL DEFAULT '', last_seq INTEGER NOT NULL DEFAULT 0,"
    " crashes INTEGER NOT NULL DEFAULT 0, claim_after INTEGER NOT NULL DEFAULT 0,"
    " cancel_reason TEXT NOT NULL DEFAULT ''," /* set by whoever cancels; acted on by the owner */
    " running_ms INTEGER NOT NULL DEFAULT 0,"  /* time spent running; downtime is free */
    " current_round INTEGER NOT NULL DEFAULT 0, total_rounds INTEGER NOT NULL, rounds_used INTEGER NOT NULL DEFAULT 0,"
    " message_count INTEGER NOT NULL DEFAULT 0,"
    " consensus_reached INTEGER NOT NULL DEFAULT 0, confidence_ppm INTEGER NOT NULL DEFAULT 0,"
    " final_answer TEXT, result TEXT," /* the result document, once finished */
    " error TEXT, error_code TEXT, receipt_id TEXT, cost_micro INTEGER NOT NULL DEFAULT 0,"
    " created_at INTEGER NOT NULL, started_at INTEGER, completed_at INTEGER, updated_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX debates_list ON debates(workspace_id, created_at DESC, id DESC);"
    "CREATE INDEX debates_slug ON debates(workspace_id, slug);"
    "CREATE INDEX debates_open ON debates(status, claim_after, created_at) WHERE status IN ('queued', 'running');"
    /* The log: dense seq per debate, committed before anyone sees it. key = step key + ordinal. */
    "CREATE TABLE debate_events ("
    " debate_id TEXT NOT NULL, seq INTEGER NOT NULL, key TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " type TEXT NOT NULL, envelope TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (debate_id, seq), UNIQUE (debate_id, key)"
    ") STRICT, WITHOUT ROWID;"
    /* The journal: started before a paid call is made, done with its result. */
    "CREATE TABLE debate_steps ("
    " debate_id TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL," /* started, done */
    " starts INTEGER NOT NULL DEFAULT 0,"                               /* starts - 1 of a done call were abandoned */
    " reserved_micro INTEGER NOT NULL DEFAULT 0,"
    " input_hash TEXT NOT NULL DEFAULT '', result TEXT, started_at INTEGER NOT NULL, done_at INTEGER,"
    " PRIMARY KEY (debate_id, key)"
    ") STRICT, WITHOUT ROWID;"
    /* Cancel, votes, interventions from any worker; read by the owner at named steps. */
    "CREATE TABLE debate_inbox ("
    " id TEXT PRIMARY KEY NOT NULL, debate_id TEXT NOT NULL, user_id TEXT NOT NULL, kind TEXT NOT NULL,"
    " payload TEXT NOT NULL, created_at INTEGER NOT NULL, step_key TEXT"
    ") STRICT;"
    "CREATE INDEX debate_inbox_debate ON debate_inbox(debate_id, id);"
    /* What was paid, append-only, one row per finished step. */
    "CREATE TABLE usage_ledger ("
    " debate_id TEXT NOT NULL, step_key TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " user_id TEXT NOT NULL, agent TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,"
    " tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost_micro INTEGER NOT NULL, created_at INTEGER NOT "
    "NULL,"
    " PRIMARY KEY (debate_id, step_key)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX usage_ledger_time ON usage_ledger(workspace_id, created_at);"
    /* Leases: one row per worker process; who has seen the same beat for a lease takes its debates over. */
    "CREATE TABLE processes ("
    " incarnation TEXT PRIMARY KEY NOT NULL, node_id TEXT NOT NULL, slot INTEGER NOT NULL, beat INTEGER NOT NULL,"
    " engine_version INTEGER NOT NULL, started_at INTEGER NOT NULL, seen_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE receipts ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, debate_id TEXT NOT NULL UNIQUE,"
    " verdict TEXT NOT NULL, confidence_ppm INTEGER NOT NULL, risk_level TEXT NOT NULL, content_hash TEXT NOT NULL,"
    " key_id TEXT NOT NULL, document TEXT NOT NULL, created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX receipts_list ON receipts(workspace_id, created_at DESC, id DESC);"
    "CREATE TABLE ratings ("
    " workspace_id TEXT NOT NULL, agent TEXT NOT NULL, org_id TEXT NOT NULL, elo_milli INTEGER NOT NULL,"
    " wins INTEGER NOT NULL, losses INTEGER NOT NULL, draws INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
    " PRIMARY KEY (workspace_id, agent)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX ratings_order ON ratings(workspace_id, elo_milli DESC, agent);"
    "CREATE TABLE matches ("
    " debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, winner TEXT NOT NULL,"
    " participants TEXT NOT NULL, changes TEXT NOT NULL, domain TEXT NOT NULL, created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX matches_time ON matches(workspace_id, created_at DESC);"
    /* Idempotency-Key: inserted in the batch that creates. */
    "CREATE TABLE idempotency_keys ("
    " org_id TEXT NOT NULL, principal TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL,"
    " body_hash TEXT NOT NULL, object_id TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (org_id, principal, route, key)"
    ") STRICT, WITHOUT ROWID;";

static const char down_0001[] =
    "DROP TABLE idempotency_keys; DROP TABLE matches; DROP TABLE ratings; DROP TABLE receipts;"
    " DROP TABLE processes; DROP TABLE usage_ledger; DROP TABLE debate_inbox;"
    " DROP TABLE debate_steps; DROP TABLE debate_events; DROP TABLE debates;";

static const char up_deliveries[] =
    /* Where the end of a debate is told; secret is an envelope, or empty. endpoint orders deliveries. */
    "CREATE TABLE debate_callbacks ("
    " debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, url TEXT NOT NULL,"
    " endpoint TEXT NOT NULL, secret TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /*
     * The outbox. state: pending, sending, retrying, delivered, dead. The oldest open row of an endpoint goes first,
     * until blocks_until; owner and epoch fence the process that sends. tries counts all attempts, attempts those since
     * the row is due anew (since).
     */
    "CREATE TABLE deliveries ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, debate_id TEXT NOT NULL,"
    " format TEXT NOT NULL, event TEXT NOT NULL, endpoint TEXT NOT NULL, target TEXT NOT NULL, payload TEXT NOT NULL,"
    " state TEXT NOT NULL, position INTEGER NOT NULL, owner TEXT NOT NULL DEFAULT '',"
    " epoch INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,"
    " tries INTEGER NOT NULL DEFAULT 0, since INTEGER NOT NULL, next_at INTEGER NOT NULL,"
    " blocks_until INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',"
    " last_status INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
    " delivered_at INTEGER, dead_at INTEGER"
    ") STRICT;"
    "CREATE INDEX deliveries_due ON deliveries(next_at) WHERE state IN ('pending', 'retrying');"
    "CREATE INDEX deliveries_order ON deliveries(endpoint, position, id) WHERE state IN ('pending', 'retrying');"
    "CREATE INDEX deliveries_last ON deliveries(endpoint, position);"
    "CREATE INDEX deliveries_debate ON deliveries(debate_id);"
    "CREATE INDEX deliveries_dead ON deliveries(workspace_id, dead_at) WHERE state = 'dead';"
    "CREATE INDEX deliveries_done ON deliveries(delivered_at) WHERE state = 'delivered';"
    "CREATE UNIQUE INDEX deliveries_in_flight ON deliveries(endpoint) WHERE state = 'sending';"
    /* state: sending (no outcome yet), delivered, failed, uncertain. */
    "CREATE TABLE delivery_attempts ("
    " delivery_id TEXT NOT NULL, n INTEGER NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL,"
    " status INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', started_at INTEGER NOT NULL, ended_at INTEGER,"
    " PRIMARY KEY (delivery_id, n)"
    ") STRICT, WITHOUT ROWID;"
    /* Breakers: failures in a row; nothing is sent there before open_until. */
    "CREATE TABLE delivery_endpoints ("
    " endpoint TEXT PRIMARY KEY NOT NULL, failures INTEGER NOT NULL, open_until INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

static const char down_deliveries[] =
    "DROP TABLE delivery_endpoints; DROP TABLE delivery_attempts; DROP TABLE deliveries; DROP TABLE debate_callbacks;";

static const char up_jobs[] =
    /* Periodic jobs, claimed once per cluster. total: what all runs have done, in the job's own unit. */
    "CREATE TABLE jobs ("
    " name TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 0,"
    " next_at INTEGER NOT NULL, started_at INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0,"
    " runs INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,"
    " last_result TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    /* Switches that hold for the whole service: maintenance. */
    "CREATE TABLE settings ("
    " key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* That a receipt existed, after it is gone. */
    "CREATE TABLE receipt_deletions ("
    " receipt_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, debate_id TEXT NOT NULL,"
    " content_hash TEXT NOT NULL, reason TEXT NOT NULL, deleted_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX receipts_age ON receipts(created_at, id);"
    "CREATE INDEX debates_ended ON debates(completed_at, id) WHERE completed_at IS NOT NULL;"
    "CREATE INDEX idempotency_age ON idempotency_keys(created_at);";

static const char down_jobs[] = "DROP INDEX idempotency_age; DROP INDEX debates_ended; DROP INDEX receipts_age;"
				" DROP TABLE receipt_deletions; DROP TABLE settings; DROP TABLE jobs;";

/* Debates whose trace is still to be written, see worker/traces. */
static const char up_traces[] = "CREATE TABLE trace_exports ("
				" debate_id TEXT PRIMARY KEY NOT NULL, ended_at INTEGER NOT NULL"
				") STRICT, WITHOUT ROWID;"
				"CREATE INDEX trace_exports_time ON trace_exports(ended_at, debate_id);";

static const char down_traces[] = "DROP TABLE trace_exports;";

static const char up_identity[] =
    /* email_key: the address in lower case. password_hash: empty, nobody logs in with a password. */
    "CREATE TABLE users ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, email TEXT NOT NULL, email_key TEXT NOT NULL UNIQUE,"
    " name TEXT NOT NULL DEFAULT '', password_hash TEXT NOT NULL DEFAULT '', is_active INTEGER NOT NULL DEFAULT 1,"
    " email_verified INTEGER NOT NULL DEFAULT 0, service_account INTEGER NOT NULL DEFAULT 0,"
    " token_version INTEGER NOT NULL DEFAULT 0, mfa_enabled INTEGER NOT NULL DEFAULT 0,"
    " mfa_grace_at INTEGER, avatar_url TEXT NOT NULL DEFAULT '', metadata TEXT NOT NULL DEFAULT '{}',"
    " last_login_at INTEGER, password_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX users_org ON users(org_id, created_at, id);"
    "CREATE TABLE organizations ("
    " id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, slug TEXT NOT NULL UNIQUE, tier TEXT NOT NULL DEFAULT 'free',"
    " owner_id TEXT NOT NULL DEFAULT '', is_active INTEGER NOT NULL DEFAULT 1, settings TEXT NOT NULL DEFAULT '{}',"
    " created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* The first workspace of an organization has the organization's id: every member may use it. */
    "CREATE TABLE workspaces ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, name TEXT NOT NULL, slug TEXT NOT NULL,"
    " settings TEXT NOT NULL DEFAULT '{}', created_by TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, UNIQUE (org_id, slug)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE members ("
    " org_id TEXT NOT NULL, user_id TEXT NOT NULL, role TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, PRIMARY KEY (org_id, user_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX members_user ON members(user_id, org_id);"
    "CREATE TABLE workspace_members ("
    " workspace_id TEXT NOT NULL, user_id TEXT NOT NULL, org_id TEXT NOT NULL, role TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, PRIMARY KEY (workspace_id, user_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX workspace_members_user ON workspace_members(user_id, workspace_id);"
    /* A login and all tokens that came of it: the family of its refresh tokens. */
    "CREATE TABLE sessions ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, ip TEXT NOT NULL,"
    " user_agent TEXT NOT NULL, device_name TEXT NOT NULL, mfa_at INTEGER NOT NULL DEFAULT 0,"
    " mfa_methods TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL, last_activity INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL, revoked_at INTEGER, revoked_why TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX sessions_user ON sessions(user_id, created_at);"
    "CREATE INDEX sessions_end ON sessions(expires_at);"
    /* id: the token's jti. Once used, the next one of the session counts; used twice, it was stolen. */
    "CREATE TABLE refresh_tokens ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, session_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER, used_by TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX refresh_tokens_session ON refresh_tokens(session_id);"
    "CREATE INDEX refresh_tokens_end ON refresh_tokens(expires_at);"
    /* id: a jti. Kept until the token would have expired. */
    "CREATE TABLE revoked_tokens ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, reason TEXT NOT NULL,"
    " revoked_by TEXT NOT NULL, revoked_at INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX revoked_tokens_end ON revoked_tokens(expires_at);"
    /* What caches must forget. n ascends in the order of the commits: the row 'clock' is locked to take the next. */
    "CREATE TABLE identity_changes ("
    " kind TEXT NOT NULL, id TEXT NOT NULL, n INTEGER NOT NULL, changed_at INTEGER NOT NULL, PRIMARY KEY (kind, id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX identity_changes_n ON identity_changes(n);";

static const char down_identity[] =
    "DROP TABLE identity_changes; DROP TABLE revoked_tokens; DROP TABLE refresh_tokens; DROP TABLE sessions;"
    " DROP TABLE workspace_members; DROP TABLE members; DROP TABLE workspaces; DROP TABLE organizations;"
    " DROP TABLE users;";

static const char up_audit[] =
    /* Written with the act, not yet in the chain, see worker/audit. */
    "CREATE TABLE audit_inbox ("
    " id TEXT PRIMARY KEY NOT NULL, created_at INTEGER NOT NULL, category TEXT NOT NULL, action TEXT NOT NULL,"
    " outcome TEXT NOT NULL, actor_id TEXT NOT NULL, actor_kind TEXT NOT NULL, impersonator TEXT NOT NULL,"
    " org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, resource_type TEXT NOT NULL, resource_id TEXT NOT NULL,"
    " ip_address TEXT NOT NULL, user_agent TEXT NOT NULL, correlation_id TEXT NOT NULL, reason TEXT NOT NULL,"
    " details TEXT NOT NULL, key_id TEXT NOT NULL, signature TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* The chain: dense seq; event_hash is over all other columns. */
    "CREATE TABLE audit_events ("
    " seq INTEGER PRIMARY KEY NOT NULL, id TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL,"
    " category TEXT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL, actor_id TEXT NOT NULL,"
    " actor_kind TEXT NOT NULL, impersonator TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, ip_address TEXT NOT NULL, user_agent TEXT NOT NULL,"
    " correlation_id TEXT NOT NULL, reason TEXT NOT NULL, details TEXT NOT NULL, key_id TEXT NOT NULL,"
    " signature TEXT NOT NULL, previous_hash TEXT NOT NULL, event_hash TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX audit_events_org ON audit_events(org_id, created_at);"
    "CREATE INDEX audit_events_time ON audit_events(created_at);"
    "CREATE INDEX audit_events_actor ON audit_events(actor_id, seq);"
    "CREATE INDEX audit_events_resource ON audit_events(resource_id, seq);"
    "CREATE INDEX audit_events_outcome ON audit_events(outcome, seq);"
    /* Signed statements that event seq had this hash. */
    "CREATE TABLE audit_anchors ("
    " seq INTEGER PRIMARY KEY NOT NULL, hash TEXT NOT NULL, made_at INTEGER NOT NULL, key_id TEXT NOT NULL,"
    " signature TEXT NOT NULL"
    ") STRICT;"
    /* One row, made with the first event: the end of the chain. */
    "CREATE TABLE audit_head ("
    " id INTEGER PRIMARY KEY NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL, anchor_seq INTEGER NOT NULL,"
    " anchor_at INTEGER NOT NULL, made_at INTEGER NOT NULL, key_id TEXT NOT NULL, signature TEXT NOT NULL"
    ") STRICT;";

static const char down_audit[] =
    "DROP TABLE audit_head; DROP TABLE audit_anchors; DROP TABLE audit_events; DROP TABLE audit_inbox;";

static const char up_credentials[] =
    /* hash: SHA-256 of the key; prefix: what of it may be shown. scopes and networks: JSON arrays of text. */
    "CREATE TABLE api_keys ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,"
    " prefix TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL DEFAULT '[]',"
    " networks TEXT NOT NULL DEFAULT '[]', created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " last_used_at INTEGER NOT NULL DEFAULT 0, last_used_ip TEXT NOT NULL DEFAULT '', revoked_at INTEGER"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX api_keys_user ON api_keys(user_id, created_at);"
    /*
     * Second factors. kind: totp, hotp; secret: an envelope; counter: the next one (hotp) or the last step that was
     * used (totp), which only ever ascends. enabled 0: set up, not yet proved.
     */
    "CREATE TABLE mfa ("
    " user_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, kind TEXT NOT NULL, secret TEXT NOT NULL,"
    " counter INTEGER NOT NULL, enabled INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* A row is a code that has not been used. */
    "CREATE TABLE mfa_backup_codes ("
    " user_id TEXT NOT NULL, hash TEXT NOT NULL, org_id TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (user_id, hash)"
    ") STRICT, WITHOUT ROWID;"
    /* Attempts with a token that waits for the second factor; id: its jti. */
    "CREATE TABLE mfa_pending ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, attempts INTEGER NOT NULL,"
    " used_at INTEGER, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX mfa_pending_end ON mfa_pending(expires_at);"
    /* Service accounts that act as administrators without a second factor, for a time. */
    "CREATE TABLE mfa_bypasses ("
    " user_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, approved_by TEXT NOT NULL, reason TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* What was sent by mail; id: SHA-256 of the token. purpose: reset, verify. */
    "CREATE TABLE one_time_tokens ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, purpose TEXT NOT NULL,"
    " email TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX one_time_tokens_user ON one_time_tokens(user_id, purpose, created_at);"
    "CREATE INDEX one_time_tokens_end ON one_time_tokens(expires_at);"
    /* Failures in a row of an account ('email:' and a hash), an address ('ip:') or a second factor ('mfa:'). */
    "CREATE TABLE lockouts ("
    " id TEXT PRIMARY KEY NOT NULL, failures INTEGER NOT NULL, locked_until INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX lockouts_age ON lockouts(updated_at);"
    /* Logins under way elsewhere; id: SHA-256 of the state. user_id: who links an account, or empty. */
    "CREATE TABLE oauth_states ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, provider TEXT NOT NULL,"
    " redirect_url TEXT NOT NULL, browser TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX oauth_states_end ON oauth_states(expires_at);"
    "CREATE TABLE oauth_links ("
    " provider TEXT NOT NULL, subject TEXT NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " email TEXT NOT NULL, created_at INTEGER NOT NULL, last_login_at INTEGER NOT NULL,"
    " PRIMARY KEY (provider, subject)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX oauth_links_user ON oauth_links(user_id, provider);";

static const char down_credentials[] =
    "DROP TABLE oauth_links; DROP TABLE oauth_states; DROP TABLE lockouts; DROP TABLE one_time_tokens;"
    " DROP TABLE mfa_bypasses; DROP TABLE mfa_pending; DROP TABLE mfa_backup_codes; DROP TABLE mfa;"
    " DROP TABLE api_keys;";
/* Who may what beyond the role of a membership; see worker/access. 0 in a time: never. */
static const char up_access[] =
    /* Custom roles, "org:name"; bases and grants are lists with blanks. */
    "CREATE TABLE roles ("
    " org_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, bases TEXT NOT NULL, grants TEXT NOT NULL,"
    " created_by TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (org_id, name)"
    ") STRICT, WITHOUT ROWID;"
    /* Roles besides that of the membership; workspace_id empty: in the whole organization. */
    "CREATE TABLE role_assignments ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " role TEXT NOT NULL, granted_by TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " UNIQUE (org_id, user_id, workspace_id, role)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE resource_grants ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, permission TEXT NOT NULL,"
    " resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, conditions TEXT NOT NULL, granted_by TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " UNIQUE (org_id, resource_type, resource_id, user_id, permission)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE delegations ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, delegator_id TEXT NOT NULL,"
    " delegate_id TEXT NOT NULL, permission TEXT NOT NULL, parent_id TEXT NOT NULL, depth INTEGER NOT NULL,"
    " can_redelegate INTEGER NOT NULL, reason TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " revoked_at INTEGER NOT NULL DEFAULT 0, revoked_by TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX delegations_to ON delegations(delegate_id, org_id);"
    "CREATE INDEX delegations_from ON delegations(delegator_id, org_id);"
    "CREATE INDEX delegations_parent ON delegations(parent_id);"
    /* state: pending, approved, rejected, expired, used. votes: JSON. epoch fences two who decide at once. */
    "CREATE TABLE approvals ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, operation TEXT NOT NULL,"
    " risk TEXT NOT NULL, requester_id TEXT NOT NULL, requester_email TEXT NOT NULL, resource_type TEXT NOT NULL,"
    " resource_id TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, body_hash TEXT NOT NULL,"
    " description TEXT NOT NULL, checklist TEXT NOT NULL, votes TEXT NOT NULL, needed INTEGER NOT NULL,"
    " state TEXT NOT NULL, epoch INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " decided_at INTEGER NOT NULL DEFAULT 0, used_at INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX approvals_org ON approvals(org_id, state, created_at, id);"
    "CREATE INDEX approvals_end ON approvals(state, expires_at);"
    "CREATE INDEX approvals_same ON approvals(requester_id, body_hash, state);"
    /* Break-glass: permissions for a bounded time, looked at by somebody else afterwards. */
    "CREATE TABLE emergencies ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, user_id TEXT NOT NULL, reason TEXT NOT NULL,"
    " grants TEXT NOT NULL, started_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " ended_at INTEGER NOT NULL DEFAULT 0, ended_by TEXT NOT NULL DEFAULT '', reviewed_at INTEGER NOT NULL DEFAULT 0,"
    " reviewed_by TEXT NOT NULL DEFAULT '', review TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX emergencies_org ON emergencies(org_id, started_at);"
    "CREATE INDEX emergencies_user ON emergencies(user_id, expires_at);"
    "CREATE TABLE impersonations ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, admin_id TEXT NOT NULL, admin_session TEXT NOT NULL,"
    " target_id TEXT NOT NULL, token_id TEXT NOT NULL, reason TEXT NOT NULL, started_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL, limit_at INTEGER NOT NULL, ended_at INTEGER NOT NULL DEFAULT 0,"
    " ended_by TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX impersonations_admin ON impersonations(admin_id, expires_at);"
    "CREATE INDEX impersonations_org ON impersonations(org_id, started_at);";

static const char down_access[] =
    "DROP TABLE impersonations; DROP TABLE emergencies; DROP TABLE approvals; DROP TABLE delegations;"
    " DROP TABLE resource_grants; DROP TABLE role_assignments; DROP TABLE roles;";

static const char up_tenancy[] =
    /* token_hash: SHA-256 of what stands in the mail. */
    "CREATE TABLE invitations ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, email TEXT NOT NULL, email_key TEXT NOT NULL,"
    " role TEXT NOT NULL, token_hash TEXT NOT NULL UNIQUE, invited_by TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL, accepted_at INTEGER, accepted_by TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX invitations_org ON invitations(org_id, created_at);"
    /* What was used in a period ("2026-11"), and limits that differ from the tier's; max_value -1: they do not. */
    "CREATE TABLE quotas ("
    " org_id TEXT NOT NULL, resource TEXT NOT NULL, period TEXT NOT NULL, used INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, PRIMARY KEY (org_id, resource, period)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE quota_limits ("
    " org_id TEXT NOT NULL, resource TEXT NOT NULL, max_value INTEGER NOT NULL, PRIMARY KEY (org_id, resource)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE budgets ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
    " amount_micro INTEGER NOT NULL, period TEXT NOT NULL, auto_suspend INTEGER NOT NULL,"
    " reset_at INTEGER NOT NULL DEFAULT 0, is_active INTEGER NOT NULL DEFAULT 1, created_by TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX budgets_org ON budgets(org_id, created_at);"
    "CREATE INDEX usage_ledger_org ON usage_ledger(org_id, created_at);";

static const char down_tenancy[] = "DROP INDEX usage_ledger_org; DROP TABLE budgets; DROP TABLE quota_limits;"
				   " DROP TABLE quotas; DROP TABLE invitations;";

/* What an approver sees of the call; a request of before has nothing to show but its hash. */
static const char up_approval_request[] = "ALTER TABLE approvals ADD COLUMN request TEXT NOT NULL DEFAULT '{}';";
static const char down_approval_request[] = "ALTER TABLE approvals DROP COLUMN request;";

static const char up_pause[] =
    /* paused_at: stands still since; pause_by: who wants it to; paused_ms: how long it stood still in all. */
    "ALTER TABLE debates ADD COLUMN paused_at INTEGER;"
    "ALTER TABLE debates ADD COLUMN paused_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE debates ADD COLUMN pause_by TEXT NOT NULL DEFAULT '';"
    /* Whose turn it is, worker/runner/queue.c. */
    "ALTER TABLE debates ADD COLUMN queue_tag INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX debates_waiting ON debates(queue_tag, created_at, id)"
    " WHERE completed_at IS NULL AND owner = '' AND paused_at IS NULL;"
    "CREATE INDEX debates_turn ON debates(workspace_id, queue_tag) WHERE status IN ('queued', 'running');";

static const char down_pause[] =
    "DROP INDEX debates_turn; DROP INDEX debates_waiting; ALTER TABLE debates DROP COLUMN queue_tag;"
    " ALTER TABLE debates DROP COLUMN pause_by; ALTER TABLE debates DROP COLUMN paused_ms;"
    " ALTER TABLE debates DROP COLUMN paused_at;";

/*
 * Texts to be searched, worker/search/fulltext.h. n: a hash of workspace, kind and ref; scope: a word that stands for
 * kind and workspace. The index holds words only and takes the texts from the table.
 */
static const char up_search[] =
    "CREATE TABLE search_documents ("
    " n INTEGER PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, kind TEXT NOT NULL,"
    " ref TEXT NOT NULL, scope TEXT NOT NULL, text TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX search_documents_scope ON search_documents(scope);"
    /* clang-format off */
    DB_ONLY_SQLITE
    "CREATE VIRTUAL TABLE _search_text USING fts5(text, scope, content='search_documents', content_rowid='n',"
    " tokenize='porter unicode61 remove_diacritics 2');"
    DB_ONLY_END
    DB_ONLY_PG
    "CREATE INDEX search_documents_text ON search_documents USING GIN (to_tsvector('english', text));"
    DB_ONLY_CLOSE;
/* clang-format on */

static const char down_search[] = DB_ONLY_SQLITE "DROP TABLE _search_text;" DB_ONLY_END "DROP TABLE search_documents;";

static const char up_ratings[] =
    /*
     * Besides the rating what a reputation is made of: debates with a proposal, proposals that prevailed, critiques
     * and those that were taken up, votes and those for the winner, calls, failed ones, debates with a change of mind.
     */
    "ALTER TABLE ratings ADD COLUMN debates INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN critiques INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN valuable INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN votes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN conforming INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN calls INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ratings ADD COLUMN flips INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE matches ADD COLUMN scores TEXT NOT NULL DEFAULT '{}';"
    "CREATE TABLE domain_ratings ("
    " workspace_id TEXT NOT NULL, agent TEXT NOT NULL, domain TEXT NOT NULL, org_id TEXT NOT NULL,"
    " elo_milli INTEGER NOT NULL, wins INTEGER NOT NULL, losses INTEGER NOT NULL, draws INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, PRIMARY KEY (workspace_id, agent, domain)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX domain_ratings_order ON domain_ratings(workspace_id, domain, elo_milli DESC, agent);"
    /*
     * What each debate meant for an agent. kind: match, verification. outcome: win, loss, draw, none (nobody won).
     * side: which position it held; equal sides of a debate agreed.
     */
    "CREATE TABLE rating_changes ("
    " debate_id TEXT NOT NULL, agent TEXT NOT NULL, kind TEXT NOT NULL, org_id TEXT NOT NULL,"
    " workspace_id TEXT NOT NULL, domain TEXT NOT NULL, outcome TEXT NOT NULL, side INTEGER NOT NULL,"
    " score_milli INTEGER NOT NULL, change_milli INTEGER NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (debate_id, agent, kind)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX rating_changes_agent ON rating_changes(workspace_id, agent, created_at DESC, debate_id);"
    /* Whether the answer of a debate turned out right, by somebody who knows it from elsewhere. */
    "CREATE TABLE debate_outcomes ("
    " debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, domain TEXT NOT NULL,"
    " correct INTEGER NOT NULL, right_agents TEXT NOT NULL, verified INTEGER NOT NULL, source TEXT NOT NULL,"
    " note TEXT NOT NULL, user_id TEXT NOT NULL, recorded_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX debate_outcomes_time ON debate_outcomes(workspace_id, recorded_at DESC);"
    /* Votes of debates whose outcome is known: how sure, and was it right. */
    "CREATE TABLE predictions ("
    " debate_id TEXT NOT NULL, agent TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " domain TEXT NOT NULL, confidence_ppm INTEGER NOT NULL, correct INTEGER NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (debate_id, agent)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX predictions_agent ON predictions(workspace_id, agent, created_at DESC, domain);"
    /* What predictions come to, by agent and domain; domain '': over all. */
    "CREATE TABLE calibrations ("
    " workspace_id TEXT NOT NULL, agent TEXT NOT NULL, domain TEXT NOT NULL, org_id TEXT NOT NULL,"
    " samples INTEGER NOT NULL, correct INTEGER NOT NULL, brier_ppm INTEGER NOT NULL, ece_ppm INTEGER NOT NULL,"
    " bias_ppm INTEGER NOT NULL, temperature_milli INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
    " PRIMARY KEY (workspace_id, agent, domain)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX calibrations_domain ON calibrations(workspace_id, domain, samples);";

static const char down_ratings[] =
    "DROP TABLE calibrations; DROP TABLE predictions; DROP TABLE debate_outcomes; DROP TABLE rating_changes;"
    " DROP TABLE domain_ratings; ALTER TABLE matches DROP COLUMN scores; ALTER TABLE ratings DROP COLUMN flips;"
    " ALTER TABLE ratings DROP COLUMN failures; ALTER TABLE ratings DROP COLUMN calls;"
    " ALTER TABLE ratings DROP COLUMN conforming; ALTER TABLE ratings DROP COLUMN votes;"
    " ALTER TABLE ratings DROP COLUMN valuable; ALTER TABLE ratings DROP COLUMN critiques;"
    " ALTER TABLE ratings DROP COLUMN accepted; ALTER TABLE ratings DROP COLUMN debates;";

/* What debates leave for later ones. */
static const char up_memory[] =
    /* One row per debate that came to an end of its own. agents: names; dissents: [{agent, view, reasons}]. */
    "CREATE TABLE consensus_memory ("
    " debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " topic TEXT NOT NULL, conclusion TEXT NOT NULL, domain TEXT NOT NULL, reached INTEGER NOT NULL,"
    " strength TEXT NOT NULL, method TEXT NOT NULL, confidence_ppm INTEGER NOT NULL, margin_ppm INTEGER NOT NULL,"
    " rounds INTEGER NOT NULL, agents TEXT NOT NULL, dissents TEXT NOT NULL, dissent_count INTEGER NOT NULL,"
    " created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX consensus_memory_list ON consensus_memory(workspace_id, created_at DESC, debate_id);";

static const char down_memory[] = "DROP TABLE consensus_memory;";

/* The Knowledge Mound, worker/knowledge. 0 in a time: never. */
static const char up_knowledge[] =
    /*
     * id: of workspace and content. topic: the first of topics. adapter: which of worker/knowledge/adapters.c wrote it,
     * or empty. superseded_by: id of what replaces it. revalidate_at: somebody is to look at it.
     */
    "CREATE TABLE knowledge_nodes ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, node_type TEXT NOT NULL,"
    " content TEXT NOT NULL, confidence_ppm INTEGER NOT NULL, tier TEXT NOT NULL, provenance TEXT NOT NULL,"
    " topics TEXT NOT NULL, topic TEXT NOT NULL, metadata TEXT NOT NULL, visibility TEXT NOT NULL,"
    " discoverable INTEGER NOT NULL DEFAULT 1, surprise_ppm INTEGER NOT NULL DEFAULT 0,"
    " update_count INTEGER NOT NULL DEFAULT 0, validation TEXT NOT NULL, proof_id TEXT NOT NULL DEFAULT '',"
    " superseded_by TEXT NOT NULL DEFAULT '', adapter TEXT NOT NULL DEFAULT '',"
    " staleness_ppm INTEGER NOT NULL DEFAULT 0, stale_reasons TEXT NOT NULL DEFAULT '[]',"
    " created_by TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
    " validated_at INTEGER NOT NULL, checked_at INTEGER NOT NULL DEFAULT 0, decayed_at INTEGER NOT NULL,"
    " revalidate_at INTEGER NOT NULL DEFAULT 0, revalidate_how TEXT NOT NULL DEFAULT '',"
    " embedded_at INTEGER NOT NULL DEFAULT 0, archived_at INTEGER NOT NULL DEFAULT 0,"
    " archived_why TEXT NOT NULL DEFAULT ''"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_nodes_list ON knowledge_nodes(workspace_id, archived_at, created_at DESC, id);"
    "CREATE INDEX knowledge_nodes_org ON knowledge_nodes(org_id, visibility, created_at);"
    "CREATE INDEX knowledge_nodes_checked ON knowledge_nodes(archived_at, checked_at, id);"
    "CREATE INDEX knowledge_nodes_decayed ON knowledge_nodes(archived_at, decayed_at, id);"
    "CREATE INDEX knowledge_nodes_embedded ON knowledge_nodes(archived_at, embedded_at, id);"
    "CREATE TABLE knowledge_links ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, from_id TEXT NOT NULL,"
    " to_id TEXT NOT NULL, kind TEXT NOT NULL, strength_ppm INTEGER NOT NULL, metadata TEXT NOT NULL,"
    " created_by TEXT NOT NULL, created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_links_from ON knowledge_links(workspace_id, from_id, kind);"
    "CREATE INDEX knowledge_links_to ON knowledge_links(workspace_id, to_id, kind);"
    /* workspace_id: of the node. grantee_type: user, role, workspace, organization. */
    "CREATE TABLE knowledge_grants ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, item_id TEXT NOT NULL,"
    " grantee_type TEXT NOT NULL, grantee_id TEXT NOT NULL, permissions TEXT NOT NULL, granted_by TEXT NOT NULL,"
    " message TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE (item_id, grantee_type, grantee_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_grants_to ON knowledge_grants(org_id, grantee_type, grantee_id, created_at);"
    "CREATE INDEX knowledge_grants_by ON knowledge_grants(workspace_id, created_at);"
    /* One row for each workspace that an insight was shared with; workspace_id is that one. */
    "CREATE TABLE knowledge_insights ("
    " workspace_id TEXT NOT NULL, insight_id TEXT NOT NULL, org_id TEXT NOT NULL, source_workspace TEXT NOT NULL,"
    " targets TEXT NOT NULL, task_type TEXT NOT NULL, content TEXT NOT NULL, confidence_ppm INTEGER NOT NULL,"
    " shared_by TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (workspace_id, insight_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_insights_list ON knowledge_insights(workspace_id, created_at DESC, insight_id);"
    /* vector: numbers of 16 bits, base64. */
    "CREATE TABLE knowledge_vectors ("
    " node_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, model TEXT NOT NULL,"
    " dim INTEGER NOT NULL, vector TEXT NOT NULL, created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_vectors_list ON knowledge_vectors(workspace_id, created_at DESC, node_id);"
    /* Finished debates whose knowledge is still to be written; state: pending, dead. */
    "CREATE TABLE knowledge_outbox ("
    " debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " state TEXT NOT NULL DEFAULT 'pending', tries INTEGER NOT NULL DEFAULT 0, next_at INTEGER NOT NULL,"
    " last_error TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_outbox_due ON knowledge_outbox(state, next_at);"
    "CREATE INDEX knowledge_outbox_list ON knowledge_outbox(workspace_id, state, created_at);"
    /* What adapters did for a workspace; forward_to: up to when the source was read. */
    "CREATE TABLE knowledge_syncs ("
    " workspace_id TEXT NOT NULL, adapter TEXT NOT NULL, org_id TEXT NOT NULL, forward_at INTEGER NOT NULL DEFAULT 0,"
    " forward_to INTEGER NOT NULL DEFAULT 0, forward_nodes INTEGER NOT NULL DEFAULT 0,"
    " reverse_at INTEGER NOT NULL DEFAULT 0, reverse_items INTEGER NOT NULL DEFAULT 0,"
    " errors INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '', PRIMARY KEY (workspace_id, adapter)"
    ") STRICT, WITHOUT ROWID;"
    /* first < second; state: open, resolved. */
    "CREATE TABLE knowledge_contradictions ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, first_id TEXT NOT NULL,"
    " second_id TEXT NOT NULL, similarity_ppm INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'open',"
    " strategy TEXT NOT NULL DEFAULT '', kept_id TEXT NOT NULL DEFAULT '', resolved_by TEXT NOT NULL DEFAULT '',"
    " created_at INTEGER NOT NULL, resolved_at INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_contradictions_list ON knowledge_contradictions(workspace_id, state, created_at);"
    /* What became of nodes: their confidence, their removal. */
    "CREATE TABLE knowledge_events ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, node_id TEXT NOT NULL,"
    " event TEXT NOT NULL, before_ppm INTEGER NOT NULL, after_ppm INTEGER NOT NULL, created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX knowledge_events_list ON knowledge_events(workspace_id, created_at DESC, id);";

static const char down_knowledge[] =
    "DROP TABLE knowledge_events; DROP TABLE knowledge_contradictions; DROP TABLE knowledge_syncs;"
    " DROP TABLE knowledge_outbox; DROP TABLE knowledge_vectors; DROP TABLE knowledge_insights;"
    " DROP TABLE knowledge_grants; DROP TABLE knowledge_links; DROP TABLE knowledge_nodes;";

static const char up_receipt_shares[] =
    /* token_hash: SHA-256 of what stands in the link. max_accesses 0: any number. */
    "CREATE TABLE receipt_shares ("
    " token_hash TEXT PRIMARY KEY NOT NULL, receipt_id TEXT NOT NULL, debate_id TEXT NOT NULL, org_id TEXT NOT NULL,"
    " workspace_id TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " max_accesses INTEGER NOT NULL, access_count INTEGER NOT NULL DEFAULT 0, created_by TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX receipt_shares_receipt ON receipt_shares(receipt_id);"
    "CREATE INDEX receipt_shares_debate ON receipt_shares(debate_id);"
    "CREATE INDEX receipt_shares_age ON receipt_shares(workspace_id, expires_at);"
    /* Legal hold: neither retention nor the deletion of its debate takes the receipt. */
    "CREATE TABLE receipt_holds ("
    " receipt_id TEXT PRIMARY KEY NOT NULL, debate_id TEXT NOT NULL UNIQUE, org_id TEXT NOT NULL,"
    " workspace_id TEXT NOT NULL, reason TEXT NOT NULL, matter_id TEXT NOT NULL, placed_by TEXT NOT NULL,"
    " placed_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    /* RFC 3161 time stamps of content hashes: the token in base64, as the authority gave it. */
    "CREATE TABLE receipt_stamps ("
    " receipt_id TEXT PRIMARY KEY NOT NULL, debate_id TEXT NOT NULL UNIQUE, org_id TEXT NOT NULL,"
    " workspace_id TEXT NOT NULL, token TEXT NOT NULL, authority TEXT NOT NULL, stamped_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

static const char down_receipt_shares[] =
    "DROP TABLE receipt_stamps; DROP TABLE receipt_holds; DROP TABLE receipt_shares;";

static const char up_batches[] =
    /* worker/batch: open is 1 while something remains to be done; epoch rises with each change of mind. */
    "CREATE TABLE batches ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " kind TEXT NOT NULL, status TEXT NOT NULL, task TEXT NOT NULL DEFAULT '', settings TEXT NOT NULL DEFAULT '{}',"
    " result TEXT, webhook_url TEXT NOT NULL DEFAULT '', total INTEGER NOT NULL, max_parallel INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER,"
    " completed_at INTEGER, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX batches_list ON batches(workspace_id, kind, created_at DESC, id DESC);"
    "CREATE INDEX batches_open ON batches(id) WHERE open = 1;"
    "CREATE TABLE batch_items ("
    " batch_id TEXT NOT NULL, n INTEGER NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " name TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL, state TEXT NOT NULL,"
    " debate_id TEXT, error TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL, started_at INTEGER,"
    " completed_at INTEGER, PRIMARY KEY (batch_id, n)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX batch_items_state ON batch_items(batch_id, state, priority DESC, n);"
    /* Where a debate came from: kind fork, followup, clone. */
    "CREATE TABLE debate_links ("
    " child_id TEXT PRIMARY KEY NOT NULL, parent_id TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " kind TEXT NOT NULL, branch_point INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',"
    " created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX debate_links_parent ON debate_links(parent_id, created_at, child_id);"
    /* Creation bodies under a name. */
    "CREATE TABLE debate_templates ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, name TEXT NOT NULL,"
    " description TEXT NOT NULL DEFAULT '', category TEXT NOT NULL DEFAULT '', body TEXT NOT NULL,"
    " created_by TEXT NOT NULL, uses INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, UNIQUE (workspace_id, name)"
    ") STRICT, WITHOUT ROWID;";

static const char down_batches[] =
    "DROP TABLE debate_templates; DROP TABLE debate_links; DROP TABLE batch_items; DROP TABLE batches;";

/* adapter_key: the adapter's own id of what it wrote: new content of it supersedes the old. */
static const char up_knowledge_key[] =
    "ALTER TABLE knowledge_nodes ADD COLUMN adapter_key TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX knowledge_nodes_key ON knowledge_nodes(workspace_id, adapter, adapter_key);";
static const char down_knowledge_key[] =
    "DROP INDEX knowledge_nodes_key; ALTER TABLE knowledge_nodes DROP COLUMN adapter_key;";
/* worker/memory/continuum.h */
static const char up_continuum[] =
    /* tier: 0 fast to 3 glacial. archived_at > 0: out of all but statistics. */
    "CREATE TABLE continuum_memory ("
    " workspace_id TEXT NOT NULL, id TEXT NOT NULL, org_id TEXT NOT NULL, kind TEXT NOT NULL, tier INTEGER NOT NULL,"
    " content TEXT NOT NULL, importance_ppm INTEGER NOT NULL, surprise_ppm INTEGER NOT NULL, updates INTEGER NOT NULL,"
    " successes INTEGER NOT NULL, failures INTEGER NOT NULL, red_line INTEGER NOT NULL, red_line_reason TEXT NOT NULL,"
    " agent TEXT NOT NULL, debate_id TEXT NOT NULL, metadata TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, moved_at INTEGER NOT NULL, archived_at INTEGER NOT NULL DEFAULT 0,"
    " archive_reason TEXT NOT NULL DEFAULT '', PRIMARY KEY (workspace_id, id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX continuum_memory_tier ON continuum_memory(workspace_id, archived_at, tier, importance_ppm, "
    "updated_at);"
    "CREATE INDEX continuum_memory_archive ON continuum_memory(archived_at) WHERE archived_at > 0;"
    "CREATE TABLE memory_transitions ("
    " workspace_id TEXT NOT NULL, memory_id TEXT NOT NULL, created_at INTEGER NOT NULL, org_id TEXT NOT NULL,"
    " from_tier INTEGER NOT NULL, to_tier INTEGER NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY (workspace_id, memory_id, created_at)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX memory_transitions_time ON memory_transitions(created_at);"
    "CREATE INDEX memory_transitions_list ON memory_transitions(workspace_id, created_at);";

static const char down_continuum[] = "DROP TABLE memory_transitions; DROP TABLE continuum_memory;";

static const char up_spending[] =
    /* for_workspace, for_user: "" all together, "*" each by itself, or an id. alerted: percent that was told of. */
    "ALTER TABLE budgets ADD COLUMN for_workspace TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE budgets ADD COLUMN for_user TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE budgets ADD COLUMN amount_tokens INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE budgets ADD COLUMN alerted INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE budgets ADD COLUMN alerted_start INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE budgets ADD COLUMN checked_at INTEGER NOT NULL DEFAULT 0;"
    /* What calls in flight may cost at most; a row goes with the ledger's row of the call. */
    "CREATE TABLE budget_reservations ("
    " debate_id TEXT NOT NULL, step_key TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " user_id TEXT NOT NULL, cost_micro INTEGER NOT NULL, tokens INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " PRIMARY KEY (debate_id, step_key)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX budget_reservations_org ON budget_reservations(org_id, expires_at);";
static const char down_spending[] =
    "DROP TABLE budget_reservations; ALTER TABLE budgets DROP COLUMN checked_at;"
    " ALTER TABLE budgets DROP COLUMN alerted_start; ALTER TABLE budgets DROP COLUMN alerted;"
    " ALTER TABLE budgets DROP COLUMN amount_tokens; ALTER TABLE budgets DROP COLUMN for_user;"
    " ALTER TABLE budgets DROP COLUMN for_workspace;";
/* worker/decisions: decisions for a few days; the cache; of an organization what raises with every invalidation. */
static const char up_decisions[] =
    "CREATE TABLE decisions ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " content TEXT NOT NULL, request TEXT NOT NULL, decision_type TEXT NOT NULL, priority TEXT NOT NULL,"
    " debate_id TEXT NOT NULL, status TEXT NOT NULL," /* running, completed, failed, timeout, cancelled */
    " cache_key TEXT NOT NULL, policy_version TEXT NOT NULL, tags TEXT NOT NULL, result TEXT NOT NULL,"
    " reason TEXT NOT NULL, generation INTEGER NOT NULL, created_at INTEGER NOT NULL, completed_at INTEGER NOT NULL,"
    " cached INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX decisions_list ON decisions(workspace_id, created_at DESC, id);"
    "CREATE INDEX decisions_same ON decisions(workspace_id, cache_key, status);"
    "CREATE INDEX decisions_end ON decisions(expires_at);"
    "CREATE TABLE decision_cache ("
    " workspace_id TEXT NOT NULL, cache_key TEXT NOT NULL, org_id TEXT NOT NULL, result TEXT NOT NULL,"
    " tags TEXT NOT NULL, agents TEXT NOT NULL, policy_version TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (workspace_id, cache_key)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX decision_cache_org ON decision_cache(org_id, workspace_id, created_at);"
    "CREATE INDEX decision_cache_age ON decision_cache(created_at);"
    "CREATE TABLE decision_cache_state ("
    " org_id TEXT PRIMARY KEY NOT NULL, generation INTEGER NOT NULL, policy_version TEXT NOT NULL,"
    " changed_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

static const char down_decisions[] =
    "DROP TABLE decision_cache_state; DROP TABLE decision_cache; DROP TABLE decisions;";

/* worker/batch: how many batches a workspace has under way. */
static const char up_batches_open[] = "CREATE INDEX batches_under_way ON batches(workspace_id, kind) WHERE open = 1;";
static const char down_batches_open[] = "DROP INDEX batches_under_way;";

/* Entries of continuum memory by meaning, as knowledge_vectors. */
static const char up_continuum_vectors[] =
    "ALTER TABLE continuum_memory ADD COLUMN embedded_at INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX continuum_memory_embedded ON continuum_memory(workspace_id, id)"
    " WHERE archived_at = 0 AND embedded_at = 0;"
    "CREATE TABLE continuum_vectors ("
    " workspace_id TEXT NOT NULL, id TEXT NOT NULL, org_id TEXT NOT NULL, model TEXT NOT NULL, dim INTEGER NOT NULL,"
    " vector TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (workspace_id, id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX continuum_vectors_list ON continuum_vectors(workspace_id, created_at DESC, id);";
static const char down_continuum_vectors[] = "DROP TABLE continuum_vectors; DROP INDEX continuum_memory_embedded;"
					     " ALTER TABLE continuum_memory DROP COLUMN embedded_at;";

static const char up_shelf[] =
    /* What people write about a debate. */
    "CREATE TABLE debate_notes ("
    " id TEXT PRIMARY KEY NOT NULL, debate_id TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " author TEXT NOT NULL, content TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX debate_notes_of ON debate_notes(debate_id, created_at, id);"
    /* Links with which anybody may read a debate; of the token only its hash is kept. */
    "CREATE TABLE debate_shares ("
    " token_hash TEXT PRIMARY KEY NOT NULL, debate_id TEXT NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " created_by TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,"
    " max_viewers INTEGER NOT NULL, access_count INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX debate_shares_of ON debate_shares(debate_id, created_at);"
    "CREATE INDEX debate_shares_end ON debate_shares(expires_at);"
    /* For statistics, which cannot read every plan and result: how it is decided, by how many, with how many votes. */
    "ALTER TABLE debates ADD COLUMN method TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE debates ADD COLUMN agent_count INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE debates ADD COLUMN vote_count INTEGER NOT NULL DEFAULT 0;";
static const char down_shelf[] =
    "ALTER TABLE debates DROP COLUMN vote_count; ALTER TABLE debates DROP COLUMN agent_count;"
    " ALTER TABLE debates DROP COLUMN method; DROP TABLE debate_shares; DROP TABLE debate_notes;";
/* Which vectors are of another model than the one of now. The copies that pgvector searches refer to both tables. */
static const char up_vector_models[] = "CREATE INDEX knowledge_vectors_model ON knowledge_vectors(model, dim);"
				       "CREATE INDEX continuum_vectors_model ON continuum_vectors(model, dim);";
static const char down_vector_models[] =
    "DROP INDEX continuum_vectors_model; DROP INDEX knowledge_vectors_model;" DB_ONLY_PG
    "DROP TABLE IF EXISTS _continuum_vectors; DROP TABLE IF EXISTS _knowledge_vectors;" DB_ONLY_CLOSE;
/*
 * In a table without rowid SQLite keeps a quarter of a page of a row and gives the rest pages of its own: most events
 * and answers took a page more, each time they were written. As rows of the usual kind they share pages. Copies what
 * there is; PostgreSQL has but one kind.
 */
static const char up_rows[] = DB_ONLY_SQLITE
    "CREATE TABLE _debate_events ("
    " debate_id TEXT NOT NULL, seq INTEGER NOT NULL, key TEXT NOT NULL, workspace_id TEXT NOT NULL,"
    " type TEXT NOT NULL, envelope TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (debate_id, seq), UNIQUE (debate_id, key)"
    ") STRICT;"
    "INSERT INTO _debate_events (debate_id, seq, key, workspace_id, type, envelope, created_at)"
    " SELECT debate_id, seq, key, workspace_id, type, envelope, created_at FROM debate_events;"
    "DROP TABLE debate_events; ALTER TABLE _debate_events RENAME TO debate_events;"
    "CREATE TABLE _debate_steps ("
    " debate_id TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, starts INTEGER NOT NULL DEFAULT 0,"
    " reserved_micro INTEGER NOT NULL DEFAULT 0, input_hash TEXT NOT NULL DEFAULT '', result TEXT,"
    " started_at INTEGER NOT NULL, done_at INTEGER, PRIMARY KEY (debate_id, key)"
    ") STRICT;"
    "INSERT INTO _debate_steps (debate_id, key, state, starts, reserved_micro, input_hash, result, started_at, done_at)"
    " SELECT debate_id, key, state, starts, reserved_micro, input_hash, result, started_at, done_at FROM debate_steps;"
    "DROP TABLE debate_steps; ALTER TABLE _debate_steps RENAME TO debate_steps;" DB_ONLY_END;
/* Either kind does for any release. */
static const char down_rows[] = "SELECT 1;";

/* What each node has counted since its start; decisions by debate, for its outcome. */
static const char up_decision_figures[] =
    "CREATE TABLE decision_cache_nodes ("
    " node_id TEXT PRIMARY KEY NOT NULL, hits INTEGER NOT NULL, misses INTEGER NOT NULL,"
    " invalidations INTEGER NOT NULL, evictions INTEGER NOT NULL, updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX decisions_debate ON decisions(debate_id);";
static const char down_decision_figures[] = "DROP INDEX decisions_debate; DROP TABLE decision_cache_nodes;";

/* Whom a budget does not stop; who has taken note of its marks. */
static const char up_overrides[] =
    "CREATE TABLE budget_overrides ("
    " budget_id TEXT NOT NULL, user_id TEXT NOT NULL, org_id TEXT NOT NULL, granted_by TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, PRIMARY KEY (budget_id, user_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX budget_overrides_org ON budget_overrides(org_id, expires_at);"
    "CREATE TABLE budget_acknowledgements ("
    " budget_id TEXT NOT NULL, period_start INTEGER NOT NULL, percent INTEGER NOT NULL, org_id TEXT NOT NULL,"
    " user_id TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (budget_id, period_start, percent)"
    ") STRICT, WITHOUT ROWID;";
static const char down_overrides[] = "DROP TABLE budget_acknowledgements; DROP TABLE budget_overrides;";

/* For worker/retention. */
static const char up_retention_ends[] = "CREATE INDEX batches_end ON batches(completed_at, id) WHERE open = 0;"
					"CREATE INDEX receipt_shares_end ON receipt_shares(expires_at, token_hash);";
static const char down_retention_ends[] = "DROP INDEX receipt_shares_end; DROP INDEX batches_end;";
/* Sums of what budgets are about are read from the index alone. */
static const char up_ledger_sums[] =
    "CREATE INDEX usage_ledger_sums ON usage_ledger(org_id, created_at, workspace_id, user_id, cost_micro, tokens_in,"
    " tokens_out);"
    "DROP INDEX usage_ledger_org;";
static const char down_ledger_sums[] =
    "CREATE INDEX usage_ledger_org ON usage_ledger(org_id, created_at); DROP INDEX usage_ledger_sums;";

/* The winner's share of the votes, counted by heads; confidence_ppm is the weighted one. */
static const char up_debate_share[] = "ALTER TABLE debates ADD COLUMN share_ppm INTEGER NOT NULL DEFAULT 0;";
static const char down_debate_share[] = "ALTER TABLE debates DROP COLUMN share_ppm;";

/* When the session that made a key had proved the second factor, 0: it had not. */
static const char up_key_factor[] = "ALTER TABLE api_keys ADD COLUMN mfa_at INTEGER NOT NULL DEFAULT 0;";
static const char down_key_factor[] = "ALTER TABLE api_keys DROP COLUMN mfa_at;";
/* worker/decisions/plans.c. success: -1 while nobody knows. */
static const char up_plans[] =
    "CREATE TABLE decision_plans ("
    " id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id TEXT NOT NULL, debate_id TEXT NOT NULL,"
    " title TEXT NOT NULL, created_by TEXT NOT NULL, status TEXT NOT NULL, approval_mode TEXT NOT NULL,"
    " max_auto_risk TEXT NOT NULL, risk_level TEXT NOT NULL, decided_by TEXT NOT NULL, decided_at INTEGER NOT NULL,"
    " reason TEXT NOT NULL DEFAULT '', executed_by TEXT NOT NULL DEFAULT '', executed_at INTEGER NOT NULL DEFAULT 0,"
    " completed_at INTEGER NOT NULL DEFAULT 0, success INTEGER NOT NULL DEFAULT -1, note TEXT NOT NULL DEFAULT '',"
    " budget_micro INTEGER NOT NULL, cost_micro INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX decision_plans_list ON decision_plans(workspace_id, created_at DESC, id);"
    "CREATE INDEX decision_plans_debate ON decision_plans(debate_id);";
static const char down_plans[] = "DROP TABLE decision_plans;";

const struct migration schema_migrations[] = {
    {1, "debates, events, journal, receipts, ratings", up_0001, down_0001},
    {2, "callbacks, deliveries", up_deliveries, down_deliveries},
    {3, "jobs, settings, retention", up_jobs, down_jobs},
    {4, "traces to be written", up_traces, down_traces},
    {5, "users, organizations, sessions", up_identity, down_identity},
    {6, "audit log", up_audit, down_audit},
    {7, "API keys, second factors, one-time tokens, lockouts, single sign-on", up_credentials, down_credentials},
    {8, "invitations, quotas, budgets", up_tenancy, down_tenancy},
    {9, "roles, grants, delegations, approvals", up_access, down_access},
    {10, "what an approver is shown", up_approval_request, down_approval_request},
    {11, "pause, fair queue", up_pause, down_pause},
    {12, "full-text search", up_search, down_search},
    {13, "ratings by domain, calibration, reputation", up_ratings, down_ratings},
    {14, "memory of decisions", up_memory, down_memory},
    {15, "knowledge", up_knowledge, down_knowledge},
    {16, "receipts: links, legal hold, time stamps", up_receipt_shares, down_receipt_shares},
    {17, "batches, links between debates, templates", up_batches, down_batches},
    {18, "keys of knowledge adapters", up_knowledge_key, down_knowledge_key},
    {19, "continuum memory", up_continuum, down_continuum},
    {20, "budgets of workspaces and users, reservations", up_spending, down_spending},
    {21, "decisions and their cache", up_decisions, down_decisions},
    {22, "index of open batches by workspace", up_batches_open, down_batches_open},
    {23, "vectors of continuum memory", up_continuum_vectors, down_continuum_vectors},
    {24, "notes on debates, links to them, figures of them", up_shelf, down_shelf},
    {25, "figures of the decision cache by node", up_decision_figures, down_decision_figures},
    {26, "overrides of budgets, marks noted", up_overrides, down_overrides},
    {27, "ends of batches and links", up_retention_ends, down_retention_ends},
    {28, "index of vectors by model", up_vector_models, down_vector_models},
    {29, "events and steps share pages", up_rows, down_rows},
    {30, "sums of the ledger by its index", up_ledger_sums, down_ledger_sums},
    {31, "share of the votes behind a debate's answer", up_debate_share, down_debate_share},
    {32, "second factor behind API keys", up_key_factor, down_key_factor},
    {33, "plans to carry out decisions", up_plans, down_plans},
};
const size_t schema_migrations_count = countof(schema_migrations);
