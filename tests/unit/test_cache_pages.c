/* The pages of large chunks, and bodies that are in them. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/chunk.h"
#include "cache/store.h"

#define KIB    1024u
#define SIZE   (1024 * KIB)
#define MEMORY (16u << 20)

static struct {
    struct loop loop;
    struct cache_budget budget;
    struct cache_pages *pages;
    struct cache_reader reader;
    char data[SIZE], other[SIZE];
} t;

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    uint32_t number = 1;
    for (size_t i = 0; i < SIZE; i++) {
        t.data[i] = (char)((number = number * 1664525u + 1013904223u) >> 24);
        t.other[i] = (char)~t.data[i];
    }
    t.pages = cache_pages_create(MEMORY);
    assert_non_null(t.pages);
    t.budget = (struct cache_budget){.limit = MEMORY, .pages = t.pages};
    return loop_init(&t.loop, 0);
}

/* Bytes of memory that the file has. */
static uint64_t in_file(void)
{
    struct stat s;
    assert_int_equal(fstat(cache_pages_fd(t.pages), &s), 0);
    return (uint64_t)s.st_blocks * 512;
}

static void drain(void)
{
    cache_budget_give(&t.budget, cache_pages_drain(t.pages, UINT64_MAX));
}

/* For tests that ask for bare slots. */
static uint32_t take(uint32_t wanted, uint32_t *first)
{
    struct cache_run run = cache_pages_take(t.pages, wanted);
    assert_int_equal(run.paid, 0);
    *first = run.first;
    return run.count;
}

static void put_back(uint32_t first, uint32_t count)
{
    cache_pages_give(t.pages, &(struct cache_run){first, count, 0});
}

/* Slots with something in them. */
static void punch_out(uint32_t first, uint32_t count)
{
    cache_pages_give(t.pages, &(struct cache_run){first, count, 1});
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(&t.loop);
    drain();
    assert_int_equal(t.budget.used, 0);
    assert_int_equal(in_file(), 0);
    cache_pages_free(t.pages);
    return 0;
}

static void wake(struct cache_reader *r)
{
    (void)r;
}

static int append(struct cache_body *b, const char *data, size_t bytes)
{
    const char *from = data + cache_body_bytes(b);
    struct iovec iov[2] = {{(void *)(uintptr_t)from, bytes / 3},
                           {(void *)(uintptr_t)(from + bytes / 3), bytes - bytes / 3}};
    return cache_body_append(b, iov, 2);
}

static struct cache_body *body_of(uint64_t announced, size_t bytes, size_t piece)
{
    struct cache_body *b = cache_body_create(&t.budget, announced);
    assert_non_null(b);
    for (size_t left = bytes, now; left; left -= now) {
        now = left < piece ? left : piece;
        assert_int_equal(append(b, t.data, now), 0);
        assert_true(cache_body_memory(b) <= t.budget.used);
        assert_true(in_file() <= t.budget.used);
    }
    cache_body_finish(b);
    return b;
}

/* Reads all, from the file where it is in the file and else through vectors. The bytes that were in it. */
static uint64_t read_both_ways(struct cache_body *b, uint64_t *pieces)
{
    static char buffer[SIZE];
    struct cache_extent e;
    struct iovec iov[8];
    uint64_t bytes, sum = 0;
    *pieces = 0;
    assert_int_equal(cache_reader_open(&t.reader, b, &t.loop, wake), 0);
    while (t.reader.at < cache_body_bytes(b)) {
        bytes = cache_reader_file(&t.reader, UINT64_MAX, &e);
        if (bytes) {
            assert_int_equal(pread(e.fd, buffer, bytes, (off_t)e.offset), bytes);
            assert_memory_equal(buffer, t.data + t.reader.at, bytes);
            sum += bytes;
            ++*pieces;
        }
        uint64_t limit = bytes ? bytes : e.before, left = limit;
        assert_true(limit > 0);
        for (uint64_t at = t.reader.at; left; left -= bytes, at += bytes) {
            assert_true(cache_reader_peek(&t.reader, iov, 1, left, &bytes) == 1);
            assert_memory_equal(iov[0].iov_base, t.data + at, bytes);
            cache_reader_skip(&t.reader, bytes);
        }
    }
    assert_int_equal(cache_reader_file(&t.reader, UINT64_MAX, &e), 0);
    cache_reader_close(&t.reader);
    return sum;
}

