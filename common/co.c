/* SPDX-License-Identifier: MIT */
/*
 * Stackful coroutines: pooled stacks, a run queue, waits with deadlines, a tree of scopes, groups and locks.
 * Everything with sequential code runs on these; the loop calls co_run_queue() once per turn and nothing else resumes.
 * It does no I/O, never preempts, and never unwinds: an ended wait is a return code.
 */
#include "common/co.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/co_stack.h"
#include "common/loop.h"

#ifdef CO_ASAN
#include <sanitizer/common_interface_defs.h>
/* Instrumented frames carry red zones. */
#define CO_STACK_DEFAULT (512U * 1024)
#else
#define CO_STACK_DEFAULT (256U * 1024)
#endif

#define CO_MAX_DEFAULT 4096U
#define CO_MAPS_SPARE 5000U      /* of vm.max_map_count, for everything that is not a stack */
#define CO_SLICE_US (50 * MS_US) /* running longer than this without a wait is worth a line */
#define CO_LOG_ID_MAX 64U

enum co_state { CO_STATE_READY, CO_STATE_RUNNING, CO_STATE_WAITING, CO_STATE_OVER };

struct co {
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	enum co_state state;
	void *sp;    /* while not running */
	char *stack; /* lowest usable byte */
	void *fake;  /* AddressSanitizer's */
	int64_t born;
	/* The current wait. */
	enum co_end end;  /* why it ended */
	bool joining;     /* in co_group_wait: scopes and deadlines do not end it */
	int64_t deadline; /* its own, 0 = none */
	int64_t due;      /* the earliest of its own and its scopes' */
	size_t heap_at;   /* position in the heap of due times, 0 = not in it */
	struct co *run_next;
	struct co *lock_next;
	unsigned locks_held;
	const struct context *tenant;
	/* Scopes: `base` hangs in the creator's scope and is where this coroutine's own chain begins. */
	struct co_scope base;
	struct co_scope *scope;
	struct co_group *group;
	const struct log_ctx *log;
	struct log_ctx log_inherited;
	char log_ids[3][CO_LOG_ID_MAX];
	struct co *prev;
	struct co *next;
};

/* The one set of coroutines of this process. */
static struct {
	struct loop *loop;
	pthread_t thread;
	size_t stack_size;
	unsigned max;
	unsigned count;
	struct co *live;
	struct co *run_head;
	struct co *run_tail;
	struct co **heap; /* [1..heap_n], smallest due time first */
	size_t heap_n;
	size_t heap_cap;
	struct loop_timer timer;
	int64_t timer_due; /* when it will fire, 0 = not set */
	void *loop_sp;
	void *loop_fake;
	const void *loop_stack;
	size_t loop_stack_size;
} co_all;

/* Per thread, so that a helper thread that calls a wait function is caught. */
static _Thread_local struct co *co_current;

void co_switch(void **save_sp, void *to_sp);
void *co_switch_prepare(void *top, void (*fn)(void));

/* -- heap of due times ------------------------------------------------------------------------------------------- */

static void co_heap_set(size_t at, struct co *c)
{
	co_all.heap[at] = c;
	c->heap_at = at;
}

static void co_heap_up(size_t at, struct co *c)
{
	while (at > 1 && co_all.heap[at / 2]->due > c->due) {
		co_heap_set(at, co_all.heap[at / 2]);
		at /= 2;
	}
	co_heap_set(at, c);
}

static void co_heap_down(size_t at, struct co *c)
{
	size_t child;

	while ((child = at * 2) <= co_all.heap_n) {
		if (child < co_all.heap_n && co_all.heap[child + 1]->due < co_all.heap[child]->due)
			child++;
		if (co_all.heap[child]->due >= c->due)
			break;
		co_heap_set(at, co_all.heap[child]);
		at = child;
	}
	co_heap_set(at, c);
}

static void co_heap_add(struct co *c)
{
	if (co_all.heap_n + 1 >= co_all.heap_cap) {
		co_all.heap_cap = co_all.heap_cap == 0 ? 256 : co_all.heap_cap * 2;
		co_all.heap = xrealloc(co_all.heap, co_all.heap_cap * sizeof(struct co *));
	}
	co_heap_up(++co_all.heap_n, c);
}

static void co_heap_remove(struct co *c)
{
	size_t at = c->heap_at;
	struct co *last;

	if (at == 0)
		return;
	c->heap_at = 0;
	last = co_all.heap[co_all.heap_n--];
	if (last == c)
		return;
	if (at > 1 && co_all.heap[at / 2]->due > last->due)
		co_heap_up(at, last);
	else
		co_heap_down(at, last);
}

