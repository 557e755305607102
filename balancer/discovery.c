#include <stdio.h>
#include <stdlib.h>

#include "balancer/discovery_internal.h"
#include "core/log.h"

static const struct source_kind_ops *const kinds[] = {
    [SOURCE_DNS] = &source_dns,
    [SOURCE_SRV] = &source_srv,
    [SOURCE_FILE] = &source_file,
    [SOURCE_HAND] = &source_hand,
};

static void drop_answer(struct source *s);

/* Found servers. */

struct found *found_create(const struct address *a, struct slice host, uint32_t weight, bool backup)
{
    char text[ADDRESS_TEXT_MAX];
    size_t len = address_print(a, text, sizeof text);
    struct found *f = calloc(1, sizeof *f + len + host.len + 2);
    if (!f)
        return NULL;
    f->references = 1;
    memcpy(f->text, text, len);
    if (host.len)
        memcpy(f->text + len + 1, host.at, host.len);
    f->settings.address = slice_of(f->text, len);
    f->settings.weight = weight;
    f->settings.backup = backup;
    f->host = slice_of(f->text + len + 1, host.len);
    return f;
}

struct backing *backing_create(void)
{
    struct backing *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->references = 1;
    config_init(&b->config);
    return b;
}

void backing_release(struct backing *b)
{
    if (--b->references)
        return;
    config_free(&b->config);
    free(b);
}

struct found *found_of(struct backing *b, const struct server_settings *s)
{
    struct found *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->references = 1;
    f->settings = *s;
    f->backing = b;
    b->references++;
    return f;
}

struct found *found_hold(struct found *f)
{
    f->references++;
    return f;
}

void found_release(struct found *f)
{
    if (!f || --f->references)
        return;
    if (f->backing)
        backing_release(f->backing);
    free(f);
}

/* Sources. */

struct discovery *discovery_create(struct loop *l, struct resolver *(*resolver)(void *argument),
                                   void *argument)
{
    struct discovery *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->loop = l;
    d->resolver = resolver;
    d->argument = argument;
    d->inotify = -1;
    list_init(&d->sources);
    return d;
}

static void free_source(struct source *s)
{
    kinds[s->kind]->stop(s);
    list_remove(&s->link);
    drop_answer(s);
    free((char *)(uintptr_t)s->name);
    free(s);
}

void discovery_free(struct discovery *d)
{
    if (!d)
        return;
    LIST_EACH_SAFE (node, &d->sources) {
        free_source(CONTAINER_OF(node, struct source, link));
    }
    discovery_close_files(d);
    free(d);
}

struct source *discovery_find(struct discovery *d, struct slice upstream, enum source_kind kind,
                              struct slice what)
{
    LIST_EACH (node, &d->sources) {
        struct source *s = CONTAINER_OF(node, struct source, link);
        if (s->kind == kind && slice_equal(s->what, what) && slice_equal(s->upstream, upstream))
            return s;
    }
    return NULL;
}

/* One allocation holds "dns api.internal:8000", which `what` is the end of, and the upstream's name. */
static int name_source(struct source *s, struct slice upstream, struct slice what)
{
    const char *kind = kinds[s->kind]->name;
    size_t space = what.len ? 1 : 0, len = strlen(kind) + space + what.len;
    char *text = calloc(1, len + upstream.len + 2);
    if (!text)
        return -1;
    snprintf(text, len + 1, "%s%s%.*s", kind, space ? " " : "", SLICE_FMT(what));
    memcpy(text + len + 1, upstream.at, upstream.len);
    s->name = text;
    s->what = slice_of(text + len - what.len, what.len);
    s->upstream = slice_of(text + len + 1, upstream.len);
    return 0;
}

static struct source *make_source(struct discovery *d, struct slice upstream, enum source_kind kind,
                                  struct slice what, msec_t refresh)
{
    struct source *s = calloc(1, kinds[kind]->size);
    if (!s)
        return NULL;
    s->discovery = d;
    s->kind = kind;
    s->refresh = refresh;
    list_init(&s->uses);
    if (name_source(s, upstream, what) != 0) {
        free(s);
        return NULL;
    }
    if (kinds[kind]->start(s) != 0) {
        kinds[kind]->stop(s);
        free((char *)(uintptr_t)s->name);
        free(s);
        return NULL;
    }
    list_append(&d->sources, &s->link);
    return s;
}

static void find_refresh(struct source *s)
{
    msec_t least = 0;
    LIST_EACH (node, &s->uses) {
        const struct source_use *use = CONTAINER_OF(node, struct source_use, link);
        if (least == 0 || use->refresh < least)
            least = use->refresh;
    }
    if (least == 0 || least == s->refresh)
        return;
    s->refresh = least;
    if (kinds[s->kind]->refreshed)
        kinds[s->kind]->refreshed(s);
}

