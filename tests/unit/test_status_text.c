/* What `weir status` prints of upstreams that are not as ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/status_text.h"

static void check(const char *upstream, const char *line)
{
    char *text = NULL, all[1024];
    size_t len = 0;
    snprintf(all, sizeof all, "{\"upstreams\": [%s]}", upstream);
    json_t *upstreams = json_loads(all, 0, NULL), *empty = json_object();
    FILE *out = open_memstream(&text, &len);
    assert_non_null(upstreams);
    assert_non_null(out);
    status_print(empty, empty, upstreams, out);
    fclose(out);
    if (!strstr(text, line))
        fail_msg("no \"%s\" in:\n%s", line, text);
    free(text);
    json_decref(upstreams);
    json_decref(empty);
}

static void test_an_upstream_that_is_well_is_a_short_line(void **state)
{
    (void)state;
    check(
        "{\"name\": \"app\", \"state\": \"up\", \"balance\": \"maglev\", \"breaker\": \"closed\", \"panic\": "
        "false, \"queue\": {\"waiting\": 0, \"size\": 8}, \"servers\": []}",
        "  app              up, maglev\n");
    check(
        "{\"name\": \"app\", \"state\": \"up\", \"balance\": \"maglev\", \"breaker\": null, \"queue\": null}",
        "  app              up, maglev\n");
}

static void test_what_is_not_as_ever_stands_behind(void **state)
{
    (void)state;
    check(
        "{\"name\": \"app\", \"state\": \"degraded\", \"balance\": \"maglev\", \"breaker\": \"half_open\", "
        "\"panic\": true, \"queue\": {\"waiting\": 3, \"size\": 8}, \"servers\": [{\"ejected\": true}, "
        "{\"ejected\": false}, {\"ejected\": true}]}",
        "degraded, maglev, 3 of 8 waiting in the queue, 2 ejected, breaker half open, panic: all servers are "
        "used\n");
    check("{\"name\": \"app\", \"state\": \"up\", \"balance\": \"maglev\", \"breaker\": \"open\"}",
          "up, maglev, breaker open\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_upstream_that_is_well_is_a_short_line),
        cmocka_unit_test(test_what_is_not_as_ever_stands_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
