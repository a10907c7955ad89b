/* SPDX-License-Identifier: MIT */
/*
 * Rows of an evaluation in the forms that people and programs read (eval_report.h). Called by `aragorad eval` and the
 * simulations. Computes nothing.
 */
#include "master/commands/eval_report.h"

#include "common/json.h"
#include "master/commands/table.h"

/* "-" where nothing was claimed. */
static void eval_claim(struct table *t, double v)
{
	if (v < 0)
		table_cell(t, "-");
	else
		table_cell(t, "%.3f", v);
}

void eval_print(const struct eval_row *rows, size_t n, bool cost, FILE *out)
{
	static const struct table_column columns[] = {
	    {"ARM", false},   {"RIGHT", true},     {"95 %", true},      {"GAIN", true}, {"95 %", true},
	    {"TOKENS", true}, {"CALLS", true},     {"R>W", true},       {"W>R", true},  {"BRIER", true},
	    {"ECE", true},    {"CONSENSUS", true}, {"USD / 1000", true}};
	struct table *t = table_new(columns, countof(columns) - !cost);
	size_t i;

	for (i = 0; i < n; i++) {
		const struct eval_row *r = &rows[i];

		table_cell(t, "%s", r->name);
		table_cell(t, "%.1f", 100 * r->accuracy);
		table_cell(t, "%.1f-%.1f", 100 * r->range.low, 100 * r->range.high);
		table_cell(t, "%+.1f", 100 * r->gain);
		table_cell(t, "%+.1f to %+.1f", 100 * r->gain_range.low, 100 * r->gain_range.high);
		table_cell(t, "%.0f", r->tokens);
		table_cell(t, "%.1f", r->calls);
		table_cell(t, "%lld", (long long)r->right_to_wrong);
		table_cell(t, "%lld", (long long)r->wrong_to_right);
		eval_claim(t, r->brier);
		eval_claim(t, r->ece);
		table_cell(t, "%.0f", 100 * r->consensus);
		if (cost)
			table_cell(t, "%.3f", 1000 * r->cost_usd);
	}
	table_print(t, out);
	table_free(t);
}

/* A figure by its name; what was not claimed is null. */
static void eval_put(json_t *o, const char *key, double v, bool claimed)
{
	json_object_set_new(o, key, claimed ? json_real(v) : json_null());
}

json_t *eval_json(const struct eval_row *rows, size_t n)
{
	json_t *list = json_array(), *o;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct eval_row *r = &rows[i];

		o = json_object();
		json_put_str(o, "arm", str_of(r->name));
		json_put_int(o, "questions", (int64_t)r->n);
		eval_put(o, "accuracy", r->accuracy, true);
		eval_put(o, "accuracy_low", r->range.low, true);
		eval_put(o, "accuracy_high", r->range.high, true);
		eval_put(o, "gain", r->gain, true);
		eval_put(o, "gain_low", r->gain_range.low, true);
		eval_put(o, "gain_high", r->gain_range.high, true);
		eval_put(o, "tokens", r->tokens, true);
		eval_put(o, "calls", r->calls, true);
		json_put_int(o, "right_to_wrong", r->right_to_wrong);
		json_put_int(o, "wrong_to_right", r->wrong_to_right);
		eval_put(o, "brier", r->brier, r->brier >= 0);
		eval_put(o, "ece", r->ece, r->ece >= 0);
		eval_put(o, "consensus_rate", r->consensus, true);
		eval_put(o, "cost_usd", r->cost_usd, true);
		json_array_append_new(list, o);
	}
	return list;
}

static void eval_csv_claim(struct buf *out, double v)
{
	if (v >= 0)
		buf_printf(out, "%.6f", v);
	buf_addc(out, ',');
}

void eval_csv(const struct eval_row *rows, size_t n, struct buf *out)
{
	size_t i;

	buf_addz(out, "arm,questions,accuracy,accuracy_low,accuracy_high,gain,gain_low,gain_high,tokens,calls,"
		      "right_to_wrong,wrong_to_right,brier,ece,consensus_rate,cost_usd\r\n");
	for (i = 0; i < n; i++) {
		const struct eval_row *r = &rows[i];

		buf_printf(out, "\"%s\",%zu,%.6f,%.6f,%.6f,%.6f,%.6f,%.6f,%.1f,%.2f,%lld,%lld,", r->name, r->n,
			   r->accuracy, r->range.low, r->range.high, r->gain, r->gain_range.low, r->gain_range.high,
			   r->tokens, r->calls, (long long)r->right_to_wrong, (long long)r->wrong_to_right);
		eval_csv_claim(out, r->brier);
		eval_csv_claim(out, r->ece);
		buf_printf(out, "%.6f,%.8f\r\n", r->consensus, r->cost_usd);
	}
}
