/* SPDX-License-Identifier: MIT */
/*
 * The registry of secret fields, read by `aragorad encrypt`, and of the keys that were used, kept in settings. The
 * areas themselves seal and open their fields. The row of an envelope is named by the table's primary key, its columns
 * joined with '|'.
 */
#include "worker/secrets.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/audit/audit.h"

#define SECRETS_KEY "encryption_key." /* and the key's id: a row of settings, as old as the key's first use */
#define DAY_MS INT64_C(86400000)

const struct secret_store secret_stores[] = {
    {"deliveries", "debate_callbacks", {"secret", NULL}},
    {"mfa", "mfa", {"secret", NULL}},
};
const size_t secret_stores_count = countof(secret_stores);

/* Adds the id of a key that is missing. */
static void secrets_judge(const struct keyring *k, struct str id, int64_t since, int64_t now, struct buf *missing)
{
	const struct keyring_key *key = keyring_find(k, id);

	if (key == NULL) {
		buf_printf(missing, "%s%.*s", missing->n > 0 ? ", " : "", STR_ARG(id));
		log_error(
		    "crypto",
		    "Key not found: secret fields may be encrypted with a key that is not in ARAGORA_ENCRYPTION_KEY "
		    "here; put it behind the first one, or run aragorad encrypt --execute where it is",
		    KV_STR("key_id", id));
	} else if (key == keyring_active(k) && now - since > SECRETS_ROTATE_DAYS * DAY_MS) {
		log_warn("crypto", "the encryption key is due for rotation: see encrypt in aragorad(8)",
			 KV_STR("key_id", id), KV_I("days", (now - since) / DAY_MS));
	}
}

bool secrets_note_keys(const struct conf *c, char *missing, size_t n, struct error *err)
{
	struct keyring *k = keyring_open(c, true, err);
	struct dba *d = k != NULL ? dba_open(c, DBA_WRITE, err) : NULL;
	struct arena *a = arena_new(0);
	int64_t now = clock_wall_ms(), fresh = 0;
	struct buf lacking = BUF_INIT;
	struct db_rows rows = {0, 0, NULL};
	bool ok = d != NULL;

	if (ok)
		ok = dba_begin(d, false, err) &&
		     dba_run(d,
			     "INSERT INTO settings (key, value, updated_at) VALUES ($1, '', $2) ON CONFLICT (key) DO "
			     "NOTHING",
			     DB_ARGS(DB_S(arena_printf(a, SECRETS_KEY "%s", keyring_active(k)->id)), DB_I(now)), &fresh,
			     err) &&
		     dba_query(d, a,
			       "SELECT key, updated_at FROM settings WHERE key LIKE '" SECRETS_KEY "%' ORDER BY key",
			       DB_NO_ARGS, &rows, err) &&
		     dba_commit(d, err);
	for (size_t i = 0; ok && i < rows.count; i++) {
		struct str key = db_str(&rows, i, 0);

		secrets_judge(k, str_sub(key, strlen(SECRETS_KEY), key.n), db_int(&rows, i, 1), now, &lacking);
	}
	(void)snprintf(missing, n, "%.*s", STR_ARG(buf_str(&lacking)));
	buf_free(&lacking);
	dba_close(d);
	if (ok && fresh > 0)
		ok = audit_service(c,
				   &(struct audit_event){.category = "security",
							 .action = "security.key_rotation",
							 .resource_type = STR("encryption_key"),
							 .resource_id = str_of(keyring_active(k)->id)},
				   err);
	arena_free(a);
	keyring_close(k);
	return ok;
}

bool secrets_forget_keys(struct dba *d, const struct keyring *k, struct error *err)
{
	struct arena *a = arena_new(0);
	bool ok = dba_begin(d, false, err) &&
		  dba_run(d, "DELETE FROM settings WHERE key LIKE '" SECRETS_KEY "%' AND key <> $1",
			  DB_ARGS(DB_S(arena_printf(a, SECRETS_KEY "%s", keyring_active(k)->id))), NULL, err) &&
		  dba_commit(d, err);

	if (!ok)
		dba_rollback(d);
	arena_free(a);
	return ok;
}
