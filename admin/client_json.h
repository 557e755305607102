/* The command line's questions and answers in JSON, for the files that have subcommands. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* The answer's JSON; NULL after a message. */
json_t *client_ask(const char *socket, const char *method, const char *path, const char *body);
/* The same with a body made of a value, which it takes over. */
json_t *client_ask_with(const char *socket, const char *method, const char *path, json_t *body);

/* NULL and other kinds are 0 and "". */
long long client_number(const json_t *object, const char *key);
const char *client_text(const json_t *object, const char *key);

/* An array of strings, a line each; how many. */
size_t client_print_lines(const json_t *lines, const char *before);
void client_print_json(const json_t *answer);
void client_sleep_a_little(void);
