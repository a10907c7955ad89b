/* SPDX-License-Identifier: MIT */
/*
 * What the demo agents say: proposals, critiques, revisions, votes, verdicts and syntheses put together from tables of
 * sentences around the words of the question. Called by call.c, which streams it. No model, no chance, no clock.
 */
#include "worker/agents/demo.h"

#include "common/json.h"
#include "worker/agents/demo_topic.h"

enum demo_stance { DEMO_BALANCED, DEMO_RISK_FIRST, DEMO_SPEED_FIRST, DEMO_STANCES };

struct demo {
	const struct agent_request *req;
	struct topic t;
	enum demo_stance stance;
	uint64_t own; /* hash of agent and question: small differences between agents of one stance */
	struct buf *out;
};

static const struct {
	const char *persona;
	enum demo_stance stance;
} demo_personas[] = {
    {"skeptic", DEMO_RISK_FIRST},
    {"devil_advocate", DEMO_RISK_FIRST},
    {"security_engineer", DEMO_RISK_FIRST},
    {"compliance_officer", DEMO_RISK_FIRST},
    {"peer_reviewer", DEMO_RISK_FIRST},
    {"accountant", DEMO_RISK_FIRST},
    {"pragmatist", DEMO_SPEED_FIRST},
    {"lateral_thinker", DEMO_SPEED_FIRST},
    {"product_analyst", DEMO_SPEED_FIRST},
    {"performance_engineer", DEMO_SPEED_FIRST},
    {"analyst", DEMO_BALANCED},
    {"synthesizer", DEMO_BALANCED},
    {"philosopher", DEMO_BALANCED},
    {"humanist", DEMO_BALANCED},
    {"data_architect", DEMO_BALANCED},
    {"devops_engineer", DEMO_BALANCED},
};

/* What a good answer has. Critiques name what is missing, votes count what is there; the words are what to look for. */
static const struct demo_quality {
	const char *words[4];
	const char *issue, *suggestion;
	unsigned weight[DEMO_STANCES];
} demo_qualities[] = {
    {{"measure", "percentile", "number"},
     "It does not say how success would be measured, so it cannot be shown to be wrong.",
     "Name one figure, its value today and the value at which you would stop.",
     {3, 2, 2}},
    {{"roll back", "undo", "way back", "reversible"},
     "There is no way back if the assumption turns out to be false.",
     "Describe the state to return to and who decides that it is time.",
     {2, 4, 1}},
    {{"owner", "responsible", "who decides"},
     "Nobody is named who carries it, and work without an owner waits.",
     "Give the first step to one named person.",
     {2, 1, 3}},
    {{"week", "month", "friday", "deadline"},
     "It has no date: a plan without one is an intention.",
     "Put a date on the first result, close enough to be uncomfortable.",
     {1, 1, 4}},
    {{"cost", "effort", "price of"},
     "The cost of doing it, and of not doing it, is left out of the comparison.",
     "Estimate both as a range, people included.",
     {2, 3, 2}},
    {{"unknown", "uncertain", "not know"},
     "What is known and what is assumed are not kept apart.",
     "List the assumptions and mark the one on which everything depends.",
     {3, 3, 1}},
    {{"objection", "against this"},
     "The strongest argument for the other side is not answered.",
     "State it as its best supporter would, and say under which condition it wins.",
     {2, 2, 1}},
};

/* The i-th term of the question, going round. */
static struct str demo_term(const struct demo *d, size_t i)
{
	return d->t.terms[i % d->t.term_count];
}

static enum demo_stance demo_stance_of(const struct agent_spec *s)
{
	unsigned sum = 0;
	size_t i;

	for (i = 0; i < countof(demo_personas); i++)
		if (str_eqz(s->persona, demo_personas[i].persona))
			return demo_personas[i].stance;
	for (i = 0; i < s->name.n; i++)
		sum += (unsigned char)s->name.p[i];
	return (enum demo_stance)(sum % DEMO_STANCES);
}

/* First line without its label: the position of a proposal, else what there is. */
static struct str demo_line(struct str text)
{
	struct str label = STR("POSITION:");
	ptrdiff_t at;

