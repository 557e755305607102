#include "proxy/http/message.h"

enum http_method method_id(struct slice method)
{
#define METHOD(literal, id) return memcmp(method.at, literal, sizeof(literal) - 1) == 0 ? (id) : METHOD_OTHER
    switch (method.len) { /* case-sensitive: RFC 9110 §9.1 */
    case 3:
        if (method.at[0] == 'G')
            METHOD("GET", METHOD_GET);
        METHOD("PUT", METHOD_PUT);
    case 4:
        if (method.at[0] == 'H')
            METHOD("HEAD", METHOD_HEAD);
        METHOD("POST", METHOD_POST);
    case 5:
        if (method.at[0] == 'P')
            METHOD("PATCH", METHOD_PATCH);
        METHOD("TRACE", METHOD_TRACE);
    case 6:
        METHOD("DELETE", METHOD_DELETE);
    case 7:
        if (method.at[0] == 'O')
            METHOD("OPTIONS", METHOD_OPTIONS);
        METHOD("CONNECT", METHOD_CONNECT);
    default:
        return METHOD_OTHER;
    }
#undef METHOD
}

bool method_is_idempotent(enum http_method m)
{
    switch (m) {
    case METHOD_GET:
    case METHOD_HEAD:
    case METHOD_OPTIONS:
    case METHOD_TRACE:
    case METHOD_PUT:
    case METHOD_DELETE:
        return true;
    case METHOD_POST:
    case METHOD_PATCH:
    case METHOD_CONNECT:
    case METHOD_OTHER:
        break;
    }
    return false;
}

struct slice status_reason(unsigned status)
{
    switch (status) {
#define REASON(number, text)                                                                                 \
    case number:                                                                                             \
        return S(text)
        REASON(100, "Continue");
        REASON(101, "Switching Protocols");
        REASON(102, "Processing");
        REASON(103, "Early Hints");
        REASON(200, "OK");
        REASON(201, "Created");
        REASON(202, "Accepted");
        REASON(203, "Non-Authoritative Information");
        REASON(204, "No Content");
        REASON(205, "Reset Content");
        REASON(206, "Partial Content");
        REASON(207, "Multi-Status");
        REASON(208, "Already Reported");
        REASON(226, "IM Used");
        REASON(300, "Multiple Choices");
        REASON(301, "Moved Permanently");
        REASON(302, "Found");
        REASON(303, "See Other");
        REASON(304, "Not Modified");
        REASON(305, "Use Proxy");
        REASON(307, "Temporary Redirect");
        REASON(308, "Permanent Redirect");
        REASON(400, "Bad Request");
        REASON(401, "Unauthorized");
        REASON(402, "Payment Required");
        REASON(403, "Forbidden");
        REASON(404, "Not Found");
        REASON(405, "Method Not Allowed");
        REASON(406, "Not Acceptable");
        REASON(407, "Proxy Authentication Required");
        REASON(408, "Request Timeout");
        REASON(409, "Conflict");
        REASON(410, "Gone");
        REASON(411, "Length Required");
        REASON(412, "Precondition Failed");
        REASON(413, "Content Too Large");
        REASON(414, "URI Too Long");
        REASON(415, "Unsupported Media Type");
        REASON(416, "Range Not Satisfiable");
        REASON(417, "Expectation Failed");
        REASON(421, "Misdirected Request");
        REASON(422, "Unprocessable Content");
        REASON(423, "Locked");
        REASON(424, "Failed Dependency");
        REASON(425, "Too Early");
        REASON(426, "Upgrade Required");
        REASON(428, "Precondition Required");
        REASON(429, "Too Many Requests");
        REASON(431, "Request Header Fields Too Large");
        REASON(451, "Unavailable For Legal Reasons");
        REASON(500, "Internal Server Error");
        REASON(501, "Not Implemented");
        REASON(502, "Bad Gateway");
        REASON(503, "Service Unavailable");
        REASON(504, "Gateway Timeout");
        REASON(505, "HTTP Version Not Supported");
        REASON(506, "Variant Also Negotiates");
        REASON(507, "Insufficient Storage");
        REASON(508, "Loop Detected");
        REASON(511, "Network Authentication Required");
#undef REASON
    default:
        return S("");
    }
}

/* A slice that begins in the head lies in it; at its end there may be an empty one. */
static void slice_move(struct slice *s, struct slice from, const char *to)
{
    uintptr_t offset = (uintptr_t)s->at - (uintptr_t)from.at;
    if (offset < from.len || (offset == from.len && s->len == 0))
        s->at = to + offset;
}

static void fields_move(struct fields *fields, struct slice from, const char *to)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        slice_move(&fields->at[i].name, from, to);
        slice_move(&fields->at[i].value, from, to);
    }
}

void http_request_move(struct http_request *request, struct slice from, const char *to)
{
    slice_move(&request->method, from, to);
    slice_move(&request->target, from, to);
    slice_move(&request->scheme, from, to);
    slice_move(&request->host, from, to);
    slice_move(&request->path, from, to);
    slice_move(&request->query, from, to);
    fields_move(&request->fields, from, to);
}

void http_response_move(struct http_response *response, struct slice from, const char *to)
{
    slice_move(&response->reason, from, to);
    fields_move(&response->fields, from, to);
}
