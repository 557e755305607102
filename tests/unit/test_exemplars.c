/* Exemplars: which ids are kept, how often, how many; and that a reader never sees half of one. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/exemplars.h"

static bool take(struct exemplars *e, usec_t now, unsigned *budget, const char *id, const char *trace,
                 uint64_t value)
{
    struct exemplar_text text = {.value = value, .wall_us = (int64_t)now};
    if (!exemplar_text_set(&text, slice_text(id), slice_text(trace)))
        return false;
    exemplars_take(e, 3, now, budget, &text);
    return true;
}

static void test_a_bucket_is_due_once_in_a_second(void **state)
{
    struct exemplars e = {0};
    unsigned budget = 1;
    (void)state;
    assert_true(exemplars_due(&e, 3, 5000000));
    assert_true(take(&e, 5000000, &budget, "first", "", 1));
    assert_false(exemplars_due(&e, 3, 5000001));
    assert_true(exemplars_due(&e, 4, 5000001));
    assert_true(exemplars_due(&e, 3, 7000000));
    exemplars_free(&e);
}

static void test_what_was_taken_last_is_read(void **state)
{
    struct exemplars e = {0};
    struct exemplar_text got;
    unsigned budget = 1;
    (void)state;
    assert_false(exemplars_get(&e, 3, &got));
    assert_true(take(&e, 1000000, &budget, "first", "", 1));
    assert_true(take(&e, 3000000, &budget, "second", "0af7651916cd43dd8448eb211c80319c", 2));
    assert_true(exemplars_get(&e, 3, &got));
    assert_int_equal(got.value, 2);
    assert_int_equal(got.id_len, 6);
    assert_memory_equal(got.id, "second", 6);
    assert_int_equal(got.trace_len, 32);
    assert_memory_equal(got.trace, "0af7651916cd43dd8448eb211c80319c", 32);
    exemplars_forget(&e);
    assert_false(exemplars_get(&e, 3, &got));
    assert_true(exemplars_due(&e, 3, 3000000));
    exemplars_free(&e);
}

static void test_when_the_budget_is_spent_new_buckets_stay_without(void **state)
{
    struct exemplars e = {0}, other = {0};
    struct exemplar_text got;
    unsigned budget = 1;
    (void)state;
    assert_true(take(&e, 1000000, &budget, "a", "", 1));
    assert_int_equal(budget, 0);
    assert_true(take(&other, 1000000, &budget, "b", "", 1));
    assert_false(exemplars_get(&other, 3, &got));
    assert_false(exemplars_due(&other, 3, 1000000));
    assert_true(take(&e, 9000000, &budget, "c", "", 1));
    assert_true(exemplars_get(&e, 3, &got));
    assert_int_equal(got.id[0], 'c');
    exemplars_free(&e);
    exemplars_free(&other);
}

static void test_which_ids_are_kept(void **state)
{
    static const struct {
        const char *id, *trace;
        bool kept;
    } cases[] = {
        {"a", "", true},
        {"0123456789012345678901234567890123456789012345678901234567890123", "", true},
        {"01234567890123456789012345678901234567890123456789012345678901234", "", false},
        {"", "", false},
        {"a b", "", false},
        {"a\"b", "", false},
        {"a\\b", "", false},
        {"a\nb", "", false},
        {"caf\xc3\xa9", "", false},
        {"\x7f", "", false},
        {"a", "012345678901234567890123456789012", false},
        {"a", "\"", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct exemplar_text text = {0};
        assert_int_equal(exemplar_text_set(&text, slice_text(cases[i].id), slice_text(cases[i].trace)),
                         cases[i].kept);
    }
}

#define ROUNDS 300000
#define TEXTS  256

struct shared {
    struct exemplars exemplars;
    struct exemplar_text texts[TEXTS]; /* of the rounds, in turn */
    _Atomic bool done;
};

static void *write_many(void *argument)
{
    struct shared *s = argument;
    unsigned budget = 1;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        struct exemplar_text text = s->texts[i % TEXTS];
        text.value = i;
        text.wall_us = i;
        exemplars_take(&s->exemplars, 3, (usec_t)i << 20, &budget, &text);
    }
    atomic_store(&s->done, true);
    return NULL;
}

static void test_a_reader_sees_a_whole_one_or_none(void **state)
{
    static struct shared s;
    pthread_t writer;
    uint64_t last = 0;
    (void)state;
    for (unsigned i = 0; i < TEXTS; i++) {
        char id[EXEMPLAR_ID_MAX + 1], trace[EXEMPLAR_TRACE_MAX + 1];
        snprintf(id, sizeof id, "%064u", i * 0x01010101u);
        snprintf(trace, sizeof trace, "%032u", i * 0x01010101u);
        assert_true(exemplar_text_set(&s.texts[i], slice_text(id), slice_text(trace)));
    }
    assert_int_equal(pthread_create(&writer, NULL, write_many, &s), 0);
    while (!atomic_load(&s.done) || last < ROUNDS) {
        struct exemplar_text got;
        if (!exemplars_get(&s.exemplars, 3, &got))
            continue;
        const struct exemplar_text *wanted = &s.texts[got.value % TEXTS];
        assert_true(got.value >= last && got.wall_us == (int64_t)got.value);
        assert_memory_equal(got.id, wanted->id, EXEMPLAR_ID_MAX);
        assert_memory_equal(got.trace, wanted->trace, EXEMPLAR_TRACE_MAX);
        last = got.value;
    }
    pthread_join(writer, NULL);
    exemplars_free(&s.exemplars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bucket_is_due_once_in_a_second),
        cmocka_unit_test(test_what_was_taken_last_is_read),
        cmocka_unit_test(test_when_the_budget_is_spent_new_buckets_stay_without),
        cmocka_unit_test(test_which_ids_are_kept),
        cmocka_unit_test(test_a_reader_sees_a_whole_one_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
