/* Signals, as CONFIG.md says: HUP reload, TERM and INT drain, USR1 reopen, USR2 upgrade. */
#include <signal.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/runtime_internal.h"

static const int numbers[RUNTIME_SIGNALS] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2};

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct runtime *rt = argument;
    const char *why;
    struct reload_result r;
    (void)what;
    switch (number) {
    case SIGHUP:
        r = runtime_reload(rt, "signal", NULL);
        reload_result_free(&r);
        break;
    case SIGTERM:
    case SIGINT:
        runtime_stop(rt);
        break;
    case SIGUSR1:
        runtime_reopen(rt);
        break;
    case SIGUSR2:
        if (runtime_upgrade(rt, &why) != 0)
            log_error("no upgrade", LOG_TEXT("reason", why));
        break;
    }
}

int signals_install(struct runtime *rt)
{
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < RUNTIME_SIGNALS; i++) {
        evsignal_assign(&rt->signals[i], rt->control.base, numbers[i], on_signal, rt);
        if (evsignal_add(&rt->signals[i], NULL) != 0)
            return -1;
    }
    return 0;
}

void signals_remove(struct runtime *rt)
{
    for (unsigned i = 0; i < RUNTIME_SIGNALS; i++)
        evsignal_del(&rt->signals[i]);
    /* It ends already: a late signal must not make that look like a crash. */
    for (unsigned i = 0; i < RUNTIME_SIGNALS; i++)
        signal(numbers[i], SIG_IGN);
}