static void test_slots_are_given_in_a_row_until_there_are_none_and_again(void **state)
{
    (void)state;
    uint32_t first[8192], count[8192], runs = 0, slots = 0;
    while ((count[runs] = take(16, &first[runs])) > 0) {
        assert_true(count[runs] <= 16);
        slots += count[runs++];
    }
    assert_true((uint64_t)slots * CACHE_SLOT >= 4 * (uint64_t)MEMORY);
    assert_int_equal(count[0], 16);
    put_back(first[1] + 3, 5);
    uint32_t again;
    assert_int_equal(take(5, &again), 5);
    assert_int_equal(again, first[1] + 3);
    put_back(first[2] + 15, 1);
    assert_int_equal(take(16, &again), 1);
    assert_int_equal(again, first[2] + 15);
    for (uint32_t i = 0; i < runs; i++)
        put_back(first[i], count[i]);
    assert_int_equal(take(99, &again), 16);
    assert_int_equal(again, first[0]);
}

static void test_more_memory_gives_more_slots_and_moves_none(void **state)
{
    (void)state;
    uint32_t slot, first, slots = 0, before = 0, count;
    assert_int_equal(take(1, &slot), 1);
    assert_int_equal(cache_pages_write(t.pages, slot, 100, t.data, 1000), 0);
    const char *at = cache_pages_at(t.pages, slot);
    while ((count = take(16, &first)) > 0)
        before += count;
    assert_int_equal(cache_pages_grow(t.pages, MEMORY / 2), 0);
    assert_int_equal(take(16, &first), 0);
    for (uint64_t memory = 2 * MEMORY; memory <= 8 * MEMORY; memory *= 2)
        assert_int_equal(cache_pages_grow(t.pages, memory), 0);
    while ((count = take(16, &first)) > 0) {
        assert_int_equal(cache_pages_write(t.pages, first + count - 1, 0, t.other + first, 10), 0);
        assert_memory_equal(cache_pages_at(t.pages, first + count - 1), t.other + first, 10);
        cache_pages_shorten(t.pages, first + count - 1, 0);
        slots += count;
    }
    assert_true(slots + before >= 7 * before);
    assert_ptr_equal(at, cache_pages_at(t.pages, slot));
    assert_memory_equal(at + 100, t.data, 1000);
    punch_out(slot, 1);
}

static void test_a_limit_on_files_leaves_all_on_the_heap(void **state)
{
    (void)state;
    struct rlimit before, low;
    getrlimit(RLIMIT_FSIZE, &before);
    low = (struct rlimit){.rlim_cur = MEMORY, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    struct cache_pages *p = cache_pages_create(MEMORY);
    assert_int_equal(cache_pages_grow(t.pages, 2 * MEMORY), -1);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_null(p);
}

static int connect_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&at, sizeof at), 0);
    fds[1] = accept(listener, NULL, NULL);
    assert_true(fds[1] >= 0);
    return close(listener);
}

static void test_what_is_in_a_socket_stays_though_the_slot_is_used_again(void **state)
{
    (void)state;
    static char got[CACHE_SLOT];
    int fds[2];
    uint32_t slot, again;
    connect_pair(fds);
    assert_int_equal(take(1, &slot), 1);
    assert_int_equal(cache_pages_write(t.pages, slot, 0, t.data, CACHE_SLOT), 0);
    off_t at = (off_t)cache_pages_offset(slot);
    assert_int_equal(sendfile(fds[1], cache_pages_fd(t.pages), &at, CACHE_SLOT), CACHE_SLOT);
    punch_out(slot, 1);
    assert_int_equal(take(1, &again), 1);
    assert_int_equal(again, slot);
    assert_int_equal(cache_pages_write(t.pages, again, 0, t.other, CACHE_SLOT), 0);
    assert_int_equal(recv(fds[0], got, sizeof got, MSG_WAITALL), CACHE_SLOT);
    assert_memory_equal(got, t.data, CACHE_SLOT);
    assert_memory_equal(cache_pages_at(t.pages, again), t.other, CACHE_SLOT);
    punch_out(again, 1);
    close(fds[0]);
    close(fds[1]);
}

