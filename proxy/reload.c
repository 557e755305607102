/* From a file to workers that serve it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/activation.h"
#include "proxy/listener.h"
#include "proxy/privileges.h"
#include "proxy/runtime_internal.h"

#define NAMES_MS 1000 /* at the start, for names to resolve */

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    return copy ? copy : strdup("");
}

struct snapshot_context context_of(struct runtime *rt, bool dry)
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
        .lint = !dry,
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
    if (!old->sandbox != !fresh->sandbox)
        log_warn("the sandbox changes by a restart, not by a reload");
    if (!slice_equal(old->admin->socket, fresh->admin->socket))
        log_warn("the control socket changes by an upgrade, not by a reload");
}

/* A worker takes a configuration up. */
struct apply_letter {
    struct letter letter;
    struct runtime *runtime;
    struct worker *worker;
    struct snapshot *snapshot;
    struct listener_sockets sockets;
    struct field *fields; /* for the worker to keep, where it has less room */
    uint32_t field_capacity;
};

static void free_letter(struct apply_letter *a)
{
    if (!a)
        return;
    free(a->sockets.at);
    free(a->sockets.given_up);
    free(a->fields);
    free(a);
}

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

static void on_applied(struct letter *l)
{
    struct apply_letter *a = CONTAINER_OF(l, struct apply_letter, letter);
    struct runtime *rt = a->runtime;
    /* Letters come in order: a worker that has this one has all before it. */
    if (--rt->applying == 0)
        sockets_given_up(&rt->sockets);
    free_letter(a);
}

static void on_apply(struct letter *l)
{
    struct apply_letter *a = CONTAINER_OF(l, struct apply_letter, letter);
    if (!a->worker->draining && !a->worker->stopping) {
        worker_apply(a->worker, a->snapshot, &a->sockets, &a->fields, a->field_capacity);
    } else {
        /* Never held: the hold that this letter carries is given back. */
        snapshot_hold(a->snapshot, a->worker->index);
        snapshot_release(a->snapshot, a->worker->index);
    }
    a->letter.deliver = on_applied;
    loop_post(&a->runtime->control, &a->letter);
}

/* Which of the process's sockets this worker is to accept on, and which to close. */
static int lend_sockets(struct runtime *rt, struct snapshot *s, unsigned worker, struct listener_sockets *out)
{
    size_t most = 0;
    LIST_EACH (node, &rt->sockets.all) {
        most += CONTAINER_OF(node, struct listening, link)->count;
    }
    out->at = calloc(most + 1, sizeof *out->at);
    out->given_up = calloc(most + 1, sizeof *out->given_up);
    if (!out->at || !out->given_up)
        return -1;
    LIST_EACH (node, &rt->sockets.all) {
        const struct listening *l = CONTAINER_OF(node, struct listening, link);
        for (size_t n = worker; !l->wanted && n < l->count; n += rt->worker_count)
            out->given_up[out->given_up_count++] = l->fds[n];
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++) {
            const char *what;
            struct listening *listening =
                sockets_open(&rt->sockets, &l->addresses[k], l->protocol == LISTENER_UDP, &what);
            for (size_t n = worker; listening && n < listening->count; n += rt->worker_count)
                out->at[out->count++] = (struct listener_socket){
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
    a->field_capacity = worker_fields(s);
    a->fields = calloc(a->field_capacity, sizeof *a->fields);
    if (!a->fields || lend_sockets(rt, s, worker, &a->sockets) != 0) {
        free_letter(a);
        return NULL;
    }
    return a;
}

static void want_sockets(struct runtime *rt, const struct snapshot *s)
{
    sockets_begin(&rt->sockets);
    for (size_t i = 0; s && i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++)
            sockets_want(&rt->sockets, &l->addresses[k], l->protocol == LISTENER_UDP);
    }
}

/* What to do when an address cannot be had. */
static const char *socket_mend(int error, const struct address *a)
{
    if (a->any.sa_family == AF_UNIX)
        return error == ENOENT ? "; its folder must be there" : "";
    if (error == EADDRINUSE)
        return "; another process listens there: `ss -ltnup` says which";
    if (error == EADDRNOTAVAIL)
        return "; this machine has no such address: `ip address` lists those that it has";
    if (error == EACCES)
        return "; ports under 1024 are for root, or need CAP_NET_BIND_SERVICE";
    return "";
}

/* Opens what the configuration listens on. */
static char *open_sockets(struct runtime *rt, struct snapshot *s)
{
    want_sockets(rt, s);
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++) {
            const char *what;
            if (sockets_open(&rt->sockets, &l->addresses[k], l->protocol == LISTENER_UDP, &what))
                continue;
            char *text = NULL;
            int error = errno;
            const char *mend = socket_mend(error, &l->addresses[k]);
            const struct option_texts *bind = &l->settings->bind;
            const struct config_node *at = bind->nodes[k < bind->count ? k : 0];
            if (asprintf(&text, "%s:%u:%u: listeners.%.*s.bind: cannot listen on %.*s: %s: %s%s\n", at->file,
                         at->line, at->column, SLICE_FMT(l->name), SLICE_FMT(bind->at[k]), what,
                         strerror(error), mend) < 0)
                return copy_text("out of memory\n");
            return text;
        }
    }
    return NULL;
}

