#include "proxy/http/mime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base.h"

static void assert_type(const char *path, const char *expected)
{
    struct slice type = mime_type(slice_text(path));
    if (!slice_equal(type, slice_text(expected)))
        fail_msg("%s: %.*s, not %s", path, SLICE_FMT(type), expected);
}

/* Spread over the whole table: one entry out of order hides its neighbours from the search. */
static void test_the_ending_tells_the_type(void **state)
{
    (void)state;
    static const char *const types[][2] = {{"a.3gp", "video/3gpp"},
                                           {"a.7z", "application/x-7z-compressed"},
                                           {"a.avif", "image/avif"},
                                           {"a.c", "text/plain; charset=utf-8"},
                                           {"a.css", "text/css; charset=utf-8"},
                                           {"a.csv", "text/csv; charset=utf-8"},
                                           {"a.gif", "image/gif"},
                                           {"a.gz", "application/gzip"},
                                           {"a.htm", "text/html; charset=utf-8"},
                                           {"a.html", "text/html; charset=utf-8"},
                                           {"a.ico", "image/vnd.microsoft.icon"},
                                           {"a.jpeg", "image/jpeg"},
                                           {"a.jpg", "image/jpeg"},
                                           {"a.js", "text/javascript; charset=utf-8"},
                                           {"a.json", "application/json"},
                                           {"a.map", "application/json"},
                                           {"a.md", "text/markdown; charset=utf-8"},
                                           {"a.mjs", "text/javascript; charset=utf-8"},
                                           {"a.mp3", "audio/mpeg"},
                                           {"a.mp4", "video/mp4"},
                                           {"a.otf", "font/otf"},
                                           {"a.pdf", "application/pdf"},
                                           {"a.png", "image/png"},
                                           {"a.svg", "image/svg+xml"},
                                           {"a.ttf", "font/ttf"},
                                           {"a.txt", "text/plain; charset=utf-8"},
                                           {"a.wasm", "application/wasm"},
                                           {"a.webm", "video/webm"},
                                           {"a.webmanifest", "application/manifest+json"},
                                           {"a.webp", "image/webp"},
                                           {"a.woff", "font/woff"},
                                           {"a.woff2", "font/woff2"},
                                           {"a.xml", "text/xml; charset=utf-8"},
                                           {"a.zip", "application/zip"},
                                           {"a.zst", "application/zstd"}};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_type(types[i][0], types[i][1]);
}

static void test_only_the_last_ending_counts_in_any_case(void **state)
{
    (void)state;
    assert_type("sub.dir/A.TXT", "text/plain; charset=utf-8");
    assert_type("a.html.png", "image/png");
    assert_type("a.tar.gz", "application/gzip");
}

static void test_a_name_without_an_ending_has_no_known_type(void **state)
{
    (void)state;
    static const char *const names[] = {"",      "noext",   "a.",           "sub.html/noext",      ".html",
                                        "a/.js", "a.htmlx", "a.ht",         "a.unknownextension",  ".",
                                        "/",     "html",    "a.webmanifes", "a.webmanifestwebman", "a.html/"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_type(names[i], "application/octet-stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_ending_tells_the_type),
        cmocka_unit_test(test_only_the_last_ending_counts_in_any_case),
        cmocka_unit_test(test_a_name_without_an_ending_has_no_known_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
