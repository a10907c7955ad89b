/* SPDX-License-Identifier: MIT */
/*
 * The segment that master and workers share: its creation, the hash of a topic, the cells that bound running debates.
 * Called by the master before the first fork and by every worker. Takes no locks and holds no pointers, so that a
 * process that dies anywhere leaves nothing behind that another would wait for.
 */
#include "common/shm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ids.h"

/* FNV-1a, then a mix so that the low bits depend on all of the text. */
static uint64_t shm_hash(const char *p, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	return h;
}

/* Two programs agree about a segment only if this number is the same in both. */
static uint64_t shm_layout(void)
{
	const uint64_t v[] = {
	    sizeof(struct shm),
	    sizeof(struct shm_slot),
	    offsetof(struct shm, metrics_layout),
	    offsetof(struct shm, heads),
	    offsetof(struct shm, debate_cells),
	    offsetof(struct shm, limits),
	    offsetof(struct shm, errors),
	    offsetof(struct ratelimit_table, words),
	    offsetof(struct shm, slots),
	    offsetof(struct shm_slot, beat),
	    offsetof(struct shm_slot, used_up),
	    offsetof(struct shm_slot, master),
	    offsetof(struct shm_slot, ws_lagging),
	    offsetof(struct shm_slot, action),
	    offsetof(struct shm_slot, interest),
	    offsetof(struct shm_slot, metrics),
	    offsetof(struct shm_slot, breakers),
	    offsetof(struct shm_slot, peers),
	};

	return shm_hash((const char *)v, sizeof(v));
}

static NORETURN void shm_die(const char *call)
{
	fprintf(stderr, "aragorad: shared memory: %s: %s\n", call, strerror(errno));
	exit(EXIT_FAILURE);
}

struct shm *shm_create_fd(int *out)
{
	struct shm *s;
	int fd;

	fd = memfd_create("aragora", MFD_CLOEXEC);
	if (fd == -1)
		shm_die("memfd_create");
	if (ftruncate(fd, (off_t)sizeof(struct shm)) == -1)
		shm_die("ftruncate");
	s = mmap(NULL, sizeof(struct shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		shm_die("mmap");
	s->layout = shm_layout();
	ids_random(&s->peers_seed, sizeof(s->peers_seed));
	ids_random(s->limits.seed, sizeof(s->limits.seed));
	*out = fd;
	return s;
}

struct shm *shm_create(void)
{
	int fd = -1;
	struct shm *s = shm_create_fd(&fd);

	close(fd);
	return s;
}

struct shm *shm_attach(int fd)
{
	struct stat st;
	struct shm *s;

	if (fstat(fd, &st) == -1 || st.st_size != (off_t)sizeof(struct shm))
		return NULL;
	s = mmap(NULL, sizeof(struct shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return NULL;
	if (s->layout == shm_layout())
		return s;
	shm_detach(s);
	return NULL;
}

void shm_detach(struct shm *s)
{
	if (s != NULL)
		munmap(s, sizeof(*s));
}

bool shm_slot_leads(const struct shm *s, unsigned slot)
{
	int64_t now = clock_mono_us();
	unsigned i;

	for (i = 0; i < slot; i++)
		if (atomic_load(&s->slots[i].state) == SLOT_SERVING &&
		    now - atomic_load(&s->slots[i].heartbeat_us) < SHM_FRESH_US)
			return false;
	return true;
}

unsigned shm_topic_cell(const char *topic, size_t n)
{
	return (unsigned)(shm_hash(topic, n) % SHM_HEADS);
}

int shm_debate_acquire(struct shm *s, unsigned limit, unsigned slot)
{
	unsigned n = limit < SHM_DEBATES_MAX ? limit : SHM_DEBATES_MAX;

	BUG_ON(slot >= SHM_SLOTS_MAX);
	for (unsigned i = 0; i < n; i++) {
		uint64_t expected = 0;

		if (atomic_load(&s->debate_cells[i]) == 0 &&
		    atomic_compare_exchange_strong(&s->debate_cells[i], &expected, (uint64_t)slot + 1))
			return (int)i;
	}
	return -1;
}

void shm_debate_release(struct shm *s, int cell)
{
	BUG_ON(cell < 0 || cell >= SHM_DEBATES_MAX);
	BUG_ON(atomic_exchange(&s->debate_cells[cell], 0) == 0);
}

void shm_debate_release_all(struct shm *s, unsigned slot)
{
	for (unsigned i = 0; i < SHM_DEBATES_MAX; i++) {
		uint64_t expected = (uint64_t)slot + 1;

		atomic_compare_exchange_strong(&s->debate_cells[i], &expected, 0);
	}
}

/* The pages of a slot that never counted anybody stay untouched: they take no memory. */
void shm_peers_release_all(struct shm *s, unsigned slot)
{
	struct shm_slot *owner = &s->slots[slot];

	if (atomic_exchange(&owner->peers_used, 0) == 0)
		return;
	for (unsigned i = 0; i < SHM_PEERS; i++) {
		atomic_store_explicit(&owner->peers[i].held, 0, memory_order_relaxed);
		atomic_store_explicit(&owner->peers[i].came, 0, memory_order_relaxed);
	}
}
