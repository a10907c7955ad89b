/* SPDX-License-Identifier: MIT */
/*
 * `aragorad encrypt`: which secret fields lie under which key, and with --execute brings all under the first one. Works
 * beside running servers; the registry of fields is worker/secrets.c.
 */
#include <inttypes.h>

#include "common/conf.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "master/control.h"
#include "worker/secrets.h"

struct encrypt {
	struct args args;
	const char *store;
	bool all, execute, verbose;
	/* While a store is gone through: */
	const char *now;
	int64_t lost, broken; /* failures: key not found, anything else */
};

static void encrypt_failed(void *arg, const char *column, struct str row, const struct error *why)
{
	struct encrypt *o = arg;

	o->lost += why->code == ERR_NOT_FOUND;
	o->broken += why->code != ERR_NOT_FOUND;
	if (o->verbose || o->lost + o->broken == 1)
		fprintf(stderr, "aragorad encrypt: %s: %s of %.*s: %s\n", o->now, column, STR_ARG(row), why->msg);
}

/*
 * This process is no part of the server, whose counters a scraper reads: a running master adds these. Without one they
 * are of no interest to anybody.
 */
static void encrypt_tell(const struct conf *c, const struct encrypt *o, const struct recrypt *r)
{
	struct buf line = BUF_INIT, answer = BUF_INIT;
	struct error ignored = ERROR_INIT;

	buf_printf(&line, "migrated %s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, o->now, r->written,
		   r->active + r->changed, o->lost, o->broken);
	if (!control_ask(c, line.p, &answer, &ignored))
		buf_clear(&answer);
	buf_free(&line);
	buf_free(&answer);
}

static json_t *encrypt_json(const char *store, const struct recrypt *r)
{
	json_t *row = json_object();

	json_put_str(row, "store", str_of(store));
	json_put_int(row, "total_records", r->fields);
	json_put_int(row, "plain", r->plain);
	json_put_int(row, "other_key", r->old);
	json_put_int(row, "already_encrypted", r->active);
	json_put_int(row, "failed", r->failed);
	json_put_int(row, "migrated", r->written);
	return row;
}

static void encrypt_row(struct table *t, const char *store, const struct recrypt *r)
{
	const int64_t cells[] = {r->fields, r->plain, r->old, r->active, r->failed, r->written};

	table_cell(t, "%s", store);
	for (size_t i = 0; i < countof(cells); i++)
		table_cell(t, "%" PRId64, cells[i]);
}

static void encrypt_head(const struct conf *c, const struct keyring *k)
{
	printf("Active key: %s, AES-256-GCM, from %s%s\n", keyring_active(k)->id,
	       keyring_configured(k) ? "storage.encryption_key" : c->storage.data_dir,
	       keyring_configured(k) ? "" : "/keys/encryption.key");
	if (keyring_count(k) > 1)
		printf("Also read: ");
	for (size_t i = 1; i < keyring_count(k); i++)
		printf(" %s", keyring_at(k, i)->id);
	printf(keyring_count(k) > 1 ? "\n\n" : "\n");
}

