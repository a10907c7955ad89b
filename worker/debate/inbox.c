/* SPDX-License-Identifier: MIT */
/*
 * What people say to a debate, on its way into debate_inbox, and its log. Called by control_api.c and, for sockets,
 * through inbox_message.c. Numbers no events: the owner does, at the step that takes what is here.
 */
#include "worker/debate/inbox.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/engine/mode.h"
#include "worker/worker.h"

#define INBOX_INTENSITY 5 /* debate.md 3.2: one vote of middle intensity */
#define INBOX_INTENSITY_MAX 10

/* ---- reading what clients gave ---- */

/* The first of the names that holds text. */
static struct str inbox_text(const json_t *o, const char *const *names, size_t n)
{
	struct str s;
	size_t i;

	for (i = 0; i < n; i++) {
		s = str_trim(json_get_str(o, names[i], STR("")));
		if (s.n > 0)
			return s;
	}
	return STR("");
}

static bool inbox_said(const json_t *o, const char *const *names, size_t n, struct str *out, struct error *err)
{
	*out = inbox_text(o, names, n);
	if (out->n == 0)
		return error_field(err, ERR_MISSING_FIELD, names[0], "%s is required", names[0]);
	if (out->n > INBOX_TEXT_MAX)
		return error_field(err, ERR_INVALID_VALUE, names[0], "must be at most %d bytes", INBOX_TEXT_MAX);
	return true;
}

bool inbox_vote(struct arena *a, const json_t *o, json_t **payload, struct error *err)
{
	static const char *const names[] = {"choice", "vote", "agent", "option"};
	const json_t *v = json_object_get(o, "intensity");
	double intensity = v != NULL ? json_number_value(v) : INBOX_INTENSITY;
	struct str choice;

	if (!inbox_said(o, names, countof(names), &choice, err))
		return false;
	if (v != NULL && !json_is_number(v))
		return error_field(err, ERR_INVALID_VALUE, "intensity", "must be a number from 1 to %d",
				   INBOX_INTENSITY_MAX);
	/* Out of range it is clamped, as clients expect (websocket.md 3.3). */
	intensity = intensity < 1 ? 1 : intensity > INBOX_INTENSITY_MAX ? INBOX_INTENSITY_MAX : intensity;
	*payload = json_own(a, json_object());
	json_put_str(*payload, "choice", choice);
	json_put_int(*payload, "intensity", (int64_t)(intensity + 0.5));
	return true;
}

bool inbox_suggestion(struct arena *a, const json_t *o, json_t **payload, struct error *err)
{
	static const char *const names[] = {"suggestion", "content", "text", "message"};
	struct str text;

	if (!inbox_said(o, names, countof(names), &text, err))
		return false;
	*payload = json_own(a, json_object());
	json_put_str(*payload, "suggestion", text);
	return true;
}

/* What the agents read in front of it, for they know no types. */
static const struct {
	const char *type, *field, *words;
} inbox_types[] = {
    {"nudge", "message", ""},
    {"challenge", "challenge", "Answer this challenge: "},
    {"inject_evidence", "evidence", "Consider this evidence: "},
    {"argument", "content", "Consider this argument: "},
    {"follow_up", "content", "Answer this question too: "},
    {"redirect", "content", "Turn to this: "},
    {"constraint", "content", "Keep to this condition: "},
    {"evidence_request", "content", "Give evidence for this: "},
};

bool inbox_intervention(struct arena *a, const json_t *o, struct str type, json_t **payload, struct error *err)
{
	const char *names[] = {"content", "content", "message", "text"};
	int64_t round = json_get_int(o, "apply_at_round", 0);
	struct str text, target = json_get_str(o, "target_agent", STR("")), source = json_get_str(o, "source", STR(""));
	size_t i;

	for (i = 0; i < countof(inbox_types) && !str_eqz(type, inbox_types[i].type); i++)
		;
	if (i == countof(inbox_types))
		return error_field(err, ERR_INVALID_VALUE, "type",
				   "must be one of nudge, challenge, inject_evidence, argument, follow_up, redirect, "
				   "constraint, evidence_request");
	names[0] = inbox_types[i].field;
	if (!inbox_said(o, names, countof(names), &text, err))
		return false;
	if (target.n > AGENT_NAME_MAX)
		return error_field(err, ERR_INVALID_VALUE, "target_agent", "is no name of an agent");
	if (source.n > INBOX_TEXT_MAX)
		return error_field(err, ERR_INVALID_VALUE, "source", "must be at most %d bytes", INBOX_TEXT_MAX);
	*payload = json_own(a, json_object());
	json_put_str(*payload, "type", type);
	json_put_str(*payload, "message", text);
	json_put_str(*payload, "content",
		     arena_printf(a, "%s%.*s%s%.*s%s%.*s", inbox_types[i].words, STR_ARG(text),
				  source.n > 0 ? " Source: " : "", STR_ARG(source),
				  target.n > 0 ? " It is meant for " : "", STR_ARG(target)));
	if (target.n > 0)
		json_put_str(*payload, "target_agent", target);
	if (source.n > 0)
		json_put_str(*payload, "source", source);
	if (round > 0)
		json_put_int(*payload, "apply_at_round", round);
	return true;
}

