/* SPDX-License-Identifier: MIT */
/*
 * Builds log lines and brings them to their descriptors: files directly, pipes, sockets and terminals by a thread with
 * a bounded queue. Called by everybody; any thread may. Deliberately opens no file and rotates nothing: the master
 * does.
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

/* A line is one atomic write to a pipe, so that lines of several processes never mix. */
#define LOG_LINE_MAX 4096
#define LOG_ID_MAX 128
#define LOG_MSG_MAX 2048
/* Buffered in one turn before it is written in the middle of it, and waiting for the thread before lines are dropped.
 */
#define LOG_PENDING_MAX ((size_t)64 * 1024)
#define LOG_QUEUE_MAX ((size_t)1024 * 1024)
/* Access lines that are worth a write before their delay is over. */
#define LOG_ACCESS_BATCH ((size_t)32 * 1024)
/* What a process without a writer thread spends on a reader that does not read, per stall; and at exit. */
#define LOG_STALL_US (100 * MS_US)
#define LOG_EXIT_US SEC_US
#define LOG_POLL_MS 250

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must be one atomic write");
_Static_assert(LOG_ACCESS_MAX + 1 == LOG_LINE_MAX, "an access line and its newline are a line");

struct log_channel {
	int fd;       /* -1: lines are discarded */
	bool slow;    /* a write may block */
	bool stalled; /* the last direct write found the reader stuck: do not wait for it again */
	struct buf
	    pending;      /* lines of this turn; of access lines the loop's thread alone adds some, without the lock */
	int64_t since;    /* the end of the turn that brought the first of them, if they wait; else 0 */
	struct buf queue; /* lines waiting for the thread */
	struct buf writing; /* lines the thread is writing; it alone changes them, emptying needs the lock */
	size_t written;     /* of writing; the thread's */
	int writer_fd;      /* the thread's duplicate of fd: its number stays when the file behind is replaced */
};

enum log_channel_id { LOG_CHANNEL_ERROR, LOG_CHANNEL_ACCESS, LOG_CHANNELS };

struct log_state {
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t idle;
	_Atomic int level;
	bool json;
	bool writer_wanted; /* log_start_writer was called: a slow descriptor that comes later gets the thread, too */
	bool writer_runs;
	const char *who;
	int64_t access_delay;
	struct log_channel channels[LOG_CHANNELS];
	_Atomic uint64_t dropped;
};

static struct log_state log_self = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .idle = PTHREAD_COND_INITIALIZER,
    .level = LOG_INFO,
    .who = "",
    .channels = {{.fd = STDERR_FILENO, .slow = true, .writer_fd = -1}, {.fd = -1, .writer_fd = -1}},
};
static pthread_once_t log_once = PTHREAD_ONCE_INIT;
static _Thread_local const struct log_ctx *log_current;
static _Thread_local bool log_locked;
static void (*log_listener)(enum log_level level, const char *component, const char *msg, const struct log_kv *kv,
			    const struct log_ctx *ctx);

static const struct {
	const char *json;
	const char *text;
} log_level_names[] = {
    [LOG_DEBUG] = {"debug", "DEBUG"},
    [LOG_INFO] = {"info", "INFO "},
    [LOG_WARNING] = {"warning", "WARN "},
    [LOG_ERROR] = {"error", "ERROR"},
};

static void log_lock(void)
{
	pthread_mutex_lock(&log_self.lock);
	log_locked = true;
}

static void log_unlock(void)
{
	log_locked = false;
	pthread_mutex_unlock(&log_self.lock);
}

/* Lines under construction. */

struct log_line {
	char *p; /* LOG_LINE_MAX bytes */
	size_t n;
	size_t limit; /* what comes behind is for the end of the line */
	bool cut;
};

static bool log_put(struct log_line *l, struct str s)
{
	if (s.n > l->limit - l->n) {
		l->cut = true;
		return false;
	}
	if (s.n != 0)
		memcpy(l->p + l->n, s.p, s.n);
	l->n += s.n;
	return true;
}