static void encrypt_print_json(const struct encrypt *o, const struct keyring *k, json_t *list)
{
	json_t *doc = json_object();
	char *text;

	json_put_str(doc, "active_key_id", str_of(keyring_active(k)->id));
	json_object_set_new(doc, "dry_run", json_boolean(!o->execute));
	json_object_set(doc, "stores", list);
	text = json_dumps(doc, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(doc);
}

/* Adds what it saw to *sum. */
static bool encrypt_stores(struct encrypt *o, const struct conf *c, const struct keyring *k, struct table *t,
			   json_t *list, struct recrypt *sum, struct error *err)
{
	struct dba *d = dba_open(c, o->execute ? DBA_WRITE : DBA_READ, err);
	struct recrypt r;
	bool ok = d != NULL;

	for (size_t i = 0; ok && i < secret_stores_count; i++) {
		if (o->store != NULL && strcmp(o->store, secret_stores[i].name) != 0)
			continue;
		o->now = secret_stores[i].name;
		o->lost = o->broken = 0;
		ok = recrypt_store(d, k, &secret_stores[i], o->execute, encrypt_failed, o, &r, err);
		if (o->execute)
			encrypt_tell(c, o, &r);
		encrypt_row(t, o->now, &r);
		json_array_append_new(list, encrypt_json(o->now, &r));
		sum->plain += r.plain;
		sum->old += r.old;
		sum->failed += r.failed;
		sum->written += r.written;
	}
	if (ok && o->execute && o->store == NULL && sum->failed == 0)
		ok = secrets_forget_keys(d, k, err);
	dba_close(d);
	return ok;
}

static void encrypt_conclude(const struct encrypt *o, const struct recrypt *sum)
{
	if (o->execute)
		printf("\n%" PRId64 " fields were brought under the active key", sum->written);
	else if (sum->plain + sum->old > 0)
		printf("\nDry run, nothing was written; --execute brings %" PRId64 " fields under the active key",
		       sum->plain + sum->old);
	else
		printf("\nNothing to do");
	if (sum->failed > 0)
		printf("; %" PRId64 " could not be read%s", sum->failed, o->verbose ? "" : " (-v names them)");
	printf(".\n");
}

static bool encrypt_known(const char *store)
{
	for (size_t i = 0; i < secret_stores_count; i++) {
		if (strcmp(store, secret_stores[i].name) == 0)
			return true;
	}
	fprintf(stderr, "aragorad encrypt: this version has no store %s; it has:", store);
	for (size_t i = 0; i < secret_stores_count; i++)
		fprintf(stderr, " %s", secret_stores[i].name);
	fprintf(stderr, "\n");
	return false;
}

static int encrypt_do(struct args *a, const struct conf *c)
{
	static const struct table_column columns[] = {{"STORE", false},    {"FIELDS", true}, {"PLAIN", true},
						      {"OTHER KEY", true}, {"ACTIVE", true}, {"FAILED", true},
						      {"WRITTEN", true}};
	struct encrypt *o = container_of(a, struct encrypt, args);
	struct error err = ERROR_INIT;
	struct recrypt sum = {0};
	struct keyring *k;
	struct table *t;
	json_t *list;
	bool ok;

	if (o->store != NULL && !encrypt_known(o->store))
		return EXIT_USAGE;
	k = keyring_open(c, true, &err);
	t = table_new(columns, countof(columns));
	list = json_array();
	ok = k != NULL;
	if (ok && !a->json)
		encrypt_head(c, k);
	ok = ok && encrypt_stores(o, c, k, t, list, &sum, &err);
	if (ok && a->json) {
		encrypt_print_json(o, k, list);
	} else if (ok) {
		table_print(t, stdout);
		encrypt_conclude(o, &sum);
	}
	json_decref(list);
	table_free(t);
	keyring_close(k);
	if (!ok)
		return ops_fail(&err);
	if (o->execute && ops_told(c, sum.failed == 0, "admin.secrets_encrypted", "store", o->store) != EXIT_OK)
		return EXIT_FAILED;
	return sum.failed == 0 ? EXIT_OK : EXIT_FAILED;
}

static const struct ops_action encrypt_actions[] = {{"", encrypt_do}};

static int encrypt_run(int argc, char **argv)
{
	struct encrypt o = {.all = false};

	return ops_main(&command_encrypt, &o.args, encrypt_actions, argc, argv);
}

static void encrypt_on_store(void *target, const struct arg *row, const char *value)
{
	struct encrypt *o = target;

	(void)value;
	o->store = row->key;
}

/* The runbook's spellings of --store. */
#define RUNBOOK(flag, store_name)                                                            \
	{                                                                                    \
		.name = flag, .kind = ARG_CALL, .take = encrypt_on_store, .key = store_name, \
		.help = "as --store " store_name                                             \
	}
static const struct arg encrypt_args[] = {
    ARG_CONF,
    {.name = "all", .kind = ARG_FLAG, .offset = offsetof(struct encrypt, all), .help = "all stores (the default)"},
    {.name = "store", .offset = offsetof(struct encrypt, store), .value = "NAME", .help = "only this one"},
    RUNBOOK("sync-store", "sync"),
    RUNBOOK("integration-store", "integrations"),
    RUNBOOK("gmail-tokens", "gmail_tokens"),
    {.name = "execute",
     .kind = ARG_FLAG,
     .offset = offsetof(struct encrypt, execute),
     .help = "write; without it nothing is written"},
    {.name = "verbose",
     .letter = 'v',
     .kind = ARG_FLAG,
     .offset = offsetof(struct encrypt, verbose),
     .help = "name every field that cannot be read"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_encrypt = {
    .name = "encrypt",
    .synopsis = "[--all|--store NAME] [--execute] [OPTION...]",
    .summary = "show under which key secret fields lie; bring all under the first key",
    .about =
	"Opens every secret field and says under which key it lies. With --execute plain ones and those under another "
	"key of storage.encryption_key are encrypted with the first one; servers may run meanwhile, and a run that was "
	"stopped is just started again. To rotate: put the new key first on all nodes and reload them, run this with "
	"--execute, take the old key away after a week.",
    .args = encrypt_args,
    .run = encrypt_run,
};
