/* What the files of a YAML document that is made share: yaml_out.c (putting together), yaml_print.c. */
#pragma once

#include "import/yaml_out.h"

enum yaml_kind { YAML_RAW, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_item {
    const char *key; /* of a map */
    struct yaml_node *value;
    struct yaml_item *next;
};

struct yaml_comment_line {
    const char *text;
    struct yaml_comment_line *next;
};

struct yaml_node {
    enum yaml_kind kind;
    const char *text;
    struct yaml_item *items;
    struct yaml_comment_line *comments;
    size_t count;
};
