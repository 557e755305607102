/* The filter of system calls, each tried in a child that is in it. */
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
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proxy/sandbox_internal.h"

#define TEST(name) cmocka_unit_test(name)

#define NO_FILTER 255

/* How the child ends that enters the filter and then does this: its errno or 0, or 128 and a signal. */
static int end_of(int (*act)(void))
{
    pid_t child = fork();
    if (child == 0) {
        bool filtered;
        const char *why;
        if (sandbox_filter_calls(&filtered, &why) != 0 || !filtered)
            _exit(NO_FILTER);
        errno = 0;
        _exit(act() < 0 ? errno : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int open_null(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int make_folder(void)
{
    return mkdir("/tmp/weir-unit-sandbox", 0700);
}

static int packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static int inet_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static int find_interface(void)
{
    return if_nametoindex("lo") ? 0 : -1;
}

static int become_root(void)
{
    return setuid(0);
}

static int leave_root(void)
{
    return chroot("/");
}

static int new_namespace(void)
{
    return unshare(0);
}

static int clone_a_namespace(void)
{
    return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
}

static int abort_now(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void test_calls_of_weir_are_made(void **state)
{
    (void)state;
    if (end_of(open_null) == NO_FILTER)
        skip();
    assert_int_equal(end_of(open_null), 0);
    assert_int_equal(end_of(inet_socket), 0);
    assert_int_equal(end_of(find_interface), 0);
    assert_int_equal(end_of(abort_now), 128 + SIGABRT);
}

static void test_other_calls_are_refused(void **state)
{
    (void)state;
    if (end_of(open_null) == NO_FILTER)
        skip();
    assert_int_equal(end_of(make_folder), EPERM);
    assert_int_equal(end_of(packet_socket), EPERM);
    assert_int_equal(end_of(become_root), EPERM);
    assert_int_equal(end_of(clone_a_namespace), EPERM);
}

static void test_calls_of_an_intruder_end_the_process(void **state)
{
    (void)state;
    if (end_of(open_null) == NO_FILTER)
        skip();
    assert_int_equal(end_of(leave_root), 128 + SIGSYS);
    assert_int_equal(end_of(new_namespace), 128 + SIGSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls_of_weir_are_made),
        TEST(test_other_calls_are_refused),
        TEST(test_calls_of_an_intruder_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
