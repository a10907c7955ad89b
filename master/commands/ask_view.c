/* SPDX-License-Identifier: MIT */
/*
 * Rendering for `aragorad ask`. Called with events in the order of the stream; opens no connection and reads no clock.
 */
#include "master/commands/ask_view.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "common/json.h"

#define VIEW_WIDTH_MAX 100
#define VIEW_WIDTH_MIN 40
#define VIEW_AGENTS 16
#define VIEW_ITEMS 2 /* of a critique's issues and suggestions; the rest is in the receipt and the export */

struct view_block {
	struct view_block *next;
	char *key;       /* agent and round of a text that is still being written; NULL: complete */
	struct buf head; /* printed as it is */
	struct buf text; /* wrapped and indented */
	size_t printed;
	bool open, head_done;
};

struct ask_view {
	FILE *out;
	bool live, colour;
	int width, column;
	struct buf word;
	struct view_block *first, **last;
	char *agents[VIEW_AGENTS];
	unsigned agent_count;
	int total_rounds;
	bool vote_begun;
};

enum view_style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_YELLOW, STYLE_RED };

static const char *const view_codes[] = {"", "\033[1m", "\033[2m", "\033[1;32m", "\033[1;33m", "\033[1;31m"};
static const char *const view_agent_codes[] = {"\033[1;36m", "\033[1;35m", "\033[1;34m",
					       "\033[1;33m", "\033[1;32m", "\033[1;31m"};

static const char *view_on(const struct ask_view *v, enum view_style s)
{
	return v->colour ? view_codes[s] : "";
}

static const char *view_off(const struct ask_view *v)
{
	return v->colour ? "\033[0m" : "";
}

/* Text of agents and servers must not drive the terminal. */
static struct str view_safe(struct buf *b, struct str s)
{
	size_t i;

	buf_clear(b);
	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x20 || s.p[i] == '\n')
			buf_addc(b, s.p[i] == 0x7F ? '?' : s.p[i]);
	return buf_str(b);
}

static const char *view_agent_colour(struct ask_view *v, struct str agent)
{
	unsigned i;

	for (i = 0; i < v->agent_count && !str_eqz(agent, v->agents[i]); i++)
		;
	if (i == v->agent_count && i < VIEW_AGENTS)
		v->agents[v->agent_count++] = str_dupz(agent);
	return v->colour ? view_agent_codes[i % countof(view_agent_codes)] : "";
}

/* ---- wrapped text ---- */

/* Terminal columns of UTF-8 text: one per character, which is right for all but wide scripts. */
static int view_columns(struct str s)
{
	size_t i;
	int n = 0;

	for (i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
	return n;
}

static void view_word_out(struct ask_view *v)
{
	struct str w = buf_str(&v->word);
	int n = view_columns(w);

	if (w.n == 0)
		return;
	if (v->column > 2 && v->column + 1 + n > v->width) {
		fputc('\n', v->out);
		v->column = 0;
	}
	fputs(v->column == 0 ? "  " : v->column > 2 ? " " : "", v->out);
	fwrite(w.p, 1, w.n, v->out);
	v->column = (v->column == 0 ? 2 : v->column > 2 ? v->column + 1 : v->column) + n;
	buf_clear(&v->word);
}

static void view_write(struct ask_view *v, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] != ' ' && s.p[i] != '\n') {
			buf_addc(&v->word, s.p[i]);
			continue;
		}
		view_word_out(v);
		if (s.p[i] == '\n') {
			fputc('\n', v->out);
			v->column = 0;
		}
	}
}

static void view_end_text(struct ask_view *v)
{
	view_word_out(v);
	if (v->column > 0)
		fputc('\n', v->out);
	v->column = 0;
}

/* ---- blocks ---- */

static struct view_block *view_add(struct ask_view *v)
{
	struct view_block *b = xcalloc(1, sizeof(*b));

	*v->last = b;
	v->last = &b->next;
	return b;
}

static void view_block_free(struct view_block *b)
{
	free(b->key);
	buf_free(&b->head);
	buf_free(&b->text);
	free(b);
}

/* Prints what may be printed: complete blocks, and on a terminal the growing one in front. */
static void view_advance(struct ask_view *v)
{
	struct view_block *b;

	while ((b = v->first) != NULL && (v->live || !b->open)) {
		if (!b->head_done) {
			fwrite(b->head.p != NULL ? b->head.p : "", 1, b->head.n, v->out);
			b->head_done = true;
		}
		view_write(v, str_sub(buf_str(&b->text), b->printed, b->text.n));
		b->printed = b->text.n;
		if (b->open)
			break;
		view_end_text(v);
		v->first = b->next;
		if (v->first == NULL)
			v->last = &v->first;
		view_block_free(b);
	}
	fflush(v->out);
}