	text = str_trim(text);
	at = str_chr(text, '\n');
	text = at < 0 ? text : str_trim(str_sub(text, 0, (size_t)at));
	return str_istarts(text, label) ? str_trim(str_sub(text, label.n, text.n)) : text;
}

static void demo_add(struct demo *d, const char *before, struct str s, const char *after)
{
	buf_addz(d->out, before);
	buf_add(d->out, s);
	buf_addz(d->out, after);
}

/* ---- proposals ---- */

/* What stands before and after the words of the question, by kind and stance. */
static const struct {
	const char *before, *after;
} demo_positions[][DEMO_STANCES] = {
    [TOPIC_SHOULD] = {{"Yes, in stages: ", "."},
		      {"Not yet: first prove on a small scale that it is safe to ", "."},
		      {"Yes, beginning with the smallest useful part: ", "."}},
    [TOPIC_HOW] = {{"Measure first, then change one thing at a time, to ", "."},
		   {"Find out what can go wrong before anything else, to ", "."},
		   {"Build the thinnest version that works end to end within two weeks, to ", "."}},
};

/* Where nothing of the question can be repeated as a deed, it is quoted whole. */
static const struct {
	const char *before, *after;
} demo_whole[][DEMO_STANCES] = {
    [TOPIC_SHOULD] = {{"Yes, in stages, is the answer to \"", "\""},
		      {"Not yet, before a trial on a small scale, is the answer to \"", "\""},
		      {"Yes, beginning this month with a small part, is the answer to \"", "\""}},
    [TOPIC_WHAT] = {{"The short answer to \"",
		     "\": it depends on one thing, which can be measured, and that comes first."},
		    {"The safe answer to \"",
		     "\" is to name what would be harmful to get wrong, and to settle that first."},
		    {"The useful answer to \"", "\" is the one we can act on this week and correct the week after."}},
    [TOPIC_OPEN] = {{"Treat \"", "\" as a decision in stages, with one number that says whether to go on."},
		    {"Limit the damage first: before answering \"", "\", decide what must not happen."},
		    {"Begin with the smallest answer to \"", "\" now, and learn from what happens."}},
};

/* After the first option, and after the second. Fits names ("Redis") and deeds ("buy a CRM") alike. */
static const struct {
	const char *before, *after;
} demo_either[DEMO_STANCES] = {{" rather than ", ", to be decided again after a measured trial."},
			       {" for now; ", " only if a test says so."},
			       {", starting now, with ", " as the way back."}};

static void demo_capital(struct demo *d, struct str s)
{
	char c = s.n > 0 ? s.p[0] : ' ';

	buf_addc(d->out, (char)(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c));
	buf_add(d->out, str_sub(s, 1, s.n));
}

static void demo_position_either(struct demo *d)
{
	/* Which of the two is the better one is a property of the question, not of the agent. */
	bool swap = d->t.hash % 2 == 1;
	struct str good = swap ? d->t.b : d->t.a, other = swap ? d->t.a : d->t.b;

	struct str first = d->stance == DEMO_RISK_FIRST ? other : good,
		   second = d->stance == DEMO_RISK_FIRST ? good : other;

	demo_capital(d, first);
	demo_add(d, demo_either[d->stance].before, second, demo_either[d->stance].after);
}

static void demo_position(struct demo *d)
{
	enum topic_kind kind = d->t.kind == TOPIC_HOW ? TOPIC_OPEN : d->t.kind;

	buf_addz(d->out, "POSITION: ");
	if (d->t.kind == TOPIC_EITHER) {
		demo_position_either(d);
	} else if (d->t.deed.n > 0) {
		demo_add(d, demo_positions[d->t.kind][d->stance].before, d->t.deed,
			 demo_positions[d->t.kind][d->stance].after);
	} else {
		demo_add(d, demo_whole[kind][d->stance].before,
			 d->t.question.n > 0 ? d->t.question : STR("the question"), d->t.mark);
		buf_addz(d->out, demo_whole[kind][d->stance].after);
	}
}

