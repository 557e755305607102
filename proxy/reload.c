/* From a file to workers that serve it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/listener.h"
#include "proxy/privileges.h"
#include "proxy/runtime_internal.h"

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    return copy ? copy : strdup("");
}

static struct reload_result failure(const char *text)
{
    return (struct reload_result){false, copy_text(text)};
}

static struct snapshot_context context_of(struct runtime *rt, bool dry)
{
    return (struct snapshot_context){
        .workers = rt->worker_count,
        .servers = rt->registry,
        .tickets = rt->tickets,
        .stats = dry ? NULL : &rt->stats,
        .control = &rt->control,
        .access = rt->hooks->access,
        .access_free = rt->hooks->access_free,
        .argument = rt->hooks->argument,
        .dry = dry,
    };
}

/* What a reload cannot change (CONFIG.md). */
static void warn_of_fixed(struct runtime *rt, const struct snapshot *s)
{
    const struct settings *old = &rt->snapshot->settings, *fresh = &s->settings;
    if (old->workers != fresh->workers)
        log_warn("the number of workers changes by an upgrade, not by a reload");
    if (!slice_equal(old->user, fresh->user))
        log_warn("the user changes by a restart, not by a reload");
    if (!slice_equal(old->admin->socket, fresh->admin->socket))
        log_warn("the control socket changes by an upgrade, not by a reload");
}

/* A worker takes a configuration up. */
struct apply_letter {
    struct letter letter;
    struct runtime *runtime;
    struct worker *worker;
    struct snapshot *snapshot;
    struct listener_sockets *sockets;
    size_t count;
    uint64_t generation;
    bool failed;
};

void release_snapshot(struct snapshot *s)
{
    struct runtime *rt = s->control->owner;
    if (rt->snapshot == s)
        rt->snapshot = NULL;
    snapshot_free(s);
}

static void on_released(struct snapshot *s)
{
    release_snapshot(s);
}

struct given_up {
    struct list link;
    struct listening *listening;
    uint64_t generation;
};

void close_given_up(struct runtime *rt, uint64_t upto)
{
    LIST_EACH_SAFE (node, &rt->closing) {
        struct given_up *g = CONTAINER_OF(node, struct given_up, link);
        if (g->generation > upto)
            continue;
        g->listening->keep_file = rt->handed_over;
        listening_close(g->listening);
        list_remove(&g->link);
        free(g);
    }
}

static void on_applied(struct letter *l)
{
    struct apply_letter *a = CONTAINER_OF(l, struct apply_letter, letter);
    struct runtime *rt = a->runtime;
    if (a->failed)
        log_error("a worker could not take up the configuration: out of memory",
                  LOG_U64("worker", a->worker->index));
    /* Letters come in order: a worker that has this one has all before it. */
    if (--rt->applying == 0)
        close_given_up(rt, rt->generation);
    free(a->sockets);
    free(a);
}

static void on_apply(struct letter *l)
{
    struct apply_letter *a = CONTAINER_OF(l, struct apply_letter, letter);
    bool leaving = a->worker->draining || a->worker->stopping;
    if (!leaving && worker_apply(a->worker, a->snapshot, a->sockets, a->count) != 0)
        a->failed = true;
    if (leaving || a->failed) {
        /* Never held: the hold that this letter carries is given back. */
        snapshot_hold(a->snapshot, a->worker->index);
        snapshot_release(a->snapshot, a->worker->index);
    }
    a->letter.deliver = on_applied;
    loop_post(&a->runtime->control, &a->letter);
}

/* Which of the process's sockets this worker is to accept on. */
static int lend_sockets(struct runtime *rt, struct snapshot *s, unsigned worker, struct apply_letter *a)
{
    size_t most = 0;
    LIST_EACH (node, &rt->sockets.all) {
        most += CONTAINER_OF(node, struct listening, link)->count;
    }
    a->sockets = calloc(most + 1, sizeof *a->sockets);
    if (!a->sockets)
        return -1;
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++) {
            const char *what;
            struct listening *listening = sockets_open(&rt->sockets, &l->addresses[k], &what);
            for (size_t n = worker; listening && n < listening->count; n += rt->worker_count)
                a->sockets[a->count++] = (struct listener_sockets){
                    .config = l, .address = &l->addresses[k], .fd = listening->fds[n]};
        }
    }
    return 0;
}