static char *view_key(struct str agent, int64_t round)
{
	struct buf b = BUF_INIT;
	char *key;

	buf_printf(&b, "%.*s/%lld", STR_ARG(agent), (long long)round);
	key = str_dupz(buf_str(&b));
	buf_free(&b);
	return key;
}

static struct view_block *view_find(struct ask_view *v, struct str agent, int64_t round)
{
	char *key = view_key(agent, round);
	struct view_block *b;

	for (b = v->first; b != NULL && (b->key == NULL || strcmp(b->key, key) != 0); b = b->next)
		;
	free(key);
	return b;
}

static void view_rule(struct ask_view *v, const char *title)
{
	struct view_block *b = view_add(v);
	int i, n = v->width - view_columns(str_of(title)) - 4;

	buf_printf(&b->head, "\n%s── %s ", view_on(v, STYLE_BOLD), title);
	for (i = 0; i < n; i++)
		buf_addz(&b->head, "─");
	buf_printf(&b->head, "%s\n", view_off(v));
}

static struct view_block *view_agent_block(struct ask_view *v, struct str agent, int64_t round, const char *what)
{
	struct view_block *b = view_add(v);

	b->key = view_key(agent, round);
	buf_printf(&b->head, "\n%s● %.*s%s%s%s%s\n", view_agent_colour(v, agent), STR_ARG(agent), view_off(v),
		   view_on(v, STYLE_DIM), what, view_off(v));
	return b;
}

/* ---- events ---- */

static void view_start(struct ask_view *v, const json_t *e, const json_t *data)
{
	const json_t *agents = json_get_arr(data, "agents");
	struct buf safe = BUF_INIT;
	struct view_block *b = view_add(v);
	size_t i;

	(void)e;
	v->total_rounds = (int)json_get_int(data, "total_rounds", 0);
	buf_printf(&b->head, "%sQuestion%s\n", view_on(v, STYLE_BOLD), view_off(v));
	buf_add(&b->text, view_safe(&safe, json_get_str(data, "task", STR(""))));
	b = view_add(v);
	buf_printf(&b->head, "\n%sAgents%s   ", view_on(v, STYLE_BOLD), view_off(v));
	for (i = 0; i < json_array_size(agents); i++) {
		struct str name = str_of(json_string_value(json_array_get(agents, i)));

		buf_printf(&b->head, "%s%s%.*s%s", i > 0 ? ", " : "", view_agent_colour(v, name), STR_ARG(name),
			   view_off(v));
	}
	buf_addc(&b->head, '\n');
	view_rule(v, "Independent drafts");
	buf_free(&safe);
}

static void view_round(struct ask_view *v, const json_t *e, const json_t *data)
{
	char title[64];

	(void)snprintf(title, sizeof(title), "Round %lld of %lld", (long long)json_get_int(e, "round", 0),
		       (long long)json_get_int(data, "total_rounds", v->total_rounds));
	view_rule(v, title);
}

/* "<agent>:<phase>:r<round>…": only texts that people read as they grow are shown live. */
static bool view_is_text(const json_t *e)
{
	struct str task = json_get_str(e, "task_id", STR(""));

	return str_find(task, STR(":propose:")) >= 0 || str_find(task, STR(":revise:")) >= 0;
}

static void view_token_start(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct str agent = json_get_str(e, "agent", STR(""));
	int64_t round = json_get_int(e, "round", 0);
	struct view_block *b;

	(void)data;
	if (!view_is_text(e))
		return;
	b = view_find(v, agent, round);
	if (b != NULL) {
		buf_addz(&b->text, "\n[interrupted; asking again]\n");
		return;
	}
	b = view_agent_block(v, agent, round, round == 0 ? " drafts" : " revises");
	b->open = true;
}

static void view_token(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct view_block *b = view_find(v, json_get_str(e, "agent", STR("")), json_get_int(e, "round", 0));
	struct buf safe = BUF_INIT;

	if (b != NULL && b->open && view_is_text(e))
		buf_add(&b->text, view_safe(&safe, json_get_str(data, "token", STR(""))));
	buf_free(&safe);
}

static void view_message(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct str agent = json_get_str(e, "agent", STR(""));
	int64_t round = json_get_int(e, "round", 0);
	struct view_block *b = view_find(v, agent, round);
	struct buf safe = BUF_INIT;

	if (b == NULL)
		b = view_agent_block(v, agent, round, round == 0 ? " drafts" : " revises");
	if (b->text.n == 0)
		buf_add(&b->text, view_safe(&safe, json_get_str(data, "content", STR(""))));
	b->open = false;
	buf_free(&safe);
}