static void demo_why(struct demo *d)
{
	static const char *const openings[DEMO_STANCES][3] = {
	    {"Two things decide here: what changes in daily work, and what it takes to change it back.",
	     "The question turns on what changes in daily work.",
	     "Most of the disagreement is about what would change in daily work."},
	    {"Before anything else it must be clear what changes in daily work.",
	     "The expensive mistake would be to guess what changes in daily work.",
	     "What can hurt us is not knowing what changes in daily work."},
	    {"Nobody can say from a desk what will change in daily work.",
	     "Only use will show what changes in daily work.",
	     "Time is the scarce thing, and it alone tells what changes in daily work."}};
	static const char *const closings[DEMO_STANCES][2] = {
	    {" Both sides have a point, and a staged step lets evidence settle what argument cannot.",
	     " That can be found out at a small price, and nothing forces us to decide everything at once."},
	    {" A loss there weighs more than a gain elsewhere, so it is bounded first; the rest can wait without harm.",
	     " As long as that is open, enthusiasm is no argument, and a delay is cheap insurance."},
	    {" Waiting has a cost too: every month of discussion is a month in which nothing is learnt.",
	     " A thin version in real hands answers more than the next round of this debate."}};
	size_t i;

	demo_add(d, openings[d->stance][d->own % 3], STR(" At stake: "), "");
	for (i = 0; i < d->t.term_count && i < 3; i++)
		demo_add(d, i > 0 ? ", " : "", demo_term(d, i), "");
	demo_add(d, ". The main risk is ", str_of(d->t.domain->risk), ".");
	buf_addz(d->out, closings[d->stance][d->own / 3 % 2]);
	buf_addz(d->out, "\n\n");
}

/* Every stance leaves out what it thinks of last: that is what critics find. */
static void demo_how(struct demo *d)
{
	static const char *const second[DEMO_STANCES] = {
	    "2. Give it to one owner for four weeks, with the effort written down as it happens.\n",
	    "2. Agree on the state to roll back to, and on who decides that it is time.\n",
	    "2. Let one responsible person ship the smallest part by Friday of next week.\n"};

	demo_add(d, "How:\n1. First ", str_of(d->t.domain->test), ".\n");
	buf_addz(d->out, second[d->stance]);
	if (d->stance == DEMO_SPEED_FIRST)
		demo_add(d, "3. Look at the result together, keep what works (\"", demo_term(d, 1),
			 "\" above all), and choose the next part.\n\n");
	else
		demo_add(d, "3. Measure ", str_of(d->t.domain->measure), "; widen the step only if it holds.\n\n");
}

static void demo_caveat(struct demo *d)
{
	static const char *const texts[DEMO_STANCES][2] = {
	    {"Known is what was asked; unknown is how large the effect will be in our own case. Against this one can "
	     "say that "
	     "stages take time; that is right if the window is short, which nobody has claimed.",
	     "Uncertain is the size of the effect here, not its direction. The objection that a trial proves little is "
	     "fair "
	     "for rare events, and only for those."},
	    {"No reference from others tells what happens here on a bad day. The objection is that caution also has a "
	     "cost; it "
	     "holds if a deadline decides for us.",
	     "The cost of an error falls on people who were not asked. Against this one can say that standing still is "
	     "a choice "
	     "too; it is one that can be revised tomorrow."},
	    {"We do not know the effect yet, and thinking longer will not tell.",
	     "Much of this is unknown today and will be known by the end of the month, if somebody begins."}};

	buf_addz(d->out, texts[d->stance][d->own / 7 % 2]);
}

static void demo_body(struct demo *d)
{
	demo_why(d);
	demo_how(d);
	demo_caveat(d);
	if (d->own % 3 == 1)
		demo_add(d, " With \"", demo_term(d, 2), "\" the same order holds.");
}

/* The last line that proposals are asked for. */
static void demo_confidence(struct demo *d, unsigned base)
{
	buf_printf(d->out, "\n\nCONFIDENCE: 0.%u\n", base + (unsigned)(d->own % 9));
}

static void demo_propose(struct demo *d)
{
	demo_position(d);
	buf_addz(d->out, "\n\n");
	demo_body(d);
	demo_confidence(d, 62);
}

/* ---- critiques ---- */

static bool demo_has(struct str text, const struct demo_quality *q)
{
	size_t i;

	for (i = 0; i < countof(q->words) && q->words[i] != NULL; i++)
		if (str_ifind(text, str_of(q->words[i])) >= 0)
			return true;
	return false;
}

