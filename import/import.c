#include "import/import.h"

#include <stdio.h>

#include "import/haproxy.h"
#include "import/nginx.h"

static int convert(struct import *in, const char *file)
{
    const char *why = "";
    int rc = text_is(in->from, "nginx") ? nginx_import(in, file, &why) : haproxy_import(in, file, &why);
    if (rc)
        fprintf(stderr, "%s\n", why);
    return rc;
}

static void print(const struct import *in)
{
    struct text file = {0}, said = {0};
    import_emit(in, &file);
    report_print(&in->report, REPORT_LEFT, "", &said);
    report_print(&in->report, REPORT_NOTE, "note: ", &said);
    fwrite(file.at, 1, file.len, stdout);
    fflush(stdout);
    if (said.len)
        fputs(said.at, stderr);
    text_free(&file);
    text_free(&said);
}

int command_import(const char *from, const char *file)
{
    struct arena arena;
    struct import in;
    int status = 1;
    arena_init(&arena, NULL, 0);
    import_init(&in, &arena, from, file);
    if (convert(&in, file) == 0) {
        print(&in);
        status = in.report.left ? 2 : 0;
    }
    arena_reset(&arena);
    return status;
}
