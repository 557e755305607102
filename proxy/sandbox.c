#include "proxy/sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/sandbox_internal.h"

static void gather_system(struct sandbox *sb, const char *program);
static void gather_named(struct sandbox *sb, const struct snapshot *s);
static void export_places(const struct sandbox *sb);

/* Places. */

static void add(struct sandbox *sb, const char *path, unsigned uses)
{
    for (size_t i = 0; i < sb->count; i++) {
        if (strcmp(sb->places[i].path, path) == 0) {
            sb->places[i].uses |= uses;
            return;
        }
    }
    if (sb->count == sb->capacity) {
        size_t capacity = sb->capacity ? 2 * sb->capacity : 32;
        struct sandbox_place *more = realloc(sb->places, capacity * sizeof *more);
        if (!more)
            return;
        sb->places = more;
        sb->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy)
        sb->places[sb->count++] = (struct sandbox_place){.path = copy, .uses = uses};
}

/* As it is, where it leads; nothing when it is not there. */
static void add_real(struct sandbox *sb, const char *path, unsigned uses)
{
    char real[PATH_MAX];
    if (realpath(path, real))
        add(sb, real, uses);
}

/* The folder that a path stands in, of its own text; the root never, as everything lies in it. */
static void add_folder_of(struct sandbox *sb, const char *path, unsigned uses)
{
    char copy[PATH_MAX], real[PATH_MAX];
    if ((size_t)snprintf(copy, sizeof copy, "%s", path) < sizeof copy && realpath(dirname(copy), real))
        strcmp(real, "/") == 0 ? add_real(sb, path, uses) : add(sb, real, uses);
}

/* A folder is meant as it is; of a file the folder, as others take its place there, and the one that it leads
 * to (a certificate is often a link into an archive). */
static void add_named(struct sandbox *sb, const char *path, unsigned uses)
{
    struct stat st;
    char real[PATH_MAX];
    bool is_there = stat(path, &st) == 0;
    if (is_there && S_ISDIR(st.st_mode)) {
        add_real(sb, path, uses);
        return;
    }
    add_folder_of(sb, path, uses);
    if (is_there && realpath(path, real))
        add_folder_of(sb, real, uses);
}

static const struct sandbox_place *find(const struct sandbox *sb, const char *real, unsigned uses)
{
    for (size_t i = 0; i < sb->count; i++) {
        const struct sandbox_place *p = &sb->places[i];
        size_t len = strlen(p->path);
        if ((p->uses & uses) == uses && strncmp(real, p->path, len) == 0 &&
            (real[len] == 0 || real[len] == '/' || (len == 1 && *real == '/')))
            return p;
    }
    return NULL;
}

/* What is not there yet counts by its folder. A path that leads nowhere at all is another's fault to tell. */
static bool has(const struct sandbox *sb, const char *path, unsigned uses)
{
    char copy[PATH_MAX], real[PATH_MAX];
    if (realpath(path, real))
        return find(sb, real, uses) != NULL;
    if ((size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy || !realpath(dirname(copy), real))
        return true;
    return find(sb, real, uses) != NULL;
}

/* Entering. */

int sandbox_enter(struct sandbox *sb, const struct snapshot *s, const char *program, const char **why)
{
    int landlock;
    bool filtered;
    if (!s->settings.sandbox || sb->entered)
        return 0;
    gather_system(sb, program);
    gather_named(sb, s);
    export_places(sb);
    if (sandbox_restrict_files(sb, &landlock, why) != 0 || sandbox_filter_calls(&filtered, why) != 0)
        return -1;
    sb->entered = landlock || filtered;
    if (!landlock)
        log_warn("this kernel has no Landlock: the sandbox does not restrict files");
    if (!filtered)
        log_warn("no filter of system calls: this kernel, or this build of weir, has no seccomp");
    log_info("in the sandbox", LOG_U64("landlock", (uint64_t)landlock), LOG_U64("seccomp", filtered),
             LOG_U64("places", sb->count));
    return 0;
}

/* The libraries that are there now, and the loader: the program that an upgrade starts needs them again. */
static int add_library(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)size;
    if (info->dlpi_name && info->dlpi_name[0] == '/')
        add_named(argument, info->dlpi_name, SANDBOX_READ);
    return 0;
}