int discovery_use(struct discovery *d, struct slice upstream, enum source_kind kind, struct slice what,
                  struct source_use *use)
{
    struct source *s = discovery_find(d, upstream, kind, what);
    if (!s)
        s = make_source(d, upstream, kind, what, use->refresh);
    if (!s)
        return -1;
    use->source = s;
    list_append(&s->uses, &use->link);
    find_refresh(s);
    return 0;
}

/* What was done by hand is remembered, in use or not. */
static bool is_worth_keeping(const struct source *s)
{
    size_t hidden = 0;
    if (s->kind != SOURCE_HAND)
        return false;
    hand_hidden(s, &hidden);
    return hidden || s->found_count;
}

void discovery_leave(struct source_use *use)
{
    struct source *s = use->source;
    list_remove(&use->link);
    use->source = NULL;
    if (!list_empty(&s->uses))
        find_refresh(s);
    else if (!is_worth_keeping(s))
        free_source(s);
}

/* Answers. */

static void drop_answer(struct source *s)
{
    for (size_t i = 0; i < s->found_count; i++)
        found_release(s->found[i]);
    free(s->found);
    s->found = NULL;
    s->found_count = 0;
}

static int64_t now_us(const struct source *s)
{
    return loop_wall_us(s->discovery->loop);
}

static bool same_found(const struct found *a, const struct found *b)
{
    return slice_equal(a->settings.address, b->settings.address) && slice_equal(a->host, b->host) &&
           a->settings.weight == b->settings.weight && a->settings.backup == b->settings.backup;
}

/* Files are told apart by their text already. */
static bool is_same(const struct source *s, struct found *const *found, size_t count)
{
    if (s->version == 0 || s->kind == SOURCE_FILE || s->kind == SOURCE_HAND || count != s->found_count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!same_found(s->found[i], found[i]))
            return false;
    return true;
}

static void tell_uses(struct source *s)
{
    LIST_EACH_SAFE (node, &s->uses) {
        struct source_use *use = CONTAINER_OF(node, struct source_use, link);
        use->changed(use);
    }
}

/* Said once, when it begins, and once when it is over. */
static void set_reason(struct source *s, const char *reason)
{
    if (!reason[0] && s->reason[0])
        log_info("servers are found again", LOG_SLICE("upstream", s->upstream), LOG_TEXT("source", s->name));
    if (reason[0] && !s->reason[0])
        log_warn(s->answered ? "servers are not found; the last answer is used"
                             : "servers are not found; there are none yet",
                 LOG_SLICE("upstream", s->upstream), LOG_TEXT("source", s->name), LOG_TEXT("reason", reason));
    snprintf(s->reason, sizeof s->reason, "%s", reason);
    s->asked_us = now_us(s);
}

void source_publish(struct source *s, struct found **found, size_t count, const char *trouble)
{
    s->answered = true;
    set_reason(s, trouble);
    bool same = is_same(s, found, count);
    struct found **before = s->found;
    size_t before_count = s->found_count;
    if (!same) {
        s->found = found;
        s->found_count = count;
        s->version++;
        s->changed_us = s->asked_us;
        found = before;
        count = before_count;
    }
    for (size_t i = 0; i < count; i++)
        found_release(found[i]);
    free(found);
    if (!same)
        tell_uses(s);
}

void source_fail(struct source *s, const char *reason)
{
    set_reason(s, reason);
}

/* Settings. */

bool discovery_entry(const struct server_settings *s, enum source_kind *kind, struct slice *what)
{
    const struct slice texts[] = {[SOURCE_DNS] = s->dns, [SOURCE_SRV] = s->srv, [SOURCE_FILE] = s->file};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i].len == 0)
            continue;
        *kind = (enum source_kind)i;
        *what = texts[i];
        return true;
    }
    return false;
}

struct server_settings discovery_settings(const struct source *s, const struct server_settings *entry,
                                          const struct found *f)
{
    if (s->kind == SOURCE_HAND)
        return f->settings;
    if (s->kind == SOURCE_FILE)
        return server_settings_inherit(&f->settings, entry);
    struct server_settings out = *entry;
    out.address = f->settings.address;
    out.weight = entry->weight * f->settings.weight;
    out.weight = out.weight < SERVER_WEIGHT_MAX ? out.weight : SERVER_WEIGHT_MAX;
    out.backup = entry->backup || f->settings.backup;
    return out;
}
