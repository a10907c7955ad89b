/* SPDX-License-Identifier: MIT */
/*
 * Which critiques changed what: each text is compared with the one before it and with what its critics asked for.
 * Called for explanations, in a lane. These are measures of wording (TF-IDF, similarity.h), and said to be.
 */
#include "worker/explain/explain.h"

#include "common/json.h"
#include "worker/engine/similarity.h"

#define CHANGES_NONE_PPM 20000   /* a text that differs less has not changed */
#define CHANGES_UPTAKE_PPM 20000 /* so much closer to the critique it has taken something up */

static const struct similarity_vector *changes_vector(struct arena *a, const json_t *message)
{
	return similarity_vector(a, json_get_str(message, "content", STR("")));
}

/* The texts of one agent, by round. */
struct changes_text {
	struct str agent;
	int64_t round;
	const struct similarity_vector *vector, *before; /* before: NULL for a first draft */
	int64_t changed_ppm;
	bool flipped;
};

struct changes {
	struct changes_text *texts;
	size_t n;
};

static bool changes_flipped(const json_t *result, struct str agent, int64_t round)
{
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "flips"), i,
			   e) if (json_get_int(e, "round", -1) == round &&
				  str_eq(json_get_str(e, "agent", STR("")), agent)) return true;
	return false;
}

static void changes_read(struct arena *a, const json_t *result, struct changes *c)
{
	const json_t *messages = json_get_arr(result, "messages"), *e;
	size_t i, k;

	c->texts = arena_zalloc(a, (json_array_size(messages) + 1) * sizeof(*c->texts));
	c->n = 0;
	json_array_foreach(messages, i, e)
	{
		struct changes_text *t = &c->texts[c->n++];

		t->agent = json_get_str(e, "agent", STR(""));
		t->round = json_get_int(e, "round", 0);
		t->vector = changes_vector(a, e);
		for (k = c->n - 1; k > 0 && t->before == NULL; k--)
			if (str_eq(c->texts[k - 1].agent, t->agent))
				t->before = c->texts[k - 1].vector;
		if (t->before == NULL)
			continue;
		t->changed_ppm = SIMILARITY_ONE - similarity_cosine(t->before, t->vector);
		t->flipped = changes_flipped(result, t->agent, t->round);
	}
}

/* The revision that came after a critique, of the same round; NULL: its target did not answer. */
static const struct changes_text *changes_answer(const struct changes *c, struct str agent, int64_t round)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (c->texts[i].round == round && c->texts[i].before != NULL && str_eq(c->texts[i].agent, agent))
			return &c->texts[i];
	return NULL;
}

static const struct similarity_vector *changes_asked(struct arena *a, const json_t *critique)
{
	static const char *const lists[] = {"issues", "suggestions"};
	struct buf text = BUF_INIT;
	const struct similarity_vector *v;
	const json_t *e;
	size_t i, k;

	for (k = 0; k < countof(lists); k++)
		json_array_foreach(json_get_arr(critique, lists[k]), i, e) if (json_is_string(e))
		{
			buf_add(&text, (struct str){json_string_value(e), json_string_length(e)});
			buf_addc(&text, '\n');
		}
	v = similarity_vector(a, arena_str(a, buf_str(&text)));
	buf_free(&text);
	return v;
}

static const char *changes_effect(const struct changes_text *answer, int64_t uptake)
{
	if (answer == NULL)
		return "unanswered";
	if (answer->flipped)
		return "position_changed";
	if (answer->changed_ppm < CHANGES_NONE_PPM)
		return "none";
	return uptake >= CHANGES_UPTAKE_PPM ? "taken_up" : "little";
}

static json_t *changes_critique(struct arena *a, const struct changes *c, const json_t *e)
{
	struct str target = json_get_str(e, "target_agent", STR(""));
	const struct changes_text *answer = changes_answer(c, target, json_get_int(e, "round", 0));
	const struct similarity_vector *asked = changes_asked(a, e);
	json_t *o = json_object();
	int64_t uptake = 0;

	if (answer != NULL)
		uptake = similarity_cosine(asked, answer->vector) - similarity_cosine(asked, answer->before);
	json_put_int(o, "round", json_get_int(e, "round", 0));
	json_put_str(o, "critic", json_get_str(e, "agent", STR("")));
	json_put_str(o, "target", target);
	json_put_int(o, "severity_milli", json_get_int(e, "severity_milli", 0));
	json_object_set(o, "issues", json_object_get(e, "issues"));
	json_object_set(o, "suggestions", json_object_get(e, "suggestions"));
	json_put_int(o, "uptake_ppm", uptake);
	json_put_int(o, "target_changed_ppm", answer != NULL ? answer->changed_ppm : 0);
	json_put_str(o, "effect", str_of(changes_effect(answer, uptake)));
	return o;
}

json_t *explain_changes(struct arena *a, const json_t *result)
{
	json_t *o = json_object(), *changes = json_array(), *critiques = json_array();
	struct changes c;
	const json_t *e;
	size_t i;

	changes_read(a, result, &c);
	for (i = 0; i < c.n; i++) {
		const struct changes_text *t = &c.texts[i];
		json_t *one;

		if (t->before == NULL)
			continue;
		one = json_object();
		json_put_int(one, "round", t->round);
		json_put_str(one, "agent", t->agent);
		json_put_int(one, "similarity_ppm", SIMILARITY_ONE - t->changed_ppm);
		json_put_int(one, "changed_ppm", t->changed_ppm);
		json_object_set_new(one, "flipped", json_boolean(t->flipped));
		json_array_append_new(changes, one);
	}
	json_array_foreach(json_get_arr(result, "critiques"), i, e)
	    json_array_append_new(critiques, changes_critique(a, &c, e));
	json_object_set_new(o, "changes", changes);
	json_object_set_new(o, "critiques", critiques);
	return o;
}