/* As it was before open_sockets(). */
static void close_unknown(struct runtime *rt)
{
    want_sockets(rt, rt->snapshot);
    sockets_close_unwanted(&rt->sockets);
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

/* The first requests shall find servers (an upgrade hands over live traffic): waits a moment for names. A
 * reload has the answers that are known. */
static int settle_upstreams(struct runtime *rt, struct snapshot *s)
{
    registry_settle(rt->registry, NAMES_MS);
    for (size_t i = 0; i < s->upstream_count; i++)
        if (upstream_settle(s->upstreams[i]) != 0)
            return -1;
    return 0;
}

/* What takes rights away, for good; before other threads are there. */
static char *become_less(struct runtime *rt, struct snapshot *s)
{
    const char *reason = "", *key = "user";
    struct slice user = s->settings.user;
    char *text = NULL;
    uid_t uid;
    gid_t gid;
    raise_descriptor_limit(s);
    /* Log files are its own, or it could not open them anew. */
    if (user.len && geteuid() == 0 && privileges_find(user, &uid, &gid, &reason) == 0) {
        writer_give_to(rt->writer, uid, gid);
        sockets_give_to(&rt->sockets, uid, gid);
    }
    int result = privileges_drop(user, &reason);
    if (result == 0) {
        key = "sandbox";
        result = sandbox_enter(&rt->sandbox, s, rt->program, &reason);
    }
    if (result != 0 && asprintf(&text, "%s%s%.*s: %s: %s\n", key, *key == 'u' ? " " : "",
                                (int)(*key == 'u' ? user.len : 0), user.at, reason, strerror(errno)) < 0)
        return copy_text("out of memory\n");
    return text;
}

/* Everything that can fail is done before anything that is seen. */
static char *take_up(struct runtime *rt, struct snapshot *s, bool first)
{
    struct apply_letter *letters[WORKERS_MAX] = {0};
    if (first)
        activation_match(&rt->sockets, s);
    char *why = open_sockets(rt, s);
    if (why)
        goto fail;
    /* The admin interface first: its socket may stand where only root may write. */
    if (first && rt->hooks->apply && rt->hooks->apply(rt->hooks->argument, s, true, &why) != 0 && !why)
        why = copy_text("the admin interface refused the configuration\n");
    if (first && !why)
        why = become_less(rt, s);
    if (why)
        goto fail;
    if (first && runtime_cache_start(rt, &s->settings.cache) != 0) {
        why = copy_text("the cache's memory is too small, or there is none\n");
        goto fail;
    }
    if (first && runtime_start_workers(rt) != 0) {
        why = copy_text("cannot start the workers\n");
        goto fail;
    }
    if (snapshot_publish(s, on_released) != 0 || activate_upstreams(s) != 0 ||
        (first && settle_upstreams(rt, s) != 0)) {
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
        if (!first)
            runtime_cache_configure(rt, &s->settings.cache);
        runtime_redis_apply(rt, &s->settings.cache);
        sockets_own_files(&rt->sockets);
        sockets_give_up(&rt->sockets);
        for (size_t i = 0; old && i < old->upstream_count; i++)
            upstream_deactivate(old->upstreams[i]);
        rt->applying += rt->worker_count;
        for (unsigned i = 0; i < rt->worker_count; i++)
            loop_post(&rt->workers[i]->loop, &letters[i]->letter);
        return NULL;
    }
    for (size_t i = 0; i < s->upstream_count; i++)
        upstream_deactivate(s->upstreams[i]);
    for (unsigned i = 0; i < rt->worker_count; i++)
        free_letter(letters[i]);
    if (!why)
        why = copy_text("the admin interface refused the configuration\n");
fail:
    close_unknown(rt);
    return why;
}

/* A file that cannot be read may have been readable before weir became less than it was: that is said. */
void explain_refusals(struct runtime *rt, struct snapshot *s)
{
    struct slice user = s->settings.user;
    sandbox_check(&rt->sandbox, s);
    for (size_t i = 0; i < s->config.named_count && user.len && geteuid() != 0 && s->config.error_count;
         i++) {
        const struct config_named *n = &s->config.named[i];
        if (n->use == CONFIG_READS && access(n->path, R_OK) != 0 && errno == EACCES)
            config_fault(&s->config, n->at, "%s must be readable to %.*s, the user that weir became", n->path,
                         SLICE_FMT(user));
    }
}

static struct load_result refused(char *why, char *changes)
{
    return (struct load_result){.why = why ? why : copy_text("out of memory\n"), .changes = changes};
}

/* As `weir check` prints them; in a log of JSON, as lines of it. */
static void tell_warnings(struct snapshot *s, bool first)
{
    const struct log_settings *log = &s->settings.log;
    struct config *c = &s->config;
    if (c->warning_count && log->format == LOG_FORMAT_JSON) {
        if (first)
            log_set((enum log_level)log->level, LOG_FORMAT_JSON);
        const struct config_error **all = config_warnings_sorted(c);
        for (size_t i = 0; all && i < c->warning_count; i++)
            log_warn("the configuration has a warning", LOG_TEXT("warning", config_warning_line(c, all[i])));
    } else if (c->warning_count) {
        fputs(config_warnings_text(c), stderr);
    }
}

static struct load_result build_and_take_up(struct runtime *rt, const struct snapshot_context *context,
                                            const char *file, bool first)
{
    struct snapshot *s = snapshot_build(file, context);
    if (!s)
        return refused(NULL, copy_text(""));
    explain_refusals(rt, s);
    if (s->config.error_count) {
        struct load_result r = refused(copy_text(config_errors_text(&s->config)), copy_text(""));
        snapshot_free(s);
        return r;
    }
    tell_warnings(s, first);
    if (!first)
        warn_of_fixed(rt, s);
    char *changes = first ? copy_text("") : snapshot_diff(rt->snapshot, s);
    char *why = take_up(rt, s, first);
    s->config.keep = NULL; /* filled; the caller's */
    s->config.kept = NULL;
    if (!why)
        return (struct load_result){.ok = true, .changes = changes};
    snapshot_free(s);
    return refused(why, changes);
}

struct load_result load(struct runtime *rt, const char *file, struct config_source *kept, bool first)
{
    struct snapshot_context context = context_of(rt, false);
    struct config_source *source = kept ? config_source_hold(kept) : config_source_create();
    if (!source)
        return refused(NULL, copy_text(""));
    context.keep = kept ? NULL : source;
    context.kept = kept;
    struct load_result r = build_and_take_up(rt, &context, file, first);
    if (r.ok)
        r.source = source;
    else
        config_source_release(source);
    return r;
}
