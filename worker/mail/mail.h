/* SPDX-License-Identifier: MIT */
/*
 * Outgoing mail: plain text to one address, by SMTP as smtp.url says. Without smtp.url nothing is sent; the text of a
 * mail is then logged at info, so that the administrator can hand over the link that stands in it. With it no text of a
 * mail is ever logged.
 */
#ifndef WORKER_MAIL_MAIL_H
#define WORKER_MAIL_MAIL_H

#include "common/co.h"
#include "common/conf.h"
#include "common/err.h"

struct loop;
struct mail;
struct worker;

/* Waits until the server has taken it. ERR_INVALID_VALUE: no such address; ERR_UNAVAILABLE: not now. */
CO_FN bool mail_send(struct worker *w, struct str to, const char *subject, struct str text,
		     struct error *err) MUST_CHECK;
/*
 * The same without waiting: tried three times, then logged as failed. False (and nothing is sent): too many are under
 * way. The texts are copied.
 */
bool mail_post(struct worker *w, struct str to, const char *subject, struct str text) MUST_CHECK;

/* A complete message (RFC 5322), for mail_send and tests. `id` makes the Message-ID. */
void mail_compose(struct buf *out, const char *from, struct str to, const char *subject, struct str text,
		  int64_t now_ms, const char *id);
/* May this be the address of a mail? What could end a line or a command does not pass. */
bool mail_address_ok(struct str address);

struct mail *mail_open(struct loop *l, const struct conf *c);
void mail_close(struct mail *m);

#endif
