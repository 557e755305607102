/* The command line, and the process's start: signals to the runtime, admin/ to its hooks. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <yaml.h>

#include "admin/admin.h"
#include "admin/check.h"
#include "admin/client.h"
#include "admin/top.h"
#include "import/import.h"
#include "proxy/runtime.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *help;
};

struct arguments {
    const char *config;      /* -c */
    const char *socket;      /* -s */
    const char *headers[64]; /* -H */
    size_t header_count;
    const char *rest[8];
    size_t rest_count;
    const char *seconds; /* -d */
    const char *prefix, *tag;
    const char *client, *listener, *sni; /* of explain */
    const char *allow[64];               /* --allow, of check */
    size_t allow_count;
    bool json, once, all, soft, strict, rules;
    struct reload_question trial; /* of reload */
};

static int wrong_call(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Arguments. */

static bool takes_json(const char *command)
{
    return strcmp(command, "status") == 0 || strcmp(command, "upstreams") == 0 ||
           strcmp(command, "requests") == 0 || strcmp(command, "check") == 0 || strcmp(command, "top") == 0 ||
           strcmp(command, "explain") == 0 || strcmp(command, "history") == 0;
}

/* Where the value of an option of `weir reload` goes; NULL = it is none. */
static const char **trial_value(const char *option, struct reload_question *q)
{
    static const char *const limits[RELOAD_LIMITS] = {"--max-errors",   "--max-unhealthy",
                                                      "--max-latency",  "--min-latency-ms",
                                                      "--min-requests", "--min-latency-requests"};
    if (strcmp(option, "--confirm") == 0)
        return &q->confirm;
    for (size_t i = 0; i < RELOAD_LIMITS; i++)
        if (strcmp(option, limits[i]) == 0)
            return &q->limits[i];
    return NULL;
}

static int parse(const char *command, int argc, char **argv, size_t least, size_t most, struct arguments *out)
{
    *out = (struct arguments){0};
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (a[0] != '-' || a[1] == 0) {
            if (out->rest_count >= most || out->rest_count >= sizeof out->rest / sizeof *out->rest)
                return wrong_call(command, "unexpected argument \"%s\"", a);
            out->rest[out->rest_count++] = a;
            continue;
        }
        if (strcmp(a, "--json") == 0 && takes_json(command)) {
            out->json = true;
            continue;
        }
        if (strcmp(a, "--once") == 0 && strcmp(command, "top") == 0) {
            out->once = true;
            continue;
        }
        if (strcmp(command, "purge") == 0 && (strcmp(a, "--all") == 0 || strcmp(a, "--soft") == 0)) {
            *(a[2] == 'a' ? &out->all : &out->soft) = true;
            continue;
        }
        if (strcmp(command, "reload") == 0 && strcmp(a, "--wait") == 0) {
            out->trial.wait = true;
            continue;
        }
        const char **trial = strcmp(command, "reload") == 0 ? trial_value(a, &out->trial) : NULL;
        if (strcmp(command, "check") == 0 && (strcmp(a, "--strict") == 0 || strcmp(a, "--rules") == 0)) {
            *(a[2] == 's' ? &out->strict : &out->rules) = true;
            continue;
        }
        const char **value =
            trial                                                             ? trial
            : strcmp(a, "-c") == 0 || strcmp(a, "--config") == 0              ? &out->config
            : strcmp(a, "-s") == 0 || strcmp(a, "--socket") == 0              ? &out->socket
            : strcmp(a, "-d") == 0 && strcmp(command, "top") == 0             ? &out->seconds
            : strcmp(command, "purge") == 0 && strcmp(a, "--prefix") == 0     ? &out->prefix
            : strcmp(command, "purge") == 0 && strcmp(a, "--tag") == 0        ? &out->tag
            : strcmp(command, "explain") == 0 && strcmp(a, "--client") == 0   ? &out->client
            : strcmp(command, "explain") == 0 && strcmp(a, "--listener") == 0 ? &out->listener
            : strcmp(command, "explain") == 0 && strcmp(a, "--sni") == 0      ? &out->sni
            : strcmp(command, "check") == 0 && strcmp(a, "--allow") == 0 && out->allow_count < 64
                ? &out->allow[out->allow_count]
            : strcmp(a, "-H") == 0 && out->header_count < 64 ? &out->headers[out->header_count]
                                                             : NULL;
        if (!value)
            return wrong_call(command, "unknown option \"%s\"", a);
        if (i + 1 >= argc)
            return wrong_call(command, "%s needs a value", a);
        *value = argv[++i];
        if (value == &out->headers[out->header_count])
            out->header_count++;
        if (value == &out->allow[out->allow_count])
            out->allow_count++;
    }
    if (out->rest_count < least)
        return wrong_call(command, "an argument is missing");
    return 0;
}

