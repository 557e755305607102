/* What `weir reload`, confirm, rollback, diff and history ask and print. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/client.h"
#include "admin/client_json.h"

static void print_changes(const json_t *answer, const char *none)
{
    if (client_print_lines(json_object_get(answer, "changes"), "") == 0)
        printf("%s\n", none);
    client_print_lines(json_object_get(answer, "notes"), "");
    const json_t *warnings = json_object_get(answer, "warnings");
    for (size_t i = 0; i < json_array_size(warnings); i++)
        fprintf(stderr, "%s\n", json_string_value(json_object_get(json_array_get(warnings, i), "text")));
}

static int print_and_free(json_t *answer, const char *none)
{
    if (!answer)
        return 1;
    print_changes(answer, none);
    json_decref(answer);
    return 0;
}

/* weir reload */

static json_t *question_of(const struct reload_question *q)
{
    static const char *const keys[RELOAD_LIMITS] = {"errors",     "unhealthy", "latency",
                                                    "latency_ms", "requests",  "latency_requests"};
    json_t *question = json_object(), *limits = json_object();
    bool any = false;
    for (size_t i = 0; i < RELOAD_LIMITS; i++)
        if (q->limits[i]) {
            json_object_set_new(limits, keys[i], json_string(q->limits[i]));
            any = true;
        }
    if (q->confirm)
        json_object_set_new(question, "confirm", json_string(q->confirm));
    if (any)
        json_object_set(question, "limits", limits);
    json_decref(limits);
    return question;
}

/* The entry of a generation in the history, borrowed; NULL. */
static const json_t *entry_of(const json_t *config, long long generation)
{
    const json_t *history = json_object_get(config, "history");
    for (size_t i = 0; i < json_array_size(history); i++)
        if (client_number(json_array_get(history, i), "generation") == generation)
            return json_array_get(history, i);
    return NULL;
}

static bool is_on_trial(const char *socket, long long generation, bool *reached)
{
    int status = 0;
    char *text = NULL;
    *reached = client_call(socket, "GET", "/api/v1/status", NULL, &status, &text) == 0;
    if (!*reached)
        return false;
    json_t *answer = json_loads(text, 0, NULL);
    bool on = client_number(json_object_get(answer, "trial"), "generation") == generation;
    json_decref(answer);
    free(text);
    return on;
}

/* 0 when it was confirmed. */
static int wait_for_verdict(const char *socket, long long generation)
{
    bool reached = true;
    fflush(stdout);
    while (is_on_trial(socket, generation, &reached))
        client_sleep_a_little();
    json_t *config = client_ask(socket, "GET", "/api/v1/config", NULL);
    const json_t *entry = entry_of(config, generation);
    const char *result = client_text(entry, "result");
    if (entry)
        printf("generation %lld: %s: %s\n", generation, result, client_text(entry, "reason"));
    int status = strcmp(result, "confirmed") == 0 ? 0 : 1;
    json_decref(config);
    return status;
}

int command_reload(char *socket, const struct reload_question *q)
{
    json_t *answer = socket ? client_ask_with(socket, "POST", "/api/v1/reload", question_of(q)) : NULL;
    int status = answer ? 0 : 1;
    const json_t *trial = json_object_get(answer, "trial");
    long long generation = client_number(answer, "generation");
    if (answer)
        print_changes(answer, "reloaded; nothing changed");
    if (answer && q->confirm)
        printf("generation %lld is on trial for %s: `weir confirm` keeps it; unless that comes in time, or "
               "when it does worse, generation %lld comes back by itself\n",
               generation, q->confirm, client_number(trial, "falls_back_to"));
    if (answer && q->confirm && q->wait)
        status = wait_for_verdict(socket, generation);
    json_decref(answer);
    free(socket);
    return status;
}

int command_confirm(char *socket)
{
    json_t *answer = socket ? client_ask(socket, "POST", "/api/v1/confirm", NULL) : NULL;
    if (answer)
        printf("generation %lld stays\n", client_number(answer, "generation"));
    int status = answer ? 0 : 1;
    json_decref(answer);
    free(socket);
    return status;
}

