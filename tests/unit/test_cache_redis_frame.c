#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/redis/frame.h"
#include "cache/redis/reader.h"
#include "config/option.h"

static char value[4096];

static struct slice make(const char *key, const char *url, const struct slice *tags, size_t tag_count,
                         const char *content)
{
    struct iovec iov[] = {{(void *)(uintptr_t)content, 3},
                          {(void *)(uintptr_t)(content + 3), strlen(content) - 3}};
    size_t head = redis_frame_write(&(struct cache_redis_value){.key = slice_text(key),
                                                                .stamp = {7, 9},
                                                                .url = slice_text(url),
                                                                .tags = tags,
                                                                .tag_count = tag_count,
                                                                .content = iov,
                                                                .count = 2},
                                    value, sizeof value);
    assert_true(head > 0);
    memcpy(value + head, content, strlen(content));
    return slice_of(value, head + strlen(content));
}

static void test_a_value_is_read_as_it_was_written(void **state)
{
    (void)state;
    const struct slice tags[] = {S("red"), S(""), S("blue")};
    struct slice bytes = make("key", "a/b", tags, 3, "content"), tag;
    struct redis_frame f;
    assert_int_equal(redis_frame_read(bytes, S("key"), &f), 0);
    assert_int_equal(f.stamp.epoch, 7);
    assert_int_equal(f.stamp.number, 9);
    assert_true(slice_equal(f.url, S("a/b")));
    assert_true(slice_equal(f.content, S("content")));
    for (int i = 0; i < 3; i++) {
        assert_true(redis_frame_next_tag(&f.tags, &tag));
        assert_true(slice_equal(tag, tags[i]));
    }
    assert_false(redis_frame_next_tag(&f.tags, &tag));
}

static void test_every_bit_that_is_changed_and_every_byte_that_is_missing_is_seen(void **state)
{
    (void)state;
    struct slice bytes = make("key", "url", (const struct slice[]){S("tag")}, 1, "the content");
    struct redis_frame f;
    for (size_t i = 0; i < bytes.len * 8; i++) {
        value[i / 8] = (char)(value[i / 8] ^ (1 << i % 8));
        assert_int_equal(redis_frame_read(bytes, S("key"), &f), -1);
        value[i / 8] = (char)(value[i / 8] ^ (1 << i % 8));
    }
    for (size_t len = 0; len < bytes.len; len++) {
        char *cut = malloc(len ? len : 1); /* of that size, so that reading past it is seen */
        memcpy(cut, value, len);
        assert_int_equal(redis_frame_read(slice_of(cut, len), S("key"), &f), -1);
        free(cut);
    }
    assert_int_equal(redis_frame_read(slice_of(value, bytes.len + 1), S("key"), &f), -1);
    assert_int_equal(redis_frame_read(bytes, S("kez"), &f), -1);
    assert_int_equal(redis_frame_read(bytes, S("key"), &f), 0);
}

static void test_labels_have_bounds(void **state)
{
    (void)state;
    static char out[REDIS_FRAME_HEAD_MAX], text[CACHE_REDIS_TEXT_MAX + 1];
    struct slice tags[CACHE_REDIS_TAGS_MAX + 1];
    for (unsigned i = 0; i <= CACHE_REDIS_TAGS_MAX; i++)
        tags[i] = S("t");
    struct cache_redis_value v = {.key = S("k"), .tags = tags, .tag_count = CACHE_REDIS_TAGS_MAX};
    assert_true(redis_frame_write(&v, out, sizeof out) > 0);
    assert_int_equal(redis_frame_write(&v, out, 100), 0);
    v.tag_count++;
    assert_int_equal(redis_frame_write(&v, out, sizeof out), 0);
    v.tag_count = 1;
    tags[0] = slice_of(text, sizeof text);
    assert_int_equal(redis_frame_write(&v, out, sizeof out), 0);
    tags[0].len--;
    assert_true(redis_frame_write(&v, out, sizeof out) > 0);
    v.key = slice_of(text, sizeof text);
    assert_int_equal(redis_frame_write(&v, out, sizeof out), 0);
}

