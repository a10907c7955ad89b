/* SPDX-License-Identifier: MIT */
/*
 * The results file (eval_store.h). Called by `aragorad eval`. Appends only; never rewrites what was paid for.
 */
#include "master/commands/eval_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/ids.h"
#include "common/json.h"
#include "worker/agents/agent.h"

struct eval_store {
	const char *path;
	FILE *in;
	int fd;
	json_t *head;
	json_t *steps;   /* question -> scope -> key -> {state, starts, result} */
	json_t *samples; /* question -> arm -> sample */
	int64_t spent_micro;
	char error[200];
};

/* ---- trees ---- */

static json_t *store_member(json_t *o, struct str key)
{
	json_t *v = json_object_getn(o, key.p, key.n);

	if (v == NULL) {
		v = json_object();
		json_object_setn_new(o, key.p, key.n, v);
	}
	return v;
}

static void store_note_step(struct eval_store *s, const json_t *line)
{
	json_t *scope = store_member(store_member(s->steps, json_get_str(line, "q", STR(""))),
				     json_get_str(line, "scope", STR("")));
	json_t *e = store_member(scope, json_get_str(line, "step", STR("")));

	json_object_set(e, "state", json_object_get(line, "state"));
	json_object_set(e, "starts", json_object_get(line, "starts"));
	json_object_set(e, "result", json_object_get(line, "result"));
	s->spent_micro += json_get_int(line, "cost_micro", 0);
}

static void store_note_sample(struct eval_store *s, const json_t *line)
{
	struct str arm = json_get_str(line, "arm", STR(""));

	json_object_setn(store_member(s->samples, json_get_str(line, "q", STR(""))), arm.p, arm.n,
			 json_object_get(line, "sample"));
}

/* ---- writing ---- */

static bool store_append(struct eval_store *s, json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
	struct buf b = BUF_INIT;
	size_t done = 0;
	ssize_t n = 1;

	buf_addz(&b, text);
	buf_addc(&b, '\n');
	free(text);
	while (done < b.n && n > 0) {
		n = write(s->fd, b.p + done, b.n - done);
		done += n > 0 ? (size_t)n : 0;
	}
	if (done < b.n || fdatasync(s->fd) != 0)
		(void)snprintf(s->error, sizeof(s->error), "%s cannot be written: %s", s->path, strerror(errno));
	buf_free(&b);
	return s->error[0] == '\0';
}

bool eval_store_step(struct eval_store *s, struct str question, const char *scope, const char *key, const char *state,
		     int64_t starts, const json_t *result, const struct agent_reply *usage)
{
	json_t *line = json_object();
	bool ok;

	json_put_str(line, "q", question);
	json_put_str(line, "scope", str_of(scope));
	json_put_str(line, "step", str_of(key));
	json_put_str(line, "state", str_of(state));
	json_put_int(line, "starts", starts);
	json_object_set_new(line, "result", json_deep_copy(result));
	if (usage != NULL)
		json_put_int(line, "cost_micro", usage->cost_micro);
	ok = store_append(s, line);
	if (ok)
		store_note_step(s, line);
	json_decref(line);
	return ok;
}

bool eval_store_put_sample(struct eval_store *s, struct str question, const char *arm, struct str answer,
			   const struct eval_sample *sample)
{
	json_t *line = json_object(), *o = json_object();
	bool ok;

	json_put_str(o, "answer", answer);
	json_object_set_new(o, "right", json_boolean(sample->right));
	json_object_set_new(o, "consensus", json_boolean(sample->consensus));
	if (sample->confidence >= 0)
		json_put_int(o, "confidence_ppm", (int64_t)(sample->confidence * 1e6 + 0.5));
	json_put_int(o, "tokens", sample->tokens);
	json_put_int(o, "calls", sample->calls);
	json_put_int(o, "cost_micro", sample->cost_micro);
	json_put_int(o, "right_to_wrong", sample->right_to_wrong);
	json_put_int(o, "wrong_to_right", sample->wrong_to_right);
	json_put_str(line, "q", question);
	json_put_str(line, "arm", str_of(arm));
	json_object_set_new(line, "sample", o);
	ok = store_append(s, line);
	if (ok)
		store_note_sample(s, line);
	json_decref(line);
	return ok;
}

/* ---- reading ---- */

const json_t *eval_store_steps(const struct eval_store *s, struct str question, const char *scope)
{
	return json_object_get(json_object_getn(s->steps, question.p, question.n), scope);
}

