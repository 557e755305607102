/* What is asked of configurations without changing anything: diffs, texts, whether the file is another. */
#include <stdio.h>
#include <stdlib.h>

#include "config/print.h"
#include "proxy/runtime_internal.h"

static struct reload_result failure(const char *text)
{
    return (struct reload_result){.text = strdup(text)};
}

/* NULL with *why when it has faults. */
static struct snapshot *build_dry(struct runtime *rt, const char *file, const struct config_source *kept,
                                  struct reload_result *why)
{
    struct snapshot_context context = context_of(rt, true);
    context.kept = kept;
    struct snapshot *s = snapshot_build(file, &context);
    if (!s) {
        *why = failure("out of memory\n");
        return NULL;
    }
    explain_refusals(rt, s);
    if (s->config.error_count == 0)
        return s;
    *why = failure(config_errors_text(&s->config));
    snapshot_free(s);
    return NULL;
}

struct reload_result runtime_diff(struct runtime *rt, const char *file)
{
    struct reload_result r = {0};
    struct snapshot *s = build_dry(rt, file ? file : rt->file, NULL, &r);
    if (!s)
        return r;
    r = (struct reload_result){
        .ok = true, .text = snapshot_diff_all(rt->snapshot, s), .generation = rt->generation};
    snapshot_free(s);
    return r;
}

static struct generation *find_kept(struct runtime *rt, uint64_t number, struct reload_result *why)
{
    struct generation *g = generations_find(&rt->generations, number);
    if (g && g->source)
        return g;
    char *text = NULL;
    if (asprintf(&text, "generation %llu is not kept; `weir history` lists those that are",
                 (unsigned long long)number) < 0)
        text = NULL;
    *why = (struct reload_result){.conflict = true, .text = text};
    return NULL;
}

struct reload_result runtime_diff_generations(struct runtime *rt, uint64_t from, uint64_t to)
{
    struct reload_result r = {0};
    struct generation *a = find_kept(rt, from, &r), *b = a ? find_kept(rt, to, &r) : NULL;
    if (!b)
        return r;
    struct snapshot *old = build_dry(rt, rt->file, a->source, &r);
    struct snapshot *fresh = old ? build_dry(rt, rt->file, b->source, &r) : NULL;
    if (fresh)
        r = (struct reload_result){.ok = true, .text = snapshot_diff(old, fresh), .generation = to};
    if (fresh)
        snapshot_free(fresh);
    if (old)
        snapshot_free(old);
    return r;
}

char *runtime_config_text(struct runtime *rt, uint64_t number, size_t most)
{
    const struct generation *g = generations_find(&rt->generations, number);
    struct config c;
    char *text = NULL;
    if (!g || !g->source)
        return NULL;
    config_init(&c);
    c.kept = g->source;
    if (config_load(&c, rt->file) == 0) {
        config_mark_secrets(&settings_table, c.root);
        text = config_print(c.root, most);
    }
    config_free(&c);
    return text;
}

bool runtime_file_differs(struct runtime *rt)
{
    const struct generation *g = generations_newest(&rt->generations);
    struct config c;
    config_init(&c);
    c.keep = config_source_create();
    if (!c.keep)
        return false;
    config_load(&c, rt->file);
    bool differs = g && g->source && !config_source_equal(g->source, c.keep);
    config_source_release(c.keep);
    config_free(&c);
    return differs;
}
