/* A writer of indented JSON. It keeps commas and levels; what is nested where is the caller's. */
#pragma once

#include "config/option_internal.h"

struct json {
    struct output out;
    unsigned depth;
    bool has_member; /* of what is open: a comma comes first */
    bool after_key;
};

void json_open(struct json *j, char bracket);
void json_close(struct json *j, char bracket);
void json_key(struct json *j, const char *key);
void json_text(struct json *j, struct slice text);
/* A number, a word or a piece of JSON as it is. */
void json_raw(struct json *j, const char *text);

/* Both at once. */
void json_pair(struct json *j, const char *key, const char *text);
void json_pair_raw(struct json *j, const char *key, const char *text);

/* error_json.c: the members "errors" and "warnings" of the object that is open: lists of {file, line, column,
 * path, message, mend, example, rule}, those that there are, in the order of config_errors_text(). */
void config_faults_json(struct config *c, struct json *j);