/* The up to `max` missing qualities that matter most to this stance, heaviest first. */
static size_t demo_missing(const struct demo *d, struct str text, const struct demo_quality *out[], size_t max)
{
	unsigned weight;
	size_t i, n = 0;

	for (weight = 4; weight > 0; weight--)
		for (i = 0; i < countof(demo_qualities) && n < max; i++)
			if (demo_qualities[i].weight[d->stance] == weight && !demo_has(text, &demo_qualities[i]))
				out[n++] = &demo_qualities[i];
	return n;
}

static void demo_critique(struct demo *d)
{
	static const char *const reasons[DEMO_STANCES] = {
	    "The direction can be right, but as it stands one could not tell afterwards whether it was.",
	    "What is not bounded here is exactly what would be expensive.",
	    "It would be better shorter and sooner: the first result teaches more than the next paragraph."};
	static const struct {
		const char *issue, *after, *suggestion;
	} firsts[DEMO_STANCES] = {
	    {"- What it says about \"", "\" is asserted; no comparison with doing nothing is made.\n",
	     "- Add the comparison with doing nothing, over the same period.\n"},
	    {"- It does not say what happens with \"", "\" on the worst day, only on an average one.\n",
	     "- Write down the worst day in five lines, and who is called.\n"},
	    {"- It could begin with \"", "\" tomorrow, and instead prepares to begin.\n",
	     "- Cut the first step until it fits into one week.\n"}};
	static const int base[DEMO_STANCES] = {30, 42, 25}; /* tenths */
	struct str text = json_get_str(d->req->facts, "text", STR_NONE);
	const struct demo_quality *missing[3];
	size_t i, n = demo_missing(d, text, missing, countof(missing));
	int severity = base[d->stance] + (int)n * 10 + (int)(topic_hash(d->own, demo_line(text)) % 8);

	buf_addz(d->out, "ISSUES:\n");
	demo_add(d, firsts[d->stance].issue, demo_term(d, d->own % 2), firsts[d->stance].after);
	for (i = 0; i < n; i++)
		demo_add(d, "- ", str_of(missing[i]->issue), "\n");
	buf_addz(d->out, "SUGGESTIONS:\n");
	buf_addz(d->out, firsts[d->stance].suggestion);
	for (i = 0; i < n; i++)
		demo_add(d, "- ", str_of(missing[i]->suggestion), "\n");
	buf_printf(d->out, "SEVERITY: %d.%d\nREASONING: %s\n", severity / 10, severity % 10, reasons[d->stance]);
}

/* ---- revisions ---- */

static struct str demo_item(const json_t *critique, const char *key, size_t i)
{
	const json_t *v = json_array_get(json_get_arr(critique, key), i);

	return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR_NONE;
}

/* Index of the most severe critique. */
static size_t demo_worst(const json_t *critiques, int64_t *severity)
{
	size_t i, worst = 0;
	int64_t s;

	*severity = -1;
	for (i = 0; i < json_array_size(critiques); i++) {
		s = json_get_int(json_array_get(critiques, i), "severity_milli", 5000);
		if (s > *severity) {
			*severity = s;
			worst = i;
		}
	}
	return worst;
}

/* Takes over what the severest critique and the others suggest, once each; says so. */
static void demo_changes(struct demo *d, const json_t *critiques)
{
	struct str said[6], s;
	size_t i, j, k, n = 0;

	for (j = 0; j < 4 && n < countof(said); j++)
		for (i = 0; i < json_array_size(critiques) && n < countof(said); i++) {
			s = demo_item(json_array_get(critiques, i), "suggestions", j);
			for (k = 0; k < n && !str_eq(said[k], s); k++)
				;
			if (k == n && s.n > 0)
				said[n++] = s;
		}
	if (n == 0)
		return;
	buf_addz(d->out, "Changed after the critiques:\n");
	for (i = 0; i < n; i++)
		demo_add(d, "- Accepted: ", str_utf8_cut(demo_line(said[i]), 300), "\n");
	buf_addz(d->out, "\n");
}