static int wrong_call(const char *command, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "weir%s%s: ", command ? " " : "", command ? command : "");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see: weir help%s%s\n", command ? " " : "", command ? command : "");
    return 2;
}

/* weir run */

static int run(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("run", argc, argv, 0, 0, &a);
    if (wrong)
        return wrong;
    if (!a.config)
        return wrong_call("run", "which file? Say -c FILE");
    struct runtime *rt = calloc(1, sizeof *rt);
    struct admin *admin = admin_create();
    if (!rt || !admin) {
        fprintf(stderr, "weir: out of memory\n");
        return 1;
    }
    admin_attach(admin, rt);
    /* The arguments as they were, for the next program of an upgrade: the file is the last of them. */
    char *again[] = {"weir", "run", "-c", strdup(a.config), NULL};
    if (runtime_start(rt, a.config, again, admin_observers(admin), admin_hooks(admin)) != 0)
        exit(1); /* nothing is served yet; the system takes back what was opened */
    int status = runtime_run(rt);
    admin_free(admin);
    free(again[3]);
    free(rt);
    return status;
}

/* weir check, schema, version */

static int check(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("check", argc, argv, 0, 0, &a);
    if (wrong)
        return wrong;
    if (a.rules) {
        command_check_rules();
        return 0;
    }
    if (!a.config)
        return wrong_call("check", "which file? Say -c FILE");
    const struct check_question q = {
        .file = a.config, .strict = a.strict, .json = a.json, .allow = a.allow, .allow_count = a.allow_count};
    return command_check(&q);
}

static void write_out(void *argument, const char *text, size_t len)
{
    (void)argument;
    fwrite(text, 1, len, stdout);
}

static int schema(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("schema", argc, argv, 0, 0, &a);
    if (!wrong)
        option_schema(&settings_table, write_out, NULL);
    return wrong;
}

static int reference(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("reference", argc, argv, 0, 0, &a);
    if (!wrong)
        option_reference(&settings_table, write_out, NULL);
    return wrong;
}

static int version(int argc, char **argv)
{
    struct arguments a;
    char pcre[64] = "";
    int wrong = parse("version", argc, argv, 0, 0, &a);
    if (wrong)
        return wrong;
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    printf("weir %s\n", WEIR_VERSION);
    printf("libevent %s, %s, libyaml %s, PCRE2 %s\n", event_get_version(), OpenSSL_version(OPENSSL_VERSION),
           yaml_get_version_string(), pcre);
    printf("build: %s\n", WEIR_BUILD);
    return 0;
}

/* What talks to the running process. */

static int explain(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("explain", argc, argv, 1, 2, &a);
    if (wrong)
        return wrong;
    if (a.rest_count == 1 && !strstr(a.rest[0], "://"))
        return wrong_call("explain", "a URL is missing");
    struct explain_question q = {.method = a.rest_count == 2 ? a.rest[0] : "GET",
                                 .url = a.rest[a.rest_count - 1],
                                 .headers = a.headers,
                                 .header_count = a.header_count,
                                 .client = a.client,
                                 .listener = a.listener,
                                 .sni = a.sni,
                                 .json = a.json};
    return command_explain(a.config, a.socket, &q);
}

static int reload(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("reload", argc, argv, 0, 0, &a);
    if (wrong)
        return wrong;
    bool limited = false;
    for (size_t i = 0; i < RELOAD_LIMITS; i++)
        limited = limited || a.trial.limits[i];
    if (!a.trial.confirm && (limited || a.trial.wait))
        return wrong_call("reload", "limits and --wait are for a trial: say --confirm TIME, like 60s");
    return command_reload(client_socket(a.config, a.socket), &a.trial);
}

static int confirm(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("confirm", argc, argv, 0, 0, &a);
    return wrong ? wrong : command_confirm(client_socket(a.config, a.socket));
}

/* The rest's i-th as the number of a generation; 0 = there is none. */
static int read_generation(const char *command, const struct arguments *a, size_t i, uint64_t *out)
{
    *out = 0;
    if (i >= a->rest_count || (slice_to_u64(slice_text(a->rest[i]), out) == 0 && *out && *out <= INT64_MAX))
        return 0;
    return wrong_call(command, "\"%s\" is no generation's number; `weir history` lists them", a->rest[i]);
}

