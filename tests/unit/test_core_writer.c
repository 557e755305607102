/* The writer of logs: order, full outputs, reopening, releasing, ending in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "core/log.h"
#include "core/writer.h"
#include "tests/unit/patience.h"

#define WAIT_MS (5000 * test_scale())

static char folder[64];
static char name[128], other[128];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-test-writer-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(name, sizeof name, "%s/log", folder);
    snprintf(other, sizeof other, "%s/log.1", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(name);
    unlink(other);
    return rmdir(folder);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define UNTIL(condition)                                                                                     \
    do {                                                                                                     \
        uint64_t end_ = now_ms() + WAIT_MS;                                                                  \
        while (!(condition)) {                                                                               \
            if (now_ms() > end_)                                                                             \
                fail_msg("waited in vain for: %s", #condition);                                              \
            usleep(1000);                                                                                    \
        }                                                                                                    \
    } while (0)

static char *contents(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return strdup("");
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

static bool file_is(const char *path, const char *text)
{
    char *now = contents(path);
    bool same = strcmp(now, text) == 0;
    free(now);
    return same;
}

static void line(struct sink *s, const char *text)
{
    sink_line(s, text, strlen(text));
}

static struct writer *started_writer(void)
{
    struct writer *w = writer_create();
    assert_non_null(w);
    assert_int_equal(writer_start(w), 0);
    return w;
}

static void test_what_is_pushed_before_the_thread_is_there_waits_for_it(void **state)
{
    (void)state;
    struct writer *w = writer_create();
    struct sink *s = writer_open(w, slice_text(name));
    line(s, "early\n");
    assert_true(file_is(name, ""));
    assert_int_equal(writer_start(w), 0);
    UNTIL(file_is(name, "early\n"));
    writer_free(w, WAIT_MS);
}

static void test_lines_are_appended_in_order_and_all_at_the_end(void **state)
{
    (void)state;
    FILE *f = fopen(name, "w");
    fputs("before\n", f);
    fclose(f);
    struct writer *w = started_writer();
    struct sink *s = writer_open(w, slice_text(name));
    char text[32], all[200000] = "before\n";
    size_t len = strlen(all);
    for (int i = 0; i < 10000; i++) {
        int n = snprintf(text, sizeof text, "line %d\n", i);
        memcpy(all + len, text, (size_t)n + 1);
        len += (size_t)n;
        sink_line(s, text, (size_t)n);
    }
    writer_free(w, WAIT_MS);
    assert_true(file_is(name, all));
}

static void test_a_file_is_made_for_its_owner_and_group(void **state)
{
    (void)state;
    struct stat st;
    mode_t before = umask(0);
    struct writer *w = started_writer();
    assert_non_null(writer_open(w, slice_text(name)));
    umask(before);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    writer_free(w, WAIT_MS);
}

static void test_a_file_that_cannot_be_opened_says_why(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    errno = 0;
    assert_null(writer_open(w, S("/nonexistent/folder/log")));
    assert_int_equal(errno, ENOENT);
    writer_free(w, WAIT_MS);
}

static void test_the_same_output_is_one_sink_until_all_let_go(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    struct sink *s = writer_open(w, slice_text(name));
    assert_ptr_equal(writer_open(w, slice_text(name)), s);
    sink_release(s);
    line(s, "still open\n");
    sink_release(s);
    sink_release(NULL);
    UNTIL(file_is(name, "still open\n"));
    s = writer_open(w, slice_text(name));
    line(s, "again\n");
    UNTIL(file_is(name, "still open\nagain\n"));
    writer_free(w, WAIT_MS);
}

static void test_what_was_pushed_before_the_release_is_written(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    for (int i = 0; i < 50; i++) {
        struct sink *s = writer_open(w, slice_text(i % 2 ? name : other));
        line(s, "x\n");
        sink_release(s);
    }
    writer_free(w, WAIT_MS);
    char *a = contents(name), *b = contents(other);
    assert_int_equal(strlen(a) + strlen(b), 100);
    free(a), free(b);
}

static void test_after_a_rename_the_new_file_is_written_on_demand(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    struct sink *s = writer_open(w, slice_text(name));
    line(s, "one\n");
    UNTIL(file_is(name, "one\n"));
    assert_int_equal(rename(name, other), 0);
    line(s, "two\n");
    UNTIL(file_is(other, "one\ntwo\n"));
    writer_reopen(w);
    line(s, "three\n");
    UNTIL(file_is(name, "three\n"));
    assert_true(file_is(other, "one\ntwo\n"));
    writer_free(w, WAIT_MS);
}

static void test_reopening_needs_no_line(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    assert_non_null(writer_open(w, slice_text(name)));
    assert_int_equal(rename(name, other), 0);
    writer_reopen(w);
    UNTIL(access(name, F_OK) == 0);
    writer_free(w, WAIT_MS);
}

static void test_when_the_new_file_cannot_be_had_the_old_one_serves(void **state)
{
    (void)state;
    char moved[160], inside[240];
    snprintf(inside, sizeof inside, "%s/sub", folder);
    mkdir(inside, 0700);
    snprintf(inside, sizeof inside, "%s/sub/log", folder);
    snprintf(moved, sizeof moved, "%s/sub.1", folder);
    struct writer *w = started_writer();
    struct sink *s = writer_open(w, slice_text(inside));
    char from[160];
    snprintf(from, sizeof from, "%s/sub", folder);
    assert_int_equal(rename(from, moved), 0);
    writer_reopen(w);
    line(s, "kept\n");
    snprintf(inside, sizeof inside, "%s/sub.1/log", folder);
    UNTIL(file_is(inside, "kept\n"));
    writer_free(w, WAIT_MS);
    unlink(inside);
    rmdir(moved);
}

/* A pipe whose reader does not read. */
static int full_pipe(struct writer *w, struct sink **s)
{
    assert_int_equal(mkfifo(name, 0600), 0);
    int reader = open(name, O_RDONLY | O_NONBLOCK);
    *s = writer_open(w, slice_text(name));
    assert_non_null(*s);
    return reader;
}

