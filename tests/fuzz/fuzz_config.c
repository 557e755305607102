/* Any bytes as a configuration: read, applied to a table with every type of option, merged with itself, and
 * all errors printed. Every place must lie within the text, and every error must be one line. */
#include "tests/unit/test_config_sample.h"

#include <stdlib.h>

static const char *environment(const char *name)
{
    if (strcmp(name, "A") == 0)
        return "${A} [x";
    return strcmp(name, "B") == 0 ? "" : NULL;
}

static void check_errors(struct config *c, struct slice text)
{
    size_t lines = 2; /* the last may end without a newline, and errors may stand behind it */
    for (size_t i = 0; i < text.len; i++)
        lines += text.at[i] == '\n' || text.at[i] == '\r' || (unsigned char)text.at[i] >= 0x80;
    for (size_t i = 0; i < c->error_count; i++) {
        ASSERT(c->errors[i].message && !strchr(c->errors[i].message, '\n'));
        ASSERT(c->errors[i].line <= lines && (c->errors[i].column || !c->errors[i].line));
    }
    const char *all = config_errors_text(c);
    size_t printed = 0;
    for (const char *p = all; *p; p++)
        printed += *p == '\n';
    ASSERT(printed == c->error_count + (c->errors_dropped > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    struct config c;
    struct sample sample;
    config_init(&c);
    c.environment = environment;

    int rc = config_parse(&c, "fuzz.yaml", text);
    ASSERT((rc == 0) == (c.error_count == 0));
    ASSERT(c.root || rc);
    if (c.root) {
        int applied = option_apply(&c, &sample_table, c.root, &sample);
        ASSERT(applied == 0 || c.error_count);
        struct config_node *routes = config_get(c.root, "routes"), *limits = config_get(c.root, "limits");
        ASSERT(!routes || config_merge(&c, limits, routes));
        ASSERT(config_merge(&c, c.root, c.root));
    }
    check_errors(&c, text);
    config_free(&c);
    return 0;
}