static void test_bodies_are_read_from_the_file_as_through_vectors(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1,        4096,         16 * KIB - 1,  16 * KIB, 20000, 64 * KIB - 1,
                                     64 * KIB, 64 * KIB + 1, 200 * KIB + 7, SIZE};
    static const size_t pieces[] = {777, 4096, 70000, SIZE};
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t p = 0; p < COUNT_OF(pieces); p++)
            for (int known = 0; known < 2; known++) {
                uint64_t runs;
                struct cache_body *b = body_of(known ? sizes[s] : CACHE_BODY_UNKNOWN, sizes[s], pieces[p]);
                uint64_t bytes = read_both_ways(b, &runs);
                if (known) {
                    assert_int_equal(bytes, sizes[s] >= 16 * KIB ? sizes[s] : 0);
                    assert_int_equal(runs, sizes[s] >= 16 * KIB);
                } else if (sizes[s] >= 100 * KIB) {
                    assert_true(bytes >= sizes[s] - 8 * KIB);
                }
                assert_int_equal(cache_body_memory(b), t.budget.used);
                cache_body_release(b);
                drain();
                assert_int_equal(t.budget.used, 0);
                assert_int_equal(in_file(), 0);
            }
}

static void test_what_an_announced_body_takes_are_its_pages_and_little_more(void **state)
{
    (void)state;
    struct cache_body *b = body_of(100 * KIB, 100 * KIB, 5000);
    assert_int_equal(in_file(), 100 * KIB);
    assert_in_range(t.budget.used, 100 * KIB + 100, 100 * KIB + 1000);
    cache_body_release(b);
}

static void test_without_a_free_slot_a_body_is_on_the_heap(void **state)
{
    (void)state;
    uint32_t first[8192], count[8192], runs = 0;
    while ((count[runs] = take(16, &first[runs])) > 0)
        runs++;
    put_back(first[0], 2);
    uint64_t pieces;
    struct cache_body *b = body_of(SIZE, SIZE, 9999);
    assert_int_equal(read_both_ways(b, &pieces), 2 * CACHE_SLOT);
    cache_body_release(b);
    assert_int_equal(take(16, &first[0]), 2);
    for (uint32_t i = 0; i < runs; i++)
        put_back(first[i], i ? count[i] : 2);
}

static void test_nothing_is_written_that_the_budget_has_no_room_for(void **state)
{
    (void)state;
    for (uint64_t limit = 20 * KIB; limit < 200 * KIB; limit += 1234) {
        t.budget.limit = limit;
        struct cache_body *b = cache_body_create(&t.budget, 300 * KIB);
        uint64_t bytes = 0, used, file;
        do {
            used = t.budget.used, file = in_file();
            bytes = cache_body_bytes(b);
        } while (append(b, t.data, 3000) == 0);
        assert_int_equal(t.budget.used, used);
        assert_int_equal(in_file(), file);
        assert_int_equal(cache_body_bytes(b), bytes);
        assert_int_equal(cache_body_memory(b), used);
        t.budget.limit = MEMORY;
        assert_int_equal(append(b, t.data, 3000), 0);
        uint64_t pieces;
        assert_int_equal(read_both_ways(b, &pieces), bytes + 3000);
        cache_body_release(b);
    }
}