/* Reads so much, which the writer has or will have. */
static void take(int reader, uint64_t len)
{
    static char in[65536];
    struct pollfd p = {.fd = reader, .events = POLLIN};
    while (len) {
        assert_int_equal(poll(&p, 1, (int)WAIT_MS), 1);
        ssize_t n = read(reader, in, len < sizeof in ? len : sizeof in);
        assert_true(n > 0);
        len -= (uint64_t)n;
    }
}

static void test_a_full_pipe_loses_lines_and_counts_them(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    struct sink *s;
    int reader = full_pipe(w, &s);
    enum { LINES = 3000, LENGTH = 4000 };
    char text[LENGTH];
    memset(text, 'x', sizeof text);
    text[LENGTH - 1] = '\n';
    uint64_t start = now_ms();
    for (int i = 0; i < LINES; i++)
        sink_line(s, text, sizeof text);
    assert_true(now_ms() - start < 2000 * test_scale()); /* who logs does not wait */
    uint64_t lost = sink_lost(s);
    uint64_t most = WRITER_QUEUE_BYTES / LENGTH + 65536 / LENGTH + 1;
    assert_true(lost >= LINES - most && lost < LINES);

    take(reader, (LINES - lost) * LENGTH);
    for (int i = 0; i < 20; i++) { /* there is room again */
        sink_line(s, text, sizeof text);
        take(reader, LENGTH);
    }
    assert_int_equal(sink_lost(s), lost);
    writer_free(w, WAIT_MS);
    close(reader);
}

static bool has_bytes(const char *path, uint64_t bytes)
{
    struct stat st;
    return stat(path, &st) == 0 && (uint64_t)st.st_size >= bytes;
}

static void test_what_is_written_makes_room_at_once(void **state)
{
    (void)state;
    struct writer *w = writer_create();
    struct sink *s = writer_open(w, slice_text(name));
    enum { LENGTH = 200 };
    char text[LENGTH];
    memset(text, 'x', sizeof text);
    text[LENGTH - 1] = '\n';
    while (sink_lost(s) == 0)
        sink_line(s, text, sizeof text);
    assert_int_equal(writer_start(w), 0);
    uint64_t end = now_ms() + WAIT_MS;
    while (!has_bytes(name, LENGTH * 100)) /* not yet the rest, which the thread has taken over with it */
        assert_true(now_ms() < end);
    for (int i = 0; i < 99; i++)
        sink_line(s, text, sizeof text);
    assert_int_equal(sink_lost(s), 1);
    writer_free(w, WAIT_MS);
}

static void test_an_output_that_is_gone_counts_and_does_not_kill(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    struct sink *s;
    close(full_pipe(w, &s));
    sink_push(s, strdup("one\ntwo\nthree\n"), 14);
    UNTIL(sink_lost(s) == 3);
    writer_free(w, WAIT_MS);
}

static void *free_it(void *argument)
{
    writer_free(argument, 100);
    return NULL;
}

static void test_the_end_does_not_wait_for_a_stuck_output(void **state)
{
    (void)state;
    struct writer *w = started_writer();
    struct sink *s;
    int reader = full_pipe(w, &s);
    for (int i = 0; i < 100; i++)
        sink_push(s, calloc(1, 4096), 4096);
    uint64_t start = now_ms();
    pthread_t thread;
    pthread_create(&thread, NULL, free_it, w);
    pthread_join(thread, NULL);
    assert_true(now_ms() - start < 1500 * test_scale());
    /* Let the thread that was left behind come to its end. */
    take(reader, 100 * 4096);
    writer_free(w, WAIT_MS);
    close(reader);
}

static void *log_much(void *argument)
{
    _Atomic bool *stop = argument;
    while (!atomic_load(stop))
        log_info("busy", LOG_U64("n", 1));
    return NULL;
}

static void test_the_log_moves_to_another_sink_under_load(void **state)
{
    (void)state;
    _Atomic bool stop = false;
    pthread_t threads[2];
    struct writer *w = started_writer();
    struct sink *s = writer_open(w, slice_text(name));
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_to(s);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, log_much, &stop);
    for (int i = 0; i < 100; i++) {
        struct sink *next = writer_open(w, slice_text(i % 2 ? name : other));
        log_to(next);
        sink_release(s);
        s = next;
        log_set(LOG_LEVEL_INFO, i % 3 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        if (i % 10 == 0)
            writer_reopen(w);
        usleep(500);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    log_to(NULL);
    writer_free(w, WAIT_MS);
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    assert_true(st.st_size > 0);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_pushed_before_the_thread_is_there_waits_for_it),
        TEST(test_lines_are_appended_in_order_and_all_at_the_end),
        TEST(test_a_file_is_made_for_its_owner_and_group),
        TEST(test_a_file_that_cannot_be_opened_says_why),
        TEST(test_the_same_output_is_one_sink_until_all_let_go),
        TEST(test_what_was_pushed_before_the_release_is_written),
        TEST(test_after_a_rename_the_new_file_is_written_on_demand),
        TEST(test_reopening_needs_no_line),
        TEST(test_when_the_new_file_cannot_be_had_the_old_one_serves),
        TEST(test_a_full_pipe_loses_lines_and_counts_them),
        TEST(test_what_is_written_makes_room_at_once),
        TEST(test_an_output_that_is_gone_counts_and_does_not_kill),
        TEST(test_the_end_does_not_wait_for_a_stuck_output),
        TEST(test_the_log_moves_to_another_sink_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
