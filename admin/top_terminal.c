#include "admin/top_terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "core/base.h"

#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGPIPE};

/* What signal handlers must know; written while they are off. */
static struct {
    struct termios before, raw;
    bool has_keys;
} terminal;

/* As far as it goes: a terminal that is gone needs nothing. */
static void write_all(const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno != EINTR)
            return;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void enter(void)
{
    if (terminal.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.raw);
    write_all(ENTER, sizeof ENTER - 1);
}

static void leave(void)
{
    write_all(LEAVE, sizeof LEAVE - 1);
    if (terminal.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
}

static void on_end(int number)
{
    leave();
    signal(number, SIG_DFL);
    raise(number);
}

/* Goes on behind raise() when somebody continues it. */
static void on_stop(int number)
{
    int error = errno;
    (void)number;
    leave();
    raise(SIGSTOP);
    enter();
    errno = error;
}

static void on_resize(int number)
{
    (void)number; /* poll() is interrupted */
}

int terminal_open(void)
{
    if (!isatty(STDOUT_FILENO))
        return -1;
    terminal.has_keys = tcgetattr(STDIN_FILENO, &terminal.before) == 0;
    terminal.raw = terminal.before;
    terminal.raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    terminal.raw.c_cc[VMIN] = 1;
    terminal.raw.c_cc[VTIME] = 0;
    enter();
    for (size_t i = 0; i < COUNT_OF(ending); i++)
        sigaction(ending[i], &(struct sigaction){.sa_handler = on_end}, NULL);
    sigaction(SIGTSTP, &(struct sigaction){.sa_handler = on_stop}, NULL);
    sigaction(SIGWINCH, &(struct sigaction){.sa_handler = on_resize}, NULL);
    return 0;
}

void terminal_close(void)
{
    for (size_t i = 0; i < COUNT_OF(ending); i++)
        signal(ending[i], SIG_DFL);
    signal(SIGTSTP, SIG_DFL);
    leave();
}

void terminal_size(unsigned *width, unsigned *height)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    *width = known ? size.ws_col : 80;
    *height = known ? size.ws_row : 24;
}

void terminal_show(const char *text, size_t len)
{
    write_all("\033[H", 3);
    write_all(text, len);
    write_all("\033[J", 3);
}

int terminal_key(int ms)
{
    struct pollfd p = {.fd = terminal.has_keys ? STDIN_FILENO : -1, .events = POLLIN};
    unsigned char key;
    if (poll(&p, 1, ms) <= 0)
        return 0;
    ssize_t n = read(STDIN_FILENO, &key, 1);
    if (n == 1)
        return key;
    return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
}
