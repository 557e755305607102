/* From a request's path to an open file: what is decoded and refused, what may be opened, what is chosen and
 * listed. */
#include "proxy/http/files_path.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/http/files_find.h"
#include "proxy/http/files_open.h"
#include "proxy/http/listing.h"

/* Decoding. */

static void assert_decoded(const char *path, const char *expected, bool directory)
{
    char out[256];
    bool is_directory = !directory;
    ssize_t len = files_path_decode(slice_text(path), out, &is_directory);
    assert_int_equal(len, strlen(expected));
    assert_string_equal(out, expected);
    assert_int_equal(is_directory, directory);
}

static void test_a_path_is_decoded_once(void **state)
{
    (void)state;
    assert_decoded("/", "", true);
    assert_decoded("/a", "a", false);
    assert_decoded("/a/b.txt", "a/b.txt", false);
    assert_decoded("/a/b/", "a/b", true);
    assert_decoded("/with%20space", "with space", false);
    assert_decoded("/per%25cent", "per%cent", false);
    assert_decoded("/%252e%252e/x", "%2e%2e/x", false);
    assert_decoded("/caf%C3%A9", "caf\xc3\xa9", false);
    assert_decoded("/a..b/c.", "a..b/c.", false);
}

static void assert_refused(const char *path, ssize_t fault)
{
    char out[256];
    bool is_directory;
    if (files_path_decode(slice_text(path), out, &is_directory) != fault)
        fail_msg("%s", path);
}

static void test_paths_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const paths[] = {"",
                                        "a",
                                        "*",
                                        "/..",
                                        "/../a",
                                        "/a/..",
                                        "/a/../b",
                                        "/%2e%2e/a",
                                        "/.%2E/a",
                                        "/a/.",
                                        "/./a",
                                        "/%2e",
                                        "//a",
                                        "/a//b",
                                        "/a//",
                                        "//",
                                        "/a%2fb",
                                        "/a%2Fb",
                                        "/%2f",
                                        "/..%2fa",
                                        "/a%0ab",
                                        "/%7f",
                                        "/%1F",
                                        "/.git",
                                        "/a/.git/x",
                                        "/%2egit",
                                        "/.htaccess",
                                        "/...",
                                        "/.well-kno",
                                        "/.well-known2",
                                        "/.WELL-KNOWN"};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        assert_refused(paths[i], FILES_PATH_REFUSED);
}

static void test_a_bad_escape_is_told_apart(void **state)
{
    (void)state;
    static const char *const paths[] = {"/%", "/%4", "/%4/", "/%zz", "/a%00", "/%00.html", "/%uff0e", "/a%2"};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        assert_refused(paths[i], FILES_PATH_BAD_ESCAPE);
}

static void test_well_known_names_are_not_hidden(void **state)
{
    (void)state;
    assert_decoded("/.well-known/security.txt", ".well-known/security.txt", false);
    assert_decoded("/%2ewell-known/", ".well-known", true);
}

/* Opening and choosing, in a directory of its own: OUTER/root is served, OUTER/secret is not. */

struct place {
    char outer[64];
    int root; /* of OUTER/root */
    struct arena arena;
    struct files_settings settings;
    struct slice index[2];
};

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    snprintf(p->outer, sizeof p->outer, "/tmp/weir-test-XXXXXX");
    if (!mkdtemp(p->outer) || chdir(p->outer) != 0)
        return -1;
    mkdir("root", 0755);
    mkdir("root/sub", 0755);
    mkdir("root/none", 0755);
    mkdir("root/none/inner", 0755);
    mkdir("root/odd", 0755);
    mkdir("root/odd/index.html", 0755);
    write_file("secret", "secret");
    write_file("root/a.txt", "a");
    write_file("root/app.html", "app");
    write_file("root/sub/index.html", "index");
    write_file("root/none/z&\"<i>.txt", "1234");
    write_file("root/none/.hidden", "");
    write_file("root/none/2048", "");
    mkfifo("root/pipe", 0600);
    if (truncate("root/none/2048", 2048) != 0 || symlink("../secret", "root/out") != 0 ||
        symlink("/", "root/none/slash") != 0 || symlink("../a.txt", "root/sub/in") != 0 ||
        symlink("../sub", "root/none/sub") != 0 || symlink("loop", "root/loop") != 0 ||
        symlink("..", "root/none/up") != 0 || symlink("../../secret", "root/none/secret") != 0)
        return -1;
    p->root = open("root", O_PATH | O_DIRECTORY);
    arena_init(&p->arena, NULL, 0);
    p->index[0] = (struct slice)SLICE("index.htm");
    p->index[1] = (struct slice)SLICE("index.html");
    p->settings = (struct files_settings){.root = SLICE("root"), .index = {.at = p->index, .count = 2}};
    *state = p;
    return p->root < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    char command[128];
    close(p->root);
    arena_reset(&p->arena);
    snprintf(command, sizeof command, "rm -rf %s", p->outer);
    int status = chdir("/") != 0 || system(command) != 0;
    free(p);
    return status;
}

