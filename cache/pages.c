#include "cache/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

enum {
    SHARE = 4,        /* of address space, for each byte of the memory: a slot has 16 KiB of data or more */
    REGIONS_MAX = 16, /* each as large as all before it, at least */
    WORD = 64,        /* slots in a word of the map; a run is within one */
    KEPT_RUNS = 64,
    KEPT_SHARE = 64, /* one part in so many of the memory */
};

#define KEPT_MOST (8u << 20)

struct region {
    uint32_t end; /* the first slot behind it */
    uint32_t start;
    char *at;
};

struct cache_pages {
    int fd;
    uint32_t page; /* bytes */
    pthread_mutex_t lock;
    uint64_t *map;  /* a bit for each free slot */
    uint32_t words; /* of the map */
    uint32_t low;   /* no word before it has a free slot */
    uint32_t region_count, kept_count;
    uint64_t kept_bytes, kept_most;
    struct cache_run kept[KEPT_RUNS]; /* the oldest first */
    struct region regions[REGIONS_MAX];
};

/* Words of the map for that much memory. */
static uint32_t words_for(uint64_t memory)
{
    uint64_t each = (uint64_t)WORD * CACHE_SLOT, words = memory / each * SHARE + SHARE;
    uint64_t most = CACHE_SLOT_NONE / WORD / 2;
    return words < most ? (uint32_t)words : (uint32_t)most;
}

uint64_t cache_pages_overhead(uint64_t memory)
{
    return sizeof(struct cache_pages) + 2 * sizeof(uint64_t) * words_for(memory);
}

static void set_most(struct cache_pages *p, uint64_t memory)
{
    p->kept_most = memory / KEPT_SHARE < KEPT_MOST ? memory / KEPT_SHARE : KEPT_MOST;
}

static int make_file(void)
{
    int fd = memfd_create("weir-cache", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("weir-cache", MFD_CLOEXEC);
    return fd;
}

static int punch(const struct cache_pages *p, uint64_t from, uint64_t bytes)
{
    int error;
    do {
        error = fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes);
    } while (error != 0 && errno == EINTR);
    return error;
}

/* A limit on the size of files would end the process with a signal. */
static bool file_may_have(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur);
}

static int add_region(struct cache_pages *p, uint32_t words)
{
    uint32_t start = p->words * WORD, end = words * WORD;
    uint64_t from = cache_pages_offset(start), to = cache_pages_offset(end);
    if (p->region_count == REGIONS_MAX || !file_may_have(to) || ftruncate(p->fd, (off_t)to) != 0)
        return -1;
    char *at = mmap(NULL, to - from, PROT_READ, MAP_SHARED | MAP_NORESERVE, p->fd, (off_t)from);
    if (at == MAP_FAILED)
        return -1;
    madvise(at, to - from, MADV_DONTDUMP);
    uint64_t *map = malloc(words * sizeof *map);
    if (!map) {
        munmap(at, to - from);
        return -1;
    }
    pthread_mutex_lock(&p->lock);
    uint64_t *old = p->map;
    if (old)
        memcpy(map, old, p->words * sizeof *map);
    memset(map + p->words, 0xff, (words - p->words) * sizeof *map);
    p->regions[p->region_count++] = (struct region){.start = start, .end = end, .at = at};
    p->map = map;
    p->words = words;
    pthread_mutex_unlock(&p->lock);
    free(old);
    return 0;
}

struct cache_pages *cache_pages_create(uint64_t memory)
{
    struct cache_pages *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->page = (uint32_t)sysconf(_SC_PAGESIZE);
    set_most(p, memory);
    p->fd = make_file();
    if (p->fd < 0 || p->page > CACHE_SLOT || add_region(p, words_for(memory)) != 0 ||
        punch(p, 0, CACHE_SLOT) != 0) {
        cache_pages_free(p);
        return NULL;
    }
    return p;
}

void cache_pages_free(struct cache_pages *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->region_count; i++)
        munmap(p->regions[i].at, cache_pages_offset(p->regions[i].end - p->regions[i].start));
    if (p->fd >= 0)
        close(p->fd);
    pthread_mutex_destroy(&p->lock);
    free(p->map);
    free(p);
}

int cache_pages_grow(struct cache_pages *p, uint64_t memory)
{
    uint32_t words = words_for(memory);
    pthread_mutex_lock(&p->lock);
    set_most(p, memory);
    pthread_mutex_unlock(&p->lock);
    if (words <= p->words)
        return 0;
    return add_region(p, words < 2 * p->words ? 2 * p->words : words);
}

/* The bits at which a run of that many begins. */
static uint64_t runs_of(uint64_t free_slots, uint32_t count)
{
    uint64_t runs = free_slots;
    for (uint32_t have = 1; have < count;) {
        uint32_t step = count - have < have ? count - have : have;
        runs &= runs >> step;
        have += step;
    }
    return runs;
}

static uint64_t bits(uint32_t first, uint32_t count)
{
    return ((UINT64_C(1) << count) - 1) << first % WORD;
}

