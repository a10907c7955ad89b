/* SPDX-License-Identifier: MIT */
/*
 * Putting one question to several agents side by side, and the ballots that readers of proposals get. Called by the
 * engine only. Does not decide what is asked, nor what an answer means.
 */
#include "worker/engine/ask.h"

#include "common/json.h"
#include "worker/engine/parse.h"
#include "worker/engine/topology.h"

struct event_at ask_at(const struct engine *e, struct step *s, const char *agent)
{
	return (struct event_at){e->plan, s, agent, e->round};
}

struct ask_phase ask_open(struct engine *e, const struct ask_kind *kind, size_t room)
{
	return (struct ask_phase){e, kind, arena_zalloc(e->a, (room + 1) * sizeof(struct ask_call)), 0, room};
}

struct ask_call *ask_add(struct ask_phase *ph, struct seat *seat, struct seat *target, const struct prompt *p,
			 json_t *facts)
{
	struct engine *e = ph->e;
	struct ask_call *c = &ph->calls[ph->n++];

	BUG_ON(ph->n > ph->room);
	c->e = e;
	c->seat = seat;
	c->target = target;
	c->key = arena_printf(e->a, "r%d.%s.%s%s%s", e->round, ph->kind->phase, seat->name, target != NULL ? "." : "",
			      target != NULL ? target->name : "");
	c->step = (struct step_call){.agent = seat->agent,
				     .system = p->system,
				     .prompt = p->text,
				     .max_tokens = ph->kind->max_tokens,
				     .temperature_ppm = ph->kind->temperature_ppm,
				     .phase = ph->kind->phase,
				     .target = target != NULL ? target->name : NULL,
				     .round = e->round,
				     .stream = ph->kind->stream,
				     .facts = json_own(e->a, facts),
				     .decode = ph->kind->decode,
				     .arg = c};
	return c;
}

CO_FN static void ask_one(void *arg)
{
	struct ask_call *c = arg;

	if (!step_call(c->e->d, c->key.p, &c->step, &c->result))
		c->result = NULL;
}

CO_FN bool ask_all(struct ask_phase *ph)
{
	struct co_group group;
	bool whole = true;
	size_t i;

	co_group_open(&group);
	for (i = 0; i < ph->n; i++)
		if (!co_group_spawn(&group, ph->kind->phase, ask_one, &ph->calls[i]))
			ask_one(&ph->calls[i]); /* no coroutine to be had: one after the other */
	co_group_wait(&group);
	for (i = 0; i < ph->n; i++) {
		whole = whole && ph->calls[i].result != NULL;
		if (ph->calls[i].result != NULL)
			result_call(&ph->e->result, ph->calls[i].seat->agent, ph->kind->phase, ph->calls[i].result);
	}
	return whole;
}

/* Who is in, who failed and why, in the order of the plan. */
static json_t *ask_close_step(struct step *s, void *arg)
{
	struct ask_phase *ph = arg;
	struct event_at at = ask_at(ph->e, s, NULL);
	json_t *list = json_array();
	size_t i, in = 0;

	for (i = 0; i < ph->n; i++) {
		const struct ask_call *c = &ph->calls[i];
		bool ok = json_get_bool(c->result, "ok", false);
		json_t *o = json_object();

		json_put_str(o, "agent", str_of(c->seat->name));
		if (c->target != NULL)
			json_put_str(o, "target", str_of(c->target->name));
		json_object_set_new(o, "in", json_boolean(ok));
		if (!ok) {
			json_put_str(o, "error_type", json_get_str(c->result, "error_type", STR("")));
			json_put_str(o, "message", json_get_str(c->result, "message", STR("")));
		}
		json_array_append_new(list, o);
		in += ok;
	}
	event_phase(&at, ph->kind->phase, in, ph->n);
	return json_pack("{s:o}", "calls", list);
}

CO_FN bool ask_run(struct ask_phase *ph, const char *close_key,
		   void (*take)(struct engine *e, const struct ask_call *c))
{
	const json_t *closed = NULL;
	bool whole = ph->n == 0 || (ask_all(ph) && step_run(ph->e->d, close_key, ask_close_step, ph, &closed));
	size_t i;

	for (i = 0; i < ph->n; i++) {
		const json_t *word = whole ? json_array_get(json_get_arr(closed, "calls"), i) : ph->calls[i].result;

		if (json_get_bool(word, whole ? "in" : "ok", false))
			take(ph->e, &ph->calls[i]);
	}
	return whole;
}

const json_t *ask_value(const struct ask_call *c)
{
	return json_get_obj(c->result, "value");
}

struct str ask_text(const struct ask_call *c)
{
	return str_trim(json_get_str(c->result, "text", STR("")));
}

const json_t *ask_standing(const struct engine *e, const struct seat *seat)
{
	return json_get_obj(e->standing, seat->name);
}

struct str ask_hidden(const struct engine *e, struct str text, size_t max)
{
	if (e->plan->version >= 3) /* how sure an author says he is would be taken for an argument */
		text = parse_body(text);
	return prompt_anonymous(e->a, e->plan, text, max);
}

/* ---- ballots ---- */

void ask_ballot(struct engine *e, const struct seat *reader, const char *purpose, struct ask_ballot *b)
{
	size_t order[TOPOLOGY_SEATS_MAX], i;
	struct seat *in[TOPOLOGY_SEATS_MAX];
	json_t *labels = json_array(), *texts = json_object();

	b->n = 0;
	for (i = 0; i < e->n; i++)
		if (e->seats[i].in)
			in[b->n++] = &e->seats[i];
	b->own = b->n;
	b->seats = arena_alloc(e->a, b->n * sizeof(*b->seats));
	b->items = arena_alloc(e->a, b->n * sizeof(*b->items));
	topology_shuffle(e->plan->seed, str_of(reader->name), purpose, e->round, order, b->n);
	for (i = 0; i < b->n; i++) {
		b->seats[i] = in[order[i]];
		b->items[i].label = arena_printf(e->a, "P%zu", i + 1);
		b->items[i].text = ask_hidden(e, b->seats[i]->text, PROMPT_BALLOT_MAX);
		json_array_append_new(labels, json_str(b->items[i].label));
		json_put_str(texts, b->items[i].label.p, b->items[i].text);
		if (b->seats[i] == reader)
			b->own = i;
	}
	b->facts = json_pack("{s:o, s:o}", "labels", labels, "texts", texts);
	if (b->own < b->n)
		json_put_str(b->facts, "own", b->items[b->own].label);
}

struct str ask_revealed(const struct ask_call *c, struct str text)
{
	const char *names[TOPOLOGY_SEATS_MAX];
	size_t i;

	for (i = 0; i < c->ballot_n; i++)
		names[i] = c->ballot[i]->name;
	return prompt_reveal(c->e->a, text, names, c->ballot_n);
}
