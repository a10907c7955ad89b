/* SPDX-License-Identifier: MIT */
/*
 * Names of files: the table of media types, and the rule for hashes in names. Called for each static file when it is
 * opened. It never looks into a file.
 */
#include "worker/web/mime.h"

#define HASH_HEX_MIN 8
#define HASH_HEX_MAX 64
#define HASH_BASE32 8 /* esbuild */
#define HASH_MIXED_MIN 5
#define HASH_MIXED_MAX 22 /* 128 bits in base64url */

/* IANA media types; "charset" where the type has that parameter and browsers would guess otherwise. */
static const struct {
	const char *extension;
	const char *type;
} mime_types[] = {
    {"html", "text/html; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"js", "text/javascript; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"json", "application/json"},
    {"map", "application/json"},
    {"webmanifest", "application/manifest+json"},
    {"jsonld", "application/ld+json"},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"avif", "image/avif"},
    {"ico", "image/x-icon"},
    {"bmp", "image/bmp"},
    {"woff2", "font/woff2"},
    {"woff", "font/woff"},
    {"ttf", "font/ttf"},
    {"otf", "font/otf"},
    {"eot", "application/vnd.ms-fontobject"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"ics", "text/calendar; charset=utf-8"},
    {"vtt", "text/vtt; charset=utf-8"},
    {"xml", "application/xml"},
    {"xhtml", "application/xhtml+xml"},
    {"rss", "application/rss+xml"},
    {"atom", "application/atom+xml"},
    {"yml", "application/yaml"},
    {"yaml", "application/yaml"},
    {"wasm", "application/wasm"},
    {"pdf", "application/pdf"},
    {"zip", "application/zip"},
    {"gz", "application/gzip"},
    {"tar", "application/x-tar"},
    {"mp3", "audio/mpeg"},
    {"m4a", "audio/mp4"},
    {"ogg", "audio/ogg"},
    {"opus", "audio/ogg"},
    {"wav", "audio/wav"},
    {"flac", "audio/flac"},
    {"mp4", "video/mp4"},
    {"m4v", "video/mp4"},
    {"webm", "video/webm"},
    {"mov", "video/quicktime"},
};

static struct str mime_name(struct str path)
{
	size_t i = path.n;

	while (i > 0 && path.p[i - 1] != '/')
		i--;
	return str_sub(path, i, path.n);
}

/* Takes the extension, what follows the last dot, off the name; the empty slice when there is none. */
static struct str mime_extension(struct str *name)
{
	size_t i = name->n;
	struct str extension;

	while (i > 0 && name->p[i - 1] != '.')
		i--;
	if (i < 2)
		return STR("");
	extension = str_sub(*name, i, name->n);
	*name = str_sub(*name, 0, i - 1);
	return extension;
}

const char *mime_type(struct str name)
{
	struct str extension;
	size_t i;

	name = mime_name(name);
	extension = mime_extension(&name);
	for (i = 0; i < countof(mime_types); i++)
		if (str_ieqz(extension, mime_types[i].extension))
			return mime_types[i].type;
	return "application/octet-stream";
}

/* ---- hashes ---- */

struct mime_letters {
	size_t digits, small, capitals, small_hex, capital_hex, base32, others;
};

static struct mime_letters mime_count(struct str s)
{
	struct mime_letters n = {0};
	size_t i;

	for (i = 0; i < s.n; i++) {
		char c = s.p[i];

		n.digits += c >= '0' && c <= '9';
		n.small += c >= 'a' && c <= 'z';
		n.capitals += c >= 'A' && c <= 'Z';
		n.small_hex += c >= 'a' && c <= 'f';
		n.capital_hex += c >= 'A' && c <= 'F';
		n.base32 += (c >= 'A' && c <= 'Z') || (c >= '2' && c <= '7');
		n.others += c != '_' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
	}
	return n;
}

/* "Paris2024": perhaps a capital, small letters, digits. */
static bool mime_word_and_number(struct str s)
{
	size_t i = 0;

	i += i < s.n && s.p[i] >= 'A' && s.p[i] <= 'Z';
	while (i < s.n && s.p[i] >= 'a' && s.p[i] <= 'z')
		i++;
	while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return i == s.n;
}

static bool mime_is_hash(struct str s)
{
	struct mime_letters n = mime_count(s);

	if (n.digits == 0 || n.others > 0)
		return false;
	if (s.n >= HASH_HEX_MIN && s.n <= HASH_HEX_MAX && n.digits < s.n &&
	    (n.digits + n.small_hex == s.n || n.digits + n.capital_hex == s.n))
		return true;
	if (s.n == HASH_BASE32 && n.base32 == s.n && n.capitals > 0)
		return true;
	return s.n >= HASH_MIXED_MIN && s.n <= HASH_MIXED_MAX && n.small > 0 && n.capitals > 0 &&
	       !mime_word_and_number(s);
}

/* Takes parts like ".min" and ".chunk" off the end of the name. */
static struct str mime_bare(struct str name)
{
	static const char *const passed_over[] = {"min", "chunk", "bundle", "module"};
	struct str rest = name, part = mime_extension(&rest);
	size_t i;

	for (i = 0; i < countof(passed_over); i++)
		if (str_eqz(part, passed_over[i]))
			return rest;
	return name;
}

bool mime_hashed(struct str path)
{
	struct str name = mime_name(path), extension = mime_extension(&name);
	size_t i;

	if (str_eqz(extension, "map")) /* app.3f9a1c2b.js.map */
		(void)mime_extension(&name);
	name = mime_bare(mime_bare(name));
	for (i = name.n; i > 0 && name.p[i - 1] != '-' && name.p[i - 1] != '.'; i--)
		;
	return extension.n > 0 && i > 0 && mime_is_hash(str_sub(name, i, name.n));
}
