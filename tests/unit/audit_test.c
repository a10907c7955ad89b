/* SPDX-License-Identifier: MIT */
/* Records of the audit log: canonical form, signature and hash by known values, masking, and the text formats. */
#include "worker/audit/audit_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/mask.h"

static struct audit_record example(void)
{
	struct audit_record r = {.seq = 7, .created_at = INT64_C(1700000000123)};

	for (int i = 0; i < AUDIT_COLUMNS; i++)
		r.v[i] = STR("");
	r.v[AUDIT_ID] = STR("018bcfe5-6800-7000-8000-000000000001");
	r.v[AUDIT_CATEGORY] = STR("auth");
	r.v[AUDIT_ACTION] = STR("auth.login");
	r.v[AUDIT_OUTCOME] = STR("success");
	r.v[AUDIT_ACTOR_ID] = STR("jos\xc3\xa9");
	r.v[AUDIT_DETAILS] = STR("{\"a\":1}");
	r.v[AUDIT_KEY_ID] = STR("audit-1");
	r.v[AUDIT_PREVIOUS] = STR("00ff");
	return r;
}

/* Computed apart from this program: Python's json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=False). */
static void test_known_values(void **state)
{
	struct audit_key k = {.key = "0123456789abcdef0123456789abcdef", .n = 32};
	struct arena *a = arena_new(0);
	struct audit_record r = example();
	char hash[SHA256_HEX];

	(void)state;
	r.v[AUDIT_SIGNATURE] = STR("3429cf672f8c624eeeba3843efce069a423252c8fa52bf4497a33283a2422fa8");
	assert_true(audit_record_signed(a, &k, &r));
	audit_record_hash(a, &r, hash);
	assert_string_equal(hash, "0989ba18a4a7dbe91cf0345effcb8b252807a63f7aac51f5fe358ba9e5f07b7f");
	arena_free(a);
}

/* Every column is under the hash, and all but the last three under the signature. */
static void test_everything_is_covered(void **state)
{
	struct audit_key k = {.key = "0123456789abcdef0123456789abcdef", .n = 32};
	struct arena *a = arena_new(0);
	struct audit_record r = example();
	char before[SHA256_HEX], after[SHA256_HEX];

	(void)state;
	audit_record_sign(a, &k, &r);
	assert_true(audit_record_signed(a, &k, &r));
	audit_record_hash(a, &r, before);
	for (int i = 0; i < AUDIT_HASH; i++) {
		struct audit_record other = r;

		other.v[i] = STR("other");
		audit_record_hash(a, &other, after);
		assert_string_not_equal(before, after);
		assert_int_equal(audit_record_signed(a, &k, &other), i == AUDIT_PREVIOUS);
	}
	r.created_at++;
	assert_false(audit_record_signed(a, &k, &r));
	arena_free(a);
}

static void test_filling(void **state)
{
	const struct audit_who who = {.actor_id = STR("a\0b\xff"), .ip = STR("::1")};
	struct arena *a = arena_new(0);
	json_t *details =
	    json_pack("{s:s, s:{s:s, s:s, s:[{s:s}]}, s:s, s:s}", "password", "hidden", "deep", "Api-Key", "hidden",
		      "state", "on", "list", "refresh_token", "hidden", "code", "E1", "email", "a@b");
	struct audit_record r;
	char big[AUDIT_DETAILS_MAX + 1];

	(void)state;
	audit_record_fill(a, &who,
			  &(struct audit_event){.category = "auth", .action = "auth.login", .details = details}, &r);
	assert_true(str_eqz(r.v[AUDIT_DETAILS],
			    "{\"code\":\"E1\",\"deep\":{\"Api-Key\":\"***\",\"list\":[{\"refresh_token\":"
			    "\"***\"}],\"state\":\"on\"},\"email\":\"a@b\",\"password\":\"***\"}"));
	assert_true(str_eqz(r.v[AUDIT_OUTCOME], "success"));
	assert_true(str_utf8_valid(r.v[AUDIT_ACTOR_ID]) &&
		    memchr(r.v[AUDIT_ACTOR_ID].p, 0, r.v[AUDIT_ACTOR_ID].n) == NULL);
	json_decref(details);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	details = json_pack("{s:s}", "a", big);
	audit_record_fill(
	    a, &who, &(struct audit_event){.category = "a", .action = "a", .reason = str_of(big), .details = details},
	    &r);
	assert_true(str_starts(r.v[AUDIT_DETAILS], STR("{\"left_off_bytes\":")));
	assert_true(r.v[AUDIT_REASON].n <= 512);
	json_decref(details);
	arena_free(a);
}

static void test_masks(void **state)
{
	(void)state;
	assert_true(mask_parameter(STR("Token")) && mask_parameter(STR("code")) && mask_parameter(STR("X")) == false);
	assert_true(mask_member(STR("new-password")) && !mask_member(STR("code")) && !mask_member(STR("")));
	assert_false(mask_parameter(STR("a name that is longer than any in the table of names")));
}

static void test_formats(void **state)
{
	struct arena *a = arena_new(0);
	struct audit_record r = example();
	struct buf b = BUF_INIT;
	enum audit_format f;

	(void)state;
	assert_false(audit_format_find(STR("pdf"), &f));
	assert_true(audit_format_find(STR("cef"), &f));
	r.v[AUDIT_ACTION] = STR("a|b\\c\nd");
	r.v[AUDIT_REASON] = STR("x=1\r\ny]\"");
	r.v[AUDIT_IP] = STR("unix");
	audit_format_add(f, a, &r, true, &b);
	assert_non_null(strstr(b.p, "|a\\|b\\\\c d|a\\|b\\\\c d|3|rt=1700000000123 cn1=7 "));
	assert_non_null(strstr(b.p, " reason=x\\=1\\n\\ny]\" "));
	assert_null(strstr(b.p, "src="));
	assert_ptr_equal(strchr(b.p, '\n'), b.p + b.n - 1);
	buf_clear(&b);
	r.v[AUDIT_IP] = STR("2001:db8::1");
	r.v[AUDIT_OUTCOME] = STR("denied");
	audit_format_add(f, a, &r, true, &b);
	assert_non_null(strstr(b.p, " c6a2=2001:db8::1 c6a2Label="));
	assert_non_null(strstr(b.p, "|6|rt="));
	buf_clear(&b);
	r.v[AUDIT_ACTOR_ID] = STR("q\"]\\");
	audit_format_add(AUDIT_SYSLOG, a, &r, true, &b);
	assert_int_equal(strncmp(b.p, "<108>1 2023-11-14T22:13:20.123Z ", 32), 0);
	assert_non_null(strstr(b.p, " aragorad - a|b\\c_d [audit@32473 seq=\"7\" "));
	assert_non_null(strstr(b.p, " actor_id=\"q\\\"\\]\\\\\""));
	assert_ptr_equal(strchr(b.p, '\n'), b.p + b.n - 1);
	buf_free(&b);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_values), cmocka_unit_test(test_everything_is_covered),
	    cmocka_unit_test(test_filling),      cmocka_unit_test(test_masks),
	    cmocka_unit_test(test_formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
