/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the configuration share: the table's rows, the loader that collects mistakes, values as text.
 * Included by common/conf*.c and their tests only.
 */
#ifndef COMMON_CONF_INTERNAL_H
#define COMMON_CONF_INTERNAL_H

#include "common/conf.h"

#define CONF_KEYS_MAX 512
#define CONF_SECTIONS_MAX 80     /* rows of the sections */
#define CONF_FILE_MAX (1u << 20) /* bytes of a configuration file */
#define CONF_TEXT_MAX 4096       /* bytes of one string or list element */
#define CONF_LIST_MAX 256        /* elements of a list */
#define CONF_ERROR_MAX 100       /* mistakes listed one by one */

enum conf_type {
	CONF_INT,      /* int64_t, min..max */
	CONF_BOOL,     /* int */
	CONF_AUTO,     /* int, enum conf_auto */
	CONF_CHOICE,   /* int, index into choices */
	CONF_WORD,     /* char *, one of choices */
	CONF_TEXT,     /* char * */
	CONF_LIST,     /* struct conf_list */
	CONF_DURATION, /* int64_t, microseconds; a bare number is seconds */
	CONF_MILLIS,   /* int64_t, microseconds; a bare number is milliseconds */
	CONF_SIZE      /* int64_t, bytes */
};

enum {
	CONF_RELOAD = 1, /* a reload may change it */
	CONF_SECRET = 2, /* masked when printed, wiped when freed, also read from NAME_FILE */
	CONF_FILLED = 4, /* must not be empty */
	CONF_RULED = 8   /* its environment variables change a part of the value, see conf_env.c */
};

struct conf_key {
	const char *name; /* "server.workers" */
	enum conf_type type;
	unsigned flags;
	size_t offset, size; /* in struct conf */
	int64_t min, max;    /* of numbers, in the stored unit */
	const char *choices; /* "all|web|worker" */
	bool (*valid)(struct str element);
	const char *form;       /* what valid() accepts, for people: "an http:// or https:// URL" */
	const char *dflt;       /* as text; lists with commas */
	const char *production; /* the default in production, NULL if the same */
	const char *env;        /* variable names, first one wins, separated by blanks; "" if none */
	const char *help;
};

extern const struct conf_key conf_table[];
extern const size_t conf_table_size;
/* Sections in the order of the file, NULL-terminated: name and one line about it. */
struct conf_section {
	const char *name;
	const char *help;
};
extern const struct conf_section conf_sections[];
/* Row number of a key, -1 if there is none. */
int conf_find(struct str name);
/* Row number of a section, such as "server" or "providers.openai"; -1 if there is none. */
int conf_section_find(struct str name);
/* The key or section that was probably meant; NULL if nothing is near. */
const char *conf_suggest(struct str name);

enum conf_source { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_ENV, CONF_FROM_COMMAND };

struct conf_origin {
	enum conf_source source;
	struct str name;     /* of the variable; a piece of static text */
	bool in_file;        /* the variable is NAME_FILE */
	size_t line, column; /* in the file, from 1 */
};

struct conf_loader {
	struct conf *c;
	const char *path; /* "" if there is no file */
	struct buf *report;
	unsigned errors;
	bool exposed;               /* everybody on this machine can read the file */
	bool failed[CONF_KEYS_MAX]; /* a mistake is already reported: no further checks */
	struct conf_origin origin[CONF_KEYS_MAX];
};

/* A value as it was written. */
struct conf_raw {
	bool is_list;
	bool quoted; /* a quoted scalar of YAML: not a number, not a truth value */
	bool null;   /* nothing, ~ or null in YAML */
	struct str scalar;
	const struct str *items;
	size_t n;
};

/* One mistake, as "place: key: text". */
void conf_complain(struct conf_loader *l, const struct conf_origin *at, struct str key, const char *fmt, ...)
    PRINTF_FMT(4, 5);
/* As conf_complain, but only a warning: the configuration is still good. */
void conf_warn(struct conf_loader *l, const struct conf_origin *at, struct str key, const char *fmt, ...)
    PRINTF_FMT(4, 5);

/* conf_value.c */
/* Parses and stores; on failure reports and leaves the value as it was. */
bool conf_set(struct conf_loader *l, int row, const struct conf_raw *raw, const struct conf_origin *at);
/* As conf_set, of a value written as one text: lists are split at commas. */
bool conf_set_text(struct conf_loader *l, int row, struct str text, const struct conf_origin *at);
void conf_value_free(struct conf *c, const struct conf_key *k);
/* Is it the empty string or list? False for other types. */
bool conf_value_empty(const struct conf *c, const struct conf_key *k);
/* As YAML; `mask`: a secret that is not empty becomes "********". */
void conf_value_print(const struct conf *c, const struct conf_key *k, bool mask, struct buf *out);
/* A text as a double-quoted scalar of YAML. */
void conf_quote(struct str s, struct buf *out);
/* "an integer from 0 to 255" */
void conf_type_text(const struct conf_key *k, struct buf *out);

char **conf_text_at(struct conf *c, const struct conf_key *k);
struct conf_list *conf_list_at(struct conf *c, const struct conf_key *k);
int64_t *conf_number_at(struct conf *c, const struct conf_key *k);
int *conf_int_at(struct conf *c, const struct conf_key *k);

/* conf_yaml.c: reads the text of a file. */
void conf_yaml(struct conf_loader *l, struct str text);
/* conf_env.c: first the plain variables, and when defaults are settled those that change a part of a value. */
void conf_env_plain(struct conf_loader *l);
void conf_env_rules(struct conf_loader *l);
/* Container secret mounts are readable by all by design. */
bool conf_secret_mount(const char *path);
/* conf_check.c: what belongs together. */
void conf_check(struct conf_loader *l);
/* conf_form.c: forms of list elements and strings. */
bool conf_form_address(struct str s);
bool conf_form_pair(struct str s);
bool conf_form_net(struct str s);
bool conf_form_url(struct str s);
bool conf_form_origin(struct str s);
bool conf_form_mail_url(struct str s);
bool conf_form_header(struct str s);
bool conf_form_host_pattern(struct str s);
bool conf_form_path(struct str s);
bool conf_form_name(struct str s);
bool conf_form_folder(struct str s);
bool conf_form_multiplier(struct str s);
bool conf_form_rate(struct str s);
bool conf_form_provider_rate(struct str s);
bool conf_form_provider_breaker(struct str s);

/* conf_cpu.c: cores this process may use; 0 = no limit known. The arguments are files of /proc and the root of
 * /sys/fs/cgroup. */
unsigned conf_cgroup_cores(const char *self_cgroup, const char *root);

/* conf_doc.c: the manual page aragora.yml(5). */
void conf_manual(struct buf *out);

#endif