static int rollback(int argc, char **argv)
{
    struct arguments a;
    uint64_t generation;
    int wrong = parse("rollback", argc, argv, 0, 1, &a);
    if (wrong || (wrong = read_generation("rollback", &a, 0, &generation)))
        return wrong;
    return command_rollback(client_socket(a.config, a.socket), generation);
}

static int history(int argc, char **argv)
{
    struct arguments a;
    uint64_t generation;
    int wrong = parse("history", argc, argv, 0, 1, &a);
    if (wrong || (wrong = read_generation("history", &a, 0, &generation)))
        return wrong;
    return command_history(client_socket(a.config, a.socket), generation, a.json);
}

static int stop(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("stop", argc, argv, 0, 0, &a);
    return wrong ? wrong : command_stop(client_socket(a.config, a.socket));
}

static int upgrade(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("upgrade", argc, argv, 0, 0, &a);
    return wrong ? wrong : command_upgrade(client_socket(a.config, a.socket));
}

static int status(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("status", argc, argv, 0, 0, &a);
    return wrong ? wrong : command_status(client_socket(a.config, a.socket), a.json);
}

static int upstreams(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("upstreams", argc, argv, 0, 0, &a);
    return wrong ? wrong : command_upstreams(client_socket(a.config, a.socket), a.json);
}

static int requests(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("requests", argc, argv, 0, 1, &a);
    if (wrong)
        return wrong;
    return command_requests(client_socket(a.config, a.socket), a.rest_count ? a.rest[0] : NULL, a.json);
}

static int purge(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("purge", argc, argv, 0, 1, &a);
    if (wrong)
        return wrong;
    const char *url = a.rest_count ? a.rest[0] : NULL;
    int given = (url != NULL) + (a.prefix != NULL) + (a.tag != NULL) + a.all;
    if (given != 1)
        return wrong_call("purge", given ? "a URL, --prefix, --tag or --all: one at a time"
                                         : "what? Say a URL, --prefix PREFIX, --tag TAG or --all");
    struct purge_question q = {
        .what = url        ? "url"
                : a.prefix ? "prefix"
                : a.tag    ? "tag"
                           : "all",
        .text = url        ? url
                : a.prefix ? a.prefix
                           : a.tag,
        .soft = a.soft,
    };
    return command_purge(client_socket(a.config, a.socket), &q);
}

static int diff(int argc, char **argv)
{
    struct arguments a;
    uint64_t from, to;
    int wrong = parse("diff", argc, argv, 0, 2, &a);
    if (wrong || (wrong = read_generation("diff", &a, 0, &from)) ||
        (wrong = read_generation("diff", &a, 1, &to)))
        return wrong;
    char *socket = client_socket(a.config, a.socket);
    return from ? command_diff_generations(socket, from, to) : command_diff(socket, a.config);
}

static int top(int argc, char **argv)
{
    struct arguments a;
    char *end = NULL;
    int wrong = parse("top", argc, argv, 0, 0, &a);
    if (wrong)
        return wrong;
    double seconds = a.seconds ? strtod(a.seconds, &end) : 1;
    if (a.seconds && (end == a.seconds || *end || !(seconds >= 0.1 && seconds <= 3600)))
        return wrong_call("top", "-d takes seconds, from 0.1 to 3600, not \"%s\"", a.seconds);
    if (a.json && !a.once)
        return wrong_call("top", "--json goes with --once");
    struct top_options o = {.interval_ms = (unsigned)(seconds * 1000), .once = a.once, .json = a.json};
    return command_top(client_socket(a.config, a.socket), &o);
}

static int import(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("import", argc, argv, 2, 2, &a);
    if (wrong)
        return wrong;
    if (strcmp(a.rest[0], "nginx") != 0 && strcmp(a.rest[0], "haproxy") != 0)
        return wrong_call("import", "from what? nginx or haproxy, not \"%s\"", a.rest[0]);
    return command_import(a.rest[0], a.rest[1]);
}

static int help(int argc, char **argv);

