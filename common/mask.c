/* SPDX-License-Identifier: MIT */
/*
 * The list of names behind which secrets stand. Called by the access log, the audit log and approvals. Knows only
 * names: what a secret looks like is not its matter.
 */
#include "common/mask.h"

#define MASK_NAME_MAX 32 /* longer than any name in the table */

static const struct mask_row {
	const char *name;
	bool only_url;
} mask_table[] = {
    {"token", false},
    {"access_token", false},
    {"refresh_token", false},
    {"id_token", false},
    {"pending_token", false},
    {"reset_token", false},
    {"csrf_token", false},
    {"setup_token", false},
    {"session_token", false},
    {"api_token", false},
    {"api_key", false},
    {"apikey", false},
    {"password", false},
    {"new_password", false},
    {"current_password", false},
    {"old_password", false},
    {"passwd", false},
    {"secret", false},
    {"client_secret", false},
    {"callback_secret", false},
    {"jwt_secret", false},
    {"authorization", false},
    {"cookie", false},
    {"credential", false},
    {"totp", false},
    {"otp", false},
    {"mfa_code", false},
    {"backup_code", false},
    {"code_verifier", false},
    {"signature", true},
    {"sig", true},
    {"code", true},
    {"state", true},
    {"key", true},
    {"jwt", false},
    {"private_key", false},
};

static const struct mask_row *mask_find(struct str name)
{
	char plain[MASK_NAME_MAX];

	if (name.n == 0 || name.n > sizeof(plain))
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		plain[i] = name.p[i] == '-' ? '_' : name.p[i];
	for (size_t i = 0; i < countof(mask_table); i++)
		if (str_ieqz((struct str){plain, name.n}, mask_table[i].name))
			return &mask_table[i];
	return NULL;
}

bool mask_parameter(struct str name)
{
	return mask_find(name) != NULL;
}

bool mask_member(struct str name)
{
	const struct mask_row *row = mask_find(name);

	return row != NULL && !row->only_url;
}

void mask_document(json_t *doc)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_array(doc)) {
		json_array_foreach(doc, i, value) mask_document(value);
		return;
	}
	json_object_foreach(doc, key, value)
	{
		if (mask_member(str_of(key)))
			(void)json_object_set_new(doc, key, json_string(MASK_TEXT));
		else
			mask_document(value);
	}
}
