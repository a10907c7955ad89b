/* SPDX-License-Identifier: MIT */
/*
 * What is accepted as a password. Called wherever one is set. Pure; does not ask any service whether it has leaked.
 */
#include "worker/identity/password.h"

#define POLICY_BASE_MAX 64 /* letters that are compared with common passwords */

/*
 * Letters that the most used passwords come down to, once digits and signs in place of letters are read as these and
 * the rest is dropped: with four kinds of characters demanded, "Password2024!" is what people choose. Sorted.
 */
static const char *const policy_common[] = {
    "abc",
    "abcabc",
    "abcd",
    "abcdef",
    "abcdefg",
    "abcdefgh",
    "access",
    "admin",
    "administrator",
    "adminadmin",
    "adminpassword",
    "aragora",
    "aragoraadmin",
    "asdf",
    "asdfasdf",
    "asdfgh",
    "asdfghjkl",
    "autumn",
    "bailey",
    "baseball",
    "batman",
    "changeit",
    "changeme",
    "charlie",
    "company",
    "computer",
    "correcthorsebatterystaple",
    "daniel",
    "default",
    "demo",
    "donald",
    "dragon",
    "enter",
    "flower",
    "football",
    "freedom",
    "george",
    "hello",
    "hellohello",
    "helloworld",
    "hottie",
    "hunter",
    "iloveyou",
    "internet",
    "jessica",
    "jordan",
    "killer",
    "letmein",
    "letmeinnow",
    "login",
    "loginlogin",
    "london",
    "lovely",
    "loveme",
    "master",
    "matrix",
    "michael",
    "monkey",
    "mustang",
    "mypassword",
    "nicole",
    "passport",
    "password",
    "passwordabc",
    "passwordadmin",
    "passwordpassword",
    "passwort",
    "pepper",
    "princess",
    "q",
    "qazwsx",
    "qazwsxedc",
    "qwer",
    "qwerty",
    "qwertyui",
    "qwertyuiop",
    "qwertyqwerty",
    "ranger",
    "root",
    "rootroot",
    "samsung",
    "secret",
    "secretpassword",
    "server",
    "shadow",
    "spring",
    "starwars",
    "summer",
    "sunshine",
    "superman",
    "superuser",
    "system",
    "test",
    "testing",
    "testpassword",
    "testtest",
    "thomas",
    "trustno",
    "user",
    "welcome",
    "welcomehome",
    "whatever",
    "winter",
    "yankees",
    "zaqwsx",
    "zxcvbn",
    "zxcvbnm",
};

/* Letters that stand for others. */
static char policy_plain(char c)
{
	static const char leet[] = "@a4a3e1i!i0o$s5s7t";
	const char *p;

	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	for (p = leet; *p != '\0'; p += 2)
		if (*p == c)
			return p[1];
	return c;
}

/*
 * The letters of the password, with what stands for letters read as such or not; digits and signs at both ends, where
 * people put the year and the exclamation mark, are dropped before.
 */
static struct str policy_base(struct str password, bool leet, char out[POLICY_BASE_MAX])
{
	struct str s = password;
	size_t n = 0, i;

	while (s.n > 0 && ((s.p[s.n - 1] | 0x20) < 'a' || (s.p[s.n - 1] | 0x20) > 'z'))
		s.n--;
	for (i = 0; i < s.n && n < POLICY_BASE_MAX; i++) {
		char c = leet ? policy_plain(s.p[i]) : (char)(s.p[i] | 0x20);

		if (c >= 'a' && c <= 'z')
			out[n++] = c;
	}
	return (struct str){out, n};
}

static bool policy_listed(struct str base)
{
	size_t i;

	for (i = 0; i < countof(policy_common); i++)
		if (str_eqz(base, policy_common[i]))
			return true;
	return false;
}

static bool policy_is_common(struct str password)
{
	char base[POLICY_BASE_MAX];

	return policy_listed(policy_base(password, false, base)) || policy_listed(policy_base(password, true, base));
}

enum policy_class { POLICY_UPPER = 1, POLICY_LOWER = 2, POLICY_DIGIT = 4, POLICY_SPECIAL = 8 };

static unsigned policy_classes(struct str password)
{
	unsigned classes = 0;
	size_t i;

	for (i = 0; i < password.n; i++) {
		char c = password.p[i];

		if (c >= 'A' && c <= 'Z')
			classes |= POLICY_UPPER;
		else if (c >= 'a' && c <= 'z')
			classes |= POLICY_LOWER;
		else if (c >= '0' && c <= '9')
			classes |= POLICY_DIGIT;
		else if (c != ' ')
			classes |= POLICY_SPECIAL;
	}
	return classes;
}

static size_t policy_characters(struct str s)
{
	size_t n = 0, i;

	for (i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void policy_say(struct buf *b, bool broken, const char *rule)
{
	if (broken)
		buf_printf(b, "%s%s", b->n > 0 ? ", " : "", rule);
}

bool password_policy(struct str password, struct str email, const char *field, struct error *err)
{
	unsigned classes = policy_classes(password);
	size_t chars = policy_characters(password);
	struct buf why = BUF_INIT;
	bool ok;

	policy_say(&why, chars < PASSWORD_CHARS_MIN, "at least 12 characters");
	policy_say(&why, chars > PASSWORD_CHARS_MAX, "at most 128 characters");
	policy_say(&why, (classes & POLICY_UPPER) == 0, "an upper-case letter");
	policy_say(&why, (classes & POLICY_LOWER) == 0, "a lower-case letter");
	policy_say(&why, (classes & POLICY_DIGIT) == 0, "a digit");
	policy_say(&why, (classes & POLICY_SPECIAL) == 0, "a special character");
	policy_say(&why,
		   !str_utf8_valid(password) || memchr(password.p != NULL ? password.p : "", '\0', password.n) != NULL,
		   "valid text only");
	policy_say(&why, email.n > 0 && str_ifind(password, email) >= 0, "not the e-mail address");
	policy_say(&why, policy_is_common(password), "not one of the most common passwords");
	ok = why.n == 0 || error_field(err, ERR_INVALID_VALUE, field, "Password needs: %.*s", STR_ARG(buf_str(&why)));
	buf_free(&why);
	return ok;
}