/* One character of s at *at as it stands inside a JSON string; in a bare text message quotes and backslashes stay. */
static struct str log_escape(struct str s, size_t *at, bool bare, char scratch[8])
{
	static const char shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\";
	size_t step = str_utf8_step(str_sub(s, *at, s.n));
	char c = s.p[*at];

	*at += step != 0 ? step : 1;
	if (step == 0)
		return STR("\xef\xbf\xbd");
	if (step > 1 || ((unsigned char)c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) ||
	    (bare && (c == '"' || c == '\\')))
		return str_sub(s, *at - step, *at);
	for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
		if (shorts[i] == c) {
			scratch[0] = '\\';
			scratch[1] = shorts[i + 1];
			return (struct str){scratch, 2};
		}
	}
	snprintf(scratch, 8, "\\u%04x", (unsigned)(unsigned char)c);
	return (struct str){scratch, 6};
}

/* At most max bytes of s; what does not fit is left off, never half a character or escape. */
static void log_put_escaped(struct log_line *l, struct str s, size_t max, bool bare)
{
	size_t start = l->n;
	char scratch[8];

	for (size_t at = 0; at < s.n;) {
		struct str piece = log_escape(s, &at, bare, scratch);

		/* One byte stays for the closing quote. */
		if (piece.n + 1 > l->limit - l->n || l->n - start + piece.n > max) {
			l->cut = true;
			return;
		}
		log_put(l, piece);
	}
}

static bool log_put_quoted(struct log_line *l, struct str s, size_t max)
{
	if (l->limit - l->n < 2) {
		l->cut = true;
		return false;
	}
	log_put(l, STR("\""));
	log_put_escaped(l, s, max, false);
	return log_put(l, STR("\""));
}

static bool log_put_number(struct log_line *l, const struct log_kv *kv, bool json)
{
	char text[40];

	if (kv->kind == LOG_BOOL)
		return log_put(l, kv->i != 0 ? STR("true") : STR("false"));
	if (kv->kind == LOG_INT)
		snprintf(text, sizeof(text), "%" PRId64, kv->i);
	else if (json && !isfinite(kv->d))
		snprintf(text, sizeof(text), "null");
	else
		snprintf(text, sizeof(text), "%.10g", kv->d);
	return log_put(l, str_of(text));
}

/* Adds a member, or nothing of it when its name or number does not fit. */
static void log_json_member(struct log_line *l, const struct log_kv *kv, size_t max)
{
	size_t mark = l->n;
	bool fits =
	    log_put(l, l->n > 1 ? STR(",\"") : STR("\"")) && log_put(l, str_of(kv->key)) && log_put(l, STR("\":"));

	if (fits)
		fits = kv->kind == LOG_STR ? log_put_quoted(l, kv->s, max) : log_put_number(l, kv, true);
	if (!fits)
		l->n = mark;
}

static void log_build_json(struct log_line *l, enum log_level level, const char *component, const char *msg,
			   const struct log_kv *kv)
{
	const struct log_ctx *ctx = log_current;
	char now[CLOCK_ISO_MAX];
	const struct log_kv head[] = {
	    KV_S("time", clock_iso(now, clock_wall_ms())),
	    KV_S("level", log_level_names[level].json),
	    KV_S("component", component),
	    KV_S("process", log_self.who),
	    KV_I("pid", getpid()),
	};

	l->limit = LOG_LINE_MAX - (sizeof(",\"cut\":true}\n") - 1);
	log_put(l, STR("{"));
	for (size_t i = 0; i < countof(head); i++)
		log_json_member(l, &head[i], LOG_ID_MAX);
	if (ctx != NULL && ctx->request_id.n != 0)
		log_json_member(l, &(struct log_kv)KV_STR("request_id", ctx->request_id), LOG_ID_MAX);
	if (ctx != NULL && ctx->debate_id.n != 0)
		log_json_member(l, &(struct log_kv)KV_STR("debate_id", ctx->debate_id), LOG_ID_MAX);
	log_json_member(l, &(struct log_kv)KV_S("message", msg), LOG_MSG_MAX);
	for (; kv->kind != LOG_END; kv++)
		log_json_member(l, kv, LOG_LINE_MAX);
	l->limit = LOG_LINE_MAX;
	if (l->cut)
		log_put(l, STR(",\"cut\":true"));
	log_put(l, STR("}\n"));
}