static const struct command commands[] = {
    {"run", run, "-c FILE", "serves in the foreground; logs go to standard error"},
    {"check", check, "-c FILE [--strict] [--allow RULE]... [--json] | --rules",
     "says everything that is wrong with a file, warns of what is hardly meant, and runs its tests; exits 0, "
     "or "
     "1 on errors, with --strict on warnings too; --allow leaves a rule's warnings out, --rules lists the "
     "rules, "
     "--json is for editors and CI"},
    {"explain", explain,
     "[-c FILE | -s SOCKET] [-H 'name: value']... [--client ADDRESS] [--listener NAME] [--sni NAME] [--json] "
     "[METHOD] URL",
     "says which listener, route and upstream a request would meet, and why; with a file, or in the running "
     "process"},
    {"reload", reload,
     "[-c FILE | -s SOCKET] [--confirm TIME [--wait] [--max-errors PERCENT] [--max-unhealthy PERCENT] "
     "[--max-latency TIMES] [--min-latency-ms MS] [--min-requests N] [--min-latency-requests N]]",
     "reads the configuration anew, and says what changed; with --confirm on trial: unless `weir confirm` "
     "comes in TIME, or when it does worse, the one before comes back"},
    {"confirm", confirm, "[-c FILE | -s SOCKET]", "keeps the configuration that is on trial"},
    {"rollback", rollback, "[-c FILE | -s SOCKET] [GENERATION]",
     "brings the configuration before back, or that generation, whatever the file says now"},
    {"history", history, "[-c FILE | -s SOCKET] [--json] [GENERATION]",
     "lists the last ten generations of the configuration and what each changed; with a number, its text"},
    {"diff", diff, "[-c FILE] [-s SOCKET] [GENERATION [GENERATION]]",
     "says what a reload with that file would change, or in what two generations differ (one: it and the one "
     "in force)"},
    {"stop", stop, "[-c FILE | -s SOCKET]", "lets open exchanges end, then stops"},
    {"upgrade", upgrade, "[-c FILE | -s SOCKET]", "starts the program anew in place of the running one"},
    {"status", status, "[-c FILE | -s SOCKET] [--json]", "says how the running process does"},
    {"upstreams", upstreams, "[-c FILE | -s SOCKET] [--json]",
     "prints a table of all servers and how they do"},
    {"requests", requests, "[-c FILE | -s SOCKET] [--json] [ID]",
     "prints the last failed and the slowest requests; with a request's id, its whole story"},
    {"purge", purge, "[-c FILE | -s SOCKET] [--soft] URL | --prefix PREFIX | --tag TAG | --all",
     "takes answers out of the cache, or with --soft makes them stale"},
    {"top", top, "[-c FILE | -s SOCKET] [-d SECONDS] [--once [--json]]",
     "shows rates and times of listeners, routes and servers, live; keys: q quit, s next order, p pause"},
    {"import", import, "nginx FILE | haproxy FILE",
     "writes the configuration of nginx or HAProxy as one of weir's, and says what it had to leave; exits 0, "
     "2 "
     "when something was left, 1 when it cannot be read"},
    {"schema", schema, "", "prints the JSON Schema of the file, for editors"},
    {"reference", reference, "", "prints the reference of the file's options, in Markdown"},
    {"version", version, "", "prints the version, libraries and build options"},
    {"help", help, "[COMMAND]", "prints this, or what a command takes"},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        names[i] = commands[i].name;
    const char *near = config_suggest(slice_text(name), names, COUNT_OF(names));
    fprintf(stderr,
            near ? "weir: unknown command \"%s\"; did you mean \"%s\"?\n"
                 : "weir: unknown command \"%s\"; see: weir help\n",
            name, near);
    return 2;
}

static int help(int argc, char **argv)
{
    struct arguments a;
    int wrong = parse("help", argc, argv, 0, 1, &a);
    if (wrong)
        return wrong;
    if (a.rest_count) {
        const struct command *c = find_command(a.rest[0]);
        if (!c)
            return unknown_command(a.rest[0]);
        printf("weir %s %s\n\n  %s\n", c->name, c->usage, c->help);
        return 0;
    }
    printf("weir, a reverse proxy and load balancer\n\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        printf("  weir %-10s %s\n", commands[i].name, commands[i].help);
    printf("\nSignals: HUP reload, TERM and INT drain and stop, USR1 reopen logs, USR2 upgrade.\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return wrong_call(NULL, "what to do? Try: weir run -c config.yaml.example");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(0, argv);
    if (strcmp(argv[1], "--version") == 0)
        return version(0, argv);
    if (argv[1][0] == '-')
        return run(argc - 1, argv + 1); /* weir -c FILE */
    const struct command *c = find_command(argv[1]);
    return c ? c->run(argc - 2, argv + 2) : unknown_command(argv[1]);
}
