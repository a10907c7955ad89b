/* SPDX-License-Identifier: MIT */
/*
 * Helper threads: a bounded queue of jobs going out, a list of finished ones coming back through loop_post().
 * Called on the loop's thread by whoever has blocking work; only work() runs on a thread of the lane.
 * It does not interrupt a job: who no longer wants the result leaves, the job finishes and is dropped.
 */
#include "common/lane.h"

#include <pthread.h>
#include <signal.h>

struct lane_job {
	struct lane_job *next;
	void (*work)(void *job);
	void (*done)(void *job);
	void *job;
};

struct lane_queue {
	struct lane_job *head;
	struct lane_job *tail;
};

struct lane {
	struct loop *loop;
	const char *name;
	unsigned threads;
	unsigned depth;
	unsigned load; /* submitted and not yet delivered; the loop's thread only */
	unsigned started;
	pthread_t *ids;
	bool freed; /* lane_free() is over, only a posted delivery is awaited */
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* Guarded by lock. */
	struct lane_queue waiting;
	struct lane_queue finished;
	unsigned queued;
	unsigned idle;
	bool posted; /* a delivery is on its way to the loop */
	bool quit;
};

/* Coroutine form: belongs to the lane once submitted, to the waiter while `finished` and it has not left. */
struct lane_call {
	void (*work)(void *job);
	void (*drop)(void *job);
	void *job;
	struct co *waiter; /* NULL when it left */
	bool worked;       /* written by the thread before the job comes back */
	bool finished;
};

static void lane_push(struct lane_queue *q, struct lane_job *j)
{
	j->next = NULL;
	if (q->tail != NULL)
		q->tail->next = j;
	else
		q->head = j;
	q->tail = j;
}

static struct lane_job *lane_pop(struct lane_queue *q)
{
	struct lane_job *j = q->head;

	if (j != NULL) {
		q->head = j->next;
		if (q->head == NULL)
			q->tail = NULL;
	}
	return j;
}

struct lane *lane_new(struct loop *l, const char *name, unsigned threads, unsigned depth)
{
	struct lane *lane = xcalloc(1, sizeof(*lane));

	BUG_ON(threads == 0);
	lane->loop = l;
	lane->name = name;
	lane->threads = threads;
	lane->depth = depth;
	lane->ids = xcalloc(threads, sizeof(*lane->ids));
	BUG_ON(pthread_mutex_init(&lane->lock, NULL) != 0);
	BUG_ON(pthread_cond_init(&lane->more, NULL) != 0);
	return lane;
}

static void lane_destroy(struct lane *lane)
{
	pthread_cond_destroy(&lane->more);
	pthread_mutex_destroy(&lane->lock);
	free(lane->ids);
	free(lane);
}

/* Calls done() for every job of the list, on the loop's stack. */
static void lane_finish(struct lane *lane, struct lane_queue *q)
{
	struct lane_job *j;

	while ((j = lane_pop(q)) != NULL) {
		lane->load--;
		j->done(j->job);
		free(j);
	}
}

static void lane_deliver(void *arg)
{
	struct lane *lane = arg;
	struct lane_queue finished;

	if (lane->freed) {
		lane_destroy(lane);
		return;
	}
	pthread_mutex_lock(&lane->lock);
	finished = lane->finished;
	lane->finished = (struct lane_queue){NULL, NULL};
	lane->posted = false;
	pthread_mutex_unlock(&lane->lock);
	lane_finish(lane, &finished);
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;
	struct lane_job *j;

	pthread_mutex_lock(&lane->lock);
	for (;;) {
		while (!lane->quit && lane->waiting.head == NULL) {
			lane->idle++;
			pthread_cond_wait(&lane->more, &lane->lock);
			lane->idle--;
		}
		if (lane->quit)
			break;
		j = lane_pop(&lane->waiting);
		lane->queued--;
		pthread_mutex_unlock(&lane->lock);
		j->work(j->job);
		pthread_mutex_lock(&lane->lock);
		lane_push(&lane->finished, j);
		if (!lane->posted) {
			lane->posted = true;
			loop_post(lane->loop, lane_deliver, lane);
		}
	}
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

/* Signals are for the loop's thread: a helper is born with all of them blocked. */
static bool lane_start_thread(struct lane *lane)
{
	char name[16];
	sigset_t all;
	sigset_t old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&lane->ids[lane->started], NULL, lane_thread, lane);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return false;
	snprintf(name, sizeof(name), "%.15s", lane->name);
	/* Only a label for top and gdb. */
	(void)pthread_setname_np(lane->ids[lane->started], name);
	lane->started++;
	return true;
}

bool lane_submit(struct lane *lane, void (*work)(void *job), void (*done)(void *job), void *job)
{
	struct lane_job *j;
	bool full;
	bool short_handed;

	pthread_mutex_lock(&lane->lock);
	short_handed = lane->queued >= lane->idle;
	full = lane->queued >= lane->depth && short_handed && lane->started == lane->threads;
	pthread_mutex_unlock(&lane->lock);
	if (full)
		return false;
	if (short_handed && lane->started < lane->threads && !lane_start_thread(lane) && lane->started == 0)
		return false;
	j = xmalloc(sizeof(*j));
	*j = (struct lane_job){NULL, work, done, job};
	lane->load++;
	pthread_mutex_lock(&lane->lock);
	lane_push(&lane->waiting, j);
	lane->queued++;
	pthread_cond_signal(&lane->more);
	pthread_mutex_unlock(&lane->lock);
	return true;
}

void lane_free(struct lane *lane)
{
	bool posted;

	if (lane == NULL)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->quit = true;
	pthread_cond_broadcast(&lane->more);
	pthread_mutex_unlock(&lane->lock);
	for (unsigned i = 0; i < lane->started; i++)
		pthread_join(lane->ids[i], NULL);
	lane_finish(lane, &lane->finished);
	lane_finish(lane, &lane->waiting);
	posted = lane->posted;
	lane->freed = true;
	if (!posted)
		lane_destroy(lane);
}

static void lane_call_work(void *arg)
{
	struct lane_call *call = arg;

	call->work(call->job);
	call->worked = true;
}

static void lane_call_done(void *arg)
{
	struct lane_call *call = arg;

	if (!call->worked || call->waiter == NULL)
		call->drop(call->job);
	call->finished = true;
	if (call->waiter != NULL)
		co_wake(call->waiter);
	else
		free(call);
}

enum co_end lane_run(struct lane *lane, void (*work)(void *job), void (*drop)(void *job), void *job, int64_t deadline)
{
	struct lane_call *call;
	enum co_end end = CO_DONE;
	bool worked;

	BUG_ON(co_self() == NULL);
	if (co_scope_ended(co_scope_current())) {
		loop_defer(lane->loop, drop, job);
		return CO_ENDED;
	}
	call = xmalloc(sizeof(*call));
	*call = (struct lane_call){work, drop, job, co_self(), false, false};
	if (!lane_submit(lane, lane_call_work, lane_call_done, call)) {
		free(call);
		loop_defer(lane->loop, drop, job);
		return CO_TIMEOUT;
	}
	while (!call->finished && end == CO_DONE)
		end = co_wait(deadline);
	if (!call->finished) {
		call->waiter = NULL;
		return end;
	}
	worked = call->worked;
	free(call);
	return worked ? CO_DONE : CO_ENDED;
}

unsigned lane_load(const struct lane *lane)
{
	return lane->load;
}