static void test_places_differ_and_are_of_one_length(void **state)
{
    (void)state;
    char a[REDIS_FRAME_KEY_HEX], b[REDIS_FRAME_KEY_HEX];
    assert_int_equal(redis_frame_place(S("a"), a), 0);
    assert_int_equal(redis_frame_place(S("b"), b), 0);
    assert_memory_equal(a, "ca978112ca1bbdcafac231b39a23dc4d", sizeof a); /* SHA-256("a") begins so */
    assert_memory_not_equal(a, b, sizeof a);
}

static int replies(const char *text, size_t limit)
{
    struct redis_reader *r = redis_reader_create(limit);
    int count = 0, result = 0;
    for (size_t i = 0; text[i] && result >= 0; i++) {
        struct redis_reply *reply;
        result = redis_reader_feed(r, slice_of(text + i, 1));
        while (result >= 0 && (result = redis_reader_next(r, &reply)) > 0) {
            redis_reply_free(reply);
            count++;
        }
    }
    redis_reader_free(r);
    return result < 0 ? -1 : count;
}

static void test_what_is_no_answer_of_redis_or_has_no_bounds_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int count; /* whole replies; -1 = refused */
    } table[] = {
        {"+OK\r\n:12\r\n$-1\r\n$3\r\nabc\r\n-ERR x\r\n*-1\r\n*0\r\n", 7},
        {"*3\r\n$1\r\na\r\n:5\r\n$-1\r\n", 1},
        {"*2\r\n$1\r\na\r\n", 0},
        {"HTTP/1.1 400 Bad Request\r\n", -1},
        {"*1\r\n*1\r\n:1\r\n", -1},
        {"*1000000000\r\n", -1},
        {"*99999999999999999999\r\n", -1},
        {"$-7\r\n", -1},
        {"+a line that is longer than the limit, and does not end", -1},
        {"*2\r\n+more than the limit\r\n+in pieces that are small\r\n", -1},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++)
        if (replies(table[i].text, 40) != table[i].count)
            fail_msg("%s", table[i].text);
}

static void test_settings_have_defaults_and_faults_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault; /* "" = none */
    } table[] = {
        {"{address: \"127.0.0.1:6379\"}", ""},
        {"{address: \"unix:/run/redis.sock\", password: x}", ""},
        {"{address: \"cache.internal:6379\", username: u, password: x}", ""},
        {"{}", "address"},
        {"{address: nonsense}", "address"},
        {"{address: \":6379\"}", "host"},
        {"{address: \"127.0.0.1:6379\", username: u}", "password"},
        {"{address: \"127.0.0.1:6379\", deadline: 0}", "deadline"},
        {"{address: \"127.0.0.1:6379\", max_object: 16MiB}", "queue"},
        {"{address: \"127.0.0.1:6379\", tls: true}", "tls"},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct cache_redis_settings s;
        config_init(&c);
        assert_int_equal(config_parse_value(&c, "test", slice_text(table[i].text)), 0);
        int result = option_apply(&c, &cache_redis_table, c.root, &s);
        const char *faults = config_errors_text(&c);
        if ((result == 0) != !table[i].fault[0] || !strstr(faults, table[i].fault))
            fail_msg("%s: %s", table[i].text, faults);
        if (result == 0) {
            assert_int_equal(s.deadline, 5);
            assert_int_equal(s.max_object, 1 << 20);
            assert_true(slice_equal(s.prefix, S("weir:")));
            assert_true(cache_redis_settings_equal(&s, &s));
        }
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_is_read_as_it_was_written),
        cmocka_unit_test(test_every_bit_that_is_changed_and_every_byte_that_is_missing_is_seen),
        cmocka_unit_test(test_labels_have_bounds),
        cmocka_unit_test(test_places_differ_and_are_of_one_length),
        cmocka_unit_test(test_what_is_no_answer_of_redis_or_has_no_bounds_is_refused),
        cmocka_unit_test(test_settings_have_defaults_and_faults_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
