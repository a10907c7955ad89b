/* SPDX-License-Identifier: MIT */
/*
 * elo_ratings.json and elo_snapshot.json in the data directory: ratings as files, for people and scripts that do not
 * ask the API. Written by a job and on demand, each whole or not at all. Never read by the server: the store counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/jobs/jobs.h"
#include "worker/ranking/api.h"
#include "worker/ranking/snapshot.h"
#include "worker/worker.h"

#define SNAPSHOT_PAGE 500
#define SNAPSHOT_BOARD 100  /* rows of the leaderboard */
#define SNAPSHOT_MATCHES 20 /* newest of each workspace on it */
#define SNAPSHOT_WORKSPACES 20
#define SNAPSHOT_FIRST_MS (INT64_C(60) * 1000)
#define SNAPSHOT_WAIT_US (30 * SEC_US)

/* ---- files ---- */

struct snapshot_file {
	char *folder;
	const char *name;
	struct buf text;
	bool ok;
	struct error err;
};

static void snapshot_drop(void *job)
{
	struct snapshot_file *f = job;

	buf_free(&f->text);
	free(f->folder);
	free(f);
}

static bool snapshot_put(int fd, struct str s)
{
	ssize_t n;

	while (s.n > 0) {
		n = write(fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s = str_sub(s, (size_t)n, s.n);
	}
	return fsync(fd) == 0;
}

/* Runs in the slow lane. The job runs once per cluster, so that nobody else writes the same partial file. */
static void snapshot_work(void *job)
{
	struct snapshot_file *f = job;
	struct buf partial = BUF_INIT, final = BUF_INIT;
	int fd, dir = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	buf_printf(&final, "%s/%s", f->folder, f->name);
	buf_printf(&partial, "%s/.%s.partial", f->folder, f->name);
	fd = open(buf_str(&partial).p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f->ok = dir >= 0 && fd >= 0 && snapshot_put(fd, buf_str(&f->text)) &&
		rename(buf_str(&partial).p, buf_str(&final).p) == 0 && fsync(dir) == 0;
	if (!f->ok)
		error_set(&f->err, ERR_STORAGE, "cannot write %s: %s", buf_str(&final).p, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	buf_free(&partial);
	buf_free(&final);
}

/* Takes the text over. */
CO_FN static bool snapshot_write(struct worker *w, const char *name, struct buf *text, struct error *err)
{
	struct snapshot_file *f = xcalloc(1, sizeof(*f));
	bool ok;

	f->folder = xstrdup(w->conf->storage.data_dir);
	f->name = name;
	f->text = *text;
	*text = (struct buf)BUF_INIT;
	if (lane_run(w->slow, snapshot_work, snapshot_drop, f, 0) != CO_DONE)
		return error_set(err, ERR_CANCELLED, "cancelled");
	ok = f->ok;
	if (!ok)
		*err = f->err;
	snapshot_drop(f);
	return ok;
}

/* ---- elo_ratings.json: {updated_at, ratings: {workspace: {agent: {elo, wins, …, domains: {domain: elo}}}}} ---- */

struct snapshot_cursor {
	struct str workspace, agent; /* the last that was written */
	size_t rows;                 /* of the last page */
	int64_t count;
};

#define SNAPSHOT_WHY "the file has the ratings of all workspaces"

/* The domains of a page's rows: {workspace: {agent: {domain: elo}}}, in the arena. */
CO_FN static bool snapshot_domains(struct worker *w, struct arena *a, const struct snapshot_cursor *c,
				   const struct db_rows *page, json_t **out, struct error *err)
{
	size_t last = page->count - 1, i;
	struct db_rows r;

	*out = json_own(a, json_object());
	if (!db_query(
		w->db, a,
		SQL_ANYBODY(SNAPSHOT_WHY) "SELECT workspace_id, agent, domain, elo_milli FROM domain_ratings WHERE"
					  " (workspace_id, agent) > ($1, $2) AND (workspace_id, agent) <= ($3,"
					  " $4)",
		DB_ARGS(DB_S(c->workspace), DB_S(c->agent), DB_S(db_str(page, last, 0)), DB_S(db_str(page, last, 1))),
		&r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct str key = arena_printf(a, "%.*s\n%.*s", STR_ARG(db_str(&r, i, 0)), STR_ARG(db_str(&r, i, 1)));
		json_t *domains = json_object_getn(*out, key.p, key.n);

		if (domains == NULL) {
			domains = json_object();
			json_object_setn_new(*out, key.p, key.n, domains);
		}
		ranking_put_real(domains, arena_str(a, db_str(&r, i, 2)).p, (double)db_int(&r, i, 3) / 1e3);
	}
	return true;
}

static void snapshot_add_agent(struct arena *a, const struct db_rows *r, size_t i, json_t *domains, struct buf *out)
{
	json_t *o = json_own(a, json_object());

	ranking_put_real(o, "elo", (double)db_int(r, i, 2) / 1e3);
	json_put_int(o, "wins", db_int(r, i, 3));
	json_put_int(o, "losses", db_int(r, i, 4));
	json_put_int(o, "draws", db_int(r, i, 5));
	json_put_int(o, "matches", db_int(r, i, 3) + db_int(r, i, 4) + db_int(r, i, 5));
	json_put_time(o, "updated_at", db_int(r, i, 6));
	json_object_set_new(o, "domains", domains != NULL ? json_incref(domains) : json_object());
	buf_add(out, json_text(a, json_own(a, json_str(db_str(r, i, 1)))));
	buf_addc(out, ':');
	buf_add(out, json_text(a, o));
}

static void snapshot_add_page(struct arena *a, struct arena *kept, struct snapshot_cursor *c, const struct db_rows *r,
			      const json_t *domains, struct buf *out)
{
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct str workspace = db_str(r, i, 0);
		struct str key = arena_printf(a, "%.*s\n%.*s", STR_ARG(workspace), STR_ARG(db_str(r, i, 1)));

		if (c->count == 0 || !str_eq(workspace, c->workspace)) {
			buf_addz(out, c->count == 0 ? "" : "},");
			buf_add(out, json_text(a, json_own(a, json_str(workspace))));
			buf_addz(out, ":{");
			c->workspace = arena_str(kept, workspace);
		} else {
			buf_addc(out, ',');
		}
		snapshot_add_agent(a, r, i, json_object_getn(domains, key.p, key.n), out);
		c->count++;
	}
	if (r->count > 0)
		c->agent = arena_str(kept, db_str(r, r->count - 1, 1));
}

CO_FN static bool snapshot_page(struct worker *w, struct arena *kept, struct snapshot_cursor *c, struct buf *out,
				struct error *err)
{
	struct arena *a = arena_new(0);
	json_t *domains = NULL;
	struct db_rows r;
	bool ok = db_query(w->db, a,
			   SQL_ANYBODY(SNAPSHOT_WHY) "SELECT workspace_id, agent, elo_milli, wins, losses, draws,"
						     " updated_at FROM ratings WHERE (workspace_id, agent) > ($1, $2)"
						     " ORDER BY workspace_id, agent LIMIT $3",
			   DB_ARGS(DB_S(c->workspace), DB_S(c->agent), DB_I(SNAPSHOT_PAGE)), &r, err);

	if (ok && r.count > 0)
		ok = snapshot_domains(w, a, c, &r, &domains, err);
	if (ok) {
		c->rows = r.count;
		snapshot_add_page(a, kept, c, &r, domains, out);
	}
	arena_free(a);
	return ok;
}

CO_FN static bool snapshot_ratings(struct worker *w, const char *now, int64_t *count, struct error *err)
{
	struct snapshot_cursor c = {.workspace = STR(""), .agent = STR(""), .rows = SNAPSHOT_PAGE};
	struct arena *kept = arena_new(0);
	struct buf text = BUF_INIT;
	bool ok = true;

	buf_printf(&text, "{\"updated_at\":\"%s\",\"ratings\":{", now);
	while (ok && c.rows == SNAPSHOT_PAGE)
		ok = snapshot_page(w, kept, &c, &text, err);
	buf_addz(&text, c.count > 0 ? "}}}\n" : "}}\n");
	ok = ok && snapshot_write(w, "elo_ratings.json", &text, err);
	*count = c.count;
	buf_free(&text);
	arena_free(kept);
	return ok;
}

/* ---- elo_snapshot.json: {leaderboard, recent_matches, updated_at}, debate.md 5.3 ---- */

static json_t *snapshot_points(struct arena *a, struct str text)
{
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *milli = json_parse(a, text, &err), *v;
	const char *key;

	json_object_foreach(milli, key, v) ranking_put_real(o, key, (double)json_integer_value(v) / 1e3);
	return o;
}

CO_FN static bool snapshot_matches(struct worker *w, struct arena *a, struct str workspace, json_t *list,
				   struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT debate_id, winner, participants, changes, domain, created_at FROM matches WHERE"
		      " workspace_id = $1 ORDER BY created_at DESC LIMIT $2",
		      DB_ARGS(DB_S(workspace), DB_I(SNAPSHOT_MATCHES)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct error bad = ERROR_INIT;
		json_t *o = json_object(), *names = json_parse(a, db_str(&r, i, 2), &bad);

		json_put_str(o, "workspace_id", workspace);
		json_put_str(o, "debate_id", db_str(&r, i, 0));
		json_put_str(o, "winner", db_str(&r, i, 1));
		json_object_set_new(o, "participants", names != NULL ? json_incref(names) : json_array());
		json_object_set_new(o, "elo_changes", snapshot_points(a, db_str(&r, i, 3)));
		json_put_str(o, "domain", db_str(&r, i, 4));
		json_put_time(o, "created_at", db_int(&r, i, 5));
		json_array_append_new(list, o);
	}
	return true;
}

static bool snapshot_is_new(const struct db_rows *r, size_t i)
{
	size_t k;

	for (k = 0; k < i && !str_eq(db_str(r, k, 0), db_str(r, i, 0)); k++)
		;
	return k == i;
}

static json_t *snapshot_row(const struct db_rows *r, size_t i)
{
	int64_t played = db_int(r, i, 3) + db_int(r, i, 4) + db_int(r, i, 5);
	json_t *o = json_object();

	json_put_str(o, "workspace_id", db_str(r, i, 0));
	json_put_str(o, "agent_name", db_str(r, i, 1));
	ranking_put_real(o, "elo", (double)db_int(r, i, 2) / 1e3);
	json_put_int(o, "wins", db_int(r, i, 3));
	json_put_int(o, "losses", db_int(r, i, 4));
	json_put_int(o, "draws", db_int(r, i, 5));
	json_put_int(o, "games_played", played);
	ranking_put_real(o, "win_rate", ranking_share(db_int(r, i, 3), played));
	return o;
}

CO_FN static bool snapshot_board(struct worker *w, const char *now, struct error *err)
{
	struct arena *a = arena_new(0);
	json_t *doc = json_own(a, json_pack("{s:[], s:[], s:s}", "leaderboard", "recent_matches", "updated_at", now));
	size_t i, workspaces = 0;
	struct buf text = BUF_INIT;
	struct db_rows r;
	bool ok = db_query(w->db, a,
			   SQL_ANYBODY(SNAPSHOT_WHY) "SELECT workspace_id, agent, elo_milli, wins, losses, draws FROM"
						     " ratings WHERE wins + losses + draws > 0 ORDER BY elo_milli DESC,"
						     " workspace_id, agent LIMIT $1",
			   DB_ARGS(DB_I(SNAPSHOT_BOARD)), &r, err);

	for (i = 0; ok && i < r.count; i++) {
		json_array_append_new(json_get_arr(doc, "leaderboard"), snapshot_row(&r, i));
		if (snapshot_is_new(&r, i) && workspaces++ < SNAPSHOT_WORKSPACES)
			ok = snapshot_matches(w, a, db_str(&r, i, 0), json_get_arr(doc, "recent_matches"), err);
	}
	if (ok) {
		buf_add(&text, json_text(a, doc));
		buf_addc(&text, '\n');
		ok = snapshot_write(w, "elo_snapshot.json", &text, err);
	}
	buf_free(&text);
	arena_free(a);
	return ok;
}

/* ---- the job, and on demand ---- */

CO_FN static bool snapshot_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	char iso[CLOCK_ISO_MAX];

	json_object_set_new(result, "enabled", json_boolean(w->conf->agents.ratings_snapshot));
	if (!w->conf->agents.ratings_snapshot)
		return true;
	clock_iso(iso, clock_wall_ms());
	return snapshot_ratings(w, iso, count, err) && snapshot_board(w, iso, err);
}

static int64_t snapshot_interval(const struct conf *c)
{
	return c->agents.ratings_snapshot_interval / MS_US;
}

const struct job ratings_snapshot_job = {
    .name = "ratings_snapshot", .first_ms = SNAPSHOT_FIRST_MS, .interval_ms = snapshot_interval, .run = snapshot_run};

CO_FN static void snapshot_now(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct job_state state;
	json_t *o;

	if (!w->conf->agents.ratings_snapshot) {
		error_set(&err, ERR_UNAVAILABLE, "agents.ratings_snapshot is off");
		http_reply_error(req, &err);
		return;
	}
	if (!jobs_run_now(w, req->arena, ratings_snapshot_job.name, SNAPSHOT_WAIT_US, &state, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_parse(req->arena, state.last_result, &err);
	http_reply_json(req, json_get_bool(o, "success", false) ? 200 : 500,
			o != NULL ? json_incref(o) : json_object());
}

static const struct route snapshot_rows[] = {ROUTE(POST, "/api/admin/schedulers/ratings-snapshot/run", snapshot_now,
						   "scheduler:execute", WRITE,
						   "Write elo_ratings.json and elo_snapshot.json now")};

const struct route_table ranking_snapshot_routes = {snapshot_rows, countof(snapshot_rows)};
