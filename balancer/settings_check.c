/* The options of a health check. */
#include "balancer/check_grpc.h"
#include "balancer/escape.h"
#include "balancer/settings_internal.h"

static int parse_check_type(struct config *c, const struct config_node *node, void *field);
static int parse_expect(struct config *c, const struct config_node *node, void *field);
static int parse_bytes(struct config *c, const struct config_node *node, void *field);
static void check_check(struct config *c, const struct config_node *node, void *object);

static const char *const check_types[] = {"http", "tcp", "tls", "grpc", "udp", NULL};

static const struct option check_options[] = {
    OPTION_AT(struct check_settings, type, "type", OPTION_CUSTOM, .fallback = "http",
              .parse = parse_check_type, .shape = "http, tcp, tls, grpc, udp",
              .schema = "{\"enum\": [\"http\", \"tcp\", \"tls\", \"grpc\", \"udp\"]}",
              .help = "http: GET of `path`, in what `protocol` says; tcp: connect, then `send` and "
                      "`receive`; tls: a handshake; grpc: "
                      "grpc.health.v1 over HTTP/2, good when it says SERVING; udp: a datagram of `send`, and "
                      "its answer."),
    OPTION_AT(struct check_settings, path, "path", OPTION_TEXT, .fallback = "/",
              .flags = OPTION_FLAG_MAYBE_SECRET, .help = "For http."),
    OPTION_AT(struct check_settings, interval, "interval", OPTION_DURATION, .fallback = "2s", .min = 10,
              .max = 86400000, .help = "From one check's start to the next's, give or take a tenth."),
    OPTION_AT(struct check_settings, timeout, "timeout", OPTION_DURATION, .fallback = "1s", .min = 1,
              .max = 86400000, .help = "A check that takes longer has failed."),
    OPTION_AT(struct check_settings, rise, "rise", OPTION_COUNT, .fallback = "2", .min = 1, .max = 1000,
              .help = "Successes in a row that take a server back."),
    OPTION_AT(struct check_settings, fall, "fall", OPTION_COUNT, .fallback = "3", .min = 1, .max = 1000,
              .help = "Failures in a row that take it down."),
    OPTION_AT(struct check_settings, expect, "expect", OPTION_CUSTOM, .fallback = "[200-399]",
              .parse = parse_expect, .shape = "STATUS or FROM-TO, or a list",
              .schema = "{\"type\": [\"string\", \"integer\", \"array\"]}",
              .help = "For http: the statuses that are good."),
    OPTION_AT(struct check_settings, headers, "headers", OPTION_PAIRS,
              .help = "For http and grpc: fields to send; `host` replaces the server's name."),
    OPTION_AT(struct check_settings, send, "send", OPTION_CUSTOM, .parse = parse_bytes, .shape = "TEXT",
              .schema = "{\"type\": \"string\"}",
              .help =
                  "For tcp and udp: bytes to send; udp needs them. `\\r`, `\\n`, `\\t`, `\\\\`, `\\xHH`."),
    OPTION_AT(
        struct check_settings, receive, "receive", OPTION_CUSTOM, .parse = parse_bytes, .shape = "TEXT",
        .schema = "{\"type\": \"string\"}",
        .help =
            "For tcp and udp: what the answer must begin with; escapes as in `send`. Without it, udp takes "
            "silence for good, and an ICMP error alone for bad."),
    OPTION_AT(struct check_settings, service, "service", OPTION_TEXT, .shape = "NAME",
              .schema = "{\"type\": \"string\"}",
              .help = "For grpc: the service that is asked for. Absent: the server as a whole."),
};

const struct option_table health_check_table = {
    .name = "health_check",
    .help = "An active health check of every server. A server counts as up until it has failed.",
    .options = check_options,
    .count = COUNT_OF(check_options),
    .size = sizeof(struct check_settings),
    .check = check_check,
};

/* One of the words; those from `planned` on are in the contract, but not built. */
static int choose(struct config *c, const struct config_node *node, const char *const *words, int planned,
                  void *field)
{
    int choice = 0;
    if (option_choice(c, node, words, &choice) != 0)
        return -1;
    if (choice >= planned) {
        config_fault(c, node, "\"%s\" is not supported yet", words[choice]);
        return -1;
    }
    memcpy(field, &choice, sizeof choice);
    return 0;
}

static int parse_check_type(struct config *c, const struct config_node *node, void *field)
{
    return choose(c, node, check_types, CHECK_UDP + 1, field);
}

