/* SPDX-License-Identifier: MIT */
/*
 * Makes and checks the setup token, a row of settings that holds its hash. Called by the start-up child, by `aragorad
 * user setup-token` and by POST /api/auth/setup. It makes no user.
 */
#include "worker/identity/setup.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/db_admin.h"
#include "common/ids.h"
#include "worker/worker.h"

#define SETUP_KEY "setup_token"
#define SETUP_BYTES 20

static struct str setup_hash(struct arena *a, struct str token)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(token, hex);
	return arena_str(a, str_of(hex));
}

bool setup_token_make(struct dba *d, bool anew, char token[SETUP_TOKEN_MAX], struct error *err)
{
	struct arena *a = arena_new(0);
	int64_t users = 0, tokens = 0;
	bool ok;

	token[0] = '\0';
	ok = dba_int(d, "SELECT COUNT(*) FROM users", DB_NO_ARGS, &users, err) &&
	     dba_int(d, "SELECT COUNT(*) FROM settings WHERE key = '" SETUP_KEY "'", DB_NO_ARGS, &tokens, err);
	if (ok && users == 0 && (anew || tokens == 0)) {
		ids_hex(token, SETUP_BYTES);
		ok =
		    dba_run(d,
			    "INSERT INTO settings (key, value, updated_at) VALUES ('" SETUP_KEY "', $1, $2)"
			    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
			    DB_ARGS(DB_S(setup_hash(a, str_of(token))), DB_I(clock_wall_ms())), NULL, err);
	}
	arena_free(a);
	return ok;
}

CO_FN bool setup_token_good(struct worker *w, struct arena *a, struct str token, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a, "SELECT value FROM settings WHERE key = '" SETUP_KEY "'", DB_NO_ARGS, &r, err))
		return false;
	if (r.count > 0 && token.n > 0 && crypto_equal(setup_hash(a, token), db_str(&r, 0, 0)))
		return true;
	return error_field(err, ERR_INVALID_TOKEN, "token",
			   "is not the setup token of this server, or it has been used");
}

void setup_token_spend(struct db_batch *b, struct arena *a, struct str token)
{
	db_batch_add(b, "DELETE FROM settings WHERE key = '" SETUP_KEY "' AND value = $1",
		     DB_ARGS(DB_S(setup_hash(a, token))), 1);
}
