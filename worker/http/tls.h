/* SPDX-License-Identifier: MIT */
/*
 * TLS of one generation of configuration: certificates by name, client authority, ticket keys. The master loads it
 * before it forks; its workers inherit it and read no file, so a respawn serves what the generation was checked with.
 */
#ifndef WORKER_HTTP_TLS_H
#define WORKER_HTTP_TLS_H

#include <openssl/types.h>

#include "common/conf.h"

#define TLS_TICKET_KEYS 3 /* the newest encrypts; the older ones still decrypt */

struct http_conn;
struct tls;
struct tls_keys;

/*
 * Ticket keys in memory that all later children share; left out of core dumps. Dies when it cannot. `fd`, if not NULL,
 * becomes the caller's descriptor of that memory, for a program that is to attach to it.
 */
struct tls_keys *tls_keys_create(int *fd);
/* Maps the keys of another program; NULL if they are not laid out as ours are. The descriptor stays the caller's. */
struct tls_keys *tls_keys_attach(int fd) MUST_CHECK;
/* Lets go of them; who else has them mapped keeps them. */
void tls_keys_free(struct tls_keys *k);
/* By one master only, of all that share them: a new key when the newest is older than `interval`. */
void tls_keys_rotate(struct tls_keys *k, int64_t now, int64_t interval);
/* Lets tickets of the context be made and read with these keys. */
void tls_keys_use(const struct tls_keys *k, SSL_CTX *ctx);

/*
 * Reads and checks what server.tls names. On failure NULL, and err says which file and why. Without certificates the
 * result is empty (see tls_enabled). The keys must live as long as the result.
 */
struct tls *tls_open(const struct conf *c, const struct tls_keys *keys, struct error *err) MUST_CHECK;
void tls_close(struct tls *t);
bool tls_enabled(const struct tls *t);
/* A new session for an accepted descriptor; NULL when memory is gone. */
SSL *tls_session(const struct tls *t, int fd) MUST_CHECK;

/* http_tls.c: puts TLS between the socket and HTTP; false (errno) when memory is gone. */
bool tls_attach(struct http_conn *c, const struct tls *t) MUST_CHECK;

#endif