/* ---- putting it in ---- */

/* Is the debate decided by votes, and are people's among them? */
static bool inbox_votes_count(struct arena *a, const struct debate_row *row)
{
	struct error err = ERROR_INIT;
	const json_t *plan = json_parse(a, row->plan, &err);
	const struct mode *mode = mode_find(json_get_str(plan, "consensus", STR("majority")));

	return json_get_int(json_get_obj(plan, "protocol"), "user_vote_weight", 0) > 0 &&
	       (mode == NULL || mode->way == MODE_VOTE || mode->way == MODE_HYBRID);
}

/* Is the journal past that step? */
CO_FN static bool inbox_passed(struct worker *w, struct arena *a, const struct context *ctx,
			       const struct debate_row *row, struct str key, bool *passed, struct error *err)
{
	struct db_rows rows;

	if (!db_query(w->db, a,
		      "SELECT key FROM debate_steps WHERE debate_id IN (SELECT id FROM debates WHERE id = $1 AND"
		      " workspace_id = $2) AND key IN ($3, $4)",
		      DB_ARGS(DB_S(row->id), DB_S(ctx->workspace_id), DB_S(key), DB_Z(INBOX_LAST_STEP)), &rows, err))
		return false;
	*passed = rows.count > 0;
	return true;
}

/* Will it come in time? Read after it was put in, so that "yes" is not said of what is too late already. */
CO_FN static bool inbox_judge(struct worker *w, struct arena *a, const struct context *ctx,
			      const struct debate_row *row, const char *kind, const json_t *payload,
			      struct inbox_answer *out, struct error *err)
{
	bool decides = strcmp(kind, "vote") == 0 || strcmp(kind, "setting") == 0, passed = false;
	int64_t next = row->current_round + 1, wanted = json_get_int(payload, "apply_at_round", 0);
	struct str last = arena_printf(a, "r%lld.inbox", (long long)row->total_rounds);

	out->round = decides ? 0 : wanted > next ? wanted : next;
	if (!inbox_passed(w, a, ctx, row, decides ? STR(INBOX_LAST_STEP) : last, &passed, err))
		return false;
	out->considered = !passed && (decides || out->round <= row->total_rounds);
	if (strcmp(kind, "vote") == 0 && !inbox_votes_count(a, row)) {
		out->considered = false;
		out->message = "it is shown, but votes of people do not decide this debate";
	} else if (!out->considered) {
		out->message = decides ? "it comes too late for the decision" : "it comes too late: no round follows";
	} else {
		out->message = decides ? "it is considered at the decision"
				       : "it is considered in the next round, unless the debate settles before";
	}
	return true;
}

CO_FN static bool inbox_has_room(struct worker *w, struct arena *a, const struct context *ctx,
				 const struct debate_row *row, struct error *err)
{
	struct db_rows rows;

	if (!db_query(w->db, a,
		      "SELECT COUNT(*) FROM debate_inbox WHERE debate_id IN (SELECT id FROM debates WHERE id = $1 AND"
		      " workspace_id = $2) AND step_key IS NULL",
		      DB_ARGS(DB_S(row->id), DB_S(ctx->workspace_id)), &rows, err))
		return false;
	if (db_int(&rows, 0, 0) >= INBOX_WAITING_MAX)
		return error_set(err, ERR_RATE_LIMITED, "too many remarks wait for this debate already");
	return true;
}

