#include "admin/check.h"

#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "config/json.h"
#include "proxy/check_user.h"
#include "proxy/lint/lint.h"

static const struct lint_rule *find_rule(const char *name)
{
    for (size_t i = 0; i < lint_rule_count; i++)
        if (strcmp(lint_rules[i].name, name) == 0)
            return &lint_rules[i];
    return NULL;
}

static int unknown_rule(const char *name)
{
    const char *names[64];
    size_t count = 0;
    for (; count < lint_rule_count && count < COUNT_OF(names); count++)
        names[count] = lint_rules[count].name;
    const char *near = config_suggest(slice_text(name), names, count);
    fprintf(stderr,
            near ? "weir check: no rule is called \"%s\"; did you mean \"%s\"?\n"
                 : "weir check: no rule is called \"%s\"; see: weir check --rules\n",
            name, near);
    return 2;
}

/* Takes out what the caller lives with. */
static void leave_out(struct config *c, const struct check_question *q)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->warning_count; i++) {
        bool allowed = false;
        for (size_t k = 0; k < q->allow_count; k++)
            allowed |= c->warnings[i].rule && strcmp(c->warnings[i].rule, q->allow[k]) == 0;
        if (!allowed)
            c->warnings[kept++] = c->warnings[i];
    }
    c->warning_count = kept;
}

static void write_out(void *argument, const char *text, size_t len)
{
    (void)argument;
    fwrite(text, 1, len, stdout);
}

static void pair_count(struct json *j, const char *key, size_t count)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", count);
    json_pair_raw(j, key, text);
}

static void print_json(struct snapshot *s, const struct check_question *q, bool good)
{
    struct json j = {.out = {write_out, NULL}};
    json_open(&j, '{');
    json_pair(&j, "file", q->file);
    json_pair_raw(&j, "good", good ? "true" : "false");
    config_faults_json(&s->config, &j);
    pair_count(&j, "listeners", s->listener_count);
    pair_count(&j, "routes", s->route_count);
    pair_count(&j, "upstreams", s->upstream_count);
    pair_count(&j, "tests_passed", s->tests_passed);
    json_close(&j, '}');
    printf("\n");
}

static void print_text(struct snapshot *s, const struct check_question *q, bool good)
{
    size_t warnings = s->config.warning_count;
    char told[48] = "";
    fputs(config_errors_text(&s->config), stderr);
    fputs(config_warnings_text(&s->config), stderr);
    if (warnings)
        snprintf(told, sizeof told, ", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    if (good)
        printf("%s: good (%zu listeners, %zu routes, %zu upstreams, %zu tests passed%s)\n", q->file,
               s->listener_count, s->route_count, s->upstream_count, s->tests_passed, told);
    else if (s->config.error_count == 0)
        fprintf(stderr, "%s: refused for %s: --strict\n", q->file, told + 2);
}

int command_check(const struct check_question *q)
{
    for (size_t i = 0; i < q->allow_count; i++)
        if (!find_rule(q->allow[i]))
            return unknown_rule(q->allow[i]);
    struct admin *admin = admin_create();
    const struct runtime_hooks *hooks = admin ? admin_hooks(admin) : NULL;
    if (!hooks)
        return 1;
    struct snapshot_context context = {.workers = 1,
                                       .dry = true,
                                       .lint = true,
                                       .access = hooks->access,
                                       .access_free = hooks->access_free,
                                       .argument = hooks->argument};
    struct snapshot *s = snapshot_build(q->file, &context);
    if (!s) {
        fprintf(stderr, "weir: out of memory\n");
        return 1;
    }
    if (s->config.error_count == 0)
        check_user(s);
    leave_out(&s->config, q);
    bool good = s->config.error_count == 0 && !(q->strict && s->config.warning_count);
    if (q->json)
        print_json(s, q, good);
    else
        print_text(s, q, good);
    snapshot_free(s);
    admin_free(admin);
    return good ? 0 : 1;
}

void command_check_rules(void)
{
    for (size_t i = 0; i < lint_rule_count; i++)
        printf("%-26s %s\n", lint_rules[i].name, lint_rules[i].help);
}