static struct apply_letter *make_letter(struct runtime *rt, struct snapshot *s, unsigned worker)
{
    struct apply_letter *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    *a = (struct apply_letter){
        .letter.deliver = on_apply, .runtime = rt, .worker = rt->workers[worker], .snapshot = s};
    if (lend_sockets(rt, s, worker, a) != 0) {
        free(a);
        return NULL;
    }
    return a;
}

/* Opens what the configuration listens on. On a failure what was opened anew stays unwanted and is closed. */
static char *open_sockets(struct runtime *rt, struct snapshot *s)
{
    sockets_begin(&rt->sockets);
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++) {
            const char *what;
            if (sockets_open(&rt->sockets, &l->addresses[k], &what))
                continue;
            char *text = NULL;
            int error = errno;
            const struct option_texts *bind = &l->settings->bind;
            const struct config_node *at = bind->nodes[k < bind->count ? k : 0];
            if (asprintf(&text, "%s:%u:%u: listeners.%.*s.bind: cannot listen on %.*s: %s: %s\n", at->file,
                         at->line, at->column, SLICE_FMT(l->name), SLICE_FMT(bind->at[k]), what,
                         strerror(error)) < 0)
                return copy_text("out of memory\n");
            return text;
        }
    }
    return NULL;
}

/* Those that only this attempt opened: no worker knows them. */
static void close_unknown(struct runtime *rt)
{
    sockets_begin(&rt->sockets);
    for (size_t i = 0; rt->snapshot && i < rt->snapshot->listener_count; i++)
        for (size_t k = 0; k < rt->snapshot->listeners[i].address_count; k++)
            sockets_want(&rt->sockets, &rt->snapshot->listeners[i].addresses[k]);
    struct list unwanted;
    list_init(&unwanted);
    sockets_take_unwanted(&rt->sockets, &unwanted);
    while (!list_empty(&unwanted))
        listening_close(CONTAINER_OF(unwanted.next, struct listening, link));
}

static void give_up_sockets(struct runtime *rt)
{
    struct list unwanted;
    list_init(&unwanted);
    sockets_take_unwanted(&rt->sockets, &unwanted);
    while (!list_empty(&unwanted)) {
        struct listening *l = CONTAINER_OF(unwanted.next, struct listening, link);
        struct given_up *g = malloc(sizeof *g);
        list_remove(&l->link);
        if (!g) {
            list_append(&rt->sockets.all, &l->link); /* kept until the next reload */
            continue;
        }
        *g = (struct given_up){.listening = l, .generation = rt->generation};
        list_append(&rt->closing, &g->link);
    }
}

static int activate_upstreams(struct snapshot *s)
{
    for (size_t i = 0; i < s->upstream_count; i++) {
        if (upstream_activate(s->upstreams[i]) == 0)
            continue;
        while (i-- > 0)
            upstream_deactivate(s->upstreams[i]);
        return -1;
    }
    return 0;
}

static char *become_user(struct snapshot *s)
{
    const char *reason = "";
    char *text = NULL;
    if (privileges_drop(s->settings.user, &reason) == 0)
        return NULL;
    if (asprintf(&text, "user %.*s: %s: %s\n", SLICE_FMT(s->settings.user), reason, strerror(errno)) < 0)
        return copy_text("out of memory\n");
    return text;
}