CO_FN bool inbox_put(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_row *row,
		     const char *kind, const json_t *payload, struct inbox_answer *out, struct error *err)
{
	struct db_batch *b;
	char id[UUID_LEN + 1];

	*out = (struct inbox_answer){.considered = false};
	if (row->completed_at != 0)
		return error_set(err, ERR_CONFLICT, "the debate has already ended");
	if (!inbox_has_room(w, a, ctx, row, err))
		return false;
	ids_uuid7(id);
	b = db_batch_new(w->db);
	if (strcmp(kind, "vote") == 0) /* who changes his mind before anybody has looked has voted once */
		db_batch_add(b,
			     "DELETE FROM debate_inbox WHERE debate_id IN (SELECT id FROM debates WHERE id = $1 AND"
			     " workspace_id = $2) AND user_id = $3 AND kind = 'vote' AND step_key IS NULL",
			     DB_ARGS(DB_S(row->id), DB_S(ctx->workspace_id), DB_S(ctx->principal)), DB_ANY);
	db_batch_add(
	    b,
	    SQL_ANYBODY("it finds the debate by its workspace") "INSERT INTO debate_inbox (id, debate_id, user_id, "
								"kind, payload, created_at)"
								" SELECT $1, d.id, $3, $4, $5, $6 FROM debates d WHERE "
								"d.id = $2 AND d.workspace_id = $7"
								" AND d.status IN ('queued', 'running')",
	    DB_ARGS(DB_Z(id), DB_S(row->id), DB_S(ctx->principal), DB_Z(kind), DB_S(json_text(a, payload)),
		    DB_I(clock_wall_ms()), DB_S(ctx->workspace_id)),
	    1);
	if (!db_commit(w->db, b, err))
		return err->code == ERR_FENCED ? error_set(err, ERR_CONFLICT, "the debate has already ended") : false;
	out->id = arena_str(a, str_of(id));
	return inbox_judge(w, a, ctx, row, kind, payload, out, err);
}

/* ---- the log ---- */

static json_t *inbox_entry(struct arena *a, const struct db_rows *rows, size_t i, const struct debate_row *row)
{
	static const char *const same[] = {"choice", "intensity", "source", "target_agent", "weights"};
	struct error err = ERROR_INIT;
	const json_t *payload = json_parse(a, db_str(rows, i, 3), &err);
	struct str kind = db_str(rows, i, 1), step = db_str(rows, i, 5);
	const char *status = step.n > 0 ? "applied" : row->completed_at != 0 ? "too_late" : "waiting";
	json_t *o = json_pack("{s:n, s:s, s:{}}", "target_agent", "source", "user", "metadata");
	char iso[CLOCK_ISO_MAX];
	size_t k;

	json_put_str(o, "id", db_str(rows, i, 0));
	json_put_str(o, "intervention_id", db_str(rows, i, 0));
	json_put_str(o, "debate_id", row->id);
	json_put_str(o, "kind", kind);
	json_put_str(o, "type", json_get_str(payload, "type", kind));
	json_put_str(o, "user_id", db_str(rows, i, 2));
	json_put_str(o, "message", json_get_str(payload, "message", json_get_str(payload, "suggestion", STR(""))));
	json_object_set_new(o, "timestamp", json_real((double)db_int(rows, i, 4) / 1000.0));
	json_put_str(o, "created_at", str_of(clock_iso(iso, db_int(rows, i, 4))));
	json_put_str(o, "status", str_of(status));
	json_object_set_new(o, "applied_at", step.n > 0 ? json_str(step) : json_null());
	for (k = 0; k < countof(same); k++)
		if (json_object_get(payload, same[k]) != NULL)
			json_object_set(o, same[k], json_object_get(payload, same[k]));
	json_object_set_new(o, "data", payload != NULL ? json_deep_copy(payload) : json_object());
	return o;
}

CO_FN json_t *inbox_log(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_row *row,
			int64_t limit, struct error *err)
{
	struct db_rows rows;
	json_t *list;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT id, kind, user_id, payload, created_at, step_key FROM debate_inbox WHERE debate_id IN"
		      " (SELECT id FROM debates WHERE id = $1 AND workspace_id = $2) ORDER BY debate_id DESC, id DESC "
		      "LIMIT $3",
		      DB_ARGS(DB_S(row->id), DB_S(ctx->workspace_id), DB_I(limit)), &rows, err))
		return NULL;
	list = json_array();
	for (i = rows.count; i-- > 0;)
		json_array_append_new(list, inbox_entry(a, &rows, i, row));
	return list;
}
