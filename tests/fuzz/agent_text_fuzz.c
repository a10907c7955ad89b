/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the reading of what a model wrote: choices are among those there are, numbers within their ranges, lists and
 * texts within their bounds, and two texts are as alike as the other way round. Byte 0 says how many proposals there
 * are; the rest is split in two texts at its first NUL.
 */
#include "common/json.h"
#include "tests/fuzz/fuzz.h"
#include "worker/engine/consensus.h"
#include "worker/engine/parse.h"
#include "worker/engine/similarity.h"

static void fuzz_vote(struct arena *a, struct str text, size_t n)
{
	struct parse_vote vote;
	struct parse_judge judge;
	int64_t ppm;
	size_t index;

	if (parse_vote(a, text, n, &vote))
		BUG_ON(vote.choice >= n || vote.confidence_ppm < 0 || vote.confidence_ppm > CONSENSUS_ONE ||
		       vote.reasoning.n > PARSE_REASON_MAX);
	if (parse_judge(a, text, n, &judge))
		BUG_ON(judge.winner >= n || judge.confidence_ppm < 0 || judge.confidence_ppm > CONSENSUS_ONE);
	if (parse_confidence(text, &ppm))
		BUG_ON(ppm < 0 || ppm > CONSENSUS_ONE);
	if (parse_stated_confidence(text, &ppm))
		BUG_ON(ppm < 0 || ppm > CONSENSUS_ONE);
	BUG_ON(parse_body(text).n > text.n || parse_body(parse_body(text)).n != parse_body(text).n);
	(void)parse_ready(text);
	if (parse_label(text, n, &index))
		BUG_ON(index >= n);
}

/* Bytes that are no UTF-8, which do not come from JSON, are replaced by three each. */
static void fuzz_list(const json_t *list, bool valid)
{
	BUG_ON(json_array_size(list) > PARSE_LIST_MAX);
	for (size_t i = 0; i < json_array_size(list); i++)
		BUG_ON(json_string_length(json_array_get(list, i)) > (valid ? 1 : 3) * PARSE_ITEM_MAX);
}

static void fuzz_critique(struct arena *a, struct str text)
{
	struct parse_critique c;

	parse_critique(a, text, &c);
	BUG_ON(c.severity_milli < 0 || c.severity_milli > 10000);
	fuzz_list(c.issues, str_utf8_valid(text));
	fuzz_list(c.suggestions, str_utf8_valid(text));
	BUG_ON(parse_position(text).n > PARSE_POSITION_MAX);
}

static void fuzz_pair(struct arena *a, struct str x, struct str y)
{
	struct consensus_proposal p[2] = {{.name = STR("a"), .text = x, .position = parse_position(x)},
					  {.name = STR("b"), .text = y, .position = parse_position(y)}};
	const struct similarity_vector *v = similarity_vector(a, x), *w = similarity_vector(a, y);
	int64_t alike = similarity_cosine(v, w);

	BUG_ON(alike < 0 || alike > SIMILARITY_ONE || alike != similarity_cosine(w, v));
	BUG_ON(similarity_cosine(v, v) != SIMILARITY_ONE);
	BUG_ON(similarity_contradicts(x, y) != similarity_contradicts(y, x));
	consensus_group(a, p, 2,
			&(struct consensus_sameness){.text_ppm = CONSENSUS_SAME_PPM, .by_meaning = x.n % 2 == 0});
	BUG_ON(p[0].group != 0 || p[1].group > 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_new(0);
	struct str text, first;
	ptrdiff_t nul;

	if (size > 0) {
		text = (struct str){(const char *)data + 1, size - 1};
		nul = str_chr(text, '\0');
		first = nul < 0 ? text : str_sub(text, 0, (size_t)nul);
		fuzz_vote(a, text, 1 + data[0] % CONSENSUS_MAX);
		fuzz_critique(a, text);
		fuzz_pair(a, first, nul < 0 ? STR_NONE : str_sub(text, (size_t)nul + 1, text.n));
	}
	arena_free(a);
	return 0;
}
