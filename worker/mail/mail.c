/* SPDX-License-Identifier: MIT */
/*
 * SMTP over libcurl, on a thread of its own: the easy interface blocks. Called by what tells people something they did
 * not ask this server for in the same moment. Keeps no queue on disk: who missed a mail asks for another.
 */
#include "worker/mail/mail.h"

#include <curl/curl.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/lane.h"
#include "common/log.h"
#include "worker/worker.h"

#define MAIL_QUEUE 64
#define MAIL_CONNECT_S 15L
#define MAIL_TOTAL_S 30L
#define MAIL_WAIT_US (120 * SEC_US)
#define MAIL_LINE 57 /* bytes: 76 characters of base64, RFC 2045 6.8 */
#define MAIL_TRIES 3

struct mail {
	struct lane *lane;
	char *url, *from;
	unsigned posted;
};

struct mail *mail_open(struct loop *l, const struct conf *c)
{
	struct mail *m = xcalloc(1, sizeof(*m));
	char host[256] = "localhost";
	struct buf from = BUF_INIT;

	m->lane = lane_new(l, "mail", 1, MAIL_QUEUE);
	m->url = xstrdup(c->smtp.url);
	(void)gethostname(host, sizeof(host) - 1);
	buf_printf(&from, "aragora@%s", host);
	m->from = xstrdup(c->smtp.from[0] != '\0' ? c->smtp.from : from.p);
	buf_free(&from);
	return m;
}

void mail_close(struct mail *m)
{
	if (m == NULL)
		return;
	lane_free(m->lane);
	explicit_bzero(m->url, strlen(m->url));
	free(m->url);
	free(m->from);
	free(m);
}

bool mail_address_ok(struct str address)
{
	ptrdiff_t at = str_chr(address, '@');
	size_t i;

	if (at <= 0 || address.n > 254 || (size_t)at + 1 == address.n ||
	    str_chr(str_sub(address, (size_t)at + 1, address.n), '@') >= 0)
		return false;
	for (i = 0; i < address.n; i++)
		if ((unsigned char)address.p[i] <= ' ' || address.p[i] == 127 ||
		    strchr("<>,;:\"()[]\\", address.p[i]) != NULL)
			return false;
	return true;
}

static void mail_add_text(struct buf *out, struct str text)
{
	char line[4 * ((MAIL_LINE + 2) / 3) + 1];

	for (; text.n > 0; text = str_sub(text, text.n < MAIL_LINE ? text.n : MAIL_LINE, text.n)) {
		struct str part = str_sub(text, 0, MAIL_LINE);

		(void)crypto_base64(line, (const uint8_t *)part.p, part.n);
		buf_printf(out, "%s\r\n", line);
	}
}

void mail_compose(struct buf *out, const char *from, struct str to, const char *subject, struct str text,
		  int64_t now_ms, const char *id)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t now = (time_t)(now_ms / 1000);
	ptrdiff_t at = str_chr(str_of(from), '@');
	struct tm tm;

	/* Subjects are our own words; what a person writes stands in the text, which is encoded. */
	BUG_ON(strpbrk(subject, "\r\n") != NULL || !mail_address_ok(to));
	gmtime_r(&now, &tm);
	buf_printf(out, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d +0000\r\n", days + 3 * tm.tm_wday, tm.tm_mday,
		   months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	buf_printf(out, "From: %s\r\nTo: %.*s\r\nSubject: %s\r\nMessage-ID: <%s@%s>\r\n", from, STR_ARG(to), subject,
		   id, at >= 0 ? from + at + 1 : "localhost");
	buf_addz(out, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
		      "Content-Transfer-Encoding: base64\r\nAuto-Submitted: auto-generated\r\n\r\n");
	mail_add_text(out, text);
}

/* One mail on the thread. */
struct mail_job {
	char *url, *from, *to;
	struct buf message;
	size_t sent;
	CURLcode rc;
	long answer;
};

static void mail_job_free(void *arg)
{
	struct mail_job *j = arg;

	explicit_bzero(j->url, strlen(j->url));
	free(j->url);
	free(j->from);
	free(j->to);
	if (j->message.p != NULL)
		explicit_bzero(j->message.p, j->message.n);
	buf_free(&j->message);
	free(j);
}

static size_t mail_read(char *out, size_t size, size_t count, void *arg)
{
	struct mail_job *j = arg;
	size_t n = size * count, left = j->message.n - j->sent;

	n = n < left ? n : left;
	memcpy(out, j->message.p + j->sent, n);
	j->sent += n;
	return n;
}

/* To this machine a password may go as it is; to any other only by TLS. */
static bool mail_is_here(struct str url)
{
	static const char *const here[] = {"localhost", "127.0.0.1", "[::1]"};
	ptrdiff_t at = str_find(url, STR("://"));
	struct str host = at >= 0 ? str_sub(url, (size_t)at + 3, url.n) : url;
	ptrdiff_t user;
	size_t i;

	if (host.p == NULL)
		return false;
	for (user = str_chr(host, '@'); user >= 0; user = str_chr(host, '@'))
		host = str_sub(host, (size_t)user + 1, host.n);
	for (i = 0; i < countof(here); i++) {
		struct str name = str_of(here[i]);

		if (str_istarts(host, name) && (host.n == name.n || host.p[name.n] == ':' || host.p[name.n] == '/'))
			return true;
	}
	return false;
}