bool eval_store_sample(const struct eval_store *s, struct str question, const char *arm, struct eval_sample *out)
{
	const json_t *o = json_object_get(json_object_getn(s->samples, question.p, question.n), arm);
	int64_t sure = json_get_int(o, "confidence_ppm", -1);

	*out = (struct eval_sample){.right = json_get_bool(o, "right", false),
				    .consensus = json_get_bool(o, "consensus", false),
				    .confidence = sure < 0 ? -1 : (double)sure / 1e6,
				    .tokens = json_get_int(o, "tokens", 0),
				    .calls = json_get_int(o, "calls", 0),
				    .cost_micro = json_get_int(o, "cost_micro", 0),
				    .right_to_wrong = json_get_int(o, "right_to_wrong", 0),
				    .wrong_to_right = json_get_int(o, "wrong_to_right", 0)};
	return o != NULL;
}

struct str eval_store_run(const struct eval_store *s)
{
	return json_get_str(s->head, "run", STR(""));
}

int64_t eval_store_spent(const struct eval_store *s)
{
	return s->spent_micro;
}

const char *eval_store_error(const struct eval_store *s)
{
	return s->error;
}

static bool store_begin(struct eval_store *s, const json_t *head, struct error *err)
{
	char run[UUID_LEN + 1];

	ids_uuid7(run);
	s->head = json_deep_copy(head);
	json_put_str(s->head, "run", str_of(run));
	return store_append(s, s->head) || error_set(err, ERR_STORAGE, "%s", s->error);
}

static bool store_same(struct eval_store *s, const json_t *head, struct error *err)
{
	const char *key;
	json_t *v;

	json_object_foreach(
	    (json_t *)(uintptr_t)head, key,
	    v) if (!json_equal(v, json_object_get(s->head,
						  key))) return error_set(err, ERR_CONFLICT,
									  "%s belongs to an evaluation with other %s; "
									  "give this one another file with --results",
									  s->path, key);
	return true;
}

/* One line of the file, n bytes with its end. */
static bool store_read(struct eval_store *s, struct str line, size_t number, const json_t *head, struct error *err)
{
	struct error why = ERROR_INIT;
	json_t *o = json_parse(NULL, line, &why);
	bool ok = true;

	if (o == NULL) {
		ok = error_set(err, ERR_INVALID_JSON, "%s:%zu: %s", s->path, number, why.msg);
	} else if (number == 1) {
		s->head = json_incref(o);
		ok = json_object_get(o, "aragorad_eval") != NULL ||
		     error_set(err, ERR_CONFLICT, "%s is no results file of an evaluation", s->path);
		ok = ok && store_same(s, head, err);
	} else if (json_object_get(o, "arm") != NULL) {
		store_note_sample(s, o);
	} else {
		store_note_step(s, o);
	}
	json_decref(o);
	return ok;
}

static bool store_load(struct eval_store *s, const json_t *head, struct error *err)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	off_t whole = 0;
	bool ok = true;
	ssize_t n;

	while (ok && (n = getline(&line, &room, s->in)) > 0 && line[n - 1] == '\n') {
		ok = store_read(s, str_trim((struct str){line, (size_t)n}), ++number, head, err);
		whole += n;
	}
	free(line);
	/* What stands behind the last end of a line was being written when the process died. */
	if (ok && ftruncate(s->fd, whole) != 0)
		ok = error_set(err, ERR_STORAGE, "%s cannot be cut: %s", s->path, strerror(errno));
	if (ok && number == 0)
		ok = store_begin(s, head, err);
	return ok;
}

struct eval_store *eval_store_open(const char *path, const json_t *head, struct error *err)
{
	struct eval_store *s = xcalloc(1, sizeof(*s));
	bool ok;

	s->path = path;
	s->steps = json_object();
	s->samples = json_object();
	s->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	s->in = s->fd >= 0 ? fopen(path, "re") : NULL;
	if (s->in == NULL)
		ok = error_set(err, ERR_STORAGE, "%s cannot be opened: %s", path, strerror(errno));
	else if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
		ok = error_set(err, ERR_CONFLICT, "%s is in use by another evaluation", path);
	else
		ok = store_load(s, head, err);
	if (ok)
		return s;
	eval_store_close(s);
	return NULL;
}

void eval_store_close(struct eval_store *s)
{
	if (s == NULL)
		return;
	if (s->in != NULL)
		(void)fclose(s->in);
	if (s->fd >= 0)
		close(s->fd);
	json_decref(s->head);
	json_decref(s->steps);
	json_decref(s->samples);
	free(s);
}
