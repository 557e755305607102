#include "cache/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base.h"

#define AT   "Sun, 06 Nov 1994 08:49:37 GMT"
#define AT_S 784111777
#define NOW  1700000000 /* 2023 */

static void assert_date(const char *text, int64_t now, int64_t expected)
{
    int64_t seconds = -1;
    assert_int_equal(http_date_parse(slice_text(text), now, &seconds), 0);
    assert_int_equal(seconds, expected);
}

static void test_dates_are_read_in_three_forms(void **state)
{
    (void)state;
    assert_date(AT, NOW, AT_S);
    assert_date("Sunday, 06-Nov-94 08:49:37 GMT", NOW, AT_S);
    assert_date("Sun Nov  6 08:49:37 1994", NOW, AT_S);
    assert_date("Wed Nov 16 08:49:37 1994", NOW, AT_S + 864000);
    assert_date("Thu, 01 Jan 1970 00:00:00 GMT", NOW, 0);
    assert_date("Thu, 29 Feb 2024 12:00:00 GMT", NOW, 1709208000);
    assert_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW, 1483228800);
    assert_date("Wed, 31 Dec 1969 23:59:59 GMT", NOW, -1);
    /* RFC 9111 §4.2: whatever the case. */
    assert_date("sun, 06 nOV 1994 08:49:37 gmt", NOW, AT_S);
    assert_date("SUNDAY, 06-nov-94 08:49:37 Gmt", NOW, AT_S);
    assert_date("SUN NOV  6 08:49:37 1994", NOW, AT_S);
}

static void test_two_digits_of_a_year_are_at_most_fifty_years_ahead(void **state)
{
    (void)state;
    assert_date("Tuesday, 02-Jan-73 00:00:00 GMT", NOW, 3250540800);  /* 2073 */
    assert_date("Wednesday, 02-Jan-74 00:00:00 GMT", NOW, 126316800); /* 1974 */
    assert_date("Saturday, 01-Jan-00 00:00:00 GMT", NOW, 946684800);
}

static void test_no_other_text_is_a_date(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "784111777",
                                        "Sun, 06 Nov 1994 08:49:37",
                                        "Sun, 06 Nov 1994 08:49:37 UTC",
                                        "Sun, 06 Nov 1994 08:49:37 GMT ",
                                        "Sun, 6 Nov 1994 08:49:37 GMT",
                                        "Sun, 31 Nov 1994 08:49:37 GMT",
                                        "Sun, 00 Nov 1994 08:49:37 GMT",
                                        "Wed, 29 Feb 2023 12:00:00 GMT",
                                        "Thu, 29 Feb 1900 12:00:00 GMT",
                                        "Sun, 06 Nov 1994 24:49:37 GMT",
                                        "Sun, 06 Nov 1994 08:60:37 GMT",
                                        "Sun, 06 Nov 1994 08:49:61 GMT",
                                        "Sunday, 06 Nov 1994 08:49:37 GMT",
                                        "Sun, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov 6 08:49:37 1994"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        int64_t seconds = 5;
        assert_int_equal(http_date_parse(slice_text(texts[i]), NOW, &seconds), -1);
        assert_int_equal(seconds, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_are_read_in_three_forms),
        cmocka_unit_test(test_two_digits_of_a_year_are_at_most_fifty_years_ahead),
        cmocka_unit_test(test_no_other_text_is_a_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
