/* SPDX-License-Identifier: MIT */
/*
 * Replies whose body is a piece of a file: by sendfile on plain HTTP/1 sockets, in chunks through memory where the
 * carrier or TLS must see the bytes. Called by handlers. Pages that are not in memory are fetched on the server's lane,
 * so that a slow disk holds up nobody else. It neither opens files nor knows their names.
 */
#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "common/lane.h"
#include "common/log.h"
#include "worker/http/http_conn.h"

#define FILE_WINDOW (256 * 1024) /* fetched from the disk, or given to sendfile, at a time */
#define FILE_CHUNK (64 * 1024)   /* of what travels through memory */
#define FILE_TURN (1024 * 1024)  /* bytes of one reply in one turn of the loop */

struct file_reply {
	struct http_server *server;
	struct http_request *req;   /* valid until the client has it all, or has gone */
	struct http_conn *conn;     /* with sendfile; NULL once it has ended */
	struct http_stream *stream; /* without */
	struct http_file file;
	uint64_t at, left;
	uint64_t warm;  /* up to here the lane has fetched it */
	uint64_t turn;  /* of the loop, in which .. */
	size_t in_turn; /* .. so many bytes were sent */
	struct loop_timer later;
	bool fetching; /* the lane is at it */
	bool over;
};

/* The client has it all, or has gone; while the lane still reads, the reply lives on. */
static void file_over(struct file_reply *f)
{
	f->over = true;
	f->conn = NULL;
	f->stream = NULL;
	loop_timer_stop(&f->later);
	if (f->fetching)
		return;
	f->file.release(f->file.arg);
	free(f);
}

static struct file_reply *file_new(struct http_request *req, const struct http_file *file, uint64_t offset,
				   uint64_t length)
{
	struct file_reply *f = xcalloc(1, sizeof(*f));

	f->server = req->reply->server;
	f->req = req;
	f->file = *file;
	f->at = f->warm = offset;
	f->left = length;
	return f;
}

static size_t file_share(const struct file_reply *f, size_t most)
{
	return f->left < most ? (size_t)f->left : most;
}

/* n bytes are on their way. */
static void file_advance(struct file_reply *f, size_t n)
{
	f->at += n;
	f->left -= n;
	f->in_turn += n;
	f->req->bytes_out += n;
}

/* Has this reply had its share of the turn? */
static bool file_had_turn(struct file_reply *f)
{
	uint64_t now = loop_turns(f->server->loop);

	if (f->turn != now) {
		f->turn = now;
		f->in_turn = 0;
	}
	return f->in_turn >= FILE_TURN;
}

/* The file got shorter, or cannot be read: what was promised cannot be kept, and must not look complete. */
static void file_failed(const struct file_reply *f, int error)
{
	log_warn("http", "a file ended or failed while it was sent", KV_STR("path", f->req->path),
		 KV_S("reason", error != 0 ? strerror(error) : "it has become shorter"),
		 KV_I("missing", (int64_t)f->left));
}

/* ---- on the lane ---- */

struct file_fetch {
	struct file_reply *reply;
	uint64_t at;
	size_t n;
	struct rbuf *data; /* NULL: failed */
	int error;
};