static bool find_run(struct cache_pages *p, uint32_t count, uint32_t *first)
{
    for (uint32_t i = p->low; i < p->words; i++) {
        uint64_t runs = p->map[i] ? runs_of(p->map[i], count) : 0;
        if (runs) {
            *first = i * WORD + (uint32_t)__builtin_ctzll(runs);
            p->map[i] &= ~bits(*first, count);
            return true;
        }
        if (i == p->low && p->map[i] == 0)
            p->low++;
    }
    return false;
}

/* Out of what is kept, with the lock. */
static struct cache_run remove_kept(struct cache_pages *p, uint32_t i)
{
    struct cache_run run = p->kept[i];
    p->kept_bytes -= run.paid;
    memmove(p->kept + i, p->kept + i + 1, (--p->kept_count - i) * sizeof *p->kept);
    return run;
}

static void mark_free(struct cache_pages *p, const struct cache_run *run)
{
    for (uint32_t slot = run->first; slot < run->first + run->count; slot++)
        p->map[slot / WORD] |= bits(slot, 1);
    if (run->count && run->first / WORD < p->low)
        p->low = run->first / WORD;
}

/* The newest that is long enough; what it has too much is kept as another. */
static bool take_kept(struct cache_pages *p, uint32_t wanted, struct cache_run *out)
{
    for (uint32_t i = p->kept_count; i-- > 0;) {
        if (p->kept[i].count < wanted)
            continue;
        struct cache_run *rest = &p->kept[i];
        uint64_t most = cache_pages_offset(wanted);
        *out = (struct cache_run){rest->first, wanted, rest->paid < most ? rest->paid : most};
        rest->first += wanted, rest->count -= wanted, rest->paid -= out->paid;
        p->kept_bytes -= out->paid;
        if (rest->paid == 0) {
            struct cache_run empty = remove_kept(p, i);
            mark_free(p, &empty);
        }
        return true;
    }
    return false;
}

struct cache_run cache_pages_take(struct cache_pages *p, uint32_t wanted)
{
    struct cache_run run = {.count = wanted < CACHE_RUN_MAX ? wanted : CACHE_RUN_MAX};
    pthread_mutex_lock(&p->lock);
    if (!take_kept(p, run.count, &run))
        while (run.count && !find_run(p, run.count, &run.first))
            run.count /= 2;
    pthread_mutex_unlock(&p->lock);
    return run;
}

void cache_pages_give(struct cache_pages *p, const struct cache_run *run)
{
    /* Slots whose pages might be some socket's still are not used again. */
    if (run->paid && punch(p, cache_pages_offset(run->first), cache_pages_offset(run->count)) != 0)
        return;
    pthread_mutex_lock(&p->lock);
    mark_free(p, run);
    pthread_mutex_unlock(&p->lock);
}

uint64_t cache_pages_keep(struct cache_pages *p, const struct cache_run *run)
{
    uint64_t gone = 0;
    pthread_mutex_lock(&p->lock);
    bool fits = run->paid && run->paid <= p->kept_most;
    while (fits && (p->kept_count == KEPT_RUNS || p->kept_bytes + run->paid > p->kept_most)) {
        struct cache_run oldest = remove_kept(p, 0);
        pthread_mutex_unlock(&p->lock);
        gone += oldest.paid;
        cache_pages_give(p, &oldest);
        pthread_mutex_lock(&p->lock);
    }
    if (fits) {
        p->kept[p->kept_count++] = *run;
        p->kept_bytes += run->paid;
    }
    pthread_mutex_unlock(&p->lock);
    if (fits)
        return gone;
    cache_pages_give(p, run);
    return run->paid;
}

uint64_t cache_pages_drain(struct cache_pages *p, uint64_t bytes)
{
    uint64_t gone = 0;
    while (gone < bytes) {
        struct cache_run oldest = {0};
        pthread_mutex_lock(&p->lock);
        if (p->kept_count)
            oldest = remove_kept(p, 0);
        pthread_mutex_unlock(&p->lock);
        if (oldest.count == 0)
            break;
        gone += oldest.paid;
        cache_pages_give(p, &oldest);
    }
    return gone;
}

const char *cache_pages_at(const struct cache_pages *p, uint32_t slot)
{
    const struct region *r = p->regions;
    while (slot >= r->end)
        r++;
    return r->at + cache_pages_offset(slot - r->start);
}

int cache_pages_fd(const struct cache_pages *p)
{
    return p->fd;
}

uint64_t cache_pages_for(const struct cache_pages *p, uint64_t bytes)
{
    return (bytes + p->page - 1) / p->page * p->page;
}

/* By a system call, not through the mapping: where no memory is to be had it says so, and is no signal; and
 * pages need neither a fault nor to be cleared. */
int cache_pages_write(struct cache_pages *p, uint32_t slot, uint32_t at, const char *data, size_t bytes)
{
    uint64_t to = cache_pages_offset(slot) + at;
    while (bytes) {
        ssize_t n = pwrite(p->fd, data, bytes, (off_t)to);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n, to += (size_t)n, bytes -= (size_t)n;
    }
    return 0;
}

void cache_pages_shorten(struct cache_pages *p, uint32_t slot, uint32_t bytes)
{
    uint64_t keep = cache_pages_for(p, bytes);
    if (keep < CACHE_SLOT)
        punch(p, cache_pages_offset(slot) + keep, CACHE_SLOT - keep);
}