static void view_list(struct view_block *b, struct buf *safe, const char *mark, const json_t *items)
{
	size_t i;

	for (i = 0; i < json_array_size(items) && i < VIEW_ITEMS; i++) {
		buf_printf(&b->text, "%s", mark);
		buf_add(&b->text, view_safe(safe, str_of(json_string_value(json_array_get(items, i)))));
		buf_addc(&b->text, '\n');
	}
}

static void view_critique(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct str critic = json_get_str(e, "agent", STR("")), target = json_get_str(data, "target_agent", STR(""));
	double severity = json_get_num(data, "severity", 0);
	struct view_block *b = view_add(v);
	struct buf safe = BUF_INIT;
	int i;

	buf_printf(&b->head, "\n%s%.*s%s criticises %s%.*s%s  severity %s%.1f%s ", view_agent_colour(v, critic),
		   STR_ARG(critic), view_off(v), view_agent_colour(v, target), STR_ARG(target), view_off(v),
		   view_on(v, severity >= 7   ? STYLE_RED
			      : severity >= 4 ? STYLE_YELLOW
					      : STYLE_GREEN),
		   severity, view_off(v));
	for (i = 0; i < 10; i++)
		buf_addz(&b->head, i < (int)(severity + 0.5) ? "▪" : "·");
	buf_addc(&b->head, '\n');
	view_list(b, &safe, "- ", json_get_arr(data, "issues"));
	view_list(b, &safe, "+ ", json_get_arr(data, "suggestions"));
	buf_free(&safe);
}

static void view_vote(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct str voter = json_get_str(e, "agent", STR("")), choice = json_get_str(data, "choice", STR(""));
	struct buf safe = BUF_INIT;
	struct view_block *b;

	if (!v->vote_begun) /* the first vote opens its section */
		view_rule(v, "Vote");
	v->vote_begun = true;
	b = view_add(v);
	buf_printf(&b->head, "\n%s%.*s%s votes for %s%.*s%s, %.0f %% sure\n", view_agent_colour(v, voter),
		   STR_ARG(voter), view_off(v), view_agent_colour(v, choice), STR_ARG(choice), view_off(v),
		   json_get_num(data, "confidence", 0) * 100);
	buf_add(&b->text, view_safe(&safe, json_get_str(data, "reasoning", STR(""))));
	buf_free(&safe);
}

static void view_error(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct str agent = json_get_str(e, "agent", STR(""));
	struct view_block *open = view_find(v, agent, json_get_int(e, "round", 0)), *b;
	struct buf safe = BUF_INIT;

	if (open != NULL)
		open->open = false;
	b = view_add(v);
	buf_printf(&b->head, "\n%s! %.*s%s %s\n", view_on(v, STYLE_RED), STR_ARG(agent), view_off(v),
		   agent.n > 0 ? "drops out of this step:" : "");
	buf_add(&b->text, view_safe(&safe, json_get_str(data, "message", STR(""))));
	buf_free(&safe);
}

static void view_gate(struct ask_view *v, const json_t *e, const json_t *data)
{
	struct view_block *b;

	(void)e;
	if (!str_eqz(json_get_str(data, "phase", STR("")), "convergence_check"))
		return;
	b = view_add(v);
	buf_printf(&b->head, "\n%s  positions: %.*s (agreement %.0f %%)%s\n", view_on(v, STYLE_DIM),
		   STR_ARG(json_get_str(data, "status", STR(""))), json_get_num(data, "agreement", 0) * 100,
		   view_off(v));
}

static const struct {
	const char *type;
	void (*fn)(struct ask_view *v, const json_t *e, const json_t *data);
} view_events[] = {
    {"debate_start", view_start},  {"round_start", view_round},     {"token_start", view_token_start},
    {"token_delta", view_token},   {"agent_message", view_message}, {"critique", view_critique},
    {"vote", view_vote},           {"agent_error", view_error},     {"error", view_error},
    {"phase_progress", view_gate},
};

void ask_view_event(struct ask_view *v, const json_t *event)
{
	struct str type = json_get_str(event, "type", STR(""));
	size_t i;

	for (i = 0; i < countof(view_events); i++)
		if (str_eqz(type, view_events[i].type))
			view_events[i].fn(v, event, json_get_obj(event, "data"));
	view_advance(v);
}

void ask_view_flush(struct ask_view *v)
{
	struct view_block *b;

	for (b = v->first; b != NULL; b = b->next)
		b->open = false;
	view_advance(v);
}

