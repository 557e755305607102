/* Any bytes as a configuration of HAProxy (behind an `h`) or nginx: read and converted, and what
 * comes out is YAML that weir reads, whatever its options say. */
#include <stdio.h>

#include "config/tree.h"
#include "import/haproxy.h"
#include "import/nginx.h"

static const char *environment(const char *name)
{
    (void)name;
    return "";
}

static void check_output(const struct import *in)
{
    struct text out = {0};
    struct config c;
    import_emit(in, &out);
    config_init(&c);
    c.environment = environment;
    bool empty = yaml_count(in->top) == 0 && !in->listeners && !in->routes && !in->upstreams;
    if (!empty && config_parse(&c, "out.yaml", slice_of(out.at, out.len)) != 0) {
        fputs(out.at, stderr);
        fputs(config_errors_text(&c), stderr);
        ASSERT(empty); /* what comes out is YAML */
    }
    config_free(&c);
    text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct import in;
    const char *why = NULL;
    if (size == 0)
        return 0;
    bool nginx = data[0] != 'h';
    struct slice text = slice_of((const char *)data + 1, size - 1);
    arena_init(&arena, NULL, 0);
    import_init(&in, &arena, nginx ? "nginx" : "haproxy", "in");
    struct ng *root = nginx ? nginx_parse(&arena, "in", text, &why) : NULL;
    struct hx_section *sections = nginx ? NULL : haproxy_parse(&arena, "in", text, &why);
    ASSERT(root || sections || why);
    if (root)
        nginx_convert(&in, root);
    if (sections)
        haproxy_convert(&in, "in", sections);
    if (root || sections)
        check_output(&in);
    arena_reset(&arena);
    return 0;
}
