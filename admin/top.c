#include "admin/top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/client.h"
#include "admin/top_rates.h"
#include "admin/top_table.h"
#include "admin/top_terminal.h"

struct top {
    const char *socket;
    struct top_options options;
    struct top_view view;
    struct top_reading before, now;
    json_t *rates; /* between these two; NULL until there are two */
};

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Reading. */

/* NULL with errno. */
static json_t *get(const char *socket, const char *path)
{
    int status = 0;
    char *text = NULL;
    if (client_call(socket, "GET", path, NULL, &status, &text) != 0)
        return NULL;
    json_t *answer = status == 200 ? json_loads(text, 0, NULL) : NULL;
    free(text);
    errno = EPROTO;
    return answer;
}

static int read_all(const char *socket, struct top_reading *out)
{
    struct top_reading r = {.seconds = clock_seconds()};
    if ((r.status = get(socket, "/api/v1/status")) && (r.listeners = get(socket, "/api/v1/listeners")) &&
        (r.routes = get(socket, "/api/v1/routes")) && (r.upstreams = get(socket, "/api/v1/upstreams"))) {
        *out = r;
        return 0;
    }
    int error = errno;
    top_reading_free(&r);
    errno = error;
    return -1;
}

/* One more reading. -1 with errno: what was known stays. */
static int advance(struct top *t)
{
    struct top_reading r;
    if (read_all(t->socket, &r) != 0)
        return -1;
    top_reading_free(&t->before);
    t->before = t->now;
    t->now = r;
    json_decref(t->rates);
    t->rates = t->before.status ? top_rates(&t->before, &t->now) : NULL;
    return 0;
}

/* Once. */

static void wait_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

static int print_once(struct top *t)
{
    wait_ms(t->options.interval_ms);
    if (advance(t) != 0 || !t->rates) {
        fprintf(stderr, "weir top: %s: %s\n", t->socket, strerror(errno));
        return 1;
    }
    top_order(t->rates, TOP_BY_REQUESTS);
    if (t->options.json) {
        json_dumpf(t->rates, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        top_print(t->rates, &t->view, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Live. */

static void draw(struct top *t)
{
    char *text = NULL;
    size_t len = 0;
    terminal_size(&t->view.width, &t->view.height);
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return;
    if (t->rates) {
        top_order(t->rates, t->view.sort);
        top_print(t->rates, &t->view, out);
    } else {
        fprintf(out, "%s",
                t->view.message ? t->view.message : "the first figures come with the second reading");
    }
    fclose(out);
    if (text)
        terminal_show(text, len);
    free(text);
}

/* False: enough. */
static bool obey(struct top *t, int key)
{
    if (key == 'q' || key == 'Q' || key < 0)
        return false;
    if (key == 's')
        t->view.sort = (t->view.sort + 1) % TOP_SORTS;
    if (key == 'p' || key == ' ')
        t->view.paused = !t->view.paused;
    return true;
}

static int run_live(struct top *t)
{
    char message[256];
    double next = clock_seconds() + t->options.interval_ms / 1000.0;
    bool goes_on = true;
    if (terminal_open() != 0)
        return print_once(t);
    while (goes_on) {
        draw(t);
        double left = next - clock_seconds();
        int key = terminal_key(t->view.paused ? -1 : left > 0 ? (int)(left * 1000) + 1 : 0);
        goes_on = obey(t, key);
        if (!goes_on || t->view.paused || clock_seconds() < next)
            continue;
        next = clock_seconds() + t->options.interval_ms / 1000.0;
        t->view.message = NULL;
        if (advance(t) != 0) {
            snprintf(message, sizeof message, "what is shown is old: no answer at %s: %s", t->socket,
                     strerror(errno));
            t->view.message = message;
        }
    }
    terminal_close();
    return 0;
}

int command_top(char *socket, const struct top_options *o)
{
    struct top t = {.socket = socket, .options = *o};
    int status = 1;
    if (!socket)
        return 1;
    if (advance(&t) != 0)
        client_complain(socket);
    else
        status = o->once ? print_once(&t) : run_live(&t);
    top_reading_free(&t.before);
    top_reading_free(&t.now);
    json_decref(t.rates);
    free(socket);
    return status;
}