/* -- waking ------------------------------------------------------------------------------------------------------ */

static void co_enqueue(struct co *c)
{
	c->run_next = NULL;
	if (co_all.run_tail != NULL)
		co_all.run_tail->run_next = c;
	else
		co_all.run_head = c;
	co_all.run_tail = c;
}

static void co_ready(struct co *c, enum co_end end)
{
	co_heap_remove(c);
	c->end = end;
	c->state = CO_STATE_READY;
	co_enqueue(c);
}

void co_wake(struct co *c)
{
	BUG_ON(!pthread_equal(pthread_self(), co_all.thread));
	BUG_ON(c->state == CO_STATE_OVER);
	if (c->state == CO_STATE_WAITING)
		co_ready(c, CO_DONE);
}

bool co_runnable(void)
{
	return co_all.run_head != NULL;
}

/* -- scopes ------------------------------------------------------------------------------------------------------ */

static bool co_scope_is_base(const struct co_scope *s)
{
	return s->owner != NULL && s == &s->owner->base;
}

static void co_scope_link(struct co_scope *s, struct co_scope *parent)
{
	s->parent = parent;
	s->next = NULL;
	s->link = NULL;
	if (parent == NULL)
		return;
	s->next = parent->child;
	if (s->next != NULL)
		s->next->link = &s->next;
	s->link = &parent->child;
	parent->child = s;
}

static void co_scope_unlink(struct co_scope *s)
{
	if (s->link != NULL) {
		*s->link = s->next;
		if (s->next != NULL)
			s->next->link = s->link;
	}
	s->link = NULL;
	s->next = NULL;
}

static const struct co_scope *co_scope_find_ended(const struct co_scope *s)
{
	int64_t now = 0;

	for (; s != NULL; s = s->parent) {
		if (s->cancelled)
			return s;
		if (s->deadline == 0)
			continue;
		if (now == 0)
			now = loop_refresh(co_all.loop);
		if (now >= s->deadline)
			return s;
	}
	return NULL;
}

/* The next scope of the tree below root, parents first. */
static struct co_scope *co_scope_walk(struct co_scope *root, struct co_scope *s)
{
	if (s->child != NULL)
		return s->child;
	while (s != root && s->next == NULL)
		s = s->parent;
	return s == root ? NULL : s->next;
}

/* Ends the waits of every coroutine whose innermost scope lies in the tree of s. A shielded one's does not. */
static void co_scope_end_waits(struct co_scope *root)
{
	for (struct co_scope *s = root; s != NULL; s = co_scope_walk(root, s)) {
		struct co *c = s->owner;

		if (c != NULL && c->scope == s && c->state == CO_STATE_WAITING && !c->joining)
			co_ready(c, CO_ENDED);
	}
}

/* Takes s out of the tree; what hangs in it moves to `heir`, and stays ended if s had ended. */
static void co_scope_remove(struct co_scope *s, struct co_scope *heir)
{
	bool ended = s->cancelled || (s->deadline != 0 && loop_refresh(co_all.loop) >= s->deadline);
	struct co_scope *child;

	co_scope_unlink(s);
	while ((child = s->child) != NULL) {
		co_scope_unlink(child);
		co_scope_link(child, heir);
		if (!ended || child->cancelled)
			continue;
		child->cancelled = true;
		child->why = s->why;
		if (child->kind == SCOPE_NONE)
			child->kind = s->kind;
		co_scope_end_waits(child);
	}
	s->owner = NULL;
	s->parent = NULL;
}

void co_scope_enter(struct co_scope *s)
{
	struct co *self = co_current;

	BUG_ON(self == NULL);
	BUG_ON(s->owner != NULL);
	s->owner = self;
	s->child = NULL;
	co_scope_link(s, self->scope);
	self->scope = s;
}

void co_scope_leave(struct co_scope *s)
{
	struct co *self = co_current;

	BUG_ON(self == NULL || self->scope != s);
	self->scope = s->parent;
	co_scope_remove(s, s->parent);
}

void co_scope_cancel(struct co_scope *s, const char *why)
{
	if (s->cancelled)
		return;
	s->cancelled = true;
	s->why = why;
	if (s->owner != NULL)
		co_scope_end_waits(s);
}

bool co_scope_ended(const struct co_scope *s)
{
	return co_scope_find_ended(s) != NULL;
}

const struct co_scope *co_ended_by(void)
{
	return co_current == NULL ? NULL : co_scope_find_ended(co_current->scope);
}