static bool log_text_is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
			return false;
	}
	return s.n != 0;
}

static void log_text_member(struct log_line *l, const struct log_kv *kv)
{
	size_t mark = l->n;
	bool fits = log_put(l, STR(" ")) && log_put(l, str_of(kv->key)) && log_put(l, STR("="));

	if (fits && kv->kind != LOG_STR)
		fits = log_put_number(l, kv, false);
	else if (fits && log_text_is_plain(kv->s))
		log_put_escaped(l, kv->s, LOG_LINE_MAX, true);
	else if (fits)
		fits = log_put_quoted(l, kv->s, LOG_LINE_MAX);
	if (!fits)
		l->n = mark;
}

static void log_build_text(struct log_line *l, enum log_level level, const char *component, const char *msg,
			   const struct log_kv *kv)
{
	const struct log_ctx *ctx = log_current;
	char now[CLOCK_ISO_MAX];

	l->limit = LOG_LINE_MAX - (sizeof(" cut=true\n") - 1);
	log_put(l, str_of(clock_iso(now, clock_wall_ms())));
	log_put(l, STR(" "));
	log_put(l, str_of(log_level_names[level].text));
	if (log_self.who[0] != '\0') {
		log_put(l, STR(" ["));
		log_put_escaped(l, str_of(log_self.who), LOG_ID_MAX, true);
		log_put(l, STR("]"));
	}
	log_put(l, STR(" "));
	log_put(l, str_of(component));
	log_put(l, STR(": "));
	log_put_escaped(l, str_of(msg), LOG_MSG_MAX, true);
	for (; kv->kind != LOG_END; kv++)
		log_text_member(l, kv);
	if (ctx != NULL && ctx->request_id.n != 0)
		log_text_member(l, &(struct log_kv)KV_STR("request_id", str_sub(ctx->request_id, 0, LOG_ID_MAX)));
	if (ctx != NULL && ctx->debate_id.n != 0)
		log_text_member(l, &(struct log_kv)KV_STR("debate_id", str_sub(ctx->debate_id, 0, LOG_ID_MAX)));
	l->limit = LOG_LINE_MAX;
	if (l->cut)
		log_put(l, STR(" cut=true"));
	log_put(l, STR("\n"));
}

/* Bytes on their way out. */

static void log_drop(struct str lines)
{
	uint64_t count = 0;

	for (size_t i = 0; i < lines.n; i++)
		count += lines.p[i] == '\n';
	atomic_fetch_add_explicit(&log_self.dropped, count, memory_order_relaxed);
}

static bool log_fd_is_slow(int fd)
{
	struct stat st;

	/* A terminal blocks when its user stops the output; other character devices (/dev/null) do not. */
	return fd >= 0 && fstat(fd, &st) == 0 &&
	       (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd)));
}

/* The lines at the front of s that one atomic write takes. */
static struct str log_piece(struct str s)
{
	const char *end;

	if (s.n <= LOG_LINE_MAX)
		return s;
	end = memrchr(s.p, '\n', LOG_LINE_MAX);
	return str_sub(s, 0, end != NULL ? (size_t)(end - s.p) + 1 : LOG_LINE_MAX);
}

/* Bytes written; 0 when the reader was not ready within wait_ms; -1 when the descriptor is broken. Never blocks longer.
 */
