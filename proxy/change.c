/* Who changes the configuration, and what is told of it: reloads, trials, confirming, rolling back. Each
 * leaves a line in the log, an event, and an entry in the history, with what it changed in words. */
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/runtime_internal.h"

#define EVENT_WORDS 900u /* of a diff in an event; the history has all of it */

struct change {
    const char *by;
    struct config_source *kept; /* NULL: the file */
    uint64_t text_of;           /* whose text that is */
    const char *reason;         /* "" = somebody reloads */
    const struct trial_limits *trial;
};

static char *print(const char *format, ...) __attribute__((format(printf, 1, 2)));

void reload_result_free(struct reload_result *r)
{
    free(r->text);
    free(r->notes);
    r->text = r->notes = NULL;
}

static char *print(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}

/* Telling. */

/* Lines one behind the other, as many as have room. */
static void join_lines(FILE *out, const char *lines, size_t most)
{
    struct slice rest = slice_text(lines);
    size_t used = 0, left = 0;
    bool any = false;
    while (rest.len) {
        struct slice line = slice_of(rest.at, slice_find(rest, '\n'));
        rest = slice_skip(rest, line.len + 1);
        used += line.len + 2;
        if (line.len && (used <= most || !any)) {
            fprintf(out, "%s%.*s", any ? "; " : "", (int)(line.len < most ? line.len : most), line.at);
            any = true;
        } else {
            left += line.len != 0;
        }
    }
    if (left)
        fprintf(out, "; and %zu more", left);
}

/* "generation 5, by command: route api: added; …" */
static void tell(struct runtime *rt, const char *kind, const char *lead, const char *lines)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return;
    fputs(lead, out);
    if (*lines)
        fputs(": ", out);
    join_lines(out, lines, EVENT_WORDS);
    fclose(out);
    if (rt->hooks->event && text)
        rt->hooks->event(rt->hooks->argument, kind, text);
    free(text);
}

static void log_changes(struct runtime *rt, const char *event, const struct change *c, const char *lines)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return;
    join_lines(out, lines, 2 * EVENT_WORDS);
    fclose(out);
    if (*c->reason)
        log_info(event, LOG_U64("generation", rt->generation), LOG_TEXT("by", c->by),
                 LOG_U64("configuration_of", c->text_of), LOG_TEXT("reason", c->reason),
                 LOG_TEXT("changes", text ? text : ""));
    else
        log_info(event, LOG_U64("generation", rt->generation), LOG_TEXT("by", c->by),
                 LOG_TEXT("file", rt->file), LOG_TEXT("changes", text ? text : ""));
    free(text);
}

/* Refusing. */

static void remember_refusal(struct runtime *rt, const char *by, const char *why, const char *changes)
{
    struct generation g = {.at_us = loop_wall_us(&rt->control),
                           .result = GENERATION_REFUSED,
                           .reason = (char *)(uintptr_t)why,
                           .words = (char *)(uintptr_t)changes};
    snprintf(g.by, sizeof g.by, "%s", by);
    generations_add(&rt->generations, &g);
}

/* For what is going on, not for the file. */
static struct reload_result conflict(struct runtime *rt, const char *what, const char *by, char *why)
{
    const char *text = why ? why : "out of memory";
    char *lead = print("by %s: %s", by, text);
    log_warn(what, LOG_TEXT("by", by), LOG_TEXT("reason", text));
    if (lead)
        tell(rt, what, lead, "");
    free(lead);
    return (struct reload_result){.conflict = true, .text = why ? why : strdup("out of memory")};
}

static char *why_no_change(const struct runtime *rt)
{
    if (rt->state != RUNTIME_SERVING)
        return strdup("weir is stopping");
    /* The next process may have read the file already, or not: nobody could say which one it serves. */
    if (rt->upgrade_fd >= 0)
        return strdup("an upgrade is under way: the next process reads the file");
    return NULL;
}

/* Changing. */

static struct reload_result fail(struct runtime *rt, const struct change *c, struct load_result *l)
{
    rt->stats.reload_failures++;
    rt->stats.reload_failed = true;
    log_error("the configuration was not taken up; the one before goes on", LOG_TEXT("by", c->by),
              LOG_TEXT("file", rt->file), LOG_TEXT("errors", l->why));
    char *lead = print("by %s, refused", c->by);
    tell(rt, c->text_of ? "rollback failed" : "reload failed", lead ? lead : "refused", l->why);
    free(lead);
    remember_refusal(rt, c->by, l->why, l->changes);
    free(l->changes);
    return (struct reload_result){.text = l->why};
}