struct co_scope *co_scope_current(void)
{
	struct co_scope *s = co_current == NULL ? NULL : co_current->scope;

	while (s != NULL && co_scope_is_base(s) && !s->cancelled)
		s = s->parent;
	return s;
}

void co_shield(struct co_shield *s, int64_t us)
{
	struct co *self = co_current;

	BUG_ON(self == NULL);
	s->outer = self->scope;
	s->scope = (struct co_scope){.kind = SCOPE_NONE, .deadline = loop_refresh(co_all.loop) + us, .owner = self};
	self->scope = &s->scope;
}

void co_unshield(struct co_shield *s)
{
	struct co *self = co_current;

	BUG_ON(self == NULL || self->scope != &s->scope);
	self->scope = s->outer;
	co_scope_remove(&s->scope, s->outer);
}

/* -- waiting ----------------------------------------------------------------------------------------------------- */

static void co_suspend(struct co *self, bool final)
{
#ifdef CO_ASAN
	/* NULL at the end: the fake stack goes with the coroutine. */
	__sanitizer_start_switch_fiber(final ? NULL : &self->fake, co_all.loop_stack, co_all.loop_stack_size);
#else
	(void) final;
#endif
	co_switch(&self->sp, co_all.loop_sp);
#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(self->fake, &co_all.loop_stack, &co_all.loop_stack_size);
#endif
}

static int64_t co_due(const struct co *c)
{
	int64_t due = c->deadline;

	for (const struct co_scope *s = c->scope; s != NULL; s = s->parent)
		if (s->deadline != 0 && (due == 0 || s->deadline < due))
			due = s->deadline;
	return due;
}

/* The timer may be set too early (its coroutine was woken), never too late. */
static void co_timer_arm(int64_t now)
{
	int64_t due;

	if (co_all.heap_n == 0)
		return;
	due = co_all.heap[1]->due;
	if (co_all.timer_due != 0 && co_all.timer_due <= due)
		return;
	co_all.timer_due = due;
	loop_timer_set(&co_all.timer, due - now);
}

static void co_timer_fire(void *arg)
{
	int64_t now = loop_refresh(co_all.loop);

	(void)arg;
	co_all.timer_due = 0;
	while (co_all.heap_n > 0 && co_all.heap[1]->due <= now) {
		struct co *c = co_all.heap[1];

		if (co_scope_ended(c->scope)) {
			co_ready(c, CO_ENDED);
		} else if (c->deadline != 0 && c->deadline <= now) {
			co_ready(c, CO_TIMEOUT);
		} else {
			/* It has left the scope that would have ended it. */
			co_heap_remove(c);
			c->due = co_due(c);
			if (c->due != 0)
				co_heap_add(c);
		}
	}
	co_timer_arm(now);
}

enum co_end co_wait(int64_t deadline)
{
	struct co *self = co_current;

	BUG_ON(self == NULL);
	BUG_ON(self->state != CO_STATE_RUNNING);
	if (co_scope_find_ended(self->scope) != NULL)
		return CO_ENDED;
	self->deadline = deadline;
	self->due = co_due(self);
	if (self->due != 0) {
		int64_t now = loop_refresh(co_all.loop);

		if (deadline != 0 && deadline <= now)
			return CO_TIMEOUT;
		co_heap_add(self);
		co_timer_arm(now);
	}
	self->state = CO_STATE_WAITING;
	co_suspend(self, false);
	return self->end;
}

enum co_end co_sleep(int64_t us)
{
	int64_t until;
	enum co_end end = CO_DONE;

	BUG_ON(co_current == NULL);
	until = loop_refresh(co_all.loop) + us;
	while (end == CO_DONE)
		end = co_wait(until);
	return end;
}

enum co_end co_yield (void) {
	struct co *self = co_current;

	BUG_ON(self == NULL);
	if (co_scope_find_ended(self->scope) != NULL) return CO_ENDED;
	co_ready(self, CO_DONE);
	co_suspend(self, false);
	return self->end;
}

/* -- life -------------------------------------------------------------------------------------------------------- */

/* Runs at the bottom of every stack. */
static void co_main(void)
{
	struct co *self = co_current;

#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(NULL, &co_all.loop_stack, &co_all.loop_stack_size);
#endif
	self->fn(self->arg);
	BUG_ON(self->scope != &self->base);
	BUG_ON(self->locks_held != 0);
	/* A group of its own that it did not wait for would point into this stack. */
	for (const struct co_scope *s = self->base.child; s != NULL; s = s->next)
		BUG_ON(s->owner == self);
	self->state = CO_STATE_OVER;
	co_suspend(self, true);
	bug("an ended coroutine was resumed", __FILE__, __LINE__, __func__);
}