static void gather_system(struct sandbox *sb, const char *program)
{
    static const char *const files[] = {
        "/etc/ld.so.cache", "/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
        "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf",
        "/etc/services", "/etc/protocols", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom",
        /* of other processes Landlock shows no more than their names: the rest asks for the right to trace */
        "/proc", "/sys/devices/system/cpu"};
    static const char *const variables[] = {"SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"};
    char real[PATH_MAX];
    Dl_info loader;
    for (size_t i = 0; i < COUNT_OF(files); i++)
        add_real(sb, files[i], SANDBOX_READ);
    for (size_t i = 0; i < COUNT_OF(variables); i++)
        if (getenv(variables[i]))
            add_named(sb, getenv(variables[i]), SANDBOX_READ);
    /* Who manages it (systemd-resolved, resolvconf) puts a new one in its place. */
    if (realpath("/etc/resolv.conf", real) && strncmp(real, "/etc/", 5) != 0)
        add_folder_of(sb, real, SANDBOX_READ);
    dl_iterate_phdr(add_library, sb);
    if (dladdr((void *)getauxval(AT_BASE), &loader) && loader.dli_fname)
        add_real(sb, loader.dli_fname, SANDBOX_EXECUTE);
    /* Its folder: the next version is another file of the same name. */
    if (program)
        add_folder_of(sb, program, SANDBOX_EXECUTE);
    add_real(sb, "/dev/null", SANDBOX_READ | SANDBOX_DEVICE);
}

/* Of `sandbox.read` and `sandbox.write`: a folder for later, which nothing in the file needs now. */
static bool is_for_later(const struct snapshot *s, const struct config_named *n)
{
    const struct sandbox_settings *lists = s->settings.sandbox;
    for (size_t i = 0; lists && i < lists->read.count; i++)
        if (lists->read.at[i].at == n->path)
            return true;
    for (size_t i = 0; lists && i < lists->write.count; i++)
        if (lists->write.at[i].at == n->path)
            return true;
    return false;
}

static void gather_named(struct sandbox *sb, const struct snapshot *s)
{
    for (size_t i = 0; i < s->config.named_count; i++) {
        const struct config_named *n = &s->config.named[i];
        if (!is_for_later(s, n))
            add_named(sb, n->path, 1u << n->use);
        else if (access(n->path, F_OK) == 0)
            add_named(sb, n->path, n->use == CONFIG_READS ? SANDBOX_READ : SANDBOX_WRITE | SANDBOX_BIND);
        else /* the folder above would let far more in than was asked for */
            log_info("not there, so not in the sandbox", LOG_TEXT("folder", n->path));
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++)
            if (l->addresses[k].any.sa_family == AF_UNIX && l->addresses[k].un.sun_path[0])
                add_folder_of(sb, l->addresses[k].un.sun_path, SANDBOX_BIND);
    }
}

/* A reload. */

static void check_path(const struct sandbox *sb, struct config *c, const struct config_node *at,
                       const char *path, enum config_use use)
{
    static const char *const what[] = {"read from", "written to", "given a socket"};
    if (!has(sb, path, 1u << use))
        config_fault(c, at,
                     "%s lies outside of the sandbox: its folder was not among those to be %s when weir "
                     "started; a restart takes it up",
                     path, what[use]);
}

void sandbox_check(const struct sandbox *sb, struct snapshot *s)
{
    if (!sb->entered)
        return;
    for (size_t i = 0; i < s->config.named_count; i++) {
        const struct config_named *n = &s->config.named[i];
        if (!is_for_later(s, n))
            check_path(sb, &s->config, n->at, n->path, n->use);
        else if (access(n->path, F_OK) == 0 && !has(sb, n->path, 1u << n->use))
            config_warn(&s->config, n->at,
                        "%s is not in the sandbox that weir entered when it started; a restart takes it up",
                        n->path);
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        for (size_t k = 0; k < l->address_count; k++) {
            const struct address *a = &l->addresses[k];
            if (a->any.sa_family == AF_UNIX && a->un.sun_path[0])
                check_path(sb, &s->config, l->settings->bind.nodes[k < l->settings->bind.count ? k : 0],
                           a->un.sun_path, CONFIG_BINDS);
        }
    }
}

/* The next process. Only before the first thread: setenv is not for many. */

static void export_places(const struct sandbox *sb)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    for (size_t i = 0; f && i < sb->count; i++)
        fprintf(f, "%u %s\n", sb->places[i].uses, sb->places[i].path);
    if (f && fclose(f) == 0)
        setenv(SANDBOX_ENVIRONMENT, text, 1);
    free(text);
}

void sandbox_inherit(struct sandbox *sb)
{
    const char *text = getenv(SANDBOX_ENVIRONMENT);
    /* The word of the environment alone is not enough to do without. */
    if (!text || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return;
    struct slice rest = slice_text(text), line;
    while (slice_next(&rest, '\n', &line)) {
        uint64_t uses;
        char path[PATH_MAX];
        size_t space = slice_find(line, ' ');
        if (slice_to_u64(slice_of(line.at, space), &uses) != 0 || space + 1 >= line.len ||
            line.len - space - 1 >= sizeof path)
            continue;
        snprintf(path, sizeof path, "%.*s", SLICE_FMT(slice_skip(line, space + 1)));
        add(sb, path, (unsigned)uses);
    }
    sb->entered = sb->count != 0;
}

void sandbox_free(struct sandbox *sb)
{
    for (size_t i = 0; i < sb->count; i++)
        free(sb->places[i].path);
    free(sb->places);
    *sb = (struct sandbox){0};
}
