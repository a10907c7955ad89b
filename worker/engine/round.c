/* SPDX-License-Identifier: MIT */
/*
 * Independent drafts and the rounds after them: remarks of people, critique, revision, convergence. Called by the
 * engine. Each phase makes its calls, waits for all, closes (a step that says who is in) and only then takes over what
 * was said, in the order of the plan. Decides nothing but whether to stop early.
 */
#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/course.h"
#include "worker/engine/parse.h"
#include "worker/engine/progress.h"
#include "worker/engine/role.h"
#include "worker/engine/topology.h"

#define ROUND_NOTES_MAX 20  /* remarks of people in one prompt */
#define ROUND_NOTE_MAX 1000 /* bytes of one */
#define ROUND_CHALLENGE "the texts agree, but offer little evidence: sources, figures or reasons are asked for"

#define ROUND_NOVELTY "little in the last text was new: something not said before is asked for"

/* "sources, reasons" if the last round's challenge was for this seat, else empty. */
static struct str round_lacks(const struct engine *e, const struct seat *seat)
{
	const json_t *weak = json_get_arr(e->evidence, "weak"), *lacks;
	struct str text = STR("");
	size_t i, k;

	for (i = 0; e->challenged_round > 0 && e->challenged_round + 1 == e->round && i < json_array_size(weak); i++) {
		if (!str_eqz(json_get_str(json_array_get(weak, i), "agent", STR("")), seat->name))
			continue;
		lacks = json_get_arr(json_array_get(weak, i), "lacks");
		for (k = 0; k < json_array_size(lacks); k++)
			text = arena_printf(e->a, "%.*s%s%s", STR_ARG(text), k > 0 ? ", " : "",
					    json_string_value(json_array_get(lacks, k)));
	}
	return text;
}

/* Is this seat asked for something new in this round? */
static bool round_stale(const struct engine *e, const struct seat *seat)
{
	const json_t *stale = json_get_arr(e->progress, "stale"), *name;
	size_t i;

	json_array_foreach(stale, i, name) if (strcmp(json_string_value(name), seat->name) == 0) return true;
	return false;
}

static struct prompt_turn round_turn(const struct engine *e, const struct seat *seat)
{
	bool challenged = e->challenged_round > 0 && e->challenged_round + 1 == e->round;

	return (struct prompt_turn){.agent = seat->agent,
				    .role = role_of(e->plan, (size_t)(seat - e->seats), e->round, challenged),
				    .notes = e->notes,
				    .lacks = round_lacks(e, seat),
				    .stale = round_stale(e, seat)};
}

/* ---- drafts ---- */

static json_t *round_read_text(struct step *s, const struct ask_call *c, struct str text, const char *kind)
{
	struct event_at at = ask_at(c->e, s, c->seat->name);
	int64_t sure = -1;
	json_t *value;

	text = str_trim(text);
	if (text.n == 0)
		return NULL;
	value = json_object();
	json_put_str(value, "position", parse_position(text));
	if (parse_stated_confidence(text, &sure))
		json_put_int(value, "confidence_ppm", sure);
	if (c->e->plan->protocol.early_stopping && parse_ready(text))
		json_object_set_new(value, "ready", json_true());
	json_put_int(value, "at_ms", step_now_ms(s));
	event_message(&at, kind, text, sure);
	return value;
}

static json_t *round_read_draft(struct step *s, void *arg, struct str text)
{
	return round_read_text(s, arg, text, "proposal");
}

static json_t *round_read_revision(struct step *s, void *arg, struct str text)
{
	return round_read_text(s, arg, text, "revision");
}

static void round_adopt(struct engine *e, const struct ask_call *c)
{
	struct seat *seat = c->seat;

	seat->in = true;
	seat->text = result_message(&e->result, str_of(seat->name), ask_text(c), e->round,
				    json_get_int(ask_value(c), "at_ms", 0));
	seat->position = json_get_str(ask_value(c), "position", STR(""));
	seat->sure_ppm = json_get_int(ask_value(c), "confidence_ppm", -1);
	seat->ready = json_get_bool(ask_value(c), "ready", false);
}

/* Everybody answers alone. Who fails is out; nothing is ever put in his mouth. */
CO_FN bool round_drafts(struct engine *e)
{
	static const struct ask_kind kind = {"propose", 0, 700000, true, round_read_draft};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	struct prompt_turn turn;
	struct prompt p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		turn = round_turn(e, &e->seats[i]);
		prompt_propose(e->a, e->plan, &turn, &p);
		ask_add(&ph, &e->seats[i], NULL, &p, json_object());
	}
	return ask_run(&ph, "r0.close", round_adopt);
}

