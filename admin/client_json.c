#include "admin/client_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "admin/client.h"

#define POLL_MS 50

/* A problem's detail and its errors. */
static void complain_of_answer(const json_t *answer, int status)
{
    const char *detail = json_string_value(json_object_get(answer, "detail"));
    const json_t *errors = json_object_get(answer, "errors");
    for (size_t i = 0; i < json_array_size(errors); i++)
        fprintf(stderr, "%s\n", json_string_value(json_array_get(errors, i)));
    fprintf(stderr, "weir: %s", detail ? detail : "the running process refused");
    if (!detail)
        fprintf(stderr, " with status %d", status);
    fprintf(stderr, "\n");
}

json_t *client_ask(const char *socket, const char *method, const char *path, const char *body)
{
    int status = 0;
    char *text = NULL;
    if (client_call(socket, method, path, body, &status, &text) != 0) {
        client_complain(socket);
        return NULL;
    }
    json_t *answer = json_loads(text, 0, NULL);
    free(text);
    if (answer && status < 300)
        return answer;
    complain_of_answer(answer, status);
    json_decref(answer);
    return NULL;
}

json_t *client_ask_with(const char *socket, const char *method, const char *path, json_t *body)
{
    char *text = body ? json_dumps(body, 0) : NULL;
    json_t *answer = text ? client_ask(socket, method, path, text) : NULL;
    if (!text)
        fprintf(stderr, "weir: that is no text in UTF-8\n");
    free(text);
    json_decref(body);
    return answer;
}

long long client_number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

const char *client_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

size_t client_print_lines(const json_t *lines, const char *before)
{
    for (size_t i = 0; i < json_array_size(lines); i++)
        printf("%s%s\n", before, json_string_value(json_array_get(lines, i)));
    return json_array_size(lines);
}

void client_print_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
}

void client_sleep_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
}