/* 0, or the errno. */
static int try_open(int opener(int, const char *, int), int root, const char *path)
{
    int fd = opener(root, path, O_RDONLY);
    if (fd < 0)
        return -fd;
    close(fd);
    return 0;
}

static void test_nothing_outside_is_opened(void **state)
{
    const struct place *p = *state;
    assert_int_equal(try_open(files_open, p->root, "a.txt"), 0);
    assert_int_equal(try_open(files_open, p->root, ""), 0);
    assert_int_equal(try_open(files_open, p->root, "sub/in"), 0);
    assert_int_equal(try_open(files_open, p->root, "none/sub/index.html"), 0);
    assert_int_equal(try_open(files_open, p->root, "out"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "none/secret"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "none/slash"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "none/slash/etc/passwd"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "../secret"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "none/up/../secret"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "/etc/passwd"), EXDEV);
    assert_int_equal(try_open(files_open, p->root, "loop"), ELOOP);
    assert_int_equal(try_open(files_open, p->root, "missing"), ENOENT);
    assert_int_equal(try_open(files_open, p->root, "a.txt/x"), ENOTDIR);
    assert_int_equal(try_open(files_open, p->root, "pipe"), 0); /* without waiting */
}

static void test_without_openat2_no_symbolic_link_is_followed(void **state)
{
    const struct place *p = *state;
    assert_int_equal(try_open(files_open_by_segments, p->root, "a.txt"), 0);
    assert_int_equal(try_open(files_open_by_segments, p->root, "."), 0);
    assert_int_equal(try_open(files_open_by_segments, p->root, "sub/index.html"), 0);
    assert_int_equal(try_open(files_open_by_segments, p->root, "sub/in"), ELOOP);
    assert_int_equal(try_open(files_open_by_segments, p->root, "out"), ELOOP);
    assert_int_equal(try_open(files_open_by_segments, p->root, "none/slash/etc/passwd"), ENOTDIR);
    assert_int_equal(try_open(files_open_by_segments, p->root, "none/sub/index.html"), ENOTDIR);
    assert_int_equal(try_open(files_open_by_segments, p->root, "../secret"), EXDEV);
    assert_int_equal(try_open(files_open_by_segments, p->root, "sub/../../secret"), EXDEV);
    assert_int_equal(try_open(files_open_by_segments, p->root, "/etc/passwd"), EXDEV);
    assert_int_equal(try_open(files_open_by_segments, p->root, "missing"), ENOENT);
    assert_int_equal(try_open(files_open_by_segments, p->root, "a.txt/x"), ENOTDIR);
}

/* What is chosen for a path, which ends with "/" for a directory. */
static void assert_found(struct place *p, const char *path, enum files_kind kind, const char *opened)
{
    struct files_found found;
    struct slice s = arena_copy(&p->arena, slice_text(path));
    bool is_directory = s.len == 0 || s.at[s.len - 1] == '/';
    if (s.len && is_directory)
        s = arena_copy(&p->arena, slice_of(s.at, s.len - 1));
    files_find(&p->settings, &p->arena, s, is_directory, &found);
    if (found.kind != kind)
        fail_msg("%s: %d (errno %d), not %d", path, found.kind, found.error, kind);
    assert_int_equal(found.fd >= 0, opened != NULL);
    assert_int_equal(found.error != 0, kind == FILES_ERROR);
    if (opened) {
        struct stat st;
        assert_string_equal(found.path.at, opened);
        assert_int_equal(fstat(found.fd, &st), 0);
        assert_int_equal(st.st_ino, found.st.st_ino);
    }
    files_found_close(&found);
}

static void test_a_file_or_the_index_of_a_directory_is_found(void **state)
{
    struct place *p = *state;
    assert_found(p, "a.txt", FILES_FILE, "a.txt");
    assert_found(p, "sub/in", FILES_FILE, "sub/in");
    assert_found(p, "sub/", FILES_FILE, "sub/index.html");
    assert_found(p, "sub", FILES_WITHOUT_SLASH, NULL);
    assert_found(p, "", FILES_FORBIDDEN, NULL);
    assert_found(p, "none/", FILES_FORBIDDEN, NULL);
    assert_found(p, "odd/", FILES_FORBIDDEN, NULL);
}

