/* A YAML document that is put together in memory and printed for people: what fits on a line is written in
 * one, comments stand above what they speak of, texts are quoted where they must be. */
#pragma once

#include "import/text.h"

struct yaml_node;

struct yaml_node *yaml_map(struct arena *a);
struct yaml_node *yaml_list(struct arena *a);
/* Quoted unless it is a plain word; yaml_raw as it is (numbers, durations, true). */
struct yaml_node *yaml_text(struct arena *a, const char *s);
struct yaml_node *yaml_raw(struct arena *a, const char *s);

/* A key that is there gets the new value in its place. */
void yaml_set(struct arena *a, struct yaml_node *map, const char *key, struct yaml_node *value);
void yaml_set_text(struct arena *a, struct yaml_node *map, const char *key, const char *s);
void yaml_set_raw(struct arena *a, struct yaml_node *map, const char *key, const char *s);
/* The pairs of `from`, behind those that are there. */
void yaml_merge(struct arena *a, struct yaml_node *map, const struct yaml_node *from);
void yaml_merge_others(struct arena *a, struct yaml_node *map, const struct yaml_node *from, const char *but);
/* Likewise; maps and lists that both have become one, and what is there stays. */
void yaml_merge_deep(struct arena *a, struct yaml_node *map, const struct yaml_node *from);
void yaml_drop(struct yaml_node *map, const char *key);
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* The map of that key, made where there is none. */
struct yaml_node *yaml_at(struct arena *a, struct yaml_node *map, const char *key);
struct yaml_node *yaml_list_at(struct arena *a, struct yaml_node *map, const char *key);
void yaml_add(struct arena *a, struct yaml_node *list, struct yaml_node *value);
/* Adds it unless the list has it. */
void yaml_add_text(struct arena *a, struct yaml_node *list, const char *s);
/* Those of `from` that are not `but`. */
void yaml_add_others(struct arena *a, struct yaml_node *list, const struct yaml_node *from, const char *but);
bool yaml_has(const struct yaml_node *list, const char *s);

/* Of a list or map; NULL when it is empty or NULL. */
struct yaml_node *yaml_first(const struct yaml_node *n);
/* The n-th; NULL. */
struct yaml_node *yaml_item(const struct yaml_node *n, size_t at);
const char *yaml_key(const struct yaml_node *map, size_t at);
size_t yaml_count(const struct yaml_node *n);
const char *yaml_scalar(const struct yaml_node *n); /* NULL when it is none */

/* A line above the node; several calls make several lines. */
void yaml_comment(struct arena *a, struct yaml_node *n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Two nodes that print alike. */
bool yaml_equal(const struct yaml_node *a, const struct yaml_node *b);

/* The list has one that prints alike. */
bool yaml_has_equal(const struct yaml_node *list, const struct yaml_node *n);

void yaml_print(const struct yaml_node *map, struct text *out);
