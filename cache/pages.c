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
};

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
    uint32_t region_count;
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

static bool take_run(struct cache_pages *p, uint32_t count, uint32_t *first)
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

uint32_t cache_pages_take(struct cache_pages *p, uint32_t wanted, uint32_t *first)
{
    uint32_t count = wanted < CACHE_RUN_MAX ? wanted : CACHE_RUN_MAX;
    pthread_mutex_lock(&p->lock);
    while (count && !take_run(p, count, first))
        count /= 2;
    pthread_mutex_unlock(&p->lock);
    return count;
}

void cache_pages_return(struct cache_pages *p, uint32_t first, uint32_t count)
{
    pthread_mutex_lock(&p->lock);
    for (uint32_t slot = first; slot < first + count; slot++)
        p->map[slot / WORD] |= bits(slot, 1);
    if (first / WORD < p->low)
        p->low = first / WORD;
    pthread_mutex_unlock(&p->lock);
}

void cache_pages_give(struct cache_pages *p, uint32_t first, uint32_t count)
{
    /* Slots whose pages might be some socket's still are not used again. */
    if (punch(p, cache_pages_offset(first), cache_pages_offset(count)) == 0)
        cache_pages_return(p, first, count);
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

static uint64_t whole_pages(const struct cache_pages *p, uint64_t bytes)
{
    return (bytes + p->page - 1) / p->page * p->page;
}

uint64_t cache_pages_cost(const struct cache_pages *p, uint64_t before, uint64_t after)
{
    return whole_pages(p, after) - whole_pages(p, before);
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
    uint64_t keep = whole_pages(p, bytes);
    if (keep < CACHE_SLOT)
        punch(p, cache_pages_offset(slot) + keep, CACHE_SLOT - keep);
}
