/* SPDX-License-Identifier: MIT */
/*
 * The seats choose who rules (judge_selection "voted", debate.md 3.3 and 4.5): each reads the beginnings of all texts
 * and names one that is not its own. Called before a ruling. Costs a call for each seat; demo agents go by rating.
 */
#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/course.h"
#include "worker/engine/parse.h"

#define ELECTING_TEXT_MAX 1200             /* bytes of each text; debate.md 4.5 shows 300 characters of a summary */
#define ELECTING_VOICE INT64_C(1000000000) /* more than any rating in milli-points */

static json_t *electing_read(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct parse_vote vote;
	json_t *value;

	(void)s;
	if (!parse_vote(c->e->a, text, c->ballot_n, &vote) || c->ballot[vote.choice] == c->seat)
		return NULL;
	value = json_object();
	json_put_str(value, "choice", str_of(c->ballot[vote.choice]->name));
	return value;
}

static void electing_take(struct engine *e, const struct ask_call *c)
{
	struct seat *chosen = deciding_seat(e, json_get_str(ask_value(c), "choice", STR("")));

	if (chosen != NULL)
		chosen->elected += ELECTING_VOICE;
}

CO_FN bool electing_run(struct engine *e)
{
	static const struct ask_kind kind = {"elect", 512, 200000, false, electing_read};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	size_t i, k;

	for (i = 0; i < e->n; i++) {
		struct prompt_turn turn = {.agent = e->seats[i].agent};
		struct ask_ballot b;
		struct ask_call *c;
		struct prompt p;

		e->seats[i].elected = json_get_int(e->ratings, e->seats[i].name, 0);
		if (!e->seats[i].in || e->plan->demo)
			continue;
		ask_ballot(e, &e->seats[i], "elect", &b);
		for (k = 0; k < b.n; k++)
			b.items[k].text = str_utf8_cut(b.items[k].text, ELECTING_TEXT_MAX);
		prompt_elect(e->a, e->plan, &turn, b.items, b.n, b.own, &p);
		c = ask_add(&ph, &e->seats[i], NULL, &p, b.facts);
		c->ballot = b.seats;
		c->ballot_n = b.n;
	}
	return ask_run(&ph, "elect.close", electing_take);
}