static struct str co_log_copy(char out[CO_LOG_ID_MAX], struct str id)
{
	size_t n = id.n < CO_LOG_ID_MAX ? id.n : CO_LOG_ID_MAX;

	if (n > 0)
		memcpy(out, id.p, n);
	return (struct str){out, n};
}

/* The creator's context may go before its children do, so they get a copy. */
static void co_log_inherit(struct co *c)
{
	const struct log_ctx *ctx = log_context(NULL);

	log_context(ctx);
	if (ctx == NULL)
		return;
	c->log_inherited.request_id = co_log_copy(c->log_ids[0], ctx->request_id);
	c->log_inherited.debate_id = co_log_copy(c->log_ids[1], ctx->debate_id);
	c->log_inherited.trace = co_log_copy(c->log_ids[2], ctx->trace);
	c->log = &c->log_inherited;
}

static struct co *co_create(const char *name, void (*fn)(void *arg), void *arg, struct co_scope *scope)
{
	struct co *c;

	BUG_ON(co_all.loop == NULL);
	BUG_ON(!pthread_equal(pthread_self(), co_all.thread));
	if (co_all.count >= co_all.max)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->stack = co_stack_get();
	if (c->stack == NULL) {
		free(c);
		return NULL;
	}
	c->name = name;
	c->fn = fn;
	c->arg = arg;
	c->born = loop_now(co_all.loop);
	c->sp = co_switch_prepare(c->stack + co_all.stack_size, co_main);
	c->base = (struct co_scope){.kind = SCOPE_NONE, .owner = c};
	co_scope_link(&c->base, scope);
	c->scope = &c->base;
	co_log_inherit(c);
	c->next = co_all.live;
	if (c->next != NULL)
		c->next->prev = c;
	co_all.live = c;
	co_all.count++;
	c->state = CO_STATE_READY;
	co_enqueue(c);
	return c;
}

struct co *co_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
	return co_create(name, fn, arg, co_current == NULL ? NULL : co_current->scope);
}

static void co_reap(struct co *c)
{
	struct co_group *g = c->group;

	co_scope_remove(&c->base, c->base.parent);
	if (g != NULL && --g->running == 0 && g->owner->joining)
		co_wake(g->owner);
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		co_all.live = c->next;
	co_all.count--;
	co_stack_put(c->stack);
	free(c);
}

/* Returns when c waits or has ended. */
static void co_resume(struct co *c)
{
	const struct log_ctx *outer;

	BUG_ON(c->state != CO_STATE_READY);
	c->state = CO_STATE_RUNNING;
	outer = log_context(c->log);
	co_current = c;
#ifdef CO_ASAN
	__sanitizer_start_switch_fiber(&co_all.loop_fake, c->stack, co_all.stack_size);
#endif
	co_switch(&co_all.loop_sp, c->sp);
#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(co_all.loop_fake, NULL, NULL);
#endif
	co_current = NULL;
	c->log = log_context(outer);
}

static void co_warn_slow(const struct co *c, int64_t us)
{
	/* An ended coroutine has taken its context with it. */
	const struct log_ctx *outer = log_context(c->state == CO_STATE_OVER ? NULL : c->log);

	log_warn("co", "a coroutine ran long without waiting", KV_S("name", c->name), KV_I("ms", us / MS_US));
	log_context(outer);
}

unsigned co_run_queue(void)
{
	struct co *batch = co_all.run_head;
	unsigned n = 0;
	int64_t before;
	int64_t after;

	if (batch == NULL)
		return 0;
	BUG_ON(co_current != NULL);
	co_all.run_head = NULL;
	co_all.run_tail = NULL;
	before = loop_refresh(co_all.loop);
	while (batch != NULL) {
		struct co *c = batch;

		batch = c->run_next;
		co_resume(c);
		n++;
		after = loop_refresh(co_all.loop);
		if (after - before > CO_SLICE_US)
			co_warn_slow(c, after - before);
		before = after;
		if (c->state == CO_STATE_OVER)
			co_reap(c);
	}
	return n;
}

struct co *co_self(void)
{
	return co_current;
}

void co_set_log(const struct log_ctx *ctx)
{
	BUG_ON(co_current == NULL);
	/* co_resume() takes it up when the coroutine waits. */
	log_context(ctx);
}

void co_set_tenant(const struct context *ctx)
{
	if (co_current != NULL)
		co_current->tenant = ctx;
}