/* The newest has given way, or was there before. */
static void enter(struct runtime *rt, const struct change *c, const struct load_result *l, char **files)
{
    struct generation fresh = {.number = rt->generation,
                               .at_us = rt->snapshot->loaded_at_us,
                               .text_of = c->text_of,
                               .result = c->trial ? GENERATION_ON_TRIAL : GENERATION_ACTIVE,
                               .reason = (char *)(uintptr_t)c->reason,
                               .words = l->changes,
                               .source = l->source};
    snprintf(fresh.by, sizeof fresh.by, "%s", c->by);
    struct generation *old = generations_newest(&rt->generations);
    /* The same bytes are kept once. */
    if (old && old->source && config_source_equal(old->source, l->source))
        fresh.source = old->source;
    if (old && (old->result == GENERATION_ACTIVE || old->result == GENERATION_CONFIRMED))
        generation_end(old, GENERATION_REPLACED, NULL);
    generation_digest(&fresh, &rt->snapshot->config, l->source);
    struct generation *origin = generations_find(&rt->generations, c->text_of ? c->text_of : 0);
    *files = origin ? generation_changed_files(origin, &fresh) : NULL;
    generations_add(&rt->generations, &fresh);
}

static struct reload_result succeed(struct runtime *rt, const struct change *c, struct load_result *l)
{
    struct generation *old = generations_newest(&rt->generations);
    struct reload_result r = {.ok = true, .generation = rt->generation, .before = old ? old->number : 0};
    enter(rt, c, l, &r.notes);
    config_source_release(l->source);
    rt->stats.reloads++;
    rt->stats.reload_failed = false;
    log_changes(rt, c->text_of ? "configuration rolled back" : "configuration reloaded", c, l->changes);
    char *lead = c->text_of ? print("generation %llu, by %s, has the configuration of %llu (%s)",
                                    (unsigned long long)rt->generation, c->by, (unsigned long long)c->text_of,
                                    c->reason)
                            : print("generation %llu, by %s%s", (unsigned long long)rt->generation, c->by,
                                    c->trial ? ", on trial" : "");
    tell(rt,
         c->text_of ? "rollback"
         : c->trial ? "trial"
                    : "reload",
         lead ? lead : "reloaded",
         *l->changes                   ? l->changes
         : strcmp(c->by, "watch") == 0 ? "certificates are read anew"
                                       : "nothing changed");
    free(lead);
    r.text = l->changes;
    return r;
}

static struct reload_result change(struct runtime *rt, const struct change *c)
{
    notify_reloading(rt);
    struct load_result l = load(rt, rt->file, c->kept, false);
    struct reload_result r = l.ok ? succeed(rt, c, &l) : fail(rt, c, &l);
    notify_serving(rt);
    return r;
}

void change_began(struct runtime *rt, const struct load_result *first, const char *by)
{
    char *files = NULL;
    enter(rt, &(struct change){.by = by, .reason = ""}, first, &files);
    free(files);
    free(first->changes);
    config_source_release(first->source);
}

/* Reloads. */

static char *why_no_reload(struct runtime *rt)
{
    char *why = why_no_change(rt);
    if (why || !rt->trial.on)
        return why;
    why = print("generation %llu is on trial, with %llu s left: `weir confirm` it or `weir rollback` first",
                (unsigned long long)rt->trial.generation, (unsigned long long)(trial_left(rt) / 1000));
    return why ? why : strdup("a configuration is on trial");
}

struct reload_result runtime_reload(struct runtime *rt, const char *by, const struct trial_limits *trial)
{
    struct change c = {.by = by, .reason = "", .trial = trial};
    char *obstacle = why_no_reload(rt);
    if (obstacle) {
        remember_refusal(rt, by, obstacle, "");
        return conflict(rt, "no reload", by, obstacle);
    }
    struct generation *newest = generations_newest(&rt->generations);
    if (newest && strcmp(by, "watch") == 0)
        c.kept = newest->source;
    if (trial && trial_remember(rt) != 0)
        return conflict(rt, "no reload", by, NULL);
    struct reload_result r = change(rt, &c);
    if (trial && r.ok)
        trial_begin(rt, r.generation, r.before, trial);
    else if (trial)
        trial_forget(rt);
    return r;
}

struct reload_result runtime_confirm(struct runtime *rt, const char *by)
{
    if (!rt->trial.on)
        return conflict(rt, "nothing to confirm", by, strdup("no configuration is on trial"));
    struct generation *g = generations_find(&rt->generations, rt->trial.generation);
    usec_t took = loop_now_us(&rt->control) - rt->trial.began_us;
    char *reason = print("by %s after %llu s", by, (unsigned long long)(took / 1000000));
    if (g)
        generation_end(g, GENERATION_CONFIRMED, reason);
    trial_finish(rt, TRIAL_CONFIRMED);
    log_info("configuration confirmed", LOG_U64("generation", rt->generation), LOG_TEXT("by", by));
    char *lead = print("generation %llu stays, confirmed %s", (unsigned long long)rt->generation,
                       reason ? reason : "");
    tell(rt, "confirmed", lead ? lead : "confirmed", "");
    free(lead);
    free(reason);
    return (struct reload_result){.ok = true, .text = strdup(""), .generation = rt->generation};
}

