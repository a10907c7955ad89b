/* SPDX-License-Identifier: MIT */
/*
 * `aragorad keygen`: random secrets in the forms that the configuration takes. Writes only to standard output, so that
 * a script can put it where it keeps secrets. Changes nothing.
 */
#include "common/crypto.h"
#include "common/ids.h"
#include "master/args.h"
#include "master/commands/commands.h"

#define KEYGEN_BYTES_MAX 32

static void keygen_hex(char out[128], const uint8_t *p, size_t n)
{
	crypto_hex(out, p, n);
}

/* base64url without padding (RFC 4648 5), as Python's secrets.token_urlsafe. */
static void keygen_url(char out[128], const uint8_t *p, size_t n)
{
	crypto_base64(out, p, n);
	for (char *at = out; *at != '\0'; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at;
}

/* As receipts.signing_key takes it. */
static void keygen_ed25519(char out[128], const uint8_t *p, size_t n)
{
	static const char form[] = "ed25519:";

	memcpy(out, form, sizeof(form));
	crypto_hex(out + sizeof(form) - 1, p, n);
}

static const struct keygen_kind {
	const char *name;
	size_t bytes; /* of the self-hosting guide, step 1 */
	void (*write)(char out[128], const uint8_t *p, size_t n);
} keygen_kinds[] = {
    {"encryption", 32, keygen_hex},   {"jwt", 32, keygen_url},      {"receipt", 32, keygen_ed25519},
    {"receipt-hmac", 32, keygen_hex}, {"password", 24, keygen_url},
};

static int keygen_make(const struct keygen_kind *kind)
{
	uint8_t bytes[KEYGEN_BYTES_MAX];
	char text[128];

	ids_random(bytes, kind->bytes);
	kind->write(text, bytes, kind->bytes);
	printf("%s\n", text);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(text, sizeof(text));
	return EXIT_OK;
}

static int keygen_run(int argc, char **argv)
{
	struct args a = {0};
	const char *name;
	int code;

	if (!args_parse(&command_keygen, &a, argc, argv, &code))
		return code;
	name = a.operand_count > 0 ? a.operands[0] : "encryption";
	for (size_t i = 0; i < countof(keygen_kinds); i++) {
		if (strcmp(keygen_kinds[i].name, name) == 0)
			return keygen_make(&keygen_kinds[i]);
	}
	fprintf(stderr,
		"aragorad keygen: there is no kind of secret %s; encryption, jwt, receipt, receipt-hmac or password\n",
		name);
	return EXIT_USAGE;
}

static const struct arg keygen_args[] = {ARG_HELP, ARG_END};

const struct command command_keygen = {
    .name = "keygen",
    .synopsis = "[encryption|jwt|receipt|receipt-hmac|password]",
    .summary = "print a new random secret",
    .about =
	"Prints a new random secret: a key for storage.encryption_key (the default), a secret for auth.jwt_secret, "
	"a key for receipts.signing_key (Ed25519, or HMAC-SHA256), or a password.",
    .args = keygen_args,
    .operands_max = 1,
    .run = keygen_run,
};
