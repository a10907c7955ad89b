/* SPDX-License-Identifier: MIT */
/*
 * Reads the clocks and spells times and durations. Called by the loop, the logger, the configuration and whoever
 * stores a time. Deliberately knows no time zone but UTC.
 */
#include "common/clock.h"

#include <inttypes.h>
#include <time.h>

#define CLOCK_DAY_MS INT64_C(86400000)
/* 0000-01-01 and 9999-12-31T23:59:59.999: what four digits of year can spell. */
#define CLOCK_WALL_MIN (-INT64_C(62167219200000))
#define CLOCK_WALL_MAX INT64_C(253402300799999)

static int64_t clock_read_us(clockid_t id)
{
	struct timespec now;

	BUG_ON(clock_gettime(id, &now) != 0);
	return (int64_t)now.tv_sec * SEC_US + now.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	return clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
	return clock_read_us(CLOCK_REALTIME) / MS_US;
}

int64_t clock_cpu_us(void)
{
	return clock_read_us(CLOCK_PROCESS_CPUTIME_ID);
}

static char *clock_put(char *p, int64_t value, int digits, char after)
{
	for (int i = digits - 1; i >= 0; i--) {
		p[i] = (char)('0' + value % 10);
		value /= 10;
	}
	p[digits] = after;
	return p + digits + 1;
}

const char *clock_iso(char out[CLOCK_ISO_MAX], int64_t wall_ms)
{
	int64_t days, ms, era, doe, yoe, doy, mp, year, month, day;
	char *p = out;

	if (wall_ms < CLOCK_WALL_MIN)
		wall_ms = CLOCK_WALL_MIN;
	if (wall_ms > CLOCK_WALL_MAX)
		wall_ms = CLOCK_WALL_MAX;
	ms = wall_ms % CLOCK_DAY_MS;
	days = wall_ms / CLOCK_DAY_MS;
	if (ms < 0) {
		ms += CLOCK_DAY_MS;
		days--;
	}
	/* Days since 0000-03-01 in eras of 400 years, so that the leap day is the last of its year. */
	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	doe = days - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	day = doy - (153 * mp + 2) / 5 + 1;
	month = mp < 10 ? mp + 3 : mp - 9;
	year = yoe + era * 400 + (month <= 2);
	p = clock_put(p, year, 4, '-');
	p = clock_put(p, month, 2, '-');
	p = clock_put(p, day, 2, 'T');
	p = clock_put(p, ms / 3600000, 2, ':');
	p = clock_put(p, ms / 60000 % 60, 2, ':');
	p = clock_put(p, ms / 1000 % 60, 2, '.');
	p = clock_put(p, ms % 1000, 3, 'Z');
	*p = '\0';
	return out;
}

/* What follows the seconds: a fraction, then Z or an offset. */
static bool clock_parse_rest(const char *rest, int64_t *ms)
{
	int hours, minutes, unit = 100;

	if (*rest == '.') {
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			*ms += (*rest - '0') * unit;
	}
	if (sscanf(rest, "%3d:%2d", &hours, &minutes) == 2 && (*rest == '+' || *rest == '-'))
		*ms -= (hours * 60 + (*rest == '-' ? -minutes : minutes)) * INT64_C(60000);
	else if (*rest != '\0' && strcmp(rest, "Z") != 0)
		return false;
	return true;
}

bool clock_parse(struct str s, int64_t *wall_ms)
{
	char text[CLOCK_ISO_MAX + 8];
	struct tm tm = {0};
	const char *rest;
	uint64_t seconds;

	if (str_to_u64(s, INT32_MAX * UINT64_C(100), &seconds)) {
		*wall_ms = (int64_t)seconds * 1000;
		return true;
	}
	if (s.n >= sizeof(text))
		return false;
	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	rest = strptime(text, "%Y-%m-%d", &tm);
	if (rest != NULL && *rest != '\0')
		rest = strptime(rest + 1, "%H:%M:%S", &tm);
	if (rest == NULL)
		return false;
	*wall_ms = (int64_t)timegm(&tm) * 1000;
	return clock_parse_rest(rest, wall_ms);
}

static const struct {
	const char *name;
	int64_t us;
} clock_units[] = {
    {"ms", MS_US}, {"s", SEC_US}, {"m", 60 * SEC_US}, {"h", 3600 * SEC_US}, {"d", 86400 * SEC_US},
};

/* Takes the unit off the end of s; without one it is seconds. "ms" stands before "s" and "m" in the table. */
static int64_t clock_take_unit(struct str *s)
{
	for (size_t i = 0; i < countof(clock_units); i++) {
		struct str name = str_of(clock_units[i].name);

		if (str_ends(*s, name)) {
			s->n -= name.n;
			return clock_units[i].us;
		}
	}
	return SEC_US;
}

bool duration_parse(struct str s, int64_t *us)
{
	int64_t unit, total, part = 0;
	uint64_t whole, fraction;
	struct str digits;
	ptrdiff_t dot;

	s = str_trim(s);
	unit = clock_take_unit(&s);
	dot = str_chr(s, '.');
	if (!str_to_u64(dot < 0 ? s : str_sub(s, 0, (size_t)dot), INT64_MAX, &whole) ||
	    __builtin_mul_overflow((int64_t)whole, unit, &total))
		return false;
	if (dot >= 0) {
		digits = str_sub(s, (size_t)dot + 1, s.n);
		/* Six decimals are a microsecond of a second; of a day they are still below 2^63. */
		if (digits.n > 6 || !str_to_u64(digits, 999999, &fraction))
			return false;
		part = (int64_t)fraction * unit;
		for (size_t i = 0; i < digits.n; i++)
			part /= 10;
	}
	if (__builtin_add_overflow(total, part, &total))
		return false;
	*us = total;
	return true;
}

const char *duration_format(char out[32], int64_t us)
{
	size_t unit = 0;

	if (us == 0) {
		snprintf(out, 32, "0s");
		return out;
	}
	if (us % MS_US != 0) {
		uint64_t magnitude = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;

		snprintf(out, 32, "%s%" PRIu64 ".%03ums", us < 0 ? "-" : "", magnitude / 1000,
			 (unsigned)(magnitude % 1000));
		return out;
	}
	for (size_t i = 0; i < countof(clock_units); i++) {
		/* One day is told as 24h, as people do. */
		if (us % clock_units[i].us == 0 && (i != 4 || us != clock_units[i].us))
			unit = i;
	}
	snprintf(out, 32, "%" PRId64 "%s", us / clock_units[unit].us, clock_units[unit].name);
	return out;
}