/* Rolling back. */

/* Back from where the text in force stands: past what was taken back, and past the same text. */
static struct generation *one_before(struct runtime *rt)
{
    struct generations *all = &rt->generations;
    const struct generation *newest = generations_newest(all);
    if (!newest)
        return NULL;
    if (rt->trial.on)
        return generations_find(all, rt->trial.before);
    struct generation *g = generations_before(all, newest->text_of ? newest->text_of : newest->number);
    while (g && (g->result == GENERATION_ROLLED_BACK || !g->source ||
                 config_source_equal(g->source, newest->source)))
        g = generations_before(all, g->number);
    return g;
}

static struct generation *find_target(struct runtime *rt, uint64_t number, char **why)
{
    struct generations *all = &rt->generations;
    struct generation *g = number ? generations_find(all, number) : one_before(rt);
    if (!g && number)
        *why = print("generation %llu is not kept; `weir history` lists those that are",
                     (unsigned long long)number);
    else if (!g)
        *why = print("no generation before this one is kept that has another text");
    else if (g->number == rt->generation)
        *why = print("generation %llu is in force already", (unsigned long long)g->number);
    else if (!g->source)
        *why = print("generation %llu was too large to be kept whole", (unsigned long long)g->number);
    return *why || !g ? NULL : g;
}

static void add_notes(struct runtime *rt, struct reload_result *r, uint64_t text_of)
{
    const char *differs = "differs from what is in force; the next reload takes it up";
    bool other = runtime_file_differs(rt);
    char *notes =
        print("generation %llu is in force, with the configuration of generation %llu\n%s%s%s%s%s",
              (unsigned long long)r->generation, (unsigned long long)text_of, r->notes ? r->notes : "",
              other ? rt->file : "", other ? ": " : "", other ? differs : "", other ? "\n" : "");
    free(r->notes);
    r->notes = notes;
}

/* Into force again, in place of the newest, which is said to be taken back, and why. */
static struct reload_result go_back(struct runtime *rt, const struct generation *to, const char *by,
                                    const char *why)
{
    uint64_t taken_back = rt->generation, text_of = to->text_of ? to->text_of : to->number;
    struct config_source *source = config_source_hold(to->source);
    bool by_itself = rt->trial.on && strcmp(by, "trial") == 0;
    char *reason = print("in place of generation %llu%s%s", (unsigned long long)taken_back,
                         by_itself ? ": " : "", by_itself ? why : "");
    struct change c = {.by = by, .kept = source, .text_of = text_of, .reason = reason ? reason : why};
    struct reload_result r = change(rt, &c);
    struct generation *old = r.ok ? generations_find(&rt->generations, taken_back) : NULL;
    if (old)
        generation_end(old, GENERATION_ROLLED_BACK, why);
    rt->rollbacks += r.ok;
    config_source_release(source);
    free(reason);
    if (r.ok)
        add_notes(rt, &r, text_of);
    return r;
}

struct reload_result runtime_rollback(struct runtime *rt, uint64_t number, const char *by)
{
    char *why = why_no_change(rt);
    struct generation *to = why ? NULL : find_target(rt, number, &why);
    if (!to)
        return conflict(rt, "no rollback", by, why);
    char *reason = print("by %s", by);
    struct reload_result r = go_back(rt, to, by, reason ? reason : "");
    if (r.ok && rt->trial.on)
        trial_finish(rt, TRIAL_ROLLED_BACK);
    free(reason);
    return r;
}

void runtime_fall_back(struct runtime *rt, enum trial_end how, const char *why)
{
    struct trial_watch *w = &rt->trial;
    struct generation *to = generations_find(&rt->generations, w->before);
    bool first = !w->verdict[0];
    char words[sizeof w->verdict];
    snprintf(words, sizeof words, "%s", why);
    snprintf(w->verdict, sizeof w->verdict, "%s", words);
    w->falls = how;
    if (first)
        log_warn("the configuration on trial falls back", LOG_U64("generation", w->generation),
                 LOG_U64("to", w->before), LOG_TEXT("reason", words));
    if (!to || !to->source) {
        if (first)
            tell(rt, "rollback failed", "the generation to fall back to is not kept", "");
        return;
    }
    struct reload_result r = go_back(rt, to, "trial", words);
    if (r.ok)
        trial_finish(rt, how);
    reload_result_free(&r);
}