int command_rollback(char *socket, unsigned long long generation)
{
    json_t *question = generation ? json_pack("{s:I}", "generation", (json_int_t)generation) : json_object();
    json_t *answer = socket ? client_ask_with(socket, "POST", "/api/v1/rollback", question) : NULL;
    if (!socket)
        json_decref(question);
    free(socket);
    return print_and_free(answer, "rolled back; nothing differs");
}

/* weir diff */

int command_diff(char *socket, const char *file)
{
    char *path = file ? realpath(file, NULL) : NULL;
    json_t *answer = NULL;
    if (file && !path)
        fprintf(stderr, "weir: %s: %s\n", file, strerror(errno));
    else if (socket)
        answer = client_ask_with(socket, "POST", "/api/v1/diff",
                                 path ? json_pack("{s:s}", "file", path) : json_object());
    free(path);
    free(socket);
    return print_and_free(answer, "a reload would change nothing");
}

int command_diff_generations(char *socket, unsigned long long from, unsigned long long to)
{
    json_t *question = json_pack("{s:I}", "from", (json_int_t)from), *answer = NULL;
    if (to)
        json_object_set_new(question, "to", json_integer((json_int_t)to));
    if (socket)
        answer = client_ask_with(socket, "POST", "/api/v1/diff", question);
    else
        json_decref(question);
    free(socket);
    return print_and_free(answer, "they are the same");
}

/* weir history */

/* On the line when it is one, else below it. */
static void print_faults(const char *faults)
{
    bool one = !strchr(faults, '\n');
    printf("%s", one ? ": " : ":");
    while (*faults) {
        size_t len = strcspn(faults, "\n");
        printf("%s%.*s", one ? "" : "\n    ", (int)len, faults);
        faults += len + (faults[len] != 0);
    }
    printf("\n");
}

static void print_entry(const json_t *g, const char *before)
{
    long long number = client_number(g, "generation"), text_of = client_number(g, "text_of");
    const char *reason = client_text(g, "reason");
    printf("%s", before);
    if (number)
        printf("generation %lld", number);
    else
        printf("refused");
    printf(", %s, by %s", client_text(g, "at"), client_text(g, "by"));
    if (text_of)
        printf(", the configuration of %lld", text_of);
    if (number)
        printf(": %s", client_text(g, "result"));
    if (!*reason)
        printf("\n");
    else if (number)
        printf(" (%s)\n", reason);
    else
        print_faults(reason);
}

static void print_text(const json_t *config, long long generation)
{
    const json_t *entry = entry_of(config, generation);
    const char *yaml = json_string_value(json_object_get(config, "yaml"));
    if (entry)
        print_entry(entry, "# ");
    printf("# %s, without comments and secrets\n", client_text(config, "file"));
    fputs(yaml ? yaml : "# the text is not kept\n", stdout);
}

static void print_history(const json_t *config)
{
    const json_t *history = json_object_get(config, "history");
    for (size_t i = 0; i < json_array_size(history); i++) {
        print_entry(json_array_get(history, i), "");
        client_print_lines(json_object_get(json_array_get(history, i), "diff"), "    ");
    }
    if (json_is_true(json_object_get(config, "file_differs")))
        printf("%s: differs from what is in force; the next reload takes it up\n",
               client_text(config, "file"));
}

int command_history(char *socket, unsigned long long generation, bool json)
{
    char path[80];
    snprintf(path, sizeof path, generation ? "/api/v1/config?generation=%llu" : "/api/v1/config", generation);
    json_t *config = socket ? client_ask(socket, "GET", path, NULL) : NULL;
    if (config && json)
        client_print_json(config);
    else if (config && generation)
        print_text(config, (long long)generation);
    else if (config)
        print_history(config);
    int status = config ? 0 : 1;
    json_decref(config);
    free(socket);
    return status;
}