/* Everything that can fail is done before anything that is seen. */
static char *take_up(struct runtime *rt, struct snapshot *s, bool first)
{
    struct apply_letter *letters[WORKERS_MAX] = {0};
    char *why = open_sockets(rt, s);
    if (why)
        goto fail;
    /* The admin interface first: its socket may stand where only root may write. */
    if (first && rt->hooks->apply && rt->hooks->apply(rt->hooks->argument, s, true, &why) != 0 && !why)
        why = copy_text("the admin interface refused the configuration\n");
    if (first && !why)
        why = become_user(s);
    if (why)
        goto fail;
    if (first && runtime_start_workers(rt) != 0) {
        why = copy_text("cannot start the workers\n");
        goto fail;
    }
    if (snapshot_publish(s, on_released) != 0 || activate_upstreams(s) != 0) {
        why = copy_text("out of memory\n");
        goto fail;
    }
    for (unsigned i = 0; i < rt->worker_count; i++)
        if (!(letters[i] = make_letter(rt, s, i)))
            why = copy_text("out of memory\n");
    if (!why && (first || !rt->hooks->apply || rt->hooks->apply(rt->hooks->argument, s, false, &why) == 0)) {
        s->generation = ++rt->generation;
        s->loaded_at_us = loop_wall_us(&rt->control);
        struct snapshot *old = rt->snapshot;
        rt->snapshot = s;
        give_up_sockets(rt);
        for (size_t i = 0; old && i < old->upstream_count; i++)
            upstream_deactivate(old->upstreams[i]);
        rt->applying += rt->worker_count;
        for (unsigned i = 0; i < rt->worker_count; i++)
            loop_post(&rt->workers[i]->loop, &letters[i]->letter);
        return NULL;
    }
    for (size_t i = 0; i < s->upstream_count; i++)
        upstream_deactivate(s->upstreams[i]);
    for (unsigned i = 0; i < rt->worker_count; i++) {
        if (letters[i])
            free(letters[i]->sockets);
        free(letters[i]);
    }
    if (!why)
        why = copy_text("the admin interface refused the configuration\n");
fail:
    close_unknown(rt);
    return why;
}

struct reload_result load(struct runtime *rt, const char *file, bool first)
{
    struct snapshot_context context = context_of(rt, false);
    struct snapshot *s = snapshot_build(file, &context);
    if (!s)
        return failure("out of memory\n");
    if (s->config.error_count) {
        struct reload_result r = failure(config_errors_text(&s->config));
        snapshot_free(s);
        return r;
    }
    if (s->config.warning_count)
        fputs(config_warnings_text(&s->config), stderr);
    if (!first)
        warn_of_fixed(rt, s);
    char *changes = first ? copy_text("") : snapshot_diff(rt->snapshot, s);
    char *why = take_up(rt, s, first);
    if (why) {
        free(changes);
        snapshot_free(s);
        return (struct reload_result){false, why};
    }
    return (struct reload_result){true, changes};
}

struct reload_result runtime_reload(struct runtime *rt, const char *file)
{
    if (rt->state != RUNTIME_SERVING)
        return failure("weir is stopping\n");
    struct reload_result r = load(rt, file ? file : rt->file, false);
    if (r.ok) {
        rt->stats.reloads++;
        log_info("configuration reloaded", LOG_U64("generation", rt->generation), LOG_TEXT("file", rt->file));
    } else {
        rt->stats.reload_failures++;
        log_error("the configuration was not taken up; the one before goes on",
                  LOG_TEXT("file", file ? file : rt->file), LOG_TEXT("errors", r.text));
    }
    if (rt->hooks->event)
        rt->hooks->event(rt->hooks->argument, r.ok ? "reload" : "reload failed", r.text);
    return r;
}

struct reload_result runtime_diff(struct runtime *rt, const char *file)
{
    struct snapshot_context context = context_of(rt, true);
    struct snapshot *s = snapshot_build(file ? file : rt->file, &context);
    if (!s)
        return failure("out of memory\n");
    struct reload_result r = s->config.error_count
                                 ? failure(config_errors_text(&s->config))
                                 : (struct reload_result){true, snapshot_diff(rt->snapshot, s)};
    snapshot_free(s);
    return r;
}
