/* SPDX-License-Identifier: MIT */
/*
 * Argon2id over libargon2, old bcrypt hashes over libcrypt, and the lane on which both run. Called by login, by changes
 * of passwords and by `aragorad user`. Knows neither users nor lockouts.
 */
#include "worker/identity/password.h"

#include <argon2.h>
#include <crypt.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/lane.h"

#define PASSWORD_SALT 16 /* bytes, RFC 9106 3.1 */
#define PASSWORD_HASH 32
#define PASSWORD_TAG "argon2id:"
#define PASSWORD_BCRYPT "bcrypt:"
#define PASSWORD_BCRYPT_MAX 72            /* bytes: bcrypt ignores what is behind them */
#define PASSWORD_MEMORY_MAX (1024 * 1024) /* KiB that a stored form may demand of us */
#define PASSWORD_PASSES_MAX 64
#define PASSWORD_QUEUE 32 /* that wait per worker; more are told to come again */
#define PASSWORD_WAIT (20 * SEC_US)

struct password_cost password_cost(const struct conf *c)
{
	return (struct password_cost){(uint32_t)(c->auth.password_memory / 1024), (uint32_t)c->auth.password_passes};
}

bool password_make(const struct password_cost *cost, struct str password, char stored[PASSWORD_STORED_MAX],
		   struct error *err)
{
	uint8_t salt[PASSWORD_SALT];
	int rc;

	ids_random(salt, sizeof(salt));
	memcpy(stored, PASSWORD_TAG, sizeof(PASSWORD_TAG));
	rc = argon2id_hash_encoded(cost->passes, cost->memory_kib, 1, password.p, password.n, salt, sizeof(salt),
				   PASSWORD_HASH, stored + strlen(PASSWORD_TAG),
				   PASSWORD_STORED_MAX - strlen(PASSWORD_TAG));
	return rc == ARGON2_OK || error_set(err, ERR_UNAVAILABLE, "hashing a password: %s", argon2_error_message(rc));
}

/* "$argon2id$v=19$m=19456,t=2,p=1$…": the numbers, within bounds. */
static bool password_read_cost(struct str phc, struct password_cost *cost)
{
	static const char head[] = "$argon2id$v=19$m=";
	uint64_t memory, passes;
	struct str rest = str_sub(phc, strlen(head), phc.n), part;

	if (!str_starts(phc, str_of(head)) || !str_split(&rest, ',', &part) ||
	    !str_to_u64(part, PASSWORD_MEMORY_MAX, &memory) || !str_split(&rest, ',', &part) ||
	    !str_starts(part, STR("t=")) || !str_to_u64(str_sub(part, 2, part.n), PASSWORD_PASSES_MAX, &passes))
		return false;
	cost->memory_kib = (uint32_t)memory;
	cost->passes = (uint32_t)passes;
	return str_starts(rest, STR("p=1$"));
}

/* Work without a result, as long as a real comparison. */
static void password_waste(const struct password_cost *cost, struct str password)
{
	char stored[PASSWORD_STORED_MAX];
	struct error err = ERROR_INIT;

	if (password_make(cost, password, stored, &err))
		explicit_bzero(stored, sizeof(stored));
}

static bool password_bcrypt(struct str hash, struct str password)
{
	struct crypt_data *data;
	char *text, *stored;
	const char *made;
	bool ok = false;

	/* Longer ones would pass with any ending: their owners ask for a new password. */
	if (password.n > PASSWORD_BCRYPT_MAX || memchr(password.p, '\0', password.n) != NULL ||
	    !str_starts(hash, STR("$2")))
		return false;
	data = xcalloc(1, sizeof(*data));
	text = str_dupz(password);
	stored = str_dupz(hash);
	made = text != NULL && stored != NULL ? crypt_r(text, stored, data) : NULL;
	if (made != NULL && made[0] != '*')
		ok = crypto_equal(str_of(made), hash);
	if (text != NULL)
		explicit_bzero(text, password.n);
	explicit_bzero(data, sizeof(*data));
	free(text);
	free(stored);
	free(data);
	return ok;
}

static enum password_match password_argon2(const struct password_cost *cost, struct str phc, struct str password)
{
	struct password_cost had;
	char *z;
	int rc;