static json_t *round_agreement_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value = decision_agreement(e->plan, e->memo, e->seats, e->n);

	if (e->plan->version >= 3) /* what later rounds are compared with */
		json_object_set_new(value, "stability",
				    json_pack("{s:o}", "groups", progress_groups(e->plan, e->memo, e->seats, e->n)));
	event_convergence(&at, value);
	if (json_get_bool(value, "agreed", false))
		event_early_stop(&at, "round0_agreement", "all independent drafts agree");
	return value;
}

static void round_note_convergence(struct engine *e, const json_t *value)
{
	static const char *const keys[] = {"status", "similarity_ppm", "agreement_ppm"};
	static const char *const later[] = {"per_agent", "ready", "stability"}; /* since engine 3 */
	size_t i;

	for (i = 0; i < countof(keys); i++)
		json_object_set(e->result.convergence, keys[i], json_object_get(value, keys[i]));
	for (i = 0; e->plan->version >= 3 && i < countof(later); i++)
		if (json_object_get(value, later[i]) != NULL)
			json_object_set(e->result.convergence, later[i], json_object_get(value, later[i]));
}

/* Drafts that agree already need no debate. */
CO_FN bool round_agreement_gate(struct engine *e, bool *settled)
{
	const json_t *value;
	size_t i;

	if (!step_run(e->d, "r0.agreement", round_agreement_step, e, &value))
		return false;
	round_note_convergence(e, value);
	e->progress = value;
	for (i = 0; i < e->n; i++) /* nothing was said before the drafts */
		if (e->seats[i].in && e->plan->version >= 3)
			json_array_append_new(json_object_get(e->novelty, e->seats[i].name),
					      json_integer(CONSENSUS_ONE));
	*settled = json_get_bool(value, "agreed", false);
	if (*settled)
		result_early_stop(&e->result, e->a, "round0_agreement", 0, "all independent drafts agree");
	return true;
}

/* ---- a round: remarks, critique, revision, convergence ---- */

static struct str round_remark(const json_t *item)
{
	static const char *const names[] = {"suggestion", "content", "text", "message"};
	const json_t *payload = json_get_obj(item, "payload");
	struct str kind = json_get_str(item, "kind", STR(""));
	size_t i;

	if (!str_eqz(kind, "suggestion") && !str_eqz(kind, "intervention"))
		return STR("");
	for (i = 0; i < countof(names); i++)
		if (json_get_str(payload, names[i], STR("")).n > 0)
			return str_utf8_cut(str_trim(json_get_str(payload, names[i], STR(""))), ROUND_NOTE_MAX);
	return STR("");
}

struct round_opening {
	struct engine *e;
	const json_t *inbox;
};

/* "twins": {agent: whose text says the same}; journalled, for what counts as the same may change with the engine. */
static void round_find_twins(struct engine *e, json_t *value)
{
	json_t *twins = json_object();
	size_t i;

	decision_twins(e->plan, e->memo, e->seats, e->n);
	for (i = 0; i < e->n; i++)
		if (e->seats[i].twin != NULL)
			json_put_str(twins, e->seats[i].name, str_of(e->seats[i].twin->name));
	json_object_set_new(value, "twins", twins);
}

static json_t *round_start_step(struct step *s, void *arg)
{
	const struct round_opening *o = arg;
	struct event_at at = ask_at(o->e, s, NULL);
	json_t *value;
	size_t i;

	event_round_start(&at, "critique");
	event_roles(&at, o->e->challenged_round > 0 && o->e->challenged_round + 1 == o->e->round);
	for (i = 0; i < json_array_size(o->inbox); i++) {
		const json_t *item = json_array_get(o->inbox, i);

		if (round_remark(item).n > 0)
			event_intervention(&at, item, round_remark(item));
	}
	value = json_pack("{s:I}", "at_ms", (json_int_t)step_now_ms(s));
	if (o->e->plan->protocol.distinct)
		round_find_twins(o->e, value);
	return value;
}

CO_FN static bool round_begin(struct engine *e, int64_t *at_ms)
{
	struct round_opening o = {e, NULL};
	const json_t *started;
	size_t i;

	if (!step_inbox(e->d, arena_printf(e->a, "r%d.inbox", e->round).p, &o.inbox) ||
	    !step_run(e->d, arena_printf(e->a, "r%d.start", e->round).p, round_start_step, &o, &started))
		return false;
	*at_ms = json_get_int(started, "at_ms", 0);
	for (i = 0; i < json_array_size(o.inbox); i++) {
		struct str remark = round_remark(json_array_get(o.inbox, i));

		if (remark.n > 0 && json_array_size(e->notes) < ROUND_NOTES_MAX)
			json_array_append_new(e->notes, json_str(remark));
		json_array_append(e->people, json_array_get(o.inbox, i));
	}
	for (i = 0; i < e->n; i++) {
		e->seats[i].ready = false;
		e->seats[i].twin =
		    deciding_seat(e, json_get_str(json_get_obj(started, "twins"), e->seats[i].name, STR("")));
		e->seats[i].former = e->seats[i].text;
		e->seats[i].former_position = e->seats[i].position;
		e->seats[i].received = json_own(e->a, json_array());
	}
	return true;
}