static void demo_revise(struct demo *d)
{
	const json_t *critiques = json_get_arr(d->req->facts, "critiques");
	struct str own = demo_line(json_get_str(d->req->facts, "own", STR_NONE)), s;
	int64_t severity;
	size_t worst = demo_worst(critiques, &severity);

	/* A position is kept unless it was hit hard; then the cautious and the quick meet the middle. */
	if (own.n == 0 || (severity >= 7000 && d->stance != DEMO_BALANCED && d->own % 2 == 0)) {
		d->stance = DEMO_BALANCED;
		demo_position(d);
		buf_addz(d->out, "\n\nI have changed my position: ");
		s = demo_item(json_array_get(critiques, worst), "issues", 0);
		demo_add(d, "the objection holds (",
			 s.n > 0 ? str_utf8_cut(demo_line(s), 240) : STR("it was too narrow"), ")\n\n");
	} else {
		demo_add(d, "POSITION: ", str_utf8_cut(own, 400), "\n\n");
		s = demo_item(json_array_get(critiques, worst), "issues", 1);
		if (s.n > 0)
			demo_add(d, "The position stands, with an answer to the gravest point. \"",
				 str_utf8_cut(demo_line(s), 240), "\" is answered below.\n\n");
	}
	demo_changes(d, critiques);
	demo_body(d);
	if (json_array_size(critiques) > 1)
		buf_addz(d->out, "\n\nNot accepted: that the claim as such lacks evidence. It is a plan to obtain the "
				 "evidence, at a price "
				 "that can be borne.");
	demo_confidence(d, 70);
}

/* ---- votes and verdicts ---- */

/* What a text is worth to this voter. Does not see labels, so their order cannot matter. */
static int64_t demo_worth(const struct demo *d, struct str text, bool own)
{
	struct str head = demo_line(text);
	bool cautious = str_istarts(head, STR("not yet")) || str_find(head, STR(" for now; ")) >= 0 ||
			str_istarts(head, STR("find out")) || str_istarts(head, STR("limit ")) ||
			str_istarts(head, STR("the safe "));
	int64_t worth = (int64_t)(topic_hash(d->t.hash, head) % 40); /* the same for all voters: most agree */
	size_t i;

	for (i = 0; i < countof(demo_qualities); i++)
		worth += demo_has(text, &demo_qualities[i]) ? 4 : 0;
	if (d->stance == DEMO_RISK_FIRST)
		worth += cautious ? 14 : 0;
	else
		worth += cautious ? 0 : 10;
	return worth + (own ? 3 : 0);
}

/* The best and the lead over the second; NULL label when there is nothing to choose from. */
static const char *demo_choose(const struct demo *d, int64_t *lead, struct str *chosen)
{
	const json_t *labels = json_get_arr(d->req->facts, "labels"), *texts = json_get_obj(d->req->facts, "texts");
	struct str own = json_get_str(d->req->facts, "own", STR_NONE), text;
	const char *label, *best = NULL;
	int64_t worth, best_worth = 0, second = 0;
	size_t i;

	*chosen = STR_NONE;
	for (i = 0; i < json_array_size(labels); i++) {
		label = json_string_value(json_array_get(labels, i));
		if (label == NULL)
			continue;
		text = json_get_str(texts, label, STR_NONE);
		worth = demo_worth(d, text, str_eqz(own, label));
		/* Equal worth: the text decides, never its place in the list. */
		if (best == NULL || worth > best_worth ||
		    (worth == best_worth && topic_hash(1, text) > topic_hash(1, *chosen))) {
			second = best == NULL ? worth : best_worth;
			best = label;
			best_worth = worth;
			*chosen = text;
		} else if (worth > second || second == best_worth) {
			second = worth;
		}
	}
	*lead = best_worth - second;
	return best;
}

static void demo_vote(struct demo *d)
{
	static const char *const reasons[DEMO_STANCES] = {
	    "It can be shown to be right or wrong, and says what to do in either case.",
	    "It bounds the damage before it asks for trust.", "It gets a result soon and leaves a way back."};
	struct str chosen;
	int64_t lead, confidence;
	const char *label = demo_choose(d, &lead, &chosen);

	confidence = 66 + (lead > 20 ? 20 : lead) + (int64_t)(d->own % 6);
	buf_printf(d->out, "CHOICE: %s\nCONFIDENCE: 0.%lld\nCONTINUE: %s\n", label != NULL ? label : "none",
		   (long long)confidence, confidence >= 70 ? "no" : "yes");
	demo_add(d, "REASONING: ", str_of(reasons[d->stance]), "");
	demo_add(d, " \"", str_utf8_cut(demo_line(chosen), 200), "\" is the clearest of the positions.\n");
}

