/* SPDX-License-Identifier: MIT */
/*
 * Mails: addresses that could end a command, and the message as it goes out.
 */
#include "worker/mail/mail.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void addresses(void **state)
{
	static const char *const good[] = {"a@b.org", "first.last+tag@sub.example.org", "o'neil@x.org"};
	static const char *const bad[] = {
	    "",          "a",        "@b.org",    "a@",         "a@b@c", "a b@c.org", "a@b.org\r\nRCPT TO:<c@d.org>",
	    "<a@b.org>", "a@b.org>", "a,b@c.org", "\"a\"@b.org"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(good); i++)
		assert_true(mail_address_ok(str_of(good[i])));
	for (i = 0; i < countof(bad); i++)
		if (mail_address_ok(str_of(bad[i])))
			fail_msg("%s", bad[i]);
}

static void a_message(void **state)
{
	struct buf out = BUF_INIT;

	(void)state;
	mail_compose(&out, "aragora@here.example", STR("a@b.org"), "Your new password",
		     STR("Gr\xc3\xbc\xc3\x9f"
			 "e\r\n.\r\nDATA and more than one line of base64, that is: at least 57 bytes."),
		     INT64_C(1700000000000), "id-1");
	assert_string_equal(out.p,
			    "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: aragora@here.example\r\nTo: a@b.org\r\n"
			    "Subject: Your new password\r\nMessage-ID: <id-1@here.example>\r\nMIME-Version: 1.0\r\n"
			    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"
			    "Auto-Submitted: auto-generated\r\n\r\n"
			    "R3LDvMOfZQ0KLg0KREFUQSBhbmQgbW9yZSB0aGFuIG9uZSBsaW5lIG9mIGJhc2U2NCwgdGhhdCBp\r\n"
			    "czogYXQgbGVhc3QgNTcgYnl0ZXMu\r\n");
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