static void file_fetch_work(void *job)
{
	struct file_fetch *j = job;
	struct rbuf *data = rbuf_new(j->n);
	ssize_t n = 0;
	size_t got = 0;

	j->error = data == NULL ? ENOMEM : 0;
	while (data != NULL && got < j->n) {
		n = pread(j->reply->file.fd, data->data + got, j->n - got, (off_t)(j->at + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	if (n < 0)
		j->error = errno;
	if (data != NULL)
		data->n = got;
	j->data = data;
}

static void file_fetched(struct file_reply *f, struct rbuf *data, int error);

static void file_fetch_done(void *job)
{
	struct file_fetch *j = job;
	struct file_reply *f = j->reply;

	f->fetching = false;
	if (f->over) {
		rbuf_unref(j->data);
		file_over(f);
	} else {
		file_fetched(f, j->data, j->error);
	}
	free(j);
}

/* False: the lane is full. */
static bool file_fetch(struct file_reply *f, size_t n)
{
	struct file_fetch *j = xcalloc(1, sizeof(*j));

	*j = (struct file_fetch){.reply = f, .at = f->at, .n = n, .error = ECANCELED};
	f->fetching = lane_submit(f->server->files, file_fetch_work, file_fetch_done, j);
	if (!f->fetching)
		free(j);
	return f->fetching;
}

/* ---- sendfile ---- */

/* Would sendfile wait for the disk? The first and the last byte tell; without RWF_NOWAIT there is no way to know. */
static bool file_cold(const struct file_reply *f, size_t n)
{
	const uint64_t ends[] = {f->at, f->at + n - 1};
	char byte;
	size_t i;

	for (i = 0; f->server->files != NULL && f->at + n > f->warm && i < countof(ends); i++)
		if (preadv2(f->file.fd, &(struct iovec){&byte, 1}, 1, (off_t)ends[i], RWF_NOWAIT) < 0)
			return true;
	return false;
}

static ssize_t file_send(void *arg)
{
	struct file_reply *f = arg;
	size_t n = file_share(f, FILE_WINDOW);
	off_t at = (off_t)f->at;
	ssize_t sent;

	if (n == 0 || f->fetching)
		return 0;
	if (file_had_turn(f)) {
		errno = EAGAIN; /* the socket tells at once that it is writable: the next turn goes on */
		return -1;
	}
	if (file_cold(f, n) && file_fetch(f, n))
		return 0;
	sent = sendfile(f->conn->fd, f->file.fd, &at, n);
	if (sent > 0)
		file_advance(f, (size_t)sent);
	if (sent == 0 || (sent < 0 && errno == EIO)) {
		file_failed(f, sent < 0 ? errno : 0);
		errno = EIO;
		return -1;
	}
	return sent;
}

/* Input is left for the request after this one. */
static size_t file_input(void *arg, char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return 0;
}

static void file_drained(void *arg)
{
	struct file_reply *f = arg;
	struct http_conn *c = f->conn;

	if (f->left > 0 || c->out.count > 0)
		return;
	c->owner = NULL;
	file_over(f);
	request_done(c);
}

static void file_expired(void *arg, enum http_deadline_kind kind)
{
	const struct file_reply *f = arg;

	(void)kind;
	conn_close(f->conn);
}

/* A draining server lets it come to its end. */
static void file_go_away(void *arg)
{
	(void)arg;
}

static void file_closed(void *arg)
{
	file_over(arg);
}

static const struct conn_owner file_owner = {.input = file_input,
					     .drained = file_drained,
					     .expired = file_expired,
					     .go_away = file_go_away,
					     .closed = file_closed,
					     .send = file_send,
					     .finite = true};

static void file_begin_plain(struct file_reply *f, int status, const char *content_type)
{
	struct http_reply *h = f->req->reply;

	h->replied = true;
	f->req->status = status;
	h->keep_alive = request_keeps(h);
	http_deadline_clear(&h->deadline);
	f->conn = f->req->conn;
	conn_send(f->conn, reply_head(h, status, content_type, (int64_t)f->left, NULL));
	conn_own(f->conn, &file_owner, f);
}

/* ---- through memory ---- */

/* One chunk from memory, or through the lane; NULL: not now (the lane brings it), or failed with errno. */
static struct rbuf *file_chunk(struct file_reply *f)
{
	size_t n = file_share(f, FILE_CHUNK);
	struct rbuf *data = rbuf_new(n);
	ssize_t got;

	errno = ENOMEM;
	if (data == NULL)
		return NULL;
	got = preadv2(f->file.fd, &(struct iovec){data->data, n}, 1, (off_t)f->at,
		      f->server->files != NULL ? RWF_NOWAIT : 0);
	if (got < 0 && f->server->files != NULL && !file_fetch(f, n))
		got = preadv2(f->file.fd, &(struct iovec){data->data, n}, 1, (off_t)f->at, 0);
	if (got > 0) {
		data->n = (size_t)got;
		return data;
	}
	rbuf_unref(data);
	if (got == 0)
		errno = 0;
	return NULL;
}

static void file_pump(struct file_reply *f)
{
	bool room = true;

	while (room && f->left > 0 && !f->fetching && !file_had_turn(f)) {
		struct rbuf *data = file_chunk(f);

		if (data == NULL && f->fetching)
			return;
		if (data == NULL) {
			file_failed(f, errno);
			stream_fail(f->stream);
			return;
		}
		file_advance(f, data->n);
		room = http_stream_write(f->stream, data);
	}
	if (f->left == 0)
		http_stream_end(f->stream);
	else if (room && !f->fetching)
		loop_timer_set(&f->later, 0);
}

static void file_on_later(void *arg)
{
	file_pump(arg);
}

static void file_on_drain(void *arg)
{
	struct file_reply *f = arg;

	/* Not from here: what is written here may be sent, and drain again, within this turn. */
	if (!f->fetching)
		loop_timer_set(&f->later, 0);
}

static const struct http_stream_ops file_stream_ops = {file_on_drain, file_closed};

static void file_fetched(struct file_reply *f, struct rbuf *data, int error)
{
	size_t n = data != NULL ? data->n : 0;

	if (f->conn != NULL && n > 0) {
		f->warm = f->at + n;
		conn_mark(f->conn);
	} else if (f->conn == NULL && n > 0) {
		file_advance(f, n);
		(void)http_stream_write(f->stream, rbuf_ref(data));
		file_pump(f);
	} else {
		file_failed(f, error);
		if (f->conn != NULL)
			conn_doom(f->conn);
		else
			stream_fail(f->stream);
	}
	rbuf_unref(data);
}

void http_reply_file(struct http_request *req, int status, const char *content_type, const struct http_file *file,
		     uint64_t offset, uint64_t length)
{
	struct http_reply *h = req->reply;
	struct file_reply *f;

	if (req->conn == NULL || h->timed_out || req->head || length == 0) {
		reply_empty(req, status, content_type, (int64_t)length);
		file->release(file->arg);
		return;
	}
	BUG_ON(h->replied);
	f = file_new(req, file, offset, length);
	loop_timer_init(f->server->loop, &f->later, file_on_later, f);
	if (h->carrier == &http1_carrier && req->conn->io == &io_plain) {
		file_begin_plain(f, status, content_type);
	} else {
		f->stream = stream_begin(req, status, content_type, (int64_t)length, &file_stream_ops, f);
		file_pump(f);
	}
}

void http_server_files(struct http_server *s, struct lane *lane)
{
	s->files = lane;
}
