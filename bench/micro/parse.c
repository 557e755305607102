/* How long the HTTP/1.1 parser takes for a small and for a browser's request, on both of its paths.
 * Prints nanoseconds a request, the best of several rounds. */
#include "proxy/http/h1/parse.h"
#include <stdio.h>
#include <time.h>

static const char small[] = "GET /index.html?a HTTP/1.1\r\nHost: example.com\r\n\r\n";

static const char browser[] =
    "GET /assets/css/site.css?v=1699363200&theme=dark HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Referer: https://www.example.com/articles/2023/11/\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "If-Modified-Since: Tue, 07 Nov 2023 12:00:00 GMT\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; "
    "consent=a1b2c3d4e5f60718293a4b5c6d7e8f9\r\n"
    "\r\n";

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double measure(const char *text, size_t len)
{
    enum { ROUNDS = 15, REQUESTS = 100000 };
    static const struct h1_limits limits = {8192, 32768, 128};
    struct field fields[128];
    struct http_request request = {.fields = {.at = fields, .capacity = 128}};
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < REQUESTS; i++) {
            size_t scanned = 0;
            struct h1_fault fault;
            ssize_t length = h1_parse_request(slice_of(text, len), &scanned, &limits, &request, &fault);
            ASSERT(length == (ssize_t)len);
            __asm__ volatile("" : : "r"(&request), "r"(fields) : "memory");
        }
        double each = (now_ns() - start) / REQUESTS;
        best = each < best ? each : best;
    }
    return best;
}

int main(void)
{
    static const struct {
        enum h1_path path;
        const char *name;
    } paths[] = {{H1_PATH_SCALAR, "scalar"}, {H1_PATH_AVX2, "avx2"}};

    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        h1_parse_init(paths[i].path);
        printf("%-6s  %zu bytes: %6.1f ns   %zu bytes: %6.1f ns\n", paths[i].name, sizeof(small) - 1,
               measure(small, sizeof(small) - 1), sizeof(browser) - 1, measure(browser, sizeof(browser) - 1));
    }
    return 0;
}