const struct context *co_tenant(void)
{
	return co_current != NULL ? co_current->tenant : NULL;
}

/* -- groups ------------------------------------------------------------------------------------------------------ */

void co_group_open(struct co_group *g)
{
	BUG_ON(co_current == NULL);
	*g = (struct co_group){.owner = co_current};
	/* Only children run inside it. */
	g->scope.kind = SCOPE_GROUP;
	g->scope.owner = co_current;
	co_scope_link(&g->scope, co_current->scope);
}

bool co_group_spawn(struct co_group *g, const char *name, void (*fn)(void *arg), void *arg)
{
	struct co *c;

	BUG_ON(g->owner == NULL);
	c = co_create(name, fn, arg, &g->scope);
	if (c == NULL)
		return false;
	c->group = g;
	g->running++;
	return true;
}

void co_group_wait(struct co_group *g)
{
	struct co *self = co_current;

	BUG_ON(self == NULL || g->owner != self);
	while (g->running > 0) {
		self->joining = true;
		self->state = CO_STATE_WAITING;
		co_suspend(self, false);
		self->joining = false;
	}
	co_scope_remove(&g->scope, g->scope.parent);
	g->owner = NULL;
}

/* -- locks ------------------------------------------------------------------------------------------------------- */

static void co_lock_remove(struct co_lock *l, struct co *self)
{
	struct co *before = NULL;
	struct co *c = l->waiters_head;

	while (c != self) {
		before = c;
		c = c->lock_next;
	}
	if (before != NULL)
		before->lock_next = c->lock_next;
	else
		l->waiters_head = c->lock_next;
	if (l->waiters_tail == c)
		l->waiters_tail = before;
}

enum co_end co_lock(struct co_lock *l, int64_t deadline)
{
	struct co *self = co_current;
	enum co_end end = CO_DONE;

	BUG_ON(self == NULL);
	BUG_ON(l->holder == self);
	if (co_scope_find_ended(self->scope) != NULL)
		return CO_ENDED;
	if (l->holder == NULL) {
		l->holder = self;
		self->locks_held++;
		return CO_DONE;
	}
	self->lock_next = NULL;
	if (l->waiters_tail != NULL)
		l->waiters_tail->lock_next = self;
	else
		l->waiters_head = self;
	l->waiters_tail = self;
	while (l->holder != self && end == CO_DONE)
		end = co_wait(deadline);
	/* Handed over, maybe in the same turn in which the wait ended. */
	if (l->holder == self)
		return CO_DONE;
	co_lock_remove(l, self);
	return end;
}

void co_unlock(struct co_lock *l)
{
	struct co *next = l->waiters_head;

	BUG_ON(co_current == NULL || l->holder != co_current);
	co_current->locks_held--;
	l->holder = next;
	if (next == NULL)
		return;
	l->waiters_head = next->lock_next;
	if (l->waiters_head == NULL)
		l->waiters_tail = NULL;
	next->locks_held++;
	co_wake(next);
}

/* -- process ----------------------------------------------------------------------------------------------------- */

/* Each stack is two mappings; a process that runs out of them dies in odd places. */
static unsigned co_max_by_maps(void)
{
	char text[32];
	uint64_t maps;
	ssize_t n;
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return CO_MAX_DEFAULT;
	n = read(fd, text, sizeof(text));
	close(fd);
	if (n <= 0 || !str_to_u64(str_trim((struct str){text, (size_t)n}), INT32_MAX, &maps))
		return CO_MAX_DEFAULT;
	return maps > CO_MAPS_SPARE + 2 ? (unsigned)((maps - CO_MAPS_SPARE) / 2) : 1;
}

void co_init(struct loop *loop, size_t stack_size, unsigned max)
{
	unsigned by_maps = co_max_by_maps();

	BUG_ON(co_all.loop != NULL);
	co_all.loop = loop;
	co_all.thread = pthread_self();
	co_all.stack_size = co_stack_init(stack_size == 0 ? CO_STACK_DEFAULT : stack_size);
	co_all.max = max == 0 ? CO_MAX_DEFAULT : max;
	if (co_all.max > by_maps)
		co_all.max = by_maps;
	loop_timer_init(loop, &co_all.timer, co_timer_fire, NULL);
}

void co_shutdown(void)
{
	if (co_all.loop == NULL)
		return;
	BUG_ON(co_all.count != 0);
	loop_timer_stop(&co_all.timer);
	co_stack_shutdown();
	free(co_all.heap);
	memset(&co_all, 0, sizeof(co_all));
}

unsigned co_count(void)
{
	return co_all.count;
}