/* ---- the decision ---- */

static void view_paragraph(struct ask_view *v, struct str text)
{
	struct buf safe = BUF_INIT;

	view_write(v, view_safe(&safe, text));
	view_end_text(v);
	buf_free(&safe);
}

static void view_dissents(struct ask_view *v, const json_t *debate)
{
	const json_t *list = json_get_arr(debate, "dissents");
	size_t i;

	if (json_array_size(list) > 0)
		fprintf(v->out, "\n%sDissent%s\n", view_on(v, STYLE_BOLD), view_off(v));
	for (i = 0; i < json_array_size(list); i++) {
		const json_t *d = json_array_get(list, i);
		struct str agent = json_get_str(d, "agent", STR(""));
		struct str view = json_get_str(d, "view", STR(""));

		fprintf(v->out, "  %s%.*s%s\n", view_agent_colour(v, agent), STR_ARG(agent), view_off(v));
		view_paragraph(v, str_utf8_cut(view, 300));
	}
}

static void view_receipt(struct ask_view *v, const json_t *receipt, const json_t *check)
{
	bool valid = json_get_bool(check, "valid", false);
	struct str id = json_get_str(receipt, "receipt_id", STR("")),
		   hash = json_get_str(receipt, "content_hash", STR(""));

	fprintf(v->out, "\n%sReceipt%s  %.*s\n", view_on(v, STYLE_BOLD), view_off(v), STR_ARG(id));
	fprintf(v->out, "  %s%s%s\n", view_on(v, valid ? STYLE_GREEN : STYLE_RED),
		valid ? "verified: the content is intact and the signature is valid" : "NOT VERIFIED", view_off(v));
	fprintf(v->out, "  sha256 %.*s\n", STR_ARG(hash));
}

void ask_view_result(struct ask_view *v, const json_t *debate, const json_t *receipt, const json_t *check)
{
	bool reached = json_get_bool(debate, "consensus_reached", false);
	struct str verdict = json_get_str(receipt, "verdict", STR("")),
		   winner = json_get_str(debate, "winner", STR(""));
	struct str answer = json_get_str(debate, "final_answer", STR("")),
		   error = json_get_str(debate, "error", STR(""));

	view_rule(v, "Decision");
	ask_view_flush(v);
	fprintf(v->out, "\n  %s%s%s", view_on(v, reached ? STYLE_GREEN : STYLE_YELLOW),
		reached ? "CONSENSUS" : "NO CONSENSUS", view_off(v));
	if (verdict.n > 0)
		fprintf(v->out, "   verdict %s%.*s%s", view_on(v, STYLE_BOLD), STR_ARG(verdict), view_off(v));
	fprintf(v->out, "   confidence %.0f %%", json_get_num(debate, "confidence", 0) * 100);
	if (winner.n > 0)
		fprintf(v->out, "   position of %s%.*s%s", view_agent_colour(v, winner), STR_ARG(winner), view_off(v));
	fputs("\n\n", v->out);
	if (error.n > 0)
		view_paragraph(v, error);
	view_paragraph(v, answer);
	view_dissents(v, debate);
	fprintf(v->out, "\n%sCost%s     $%.4f, %lld tokens, %.1f s\n", view_on(v, STYLE_BOLD), view_off(v),
		json_get_num(debate, "total_cost_usd", 0), (long long)json_get_int(debate, "total_tokens", 0),
		json_get_num(debate, "duration_seconds", 0));
	if (receipt != NULL)
		view_receipt(v, receipt, check);
	fflush(v->out);
}

/* ---- life ---- */

struct ask_view *ask_view_new(FILE *out)
{
	struct ask_view *v = xcalloc(1, sizeof(*v));
	const char *no_color = getenv("NO_COLOR");
	struct winsize size;

	v->out = out;
	v->last = &v->first;
	v->live = isatty(fileno(out)) == 1;
	v->colour = v->live && (no_color == NULL || no_color[0] == '\0');
	v->width = 80;
	if (v->live && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		v->width = size.ws_col < VIEW_WIDTH_MAX ? size.ws_col : VIEW_WIDTH_MAX;
	if (v->width < VIEW_WIDTH_MIN)
		v->width = VIEW_WIDTH_MIN;
	return v;
}

void ask_view_free(struct ask_view *v)
{
	struct view_block *b;
	unsigned i;

	while ((b = v->first) != NULL) {
		v->first = b->next;
		view_block_free(b);
	}
	for (i = 0; i < v->agent_count; i++)
		free(v->agents[i]);
	buf_free(&v->word);
	free(v);
}
