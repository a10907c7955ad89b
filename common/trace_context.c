/* SPDX-License-Identifier: MIT */
/*
 * Trace context: see the header. Called by the tracing middleware and by who makes outgoing calls. It times and exports
 * nothing.
 */
#include "common/trace_context.h"

#include "common/crypto.h"
#include "common/ids.h"

static const char trace_hex_digits[] = "0123456789abcdef";

/* splitmix64 over a random start: ids of a process do not repeat, nor after a restart. One stream per process. */
static uint64_t trace_random(void)
{
	static uint64_t state;
	uint64_t z;

	if (state == 0)
		ids_random(&state, sizeof(state));
	z = state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return z != 0 ? z : 1; /* all zero is no id */
}

static void trace_hex(char *out, uint64_t n)
{
	int i;

	for (i = TRACE_SPAN_LEN - 1; i >= 0; i--, n >>= 4)
		out[i] = trace_hex_digits[n & 15];
}

/* Lower-case digits only, as the standard demands, and not all zero if it is an id. */
static bool trace_is_hex(struct str s, bool id)
{
	bool zero = true;
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '\0' || strchr(trace_hex_digits, s.p[i]) == NULL)
			return false;
		zero &= s.p[i] == '0';
	}
	return !(id && zero);
}

static unsigned trace_digit(char c)
{
	return (unsigned)(strchr(trace_hex_digits, c) - trace_hex_digits);
}

/* Section 3.2: version 00 has exactly these parts, later ones may have more behind another dash; ff is none. */
static bool trace_form(struct str p)
{
	struct str version = str_sub(p, 0, 2);

	if (p.n < TRACE_PARENT_LEN || p.p[2] != '-' || p.p[35] != '-' || p.p[52] != '-')
		return false;
	if (!trace_is_hex(version, false) || str_eqz(version, "ff"))
		return false;
	if (p.n > TRACE_PARENT_LEN && (str_eqz(version, "00") || p.p[TRACE_PARENT_LEN] != '-'))
		return false;
	return trace_is_hex(str_sub(p, 3, 35), true) && trace_is_hex(str_sub(p, 36, 52), true) &&
	       trace_is_hex(str_sub(p, 53, 55), false);
}

bool trace_join(struct trace_context *t, struct str parent, struct str state)
{
	*t = (struct trace_context){.on = false};
	if (!trace_form(parent))
		return false;
	memcpy(t->trace_id, parent.p + 3, TRACE_ID_LEN);
	memcpy(t->parent_id, parent.p + 36, TRACE_SPAN_LEN);
	t->flags = (uint8_t)(trace_digit(parent.p[53]) << 4 | trace_digit(parent.p[54]));
	trace_hex(t->span_id, trace_random());
	t->on = t->joined = true;
	if (state.n <= TRACE_STATE_MAX)
		t->state = state;
	return true;
}

void trace_begin(struct trace_context *t)
{
	*t = (struct trace_context){.on = true, .flags = TRACE_FLAG_SAMPLED};
	trace_hex(t->trace_id, trace_random());
	trace_hex(t->trace_id + TRACE_SPAN_LEN, trace_random());
	trace_hex(t->span_id, trace_random());
}

void trace_of(struct trace_context *t, struct str name)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(name, hex);
	*t = (struct trace_context){.on = true, .flags = TRACE_FLAG_SAMPLED};
	memcpy(t->trace_id, hex, TRACE_ID_LEN);
	memcpy(t->span_id, hex + TRACE_ID_LEN, TRACE_SPAN_LEN);
}

void trace_parent(const struct trace_context *t, char out[TRACE_PARENT_LEN + 1])
{
	memcpy(out, "00-", 3);
	memcpy(out + 3, t->trace_id, TRACE_ID_LEN);
	out[35] = '-';
	memcpy(out + 36, t->span_id, TRACE_SPAN_LEN);
	out[52] = '-';
	/* Only the flags that version 00 knows are passed on (section 3.2.2.5). */
	out[53] = '0';
	out[54] = (t->flags & TRACE_FLAG_SAMPLED) != 0 ? '1' : '0';
	out[55] = '\0';
}