static void mail_work(void *arg)
{
	struct mail_job *j = arg;
	struct curl_slist *to = curl_slist_append(NULL, j->to);
	CURL *c = curl_easy_init();

	j->rc = CURLE_OUT_OF_MEMORY;
	if (c != NULL && to != NULL) {
		curl_easy_setopt(c, CURLOPT_URL, j->url);
		curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
		curl_easy_setopt(c, CURLOPT_PROXY, "");
		curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, MAIL_CONNECT_S);
		curl_easy_setopt(c, CURLOPT_TIMEOUT, MAIL_TOTAL_S);
		curl_easy_setopt(c, CURLOPT_USE_SSL,
				 (long)(mail_is_here(str_of(j->url)) ? CURLUSESSL_TRY : CURLUSESSL_ALL));
		curl_easy_setopt(c, CURLOPT_MAIL_FROM, j->from);
		curl_easy_setopt(c, CURLOPT_MAIL_RCPT, to);
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, mail_read);
		curl_easy_setopt(c, CURLOPT_READDATA, j);
		j->rc = curl_easy_perform(c);
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &j->answer);
	}
	curl_easy_cleanup(c);
	curl_slist_free_all(to);
}

static struct mail_job *mail_job_new(const struct mail *m, struct str to, const char *subject, struct str text)
{
	struct mail_job *j = xcalloc(1, sizeof(*j));
	struct buf rcpt = BUF_INIT;
	char id[UUID_LEN + 1];

	ids_uuid7(id);
	buf_printf(&rcpt, "<%.*s>", STR_ARG(to));
	j->url = xstrdup(m->url);
	j->from = xstrdup(m->from);
	j->to = rcpt.p;
	mail_compose(&j->message, m->from, to, subject, text, clock_wall_ms(), id);
	return j;
}

CO_FN bool mail_send(struct worker *w, struct str to, const char *subject, struct str text, struct error *err)
{
	struct mail_job *j;
	enum co_end end;
	CURLcode rc;
	long answer;

	if (!mail_address_ok(to))
		return error_field(err, ERR_INVALID_VALUE, "email", "is not an address to which mail can be sent");
	if (w->mail->url[0] == '\0') {
		log_info("mail", "not sent, smtp.url is empty", KV_STR("to", to), KV_S("subject", subject),
			 KV_STR("text", text));
		return true;
	}
	j = mail_job_new(w->mail, to, subject, text);
	end = lane_run(w->mail->lane, mail_work, mail_job_free, j, clock_mono_us() + MAIL_WAIT_US);
	if (end != CO_DONE)
		return error_set(err, end == CO_ENDED ? ERR_CANCELLED : ERR_UNAVAILABLE, "the mail server is too slow");
	rc = j->rc;
	answer = j->answer;
	mail_job_free(j);
	return rc == CURLE_OK || error_set(err, ERR_UNAVAILABLE, "the mail server did not take it: %s (%ld)",
					   curl_easy_strerror(rc), answer);
}

struct mail_posted {
	struct worker *w;
	struct str to, text;
	const char *subject;
	size_t size;
	char bytes[];
};

CO_FN static void mail_deliver(void *arg)
{
	static const int64_t pauses[MAIL_TRIES] = {0, 2 * SEC_US, 15 * SEC_US};
	struct mail_posted *p = arg;
	struct error err = ERROR_INIT;
	bool sent = false;
	unsigned i;

	for (i = 0; i < MAIL_TRIES && !sent && (i == 0 || !p->w->draining); i++) {
		if (pauses[i] > 0 && co_sleep(pauses[i]) == CO_ENDED)
			break;
		sent = mail_send(p->w, p->to, p->subject, p->text, &err);
	}
	if (sent)
		log_info("mail", "sent", KV_S("subject", p->subject));
	else
		log_error("mail", "not sent", KV_S("subject", p->subject), KV_S("reason", err.msg));
	p->w->mail->posted--;
	explicit_bzero(p, p->size);
	free(p);
}

bool mail_post(struct worker *w, struct str to, const char *subject, struct str text)
{
	size_t size = sizeof(struct mail_posted) + to.n + text.n + 1;
	struct mail_posted *p;

	if (w->mail->posted >= MAIL_QUEUE)
		return false;
	p = xcalloc(1, size);
	p->w = w;
	p->size = size;
	p->subject = subject;
	memcpy(p->bytes, to.p, to.n);
	memcpy(p->bytes + to.n, text.p, text.n);
	p->to = (struct str){p->bytes, to.n};
	p->text = (struct str){p->bytes + to.n, text.n};
	w->mail->posted++;
	if (co_spawn("mail", mail_deliver, p) != NULL)
		return true;
	w->mail->posted--;
	free(p);
	return false;
}