	if (!password_read_cost(phc, &had))
		return PASSWORD_WRONG;
	z = str_dupz(phc);
	rc = z != NULL ? argon2id_verify(z, password.p, password.n) : ARGON2_MEMORY_ALLOCATION_ERROR;
	free(z);
	if (rc != ARGON2_OK)
		return PASSWORD_WRONG;
	return had.memory_kib < cost->memory_kib || had.passes < cost->passes ? PASSWORD_RIGHT_RENEW : PASSWORD_RIGHT;
}

enum password_match password_try(const struct password_cost *cost, struct str stored, struct str password)
{
	if (password.n == 0 || password.n > 4 * PASSWORD_CHARS_MAX)
		return PASSWORD_WRONG;
	if (str_starts(stored, STR(PASSWORD_TAG)))
		return password_argon2(cost, str_sub(stored, strlen(PASSWORD_TAG), stored.n), password);
	if (str_starts(stored, STR(PASSWORD_BCRYPT)))
		return password_bcrypt(str_sub(stored, strlen(PASSWORD_BCRYPT), stored.n), password)
			   ? PASSWORD_RIGHT_RENEW
			   : PASSWORD_WRONG;
	password_waste(cost, password);
	return PASSWORD_WRONG;
}

/* The lane. */

struct passwords {
	struct lane *lane;
	struct password_cost cost;
};

struct password_job {
	struct password_cost cost;
	bool verify;
	bool ok;
	enum password_match match;
	struct error err;
	char made[PASSWORD_STORED_MAX];
	size_t size; /* of the whole job */
	struct str password, stored;
	char text[]; /* what they point to */
};

struct passwords *passwords_open(struct loop *l, const struct conf *c)
{
	struct passwords *p = xcalloc(1, sizeof(*p));

	p->lane = lane_new(l, "passwords", (unsigned)c->auth.password_threads, PASSWORD_QUEUE);
	p->cost = password_cost(c);
	return p;
}

void passwords_close(struct passwords *p)
{
	if (p == NULL)
		return;
	lane_free(p->lane);
	free(p);
}

static void password_work(void *job)
{
	struct password_job *j = job;

	if (j->verify)
		j->match = password_try(&j->cost, j->stored, j->password);
	j->ok = j->verify || password_make(&j->cost, j->password, j->made, &j->err);
}

static void password_drop(void *job)
{
	struct password_job *j = job;

	explicit_bzero(j, j->size);
	free(j);
}

/* The job when it is done, to be dropped; NULL with err. */
CO_FN static struct password_job *password_run(struct passwords *p, bool verify, struct str stored, struct str password,
					       struct error *err)
{
	size_t size = sizeof(struct password_job) + stored.n + password.n + 1;
	struct password_job *j = xcalloc(1, size);
	enum co_end end;

	j->cost = p->cost;
	j->verify = verify;
	j->size = size;
	j->password = (struct str){j->text, password.n};
	j->stored = (struct str){j->text + password.n, stored.n};
	if (password.n > 0)
		memcpy(j->text, password.p, password.n);
	if (stored.n > 0)
		memcpy(j->text + password.n, stored.p, stored.n);
	end = lane_run(p->lane, password_work, password_drop, j, clock_mono_us() + PASSWORD_WAIT);
	if (end == CO_DONE)
		return j;
	if (end == CO_ENDED)
		error_set(err, ERR_CANCELLED, "the request ended while a password was compared");
	else
		error_set(err, ERR_UNAVAILABLE, "too many sign in at once, try again in a moment");
	return NULL;
}

/* Beyond any password that the policy lets through; bounds what a job takes. */
static bool password_too_long(struct str password)
{
	return password.n > 4 * PASSWORD_CHARS_MAX;
}

CO_FN bool password_hash(struct passwords *p, struct arena *a, struct str password, struct str *stored,
			 struct error *err)
{
	struct password_job *j;
	bool ok;

	if (password_too_long(password))
		return error_field(err, ERR_INVALID_VALUE, "password", "is too long");
	j = password_run(p, false, STR_NONE, password, err);
	if (j == NULL)
		return false;
	ok = j->ok;
	if (ok)
		*stored = arena_str(a, str_of(j->made));
	else
		*err = j->err;
	password_drop(j);
	return ok;
}

CO_FN bool password_verify(struct passwords *p, struct str stored, struct str password, enum password_match *match,
			   struct error *err)
{
	struct password_job *j;

	*match = PASSWORD_WRONG;
	if (password.n == 0 || password_too_long(password) || stored.n > 4 * PASSWORD_STORED_MAX)
		return true;
	j = password_run(p, true, stored, password, err);
	if (j == NULL)
		return false;
	*match = j->match;
	password_drop(j);
	return true;
}