static ssize_t log_write_slow(int fd, struct str s, int wait_ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	struct str piece = log_piece(s);
	ssize_t done;

	if (poll(&ready, 1, wait_ms) <= 0 || (ready.revents & POLLOUT) == 0)
		return (ready.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? -1 : 0;
	done = write(fd, piece.p, piece.n);
	if (done < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	return done;
}

static void log_write_file(int fd, struct str s)
{
	while (s.n != 0) {
		ssize_t done = write(fd, s.p, s.n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			log_drop(s);
			return;
		}
		s = str_sub(s, (size_t)done, s.n);
	}
}

/* A process without the thread (the master, a command) waits a moment for the reader, but only once per stall. */
static void log_write_bounded(struct log_channel *ch, struct str s)
{
	int64_t deadline = clock_mono_us() + LOG_STALL_US;

	while (s.n != 0) {
		int64_t left = deadline - clock_mono_us();
		ssize_t done = log_write_slow(ch->fd, s, ch->stalled || left <= 0 ? 0 : (int)(left / MS_US) + 1);

		if (done < 0 || (done == 0 && (ch->stalled || left <= 0))) {
			ch->stalled = done == 0;
			log_drop(s);
			return;
		}
		if (done > 0)
			ch->stalled = false;
		s = str_sub(s, (size_t)done, s.n);
	}
}

/* As many whole lines as the queue has room for. */
static void log_enqueue(struct log_channel *ch, struct str lines)
{
	size_t room = LOG_QUEUE_MAX > ch->queue.n ? LOG_QUEUE_MAX - ch->queue.n : 0;
	struct str taken = lines;

	if (lines.n > room) {
		const char *end = room != 0 ? memrchr(lines.p, '\n', room) : NULL;

		taken = str_sub(lines, 0, end != NULL ? (size_t)(end - lines.p) + 1 : 0);
		log_drop(str_sub(lines, taken.n, lines.n));
	}
	buf_add(&ch->queue, taken);
	pthread_cond_signal(&log_self.work);
}

static void log_channel_flush(struct log_channel *ch)
{
	struct str lines = buf_str(&ch->pending);

	if (lines.n == 0)
		return;
	if (!ch->slow && ch->fd >= 0)
		log_write_file(ch->fd, lines);
	else if (ch->slow && log_self.writer_runs && ch->writer_fd >= 0)
		log_enqueue(ch, lines);
	else if (ch->slow)
		log_write_bounded(ch, lines);
	buf_clear(&ch->pending);
	ch->since = 0;
}

static void log_flush_locked(void)
{
	for (size_t i = 0; i < LOG_CHANNELS; i++)
		log_channel_flush(&log_self.channels[i]);
}

/* The writer thread. */

static bool log_writer_has_work(void)
{
	bool work = false;

	for (size_t i = 0; i < LOG_CHANNELS; i++) {
		struct log_channel *ch = &log_self.channels[i];
		struct buf empty = ch->writing;

		if (ch->writing.n == 0 && ch->queue.n != 0) {
			ch->writing = ch->queue;
			ch->queue = empty;
			ch->written = 0;
		}
		work = work || ch->writing.n != 0;
	}
	return work;
}

/* Writes one piece; false when the reader is not ready. */
static bool log_writer_step(struct log_channel *ch)
{
	struct str rest = str_sub(buf_str(&ch->writing), ch->written, SIZE_MAX);
	ssize_t done = rest.n != 0 ? log_write_slow(ch->writer_fd, rest, 0) : 0;

	if (done == 0)
		return false;
	if (done < 0) {
		log_drop(rest);
		done = (ssize_t)rest.n;
	}
	ch->written += (size_t)done;
	if (ch->written == ch->writing.n) {
		log_lock();
		buf_clear(&ch->writing);
		pthread_cond_signal(&log_self.idle);
		log_unlock();
	}
	return true;
}

static void *log_writer_main(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd ready[LOG_CHANNELS];
		bool progress = false;

		log_lock();
		while (!log_writer_has_work())
			pthread_cond_wait(&log_self.work, &log_self.lock);
		log_unlock();
		for (size_t i = 0; i < LOG_CHANNELS; i++) {
			struct log_channel *ch = &log_self.channels[i];

			progress = log_writer_step(ch) || progress;
			ready[i].fd = ch->writing.n != 0 ? ch->writer_fd : -1;
			ready[i].events = POLLOUT;
		}
		/* Bounded, because another file may be put behind the descriptor meanwhile. */
		if (!progress)
			poll(ready, LOG_CHANNELS, LOG_POLL_MS);
	}
	return NULL;
}

static void log_writer_attach(struct log_channel *ch)
{
	if (ch->fd < 0)
		return;
	if (ch->writer_fd < 0)
		ch->writer_fd = fcntl(ch->fd, F_DUPFD_CLOEXEC, 3);
	else
		dup3(ch->fd, ch->writer_fd, O_CLOEXEC);
}

/* With the lock held. Without a thread (none could be made) writing stays direct and bounded. */
static void log_writer_start(void)
{
	bool slow = log_self.channels[LOG_CHANNEL_ERROR].slow || log_self.channels[LOG_CHANNEL_ACCESS].slow;
	sigset_t all, old;
	pthread_t thread;

	if (!log_self.writer_wanted || !slow)
		return;
	for (size_t i = 0; i < LOG_CHANNELS; i++)
		log_writer_attach(&log_self.channels[i]);
	if (log_self.writer_runs)
		return;
	/* Signals belong to the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	log_self.writer_runs = pthread_create(&thread, NULL, log_writer_main, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (log_self.writer_runs) {
		pthread_setname_np(thread, "log");
		pthread_detach(thread);
	}
}

/* The life of the logger in a process. */

static void log_after_fork(void)
{
	/* What the parent had buffered is the parent's to write, and its thread does not exist here. */
	pthread_mutex_init(&log_self.lock, NULL);
	pthread_cond_init(&log_self.work, NULL);
	pthread_cond_init(&log_self.idle, NULL);
	log_locked = false;
	log_self.writer_runs = false;
	log_self.writer_wanted = false;
	log_self.dropped = 0;
	for (size_t i = 0; i < LOG_CHANNELS; i++) {
		struct log_channel *ch = &log_self.channels[i];

		buf_clear(&ch->pending);
		buf_clear(&ch->queue);
		buf_clear(&ch->writing);
		if (ch->writer_fd >= 0)
			close(ch->writer_fd);
		ch->writer_fd = -1;
	}
}

static void log_at_end(void)
{
	/* bug() in the middle of a line: better lose the buffer than wait for ourselves. */
	if (!log_locked)
		log_drain(LOG_EXIT_US);
}

static void log_init_once(void)
{
	pthread_atfork(NULL, NULL, log_after_fork);
	atexit(log_at_end);
	bug_at_abort(log_at_end);
}

static void log_set_fds(int error_fd, int access_fd)
{
	const int fds[] = {[LOG_CHANNEL_ERROR] = error_fd, [LOG_CHANNEL_ACCESS] = access_fd};

	log_flush_locked();
	for (size_t i = 0; i < LOG_CHANNELS; i++) {
		log_self.channels[i].fd = fds[i];
		log_self.channels[i].slow = log_fd_is_slow(fds[i]);
		log_self.channels[i].stalled = false;
	}
	log_writer_start();
}

void log_setup(const struct log_options *options)
{
	pthread_once(&log_once, log_init_once);
	log_lock();
	log_self.level = (int)options->level;
	log_self.json = options->json;
	log_self.who = options->who != NULL ? options->who : "";
	log_self.access_delay = options->access_delay;
	log_set_fds(options->error_fd, options->access_fd);
	log_unlock();
}

void log_start_writer(void)
{
	log_lock();
	log_flush_locked();
	log_self.writer_wanted = true;
	log_writer_start();
	log_unlock();
}

void log_reopen(int error_fd, int access_fd)
{
	log_lock();
	log_set_fds(error_fd, access_fd);
	log_unlock();
}

void log_flush(void)
{
	log_lock();
	log_flush_locked();
	log_unlock();
}

/* May the lines wait for more? */
static bool log_access_waits(struct log_channel *ch, int64_t now)
{
	if (ch->pending.n >= LOG_ACCESS_BATCH)
		return false;
	if (ch->since == 0)
		ch->since = now;
	return now - ch->since < log_self.access_delay;
}

void log_turn(int64_t now)
{
	struct log_channel *access = &log_self.channels[LOG_CHANNEL_ACCESS];

	log_lock();
	log_channel_flush(&log_self.channels[LOG_CHANNEL_ERROR]);
	if (access->pending.n > 0 && !log_access_waits(access, now))
		log_channel_flush(access);
	log_unlock();
}

void log_drain(int64_t us)
{
	struct timespec until;
	int64_t end = clock_wall_ms() * MS_US + us;
	bool late = false;

	until.tv_sec = (time_t)(end / SEC_US);
	until.tv_nsec = (long)(end % SEC_US * 1000);
	log_lock();
	log_flush_locked();
	for (size_t i = 0; i < LOG_CHANNELS && log_self.writer_runs; i++) {
		struct log_channel *ch = &log_self.channels[i];

		while (!late && (ch->queue.n != 0 || ch->writing.n != 0))
			late = pthread_cond_timedwait(&log_self.idle, &log_self.lock, &until) != 0;
	}
	log_unlock();
}

const struct log_ctx *log_context(const struct log_ctx *ctx)
{
	const struct log_ctx *former = log_current;

	log_current = ctx;
	return former;
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&log_self.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&log_self.dropped, memory_order_relaxed);
}

static void log_commit(struct log_channel *ch, size_t n)
{
	buf_commit(&ch->pending, n);
	if (ch->pending.n > LOG_PENDING_MAX)
		log_channel_flush(ch);
}

void log_emit(enum log_level level, const char *component, const char *msg, const struct log_kv *kv)
{
	static const struct log_kv none[1];
	struct log_channel *ch = &log_self.channels[LOG_CHANNEL_ERROR];
	struct log_line line = {0};

	pthread_once(&log_once, log_init_once);
	log_lock();
	line.p = buf_reserve(&ch->pending, LOG_LINE_MAX);
	(log_self.json ? log_build_json : log_build_text)(&line, level, component, msg, kv != NULL ? kv : none);
	log_commit(ch, line.n);
	log_unlock();
	if (level == LOG_ERROR && log_listener != NULL)
		log_listener(level, component, msg, kv != NULL ? kv : none, log_current);
}

void log_listen(void (*fn)(enum log_level level, const char *component, const char *msg, const struct log_kv *kv,
			   const struct log_ctx *ctx))
{
	log_listener = fn;
}

/* Both on one descriptor share a buffer, so that lines stay in order and whole. */
static bool log_access_shares(const struct log_channel *ch)
{
	return ch->fd == log_self.channels[LOG_CHANNEL_ERROR].fd;
}

char *log_access_room(void)
{
	struct log_channel *ch = &log_self.channels[LOG_CHANNEL_ACCESS];

	return ch->fd >= 0 ? buf_reserve(&ch->pending, LOG_LINE_MAX) : NULL;
}

void log_access_commit(size_t n)
{
	struct log_channel *ch = &log_self.channels[LOG_CHANNEL_ACCESS],
			   *errors = &log_self.channels[LOG_CHANNEL_ERROR];

	ch->pending.p[ch->pending.n + n] = '\n';
	buf_commit(&ch->pending, n + 1);
	if (log_access_shares(ch)) {
		log_lock();
		buf_add(&errors->pending, buf_str(&ch->pending));
		buf_clear(&ch->pending);
		log_commit(errors, 0);
		log_unlock();
	} else if (ch->pending.n > LOG_PENDING_MAX) {
		log_lock();
		log_channel_flush(ch);
		log_unlock();
	}
}
