/* SPDX-License-Identifier: MIT */
/*
 * One line per event, as JSON or text: time, level, component, process, request id and debate id when known,
 * message, then key=value. Lines are cut at 4 KiB and written with one write(2) per loop turn (access lines: per 32 KiB
 * or access_delay); a pipe or terminal is
 * written by a thread with a bounded queue, so that a stuck reader never stops a loop (dropped lines are counted).
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

enum log_kind { LOG_END, LOG_STR, LOG_INT, LOG_REAL, LOG_BOOL };

struct log_kv {
	const char *key;
	enum log_kind kind;
	struct str s;
	int64_t i;
	double d;
};

#define KV_S(k, z)                                          \
	{                                                   \
		.key = (k), .kind = LOG_STR, .s = str_of(z) \
	}
#define KV_STR(k, v)                                  \
	{                                             \
		.key = (k), .kind = LOG_STR, .s = (v) \
	}
#define KV_I(k, v)                                             \
	{                                                      \
		.key = (k), .kind = LOG_INT, .i = (int64_t)(v) \
	}
#define KV_F(k, v)                                             \
	{                                                      \
		.key = (k), .kind = LOG_REAL, .d = (double)(v) \
	}
#define KV_B(k, v)                                     \
	{                                              \
		.key = (k), .kind = LOG_BOOL, .i = (v) \
	}

/* Ids that stand in every line while they are current; coroutines carry their own (see co.h). */
struct log_ctx {
	struct str request_id;
	struct str debate_id;
	struct str trace; /* traceparent of the span that this is part of; not in the lines */
};

struct log_options {
	enum log_level level;
	bool json;            /* else text */
	int error_fd;         /* where log lines go */
	int access_fd;        /* where access lines go */
	const char *who;      /* "master", "worker 2": kept by reference */
	int64_t access_delay; /* microseconds that access lines may wait, so that many are written at once; 0: a turn */
};

/* Sets up or changes the logger of this process. Call again after fork with the worker's name. */
void log_setup(const struct log_options *options);
/* Starts the writer thread if a descriptor is a pipe, socket or terminal. Only after the last fork. */
void log_start_writer(void);
/* Replaces both descriptors (reopened files, USR1); the old ones are closed by the caller. */
void log_reopen(int error_fd, int access_fd);
/* Writes what is buffered; called at exit and before abort. */
void log_flush(void);
/* The same at the end of a loop turn (`now` monotonic microseconds), but access lines wait for access_delay. */
void log_turn(int64_t now);
/*
 * log_flush(), then waits at most `us` microseconds until the writer thread has written everything. Runs by itself at
 * exit() and in bug(); whoever leaves by _exit() calls it.
 */
void log_drain(int64_t us);
/* Makes ctx current (NULL: none) and returns the former one. ctx is kept by reference. */
const struct log_ctx *log_context(const struct log_ctx *ctx);
bool log_enabled(enum log_level level);
/* Lines dropped because the reader was too slow. */
uint64_t log_dropped(void);

/*
 * Who hears every error that is logged, whatever the level of the log, on the thread that logs it; it may not log. One
 * per process, set before threads begin.
 */
void log_listen(void (*fn)(enum log_level level, const char *component, const char *msg, const struct log_kv *kv,
			   const struct log_ctx *ctx));

/* kv ends with an element whose kind is LOG_END. Strings are escaped; nothing is kept. */
void log_emit(enum log_level level, const char *component, const char *msg, const struct log_kv *kv);
/* Most bytes of an access line, without the newline. */
#define LOG_ACCESS_MAX 4095

/*
 * Room for an access line of LOG_ACCESS_MAX bytes, NULL when such lines are discarded; followed, before anything else
 * is logged, by the commit of n bytes that contain no line break (a newline is added). Access lines are the loop's
 * thread's: no other may call these.
 */
char *log_access_room(void);
void log_access_commit(size_t n);

#define LOG_AT(level, component, msg, ...)                                                          \
	do {                                                                                        \
		if (log_enabled(level))                                                             \
			log_emit(level, component, msg,                                             \
				 (const struct log_kv[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}}); \
	} while (0)
#define log_debug(component, msg, ...) LOG_AT(LOG_DEBUG, component, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(component, msg, ...) LOG_AT(LOG_INFO, component, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(component, msg, ...) LOG_AT(LOG_WARNING, component, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_error(component, msg, ...) LOG_AT(LOG_ERROR, component, msg __VA_OPT__(, ) __VA_ARGS__)

#endif