static void test_what_is_no_file_is_not_found(void **state)
{
    struct place *p = *state;
    assert_found(p, "missing", FILES_NOTHING, NULL);
    assert_found(p, "missing/", FILES_NOTHING, NULL);
    assert_found(p, "a.txt/", FILES_NOTHING, NULL);
    assert_found(p, "pipe", FILES_NOTHING, NULL);
    assert_found(p, "out", FILES_ERROR, NULL);
    assert_found(p, "none/slash/", FILES_ERROR, NULL);
    p->settings.root = (struct slice)SLICE("elsewhere");
    assert_found(p, "a.txt", FILES_NOTHING, NULL);
    p->settings.root = (struct slice)SLICE("secret");
    assert_found(p, "", FILES_NOTHING, NULL);
}

static void test_the_fallback_stands_for_what_is_not_there(void **state)
{
    struct place *p = *state;
    p->settings.fallback = (struct slice)SLICE("/app.html");
    assert_found(p, "missing/view", FILES_FILE, "app.html");
    assert_found(p, "missing/", FILES_FILE, "app.html");
    assert_found(p, "none/", FILES_FILE, "app.html");
    assert_found(p, "a.txt/x", FILES_FILE, "app.html");
    assert_found(p, "a.txt", FILES_FILE, "a.txt");
    assert_found(p, "sub", FILES_WITHOUT_SLASH, NULL);
    assert_found(p, "out", FILES_ERROR, NULL);
    p->settings.fallback = (struct slice)SLICE("/../secret");
    assert_found(p, "missing", FILES_ERROR, NULL);
    p->settings.fallback = (struct slice)SLICE("/sub");
    assert_found(p, "missing", FILES_NOTHING, NULL);
    p->settings.fallback = (struct slice)SLICE("/gone");
    assert_found(p, "missing", FILES_NOTHING, NULL);
    assert_found(p, "none/", FILES_FORBIDDEN, NULL);
}

static void test_a_directory_is_listed_when_that_is_wanted(void **state)
{
    struct place *p = *state;
    p->settings.browse = true;
    p->settings.fallback = (struct slice)SLICE("/app.html");
    assert_found(p, "none/", FILES_LISTING, "none");
    assert_found(p, "", FILES_LISTING, "");
    assert_found(p, "sub/", FILES_FILE, "sub/index.html");
    assert_found(p, "none", FILES_WITHOUT_SLASH, NULL);
}

static void test_a_listing_shows_what_can_be_had_and_no_more(void **state)
{
    const struct place *p = *state;
    struct listing l;
    int directory = files_open(p->root, "none", O_RDONLY | O_DIRECTORY);
    assert_int_equal(listing_read(p->root, "none", directory, &l), 0);
    struct slice page = listing_html(&l, S("/none/"));
    assert_non_null(page.at);
    char *text = strndup(page.at, page.len);
    const char *inner = strstr(text, "<a href=\"./inner/\">inner/</a>"),
               *sub = strstr(text, "<a href=\"./sub/\">sub/</a>"),
               *up = strstr(text, "<a href=\"./up/\">up/</a>"),
               *number = strstr(text, "<a href=\"./2048\">2048</a></td><td>2.0 KiB<"),
               *odd = strstr(text,
                             "<a href=\"./z%26%22%3Ci%3E.txt\">z&amp;&quot;&lt;i&gt;.txt</a></td><td>4 B<");
    assert_true(inner && sub && up && number && odd);
    assert_true(inner < sub && sub < up && up < number && number < odd);
    assert_null(strstr(text, "hidden"));
    assert_null(strstr(text, "secret"));
    assert_null(strstr(text, "slash"));
    assert_non_null(strstr(text, "<a href=\"../\">"));
    assert_non_null(strstr(text, "<title>/none/</title>"));
    free(text);
    free((void *)(uintptr_t)page.at);
    listing_free(&l);
}

static void test_an_empty_listing_of_the_root_has_no_parent(void **state)
{
    (void)state;
    struct listing l = {0};
    struct slice page = listing_html(&l, S("/"));
    assert_non_null(page.at);
    assert_null(memmem(page.at, page.len, "../", 3));
    free((void *)(uintptr_t)page.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_is_decoded_once),
        cmocka_unit_test(test_paths_that_lead_elsewhere_are_refused),
        cmocka_unit_test(test_a_bad_escape_is_told_apart),
        cmocka_unit_test(test_well_known_names_are_not_hidden),
        cmocka_unit_test_setup_teardown(test_nothing_outside_is_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_openat2_no_symbolic_link_is_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_or_the_index_of_a_directory_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_file_is_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_fallback_stands_for_what_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_directory_is_listed_when_that_is_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_listing_shows_what_can_be_had_and_no_more, set_up, tear_down),
        cmocka_unit_test(test_an_empty_listing_of_the_root_has_no_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