static json_t *round_read_critique(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_critique critique;
	json_t *value = json_object();

	parse_critique(c->e->a, text, &critique);
	json_object_set(value, "issues", critique.issues);
	json_object_set(value, "suggestions", critique.suggestions);
	json_put_int(value, "severity_milli", critique.severity_milli);
	json_put_str(value, "reasoning", critique.reasoning);
	json_put_int(value, "at_ms", step_now_ms(s));
	event_critique(&at, str_of(c->target->name), value, str_trim(text));
	return value;
}

/* What is said of a text is said of its twins too. */
static void round_receive(struct engine *e, const struct ask_call *c)
{
	struct seat *target = c->target;
	json_t *value = json_get_obj(c->result, "value");
	size_t i;

	for (i = 0; i < e->n; i++)
		if (&e->seats[i] == target || e->seats[i].twin == target) {
			json_array_append(e->seats[i].received, value);
			e->seats[i].severity_sum += json_get_int(value, "severity_milli", 0);
			e->seats[i].severity_count++;
		}
	result_critique(&e->result, str_of(c->seat->name), str_of(target->name), e->round, value);
}

/* Pairs of this round among the seats in in[]; a text that says the same as an earlier one is left out as a target. */
static size_t round_pairs(const struct engine *e, struct seat *const *in, size_t n, struct topology_pair *pairs)
{
	struct str names[TOPOLOGY_SEATS_MAX];
	size_t i, count, kept = 0;

	for (i = 0; i < n; i++)
		names[i] = str_of(in[i]->name);
	count = topology_pairs(topology_adapt(e->plan->topology, e->convergence, n), names, n,
			       &(struct topology_draw){.seed = e->plan->seed,
						       .round = e->round,
						       .sparsity_ppm = e->plan->protocol.sparsity_ppm},
			       pairs);
	for (i = 0; i < count; i++)
		if (in[pairs[i].target]->twin == NULL)
			pairs[kept++] = pairs[i];
	return kept;
}

/* Texts are shown without their authors: what counts is what is said. */
CO_FN static bool round_critiques(struct engine *e)
{
	static const struct ask_kind kind = {"critique", 2048, 300000, false, round_read_critique};
	struct seat *in[TOPOLOGY_SEATS_MAX];
	struct topology_pair *pairs;
	struct prompt_turn turn;
	struct ask_phase ph;
	struct prompt p;
	struct str text;
	size_t i, n = 0;

	for (i = 0; i < e->n; i++)
		if (e->seats[i].in)
			in[n++] = &e->seats[i];
	pairs = arena_zalloc(e->a, (n * n + 1) * sizeof(*pairs));
	n = round_pairs(e, in, n, pairs);
	ph = ask_open(e, &kind, n);
	for (i = 0; i < n; i++) {
		struct seat *critic = in[pairs[i].critic], *target = in[pairs[i].target];

		text = ask_hidden(e, target->text, PROMPT_TEXT_MAX);
		turn = round_turn(e, critic);
		prompt_critique(e->a, e->plan, &turn, text, &p);
		ask_add(&ph, critic, target, &p, json_pack("{s:s, s:s%}", "label", "Proposal", "text", text.p, text.n));
	}
	return ask_run(&ph, arena_printf(e->a, "r%d.critique.close", e->round).p, round_receive);
}

/* Authors answer the critiques of this round only; who fails keeps his text. */
CO_FN static bool round_revisions(struct engine *e)
{
	static const struct ask_kind kind = {"revise", 0, 500000, true, round_read_revision};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	struct prompt_turn turn;
	struct prompt p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		struct seat *seat = &e->seats[i];
		struct str own;

		if (!seat->in || json_array_size(seat->received) == 0)
			continue;
		own = ask_hidden(e, seat->text, PROMPT_TEXT_MAX);
		turn = round_turn(e, seat);
		prompt_revise(e->a, e->plan, &turn, own, seat->received, &p);
		ask_add(&ph, seat, NULL, &p,
			json_pack("{s:s%, s:O}", "own", own.p, own.n, "critiques", seat->received));
	}
	return ask_run(&ph, arena_printf(e->a, "r%d.revise.close", e->round).p, round_adopt);
}