static void demo_judge(struct demo *d)
{
	struct str chosen;
	int64_t lead;
	const char *label;

	d->stance = DEMO_BALANCED;
	label = demo_choose(d, &lead, &chosen);
	buf_printf(d->out, "WINNER: %s\nCONFIDENCE: 0.%lld\n", label != NULL ? label : "none",
		   70 + (long long)(lead > 20 ? 20 : lead));
	demo_add(d, "REASONING: Its position (\"", str_utf8_cut(demo_line(chosen), 200),
		 "\") answers the question that was asked, ");
	demo_add(d, "takes the main risk (", str_of(d->t.domain->risk),
		 ") seriously, and says how one would notice an error.\n");
	demo_add(d, "UNRESOLVED: How large the effect on \"", demo_term(d, 0), "\" will be; only a trial can tell.\n");
	demo_add(d, "ANSWER: ", str_utf8_cut(demo_line(chosen), 400), "\n");
}

/* ---- synthesis ---- */

static struct str demo_dissent(const json_t *v, struct str *who)
{
	*who = json_get_str(v, "agent", STR_NONE);
	if (json_is_string(v))
		return (struct str){json_string_value(v), json_string_length(v)};
	return json_get_str(v, "view", json_get_str(v, "text", STR_NONE));
}

static void demo_synthesis(struct demo *d)
{
	const json_t *dissents = json_get_arr(d->req->facts, "dissents");
	struct str winner = json_get_str(d->req->facts, "winner_text", STR_NONE), who, view;
	size_t i;

	demo_add(d, "", winner.n > 0 ? str_utf8_cut(demo_line(winner), 400) : STR("No position was preferred."),
		 "\n\n");
	demo_add(d, "Why: what has to be learnt about \"", demo_term(d, 0),
		 "\" can only be learnt by a step that is small enough to take back. ");
	demo_add(d, "The agents agree on the main risk, ", str_of(d->t.domain->risk),
		 ", and that it can be bounded beforehand.\n\n");
	demo_add(d, "Next steps:\n1. Before anything else, ", str_of(d->t.domain->test), ".\n");
	demo_add(d, "2. Write down today's value of the measure: ", str_of(d->t.domain->measure), ".\n");
	buf_addz(
	    d->out,
	    "3. Name one owner and a date, four weeks from now at the latest, on which the result is looked at.\n\n");
	if (json_array_size(dissents) > 0)
		buf_addz(d->out, "What stays open:\n");
	else
		buf_addz(
		    d->out,
		    "Nobody dissented; the assumption that everything depends on should be tested all the same.\n\n");
	for (i = 0; i < json_array_size(dissents) && i < 3; i++) {
		view = demo_dissent(json_array_get(dissents, i), &who);
		demo_add(d, "- ", who, who.n > 0 ? " holds: " : "");
		demo_add(d, "", str_utf8_cut(demo_line(view), 300), "\n");
	}
	demo_add(d,
		 json_array_size(dissents) > 0 ? "\nThis decision should be looked at again if "
					       : "This decision should be looked at again if ",
		 str_of(d->t.domain->measure), " gets worse, or if the question itself changes.");
}

void demo_answer(struct arena *a, const struct agent_request *req, struct buf *out)
{
	static const struct {
		const char *phase;
		void (*speak)(struct demo *d);
	} phases[] = {{"propose", demo_propose}, {"critique", demo_critique}, {"revise", demo_revise},
		      {"vote", demo_vote},       {"judge", demo_judge},       {"synthesis", demo_synthesis}};
	struct demo d = {.req = req, .stance = demo_stance_of(req->agent), .out = out};
	size_t i;

	topic_read(a, req->task, &d.t);
	d.own = topic_hash(d.t.hash, req->agent->name);
	for (i = 0; i < countof(phases); i++)
		if (str_eqz(req->phase, phases[i].phase))
			break;
	if (i < countof(phases))
		phases[i].speak(&d);
	else
		demo_propose(&d);
}