static void test_who_reads_while_it_grows_is_told_of_what_is_there_alone(void **state)
{
    (void)state;
    struct cache_extent e;
    struct cache_body *b = cache_body_create(&t.budget, SIZE);
    assert_int_equal(cache_reader_open(&t.reader, b, &t.loop, wake), 0);
    assert_int_equal(cache_reader_file(&t.reader, UINT64_MAX, &e), 0);
    assert_int_equal(e.before, 0);
    for (uint64_t at = 0; at < SIZE; at += 70001 < SIZE - at ? 70001 : SIZE - at) {
        size_t now = 70001 < SIZE - at ? 70001 : (size_t)(SIZE - at);
        assert_int_equal(append(b, t.data, now), 0);
        assert_int_equal(cache_reader_file(&t.reader, UINT64_MAX, &e), now);
        assert_int_equal(cache_reader_file(&t.reader, 5, &e), 5);
        cache_reader_skip(&t.reader, now);
    }
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_a_stream_gives_its_slots_back_as_it_is_read(void **state)
{
    (void)state;
    struct cache_body *b = cache_body_create(&t.budget, SIZE);
    assert_int_equal(append(b, t.data, 400 * KIB), 0);
    assert_int_equal(cache_reader_open(&t.reader, b, &t.loop, wake), 0);
    cache_body_stream(b);
    assert_true(t.budget.used < KIB);
    assert_int_equal(append(b, t.data, 100 * KIB), 0);
    assert_true(t.budget.used < KIB);
    struct iovec iov[8];
    uint64_t bytes;
    while (cache_reader_peek(&t.reader, iov, 8, UINT64_MAX, &bytes) > 0) {
        assert_memory_equal(iov[0].iov_base, t.data + t.reader.at, iov[0].iov_len);
        cache_reader_skip(&t.reader, bytes);
    }
    assert_int_equal(t.reader.at, 500 * KIB);
    assert_true(in_file() <= CACHE_SLOT);
    cache_reader_close(&t.reader);
    cache_body_release(b);
}

static void test_slots_that_a_body_did_not_need_are_free_again(void **state)
{
    (void)state;
    uint32_t first, again;
    assert_int_equal(take(1, &first), 1);
    put_back(first, 1);
    struct cache_body *cut = cache_body_create(&t.budget, SIZE), *left = cache_body_create(&t.budget, SIZE);
    assert_int_equal(append(cut, t.data, 1000), 0);
    assert_int_equal(append(left, t.data, 1000), 0);
    cache_body_cut(cut);
    assert_int_equal(take(15, &again), 15);
    assert_int_equal(again, first + 1);
    put_back(again, 15);
    cache_body_release(cut);
    cache_body_release(left);
    drain();
    assert_int_equal(take(16, &again), 16);
    assert_int_equal(again, first);
}

/* A body's bytes with nobody having read them, or from the file. */
static void come_and_go(uint64_t announced, size_t bytes, bool is_sent)
{
    uint64_t pieces;
    struct cache_body *b = cache_body_create(&t.budget, announced);
    assert_int_equal(append(b, t.data, bytes / 2), 0);
    assert_int_equal(append(b, t.data, bytes - bytes / 2), 0);
    cache_body_finish(b);
    if (is_sent)
        read_both_ways(b, &pieces);
    cache_body_release(b);
    assert_int_equal(in_file(), t.budget.used);
}

static void test_pages_that_no_socket_had_are_kept_for_the_next_in_the_budget(void **state)
{
    (void)state;
    come_and_go(100 * KIB, 100 * KIB, false);
    assert_int_equal(t.budget.used, 100 * KIB);
    come_and_go(100 * KIB, 100 * KIB, false);
    assert_int_equal(t.budget.used, 100 * KIB);
    /* A longer one takes no half of them, a shorter one gives back what it does not need. */
    come_and_go(200 * KIB, 200 * KIB, false);
    assert_int_equal(t.budget.used, 200 * KIB);
    for (int i = 0; i < 300; i++) {
        size_t bytes = 16 * KIB + (size_t)i * 701;
        come_and_go(i % 3 ? bytes : CACHE_BODY_UNKNOWN, bytes, i % 7 == 0);
        assert_true(t.budget.used <= MEMORY / 64);
    }
    drain();
    assert_int_equal(t.budget.used, 0);
    assert_int_equal(in_file(), 0);
}

static void test_pages_that_a_socket_may_have_are_not_kept(void **state)
{
    (void)state;
    come_and_go(100 * KIB, 100 * KIB, true);
    assert_int_equal(t.budget.used, 0);
    come_and_go(100 * KIB, 100 * KIB, false);
    come_and_go(100 * KIB, 100 * KIB, true);
    assert_int_equal(t.budget.used, 0);
    struct cache_body *b = cache_body_create(&t.budget, 100 * KIB);
    assert_int_equal(append(b, t.data, 100 * KIB), 0);
    cache_body_stream(b);
    cache_body_release(b);
    assert_int_equal(t.budget.used, 0);
    assert_int_equal(in_file(), 0);
}

static void test_what_is_kept_goes_before_a_body_gets_no_memory(void **state)
{
    (void)state;
    come_and_go(100 * KIB, 100 * KIB, false);
    t.budget.limit = 130 * KIB;
    uint64_t taken;
    void *piece = cache_budget_alloc(&t.budget, 60 * KIB, &taken);
    assert_non_null(piece);
    assert_int_equal(in_file(), 0);
    free(piece);
    cache_budget_give(&t.budget, taken);
}

static void test_what_a_kept_run_has_too_much_is_given_back(void **state)
{
    (void)state;
    come_and_go(200 * KIB, 200 * KIB, false);
    struct cache_body *b = body_of(70 * KIB, 70 * KIB, 3000);
    assert_in_range(cache_body_memory(b), 72 * KIB, 73 * KIB);
    uint64_t pieces;
    assert_int_equal(read_both_ways(b, &pieces), 70 * KIB);
    cache_body_release(b);
    assert_true(in_file() == t.budget.used && t.budget.used <= 128 * KIB);
    /* One that is cut, and one that there is no budget for. */
    drain();
    come_and_go(200 * KIB, 200 * KIB, false);
    b = cache_body_create(&t.budget, 200 * KIB);
    assert_int_equal(append(b, t.data, 100), 0);
    cache_body_cut(b);
    cache_body_release(b);
    assert_int_equal(in_file(), t.budget.used);
    drain();
    assert_int_equal(in_file(), 0);
}

static void test_a_store_has_pages_in_its_budget_and_more_of_them_when_it_grows(void **state)
{
    (void)state;
    struct cache_store *s =
        cache_store_create(&(struct cache_settings){.memory = 4 << 20, .max_object = 1 << 20});
    struct cache_budget *b = cache_store_budget(s);
    assert_non_null(b->pages);
    uint64_t used = b->used;
    cache_store_configure(s, &(struct cache_settings){.memory = 256 << 20, .max_object = 1 << 20});
    assert_true(b->used >= used + 2048);
    uint32_t slots = 0, count;
    while ((count = cache_pages_take(b->pages, 16).count) > 0)
        slots += count;
    assert_true((uint64_t)slots * CACHE_SLOT >= UINT64_C(1) << 30);
    cache_store_free(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_slots_are_given_in_a_row_until_there_are_none_and_again),
        TEST(test_more_memory_gives_more_slots_and_moves_none),
        TEST(test_a_limit_on_files_leaves_all_on_the_heap),
        TEST(test_what_is_in_a_socket_stays_though_the_slot_is_used_again),
        TEST(test_bodies_are_read_from_the_file_as_through_vectors),
        TEST(test_what_an_announced_body_takes_are_its_pages_and_little_more),
        TEST(test_without_a_free_slot_a_body_is_on_the_heap),
        TEST(test_nothing_is_written_that_the_budget_has_no_room_for),
        TEST(test_who_reads_while_it_grows_is_told_of_what_is_there_alone),
        TEST(test_a_stream_gives_its_slots_back_as_it_is_read),
        TEST(test_slots_that_a_body_did_not_need_are_free_again),
        TEST(test_pages_that_no_socket_had_are_kept_for_the_next_in_the_budget),
        TEST(test_pages_that_a_socket_may_have_are_not_kept),
        TEST(test_what_is_kept_goes_before_a_body_gets_no_memory),
        TEST(test_what_a_kept_run_has_too_much_is_given_back),
        TEST(test_a_store_has_pages_in_its_budget_and_more_of_them_when_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