/*
 * Agreement without evidence does not end a debate while rounds are left: each text is asked for what it lacks. Not in
 * two rounds running, for an answer takes one; demo agents have no evidence to give.
 */
static json_t *round_hollow(const struct engine *e, const json_t *value)
{
	int64_t agreement = e->plan->version < 4                    ? json_get_int(value, "agreement_ppm", 0)
			    : json_get_bool(value, "agreed", false) ? CONSENSUS_ONE
								    : 0;
	json_t *o = decision_hollow(e->plan, e->seats, e->n, agreement);
	bool challenged = json_get_bool(o, "hollow", false) && e->plan->protocol.trickster && !e->plan->demo &&
			  e->round < e->plan->rounds &&
			  (e->challenged_round == 0 || e->challenged_round + 1 != e->round);

	json_object_set_new(o, "challenged", json_boolean(challenged));
	return o;
}

static json_t *round_convergence_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value = decision_convergence(e->plan, e->memo, e->seats, e->n);
	const json_t *flips = json_get_arr(value, "flips");
	json_t *hollow = round_hollow(e, value);
	bool challenged = json_get_bool(hollow, "challenged", false);
	const char *stop;
	size_t i, k;

	if (e->plan->version >= 3)
		progress_add(e->plan, e->memo, e->seats, e->n, e->result.messages, e->round,
			     json_get_obj(e->progress, "stability"), value);
	stop = e->round < e->plan->rounds && !challenged ? progress_stop(e->plan, e->round, value) : NULL;
	json_object_set_new(value, "stop", json_boolean(stop != NULL));
	if (stop != NULL)
		json_put_str(value, "source", str_of(stop));
	json_object_set_new(value, "evidence", hollow);
	event_convergence(&at, value);
	for (i = 0; i < json_array_size(flips); i++)
		for (k = 0; k < e->n; k++)
			if (str_eqz(json_get_str(json_array_get(flips, i), "agent", STR("")), e->seats[k].name)) {
				at.agent = e->seats[k].name;
				event_flip(&at, e->seats[k].former_position, e->seats[k].position,
					   json_get_int(json_array_get(flips, i), "similarity_ppm", 0));
			}
	at.agent = NULL;
	if (challenged)
		event_hollow(&at, hollow, ROUND_CHALLENGE);
	if (stop != NULL)
		event_early_stop(&at, stop, progress_reason(stop));
	else if (json_array_size(json_get_arr(value, "stale")) > 0)
		event_novelty(&at, value, ROUND_NOVELTY);
	return value;
}

static void round_note_novelty(struct engine *e, json_t *novelty)
{
	const char *agent;
	json_t *v;

	json_object_foreach(novelty, agent, v) json_array_append(json_object_get(e->novelty, agent), v);
}

/*
 * Stable texts that agree end the debate early; stable texts that disagree do not, unless the plan counts on positions
 * alone (stability_detection).
 */
CO_FN static bool round_convergence(struct engine *e, bool *settled)
{
	const json_t *value, *flips;
	const char *source;
	size_t i;

	if (!step_run(e->d, arena_printf(e->a, "r%d.converge", e->round).p, round_convergence_step, e, &value))
		return false;
	round_note_convergence(e, value);
	flips = json_get_arr(value, "flips");
	for (i = 0; i < json_array_size(flips); i++)
		result_flip(&e->result, json_get_str(json_array_get(flips, i), "agent", STR("")), e->round);
	e->convergence = json_get_str(value, "status", STR(""));
	e->evidence = json_get_obj(value, "evidence");
	if (json_get_bool(e->evidence, "challenged", false))
		e->challenged_round = e->round;
	e->progress = value;
	round_note_novelty(e, json_get_obj(value, "novelty"));
	*settled = json_get_bool(value, "stop", false);
	source = json_string_value(json_object_get(value, "source")); /* older journals know one reason only */
	source = source != NULL ? source : "convergence";
	if (*settled)
		result_early_stop(&e->result, e->a, source, e->round, progress_reason(source));
	return true;
}

struct round_closing {
	struct engine *e;
	int64_t began_ms;
};

static json_t *round_end_step(struct step *s, void *arg)
{
	const struct round_closing *c = arg;
	struct event_at at = ask_at(c->e, s, NULL);

	event_round_end(&at, step_now_ms(s) - c->began_ms);
	return json_object();
}

CO_FN bool round_run(struct engine *e, int round, bool *settled)
{
	struct round_closing closing = {e, 0};
	const json_t *ended;

	e->round = round;
	return round_begin(e, &closing.began_ms) && round_critiques(e) && round_revisions(e) &&
	       round_convergence(e, settled) &&
	       step_run(e->d, arena_printf(e->a, "r%d.end", round).p, round_end_step, &closing, &ended);
}
