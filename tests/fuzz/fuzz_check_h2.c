/* What a server says to a health check over HTTP/2. The first byte says how: gRPC or not, and where the bytes
 * are cut. However it comes, it is bounded, and whatever is judged has its reason. */
#include "balancer/check_grpc.h"
#include "balancer/check_http.h"
#include "core/base.h"

#define OUTPUT_MAX (1u << 20)

static size_t drain(struct check_h2 *h)
{
    size_t total = 0;
    struct slice bytes;
    while ((bytes = check_h2_output(h)).len)
        total += bytes.len;
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct check_settings c = {.path = S("/"), .service = S("a.B")};
    char text[160] = "";
    if (len == 0)
        return 0;
    bool is_grpc = bytes[0] & 1;
    struct slice in = slice_of((const char *)bytes + 1, len - 1);
    struct slice first = slice_of(in.at, in.len * (bytes[0] >> 1) / 127);
    struct check_h2 *h =
        is_grpc ? check_grpc_create(&c, S("a:1"), false) : check_http_h2(&c, S("a:1"), false);
    ASSERT(h);
    size_t sent = drain(h);
    check_h2_input(h, first);
    sent += drain(h);
    check_h2_input(h, slice_skip(in, first.len));
    sent += drain(h);
    ASSERT(sent < OUTPUT_MAX);
    const struct check_h2_answer *a = check_h2_answer(h);
    ASSERT(a->status == 0 || (a->status >= 200 && a->status <= 999));
    ASSERT(a->body_len <= in.len && !(a->ended && a->reset));
    int judged = check_grpc_judge(a, text, sizeof text);
    ASSERT((judged == 0) == (text[0] == '\0'));
    ASSERT(judged <= 0 || (a->ended && a->status == 200 && a->is_grpc && a->grpc_status == 0));
    check_h2_finish(h);
    drain(h);
    check_h2_free(h);

    /* The message alone, which is seldom reached through the frames. */
    struct check_h2_answer m = {
        .status = 200, .grpc_status = 0, .is_grpc = true, .ended = true, .body_len = in.len};
    memcpy(m.body, in.at, in.len < sizeof m.body ? in.len : sizeof m.body);
    judged = check_grpc_judge(&m, text, sizeof text);
    ASSERT(judged == -1 || in.len >= 7);
    return 0;
}