static int read_range(struct slice text, struct status_range *out)
{
    size_t dash = slice_find(text, '-');
    uint64_t from, to;
    if (slice_to_u64(slice_of(text.at, dash), &from) != 0)
        return -1;
    to = from;
    if (dash < text.len && slice_to_u64(slice_skip(text, dash + 1), &to) != 0)
        return -1;
    if (from < 100 || to > 599 || from > to)
        return -1;
    *out = (struct status_range){(uint16_t)from, (uint16_t)to};
    return 0;
}

static int parse_expect(struct config *c, const struct config_node *node, void *field)
{
    struct option_texts texts = {0};
    if (option_texts(c, node, &texts) != 0)
        return -1;
    struct status_ranges r = {arena_zalloc(&c->arena, (texts.count ? texts.count : 1) * sizeof *r.at), 0};
    int rc = 0;
    for (size_t i = 0; r.at && i < texts.count; i++) {
        if (read_range(texts.at[i], &r.at[r.count++]) == 0)
            continue;
        config_fault(c, texts.nodes[i], "expected a status like 200, or a range like 200-399");
        rc = -1;
    }
    if (r.at && texts.count == 0) {
        config_fault(c, node, "may not be empty");
        rc = -1;
    }
    memcpy(field, &r, sizeof r);
    return r.at ? rc : -1;
}

bool status_ranges_contain(const struct status_ranges *r, unsigned status)
{
    for (size_t i = 0; i < r->count; i++)
        if (status >= r->at[i].from && status <= r->at[i].to)
            return true;
    return false;
}

static int parse_bytes(struct config *c, const struct config_node *node, void *field)
{
    struct slice text, bytes;
    if (option_text(c, node, &text) != 0)
        return -1;
    char *room = arena_alloc(&c->arena, text.len + 1);
    if (!room)
        return -1;
    size_t bad;
    if (escape_decode(text, room, &bytes, &bad) != 0) {
        config_fault(c, node, "unknown escape \"%.*s\" (one of: \\r, \\n, \\t, \\0, \\\\, \\xHH)",
                     SLICE_FMT(slice_of(text.at + bad, text.len - bad < 4 ? text.len - bad : 4)));
        return -1;
    }
    memcpy(field, &bytes, sizeof bytes);
    return 0;
}

/* What goes into the request must not end its line (RFC 9110 §5.5). */
static bool is_one_line(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
            return false;
    return true;
}

static bool is_field_name(struct slice s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char ch = ascii_lower(s.at[i]);
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || (ch && strchr(marks, ch))))
            return false;
    }
    return s.len != 0;
}

static void refuse_key(struct config *c, const struct config_node *node, const char *key, const char *type)
{
    const struct config_node *given = node && node->kind == NODE_MAP ? config_get(node, key) : NULL;
    if (given && given->kind != NODE_NULL)
        config_fault_key(c, given, "only with type: %s", type);
}

static void check_check(struct config *c, const struct config_node *node, void *object)
{
    static const char *const http_keys[] = {"path", "expect"};
    static const char *const tcp_keys[] = {"send", "receive"};
    struct check_settings *k = object;
    for (size_t i = 0; k->type != CHECK_HTTP && i < COUNT_OF(http_keys); i++)
        refuse_key(c, node, http_keys[i], "http");
    for (size_t i = 0; k->type != CHECK_TCP && k->type != CHECK_UDP && i < COUNT_OF(tcp_keys); i++)
        refuse_key(c, node, tcp_keys[i], "tcp or udp");
    if (k->type == CHECK_UDP && k->send.len == 0)
        config_fault(c, node,
                     "a udp check needs \"send\": nothing is known of a server that was sent nothing");
    if (k->type != CHECK_HTTP && k->type != CHECK_GRPC)
        refuse_key(c, node, "headers", "http");
    if (k->type != CHECK_GRPC)
        refuse_key(c, node, "service", "grpc");
    if (k->service.len > CHECK_GRPC_SERVICE_MAX)
        config_fault(c, settings_key_or(node, "service"), "is longer than %u bytes", CHECK_GRPC_SERVICE_MAX);
    if (k->path.len == 0 || k->path.at[0] != '/' || !is_one_line(k->path) ||
        slice_find(k->path, ' ') < k->path.len)
        config_fault(c, settings_key_or(node, "path"),
                     "expected a path that begins with \"/\" and has no spaces");
    for (size_t i = 0; i < k->headers.count; i++) {
        const struct option_pair *p = &k->headers.at[i];
        if (!is_field_name(p->name) || !is_one_line(p->value))
            config_fault(c, p->node, "is no header that can be sent");
    }
    if (k->expect.count == 0) {
        k->expect.at = arena_alloc(&c->arena, sizeof *k->expect.at);
        if (k->expect.at)
            k->expect = (struct status_ranges){k->expect.at, 1};
        if (k->expect.at)
            k->expect.at[0] = (struct status_range){200, 399};
    }
}
