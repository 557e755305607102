"""What a hostile client may send. Whatever has more than one reading, or none, is refused with its status and a closed connection; the
backend sees nothing of it, weir lives on, and the next client is served rightly.

Inputs that try to hide a second request name it /smuggled: no backend may ever see that target."""

import pytest

from harness import RawClient, wait_until
from harness.wire import Closed

HOST = b"Host: t.example\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: t.example\r\n\r\n"
CHUNKED_END = b"0\r\n\r\n"


def get(*lines, target=b"/", line=None):
    """A GET with these header lines in place of, or behind, Host."""
    return (line or b"GET " + target + b" HTTP/1.1") + b"\r\n" + HOST + b"".join(l + b"\r\n" for l in lines) + b"\r\n"


def post(*lines, body=b""):
    return b"POST / HTTP/1.1\r\n" + HOST + b"".join(l + b"\r\n" for l in lines) + b"\r\n" + body


TE, CL5 = b"Transfer-Encoding: chunked", b"Content-Length: 5"

# name -> (bytes, statuses that may answer)
HEADS = {
    # two framings
    "cl-and-te": (post(b"Content-Length: 6", TE, body=b"0\r\n\r\nG" + HIDDEN), {400}),
    "te-and-cl": (post(TE, b"Content-Length: 4", body=b"2e\r\n" + HIDDEN + b"\r\n0\r\n\r\n"), {400}),
    "te-and-cl-0": (post(TE, b"Content-Length: 0", body=CHUNKED_END + HIDDEN), {400}),
    "two-cl-differing": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"12345" + HIDDEN), {400}),
    "two-cl-same-lines": (post(CL5, CL5, body=b"12345" + HIDDEN), {400}),
    "cl-list-same": (post(b"Content-Length: 5, 5", body=b"12345" + HIDDEN), {400}),
    "cl-list-differing": (post(b"Content-Length: 5, 6", body=b"12345" + HIDDEN), {400}),
    # lengths that are no number
    "cl-plus": (post(b"Content-Length: +5", body=b"12345" + HIDDEN), {400}),
    "cl-minus": (post(b"Content-Length: -5", body=b"12345" + HIDDEN), {400}),
    "cl-minus-zero": (post(b"Content-Length: -0", body=HIDDEN), {400}),
    "cl-hex": (post(b"Content-Length: 0x5", body=b"12345" + HIDDEN), {400}),
    "cl-empty": (post(b"Content-Length:", body=HIDDEN), {400}),
    "cl-blank": (post(b"Content-Length:   ", body=HIDDEN), {400}),
    "cl-letters": (post(b"Content-Length: five", body=b"12345" + HIDDEN), {400}),
    "cl-trailing-letters": (post(b"Content-Length: 5a", body=b"12345" + HIDDEN), {400}),
    "cl-inner-space": (post(b"Content-Length: 5 5", body=b"12345" + HIDDEN), {400}),
    "cl-decimal-point": (post(b"Content-Length: 5.0", body=b"12345" + HIDDEN), {400}),
    "cl-exponent": (post(b"Content-Length: 1e1", body=b"12345" + HIDDEN), {400}),
    "cl-underscore": (post(b"Content-Length: 1_0", body=b"12345" + HIDDEN), {400}),
    "cl-quoted": (post(b'Content-Length: "5"', body=b"12345" + HIDDEN), {400}),
    "cl-trailing-comma": (post(b"Content-Length: 5,", body=b"12345" + HIDDEN), {400}),
    "cl-overflow-64": (post(b"Content-Length: 18446744073709551621", body=b"12345" + HIDDEN), {400, 413}),
    "cl-overflow-63": (post(b"Content-Length: 9223372036854775808", body=b"12345"), {400, 413, 408}),
    "cl-forty-digits": (post(b"Content-Length: " + b"9" * 40, body=b"12345"), {400, 413}),
    "cl-vertical-tab": (post(b"Content-Length: \x0b5", body=b"12345" + HIDDEN), {400}),
    "cl-form-feed": (post(b"Content-Length: 5\x0c", body=b"12345" + HIDDEN), {400}),
    "cl-nul": (post(b"Content-Length: 5\x00", body=b"12345" + HIDDEN), {400}),
    "cl-nbsp": (post(b"Content-Length: \xa05", body=b"12345" + HIDDEN), {400}),
    # transfer codings
    "te-unknown": (post(b"Transfer-Encoding: xchunked", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-gzip": (post(b"Transfer-Encoding: gzip", body=HIDDEN), {400, 501}),
    "te-gzip-chunked": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-chunked-gzip": (post(b"Transfer-Encoding: chunked, gzip", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-chunked-twice": (post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-chunked-two-lines": (post(TE, TE, body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-identity": (post(b"Transfer-Encoding: identity", body=HIDDEN), {400, 501}),
    "te-identity-then-chunked": (post(b"Transfer-Encoding: identity", TE, body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-chunked-identity": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-empty": (post(b"Transfer-Encoding:", body=HIDDEN), {400, 501}),
    "te-empty-and-cl": (post(b"Transfer-Encoding:", CL5, body=b"12345" + HIDDEN), {400, 501}),
    "te-comma": (post(b"Transfer-Encoding: ,", body=HIDDEN), {400, 501}),
    "te-quoted": (post(b'Transfer-Encoding: "chunked"', body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-parameter": (post(b"Transfer-Encoding: chunked;q=1", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-two-words": (post(b"Transfer-Encoding: chunked x", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-nul": (post(b"Transfer-Encoding: chunked\x00", body=CHUNKED_END + HIDDEN), {400}),
    "te-vertical-tab-before": (post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-vertical-tab-behind": (post(b"Transfer-Encoding: chunked\x0b", body=CHUNKED_END + HIDDEN), {400}),
    "te-high-byte": (post(b"Transfer-Encoding: chunked\xff", body=CHUNKED_END + HIDDEN), {400, 501}),
    "te-name-space": (post(b"Transfer-Encoding : chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-name-tab": (post(b"Transfer-Encoding\t: chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-name-leading-space": (post(b" Transfer-Encoding: chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-folded": (post(b"Transfer-Encoding:\r\n chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-behind-bare-lf": (post(b"X: y\nTransfer-Encoding: chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-behind-bare-cr": (post(b"X: y\rTransfer-Encoding: chunked", body=CHUNKED_END + HIDDEN), {400}),
    "te-http-1.0": (b"POST / HTTP/1.0\r\n" + HOST + TE + b"\r\n\r\n" + CHUNKED_END + HIDDEN, {400, 501}),
    "te-http-1.0-and-cl": (b"POST / HTTP/1.0\r\n" + HOST + TE + b"\r\nContent-Length: 3\r\n\r\n" + CHUNKED_END + HIDDEN, {400}),
    "cl-name-space": (post(b"Content-Length : 5", body=b"12345" + HIDDEN), {400}),
    "cl-folded": (post(b"Content-Length:\r\n 5", body=b"12345" + HIDDEN), {400}),
    # folding and line ends
    "obs-fold-space": (get(b"X-A: one\r\n two"), {400}),
    "obs-fold-tab": (get(b"X-A: one\r\n\ttwo"), {400}),
    "obs-fold-first-line": (b"GET / HTTP/1.1\r\n Host: t.example\r\n\r\n", {400}),
    "obs-fold-blank": (get(b"X-A: one\r\n "), {400}),
    "bare-lf-everywhere": (b"GET / HTTP/1.1\nHost: t.example\n\n", {400}),
    "bare-lf-request-line": (b"GET / HTTP/1.1\nHost: t.example\r\n\r\n", {400}),
    "bare-lf-header": (b"GET / HTTP/1.1\r\nHost: t.example\nX: y\r\n\r\n", {400}),
    "bare-lf-end": (b"GET / HTTP/1.1\r\nHost: t.example\r\n\n" + HIDDEN, {400}),
    "bare-cr-value": (get(b"X-A: one\rtwo"), {400}),
    "bare-cr-value-end": (b"GET / HTTP/1.1\r\nHost: t.example\r\nX: y\r\r\n\r\n", {400}),
    "bare-cr-end": (b"GET / HTTP/1.1\r\nHost: t.example\r\n\rX: y\r\n\r\n", {400}),
    "cr-cr-lf": (b"GET / HTTP/1.1\r\r\nHost: t.example\r\n\r\n", {400}),
    "lf-cr": (b"GET / HTTP/1.1\n\rHost: t.example\n\r\n\r", {400}),
    # characters
    "nul-in-value": (get(b"X-A: a\x00b"), {400}),
    "nul-in-name": (get(b"X-\x00A: b"), {400}),
    "nul-in-target": (get(target=b"/a\x00b"), {400}),
    "nul-first": (b"\x00" + get(), {400}),
    "control-1-in-value": (get(b"X-A: a\x01b"), {400}),
    "control-bs-in-value": (get(b"X-A: a\x08b"), {400}),
    "control-vt-in-value": (get(b"X-A: a\x0bb"), {400}),
    "control-esc-in-value": (get(b"X-A: \x1b[31m"), {400}),
    "control-del-in-value": (get(b"X-A: a\x7fb"), {400}),
    "control-31-in-value": (get(b"X-A: a\x1fb"), {400}),
    "control-in-target": (get(target=b"/a\x01b"), {400}),
    "del-in-target": (get(target=b"/a\x7fb"), {400}),
    "tab-in-target": (get(target=b"/a\tb"), {400}),
    "space-in-target": (get(target=b"/a b"), {400}),
    "cr-in-target": (get(target=b"/a\rb"), {400}),
    "fragment-in-target": (get(target=b"/a#b"), {400, 200}),
    "space-in-name": (get(b"X A: b"), {400}),
    "space-before-colon": (get(b"X-A : b"), {400}),
    "tab-before-colon": (get(b"X-A\t: b"), {400}),
    "high-byte-in-name": (get(b"X-\xe4: b"), {400}),
    "paren-in-name": (get(b"X(A): b"), {400}),
    "slash-in-name": (get(b"X/A: b"), {400}),
    "at-in-name": (get(b"X@A: b"), {400}),
    "bracket-in-name": (get(b"X[A]: b"), {400}),
    "quote-in-name": (get(b'"X": b'), {400}),
    "empty-name": (get(b": b"), {400}),
    "no-colon": (get(b"just words"), {400}),
    "no-colon-word": (get(b"word"), {400}),
    # hosts
    "two-hosts": (get(b"Host: other.example"), {400}),
    "two-hosts-same": (get(b"Host: t.example"), {400}),
    "no-host-1.1": (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", {400}),
    "host-list": (b"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", {400}),
    "host-space": (b"GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n", {400}),
    "host-path": (b"GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n", {400}),
    "host-userinfo": (b"GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n", {400}),
    "host-scheme": (b"GET / HTTP/1.1\r\nHost: http://a.example\r\n\r\n", {400}),
    "host-bad-port": (b"GET / HTTP/1.1\r\nHost: a.example:http\r\n\r\n", {400}),
    "host-port-70000": (b"GET / HTTP/1.1\r\nHost: a.example:70000\r\n\r\n", {400}),
    "host-two-ports": (b"GET / HTTP/1.1\r\nHost: a.example:80:80\r\n\r\n", {400}),
    "host-bad-ipv6": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", {400}),
    "host-backslash": (b"GET / HTTP/1.1\r\nHost: a\\b.example\r\n\r\n", {400}),
    "host-and-absolute-differ": (b"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", {400, 200}),
    "absolute-userinfo": (b"GET http://u:p@t.example/ HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "absolute-empty-host": (b"GET http:/// HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "absolute-other-scheme": (b"GET ftp://t.example/ HTTP/1.1\r\n" + HOST + b"\r\n", {400, 421}),
    "absolute-no-scheme": (b"GET t.example/ HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    # request lines
    "version-2": (get(line=b"GET / HTTP/2.0"), {400, 505}),
    "version-3": (get(line=b"GET / HTTP/3"), {400, 505}),
    "version-1.2": (get(line=b"GET / HTTP/1.2"), {400, 505, 200}),
    "version-0.9": (b"GET /\r\n\r\n", {400, 505}),
    "version-0.9-named": (get(line=b"GET / HTTP/0.9"), {400, 505}),
    "version-1.10": (get(line=b"GET / HTTP/1.10"), {400, 505}),
    "version-01.1": (get(line=b"GET / HTTP/01.1"), {400, 505}),
    "version-1": (get(line=b"GET / HTTP/1"), {400, 505}),
    "version-lower": (get(line=b"GET / http/1.1"), {400, 505}),
    "version-comma": (get(line=b"GET / HTTP/1,1"), {400, 505}),
    "version-letters": (get(line=b"GET / HTTP/x.y"), {400, 505}),
    "version-other": (get(line=b"GET / ICAP/1.0"), {400, 505}),
    "version-trailing-space": (get(line=b"GET / HTTP/1.1 "), {400, 505}),
    "version-trailing-word": (get(line=b"GET / HTTP/1.1 x"), {400, 505}),
    "version-missing": (get(line=b"GET / "), {400, 505}),
    "two-spaces": (get(line=b"GET  / HTTP/1.1"), {400}),
    "two-spaces-behind": (get(line=b"GET /  HTTP/1.1"), {400}),
    "tab-for-space": (get(line=b"GET\t/\tHTTP/1.1"), {400}),
    "leading-space": (b" " + get(), {400}),
    "leading-tab": (b"\t" + get(), {400}),
    "no-method": (b" / HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "method-paren": (get(line=b"GE(T / HTTP/1.1"), {400}),
    "method-nul": (get(line=b"GE\x00T / HTTP/1.1"), {400}),
    "method-colon": (get(line=b"GET: / HTTP/1.1"), {400}),
    "method-high": (get(line=b"G\xc9T / HTTP/1.1"), {400}),
    "target-empty": (get(line=b"GET HTTP/1.1"), {400}),
    "target-relative": (get(target=b"index.html"), {400}),
    "target-asterisk-get": (get(target=b"*"), {400}),
    "target-backslash": (get(target=b"\\windows"), {400}),
    "target-above-root": (get(target=b"/../etc/passwd"), {400}),
    "target-above-root-encoded": (get(target=b"/%2e%2e/etc/passwd"), {400}),
    "target-above-root-mixed": (get(target=b"/a/.%2E/../x"), {400}),
    "target-bad-percent": (get(target=b"/%zz"), {400}),
    "target-short-percent": (get(target=b"/%2"), {400}),
    "target-percent-end": (get(target=b"/a%"), {400}),
    "target-encoded-nul": (get(target=b"/a%00b"), {400, 200, 404}),
    "connect-host": (b"CONNECT t.example:80 HTTP/1.1\r\nHost: t.example:80\r\n\r\n", {400, 405, 501, 403, 404}),
    "http2-preface-of-another-version": (b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", {400, 505, 501}),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200, 256)) + b"\r\n\r\n", {400}),
    "garbage-words": (b"hello world how are you\r\n\r\n", {400, 505}),
    "response-as-request": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {400, 505}),
    "many-blank-lines": (b"\r\n" * 50 + get(), {400}),
    # sizes
    "line-past-limit": (get(target=b"/" + b"a" * 9000), {414}),
    "line-without-end": (b"GET /" + b"a" * 20000, {414}),
    "method-without-end": (b"A" * 20000, {400, 414, 501}),
    "header-past-limit": (get(b"X-Big: " + b"b" * 40000), {431}),
    "header-name-without-end": (b"GET / HTTP/1.1\r\n" + HOST + b"N" * 40000, {400, 431}),
    "headers-past-size": (get(*[b"X-%d: %s" % (n, b"c" * 1000) for n in range(40)]), {431}),
    "headers-past-count": (get(*[b"X-%d: y" % n for n in range(200)]), {431}),
    "expect-unknown": (post(b"Expect: teapot", CL5, body=b"12345"), {417}),
    "upgrade-http2-settings": (get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: !!!"), {200, 400}),
}

# The head is good; the body is not. The backend may have seen the head and a part, but never a whole request.
BODIES = {
    "chunk-size-letters": b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk-size-empty": b"\r\nabc\r\n0\r\n\r\n",
    "chunk-size-negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-leading-space": b" 3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-leading-tab": b"\t3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-inner-space": b"3 3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-overflow": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "chunk-size-overflow-zeros": b"0" * 40 + b"3\r\nabc\r\n" + CHUNKED_END,
    "chunk-size-all-f": b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n" + HIDDEN,
    "chunk-size-nul": b"3\x00\r\nabc\r\n0\r\n\r\n",
    "chunk-line-bare-lf": b"3\nabc\r\n0\r\n\r\n",
    "chunk-line-bare-cr": b"3\rabc\r\n0\r\n\r\n",
    "chunk-data-too-long": b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk-data-too-short": b"5\r\nabc\r\n0\r\n\r\n" + HIDDEN,
    "chunk-data-bare-lf": b"3\r\nabc\n0\r\n\r\n",
    "chunk-data-no-crlf": b"3\r\nabc0\r\n\r\n",
    "chunk-data-cr-only": b"3\r\nabc\r0\r\n\r\n",
    "chunk-ext-bare-lf": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-bare-cr": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-nul": b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-control": b"3;a\x01b\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-huge": b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-flood": b"".join(b"1;" + b"a" * 2000 + b"\r\nx\r\n" for _ in range(200)) + CHUNKED_END,
    "last-chunk-bare-lf": b"3\r\nabc\r\n0\n\n",
    "last-chunk-lf-end": b"3\r\nabc\r\n0\r\n\n" + HIDDEN,
    "trailer-space-before-colon": b"3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "trailer-bare-lf": b"3\r\nabc\r\n0\r\nX: y\n\r\n",
    "trailer-obs-fold": b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer-nul": b"3\r\nabc\r\n0\r\nX: \x00\r\n\r\n",
    "trailer-no-colon": b"3\r\nabc\r\n0\r\nXYZ\r\n\r\n",
    "trailer-huge": b"3\r\nabc\r\n0\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
    "trailer-many": b"3\r\nabc\r\n0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n",
}

# Fields that may not be trailers: refused or dropped, never passed on as if they stood in the head.
FORBIDDEN_TRAILERS = [b"Content-Length: 50", b"Transfer-Encoding: chunked", b"Host: evil.example", b"Authorization: Basic eDp5",
                      b"Content-Type: text/evil", b"Connection: close"]

# Odd, but with one reading only: served.
PECULIAR = {
    "leading-crlf": b"\r\n" + get(),
    "empty-value": get(b"X-Empty:"),
    "value-of-tabs": get(b"X-Tabs: \t\t "),
    "obs-text-value": get(b"X-High: \x80\xff"),
    "all-token-characters": get(b"!#$%&'*+-.^_`|~09AZaz: v"),
    "te-mixed-case": post(b"tRANSFER-eNCODING: ChUnKeD", body=b"3\r\nabc\r\n0\r\n\r\n"),
    "te-padded": post(b"Transfer-Encoding: \t chunked \t", body=b"3\r\nabc\r\n0\r\n\r\n"),
    "cl-leading-zeros": post(b"Content-Length: 0003", body=b"abc"),
    "get-with-body": get(b"Content-Length: 3") + b"abc",
    "lower-case-names": b"GET / HTTP/1.1\r\nhost: t.example\r\nconnection: keep-alive\r\n\r\n",
    "unknown-method": get(line=b"BREW / HTTP/1.1"),
    "long-method": get(line=b"M" * 60 + b" / HTTP/1.1"),
    "query-with-odd-characters": get(target=b"/?a=b?c/d:@!$&'()*+,;=~-._"),
    "encoded-slash": get(target=b"/a%2Fb"),
    "double-slash": get(target=b"//a//b"),
    "absolute-form": get(target=b"http://t.example/abs"),
    "host-with-port": b"GET / HTTP/1.1\r\nHost: t.example:8080\r\n\r\n",
    "line-at-7k": get(target=b"/" + b"a" * 7000),
    "a-hundred-headers": get(*[b"X-%d: y" % n for n in range(100)]),
    "empty-chunked": post(TE, body=CHUNKED_END),
}


@pytest.fixture(scope="module")
def target(module_site, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address})


def assert_next_client_is_served(weir, backend):
    backend.forget()
    with RawClient(weir.port()) as client:
        answer = client.request("POST", "/echo", body=b"next client")
    assert answer.status == 200 and answer.body == b"next client"
    whole = [r.target for r in backend.requests if r.is_complete]
    assert whole == ["/echo"], "something else reached the backend with the next client's request"
    assert weir.is_running()


def send_hostile(weir, data):
    """(responses, how the connection ended). Waits for the end, as refusing must close."""
    with RawClient(weir.port()) as client:
        client.send_quietly(data)
        responses = []
        while True:
            try:
                responses.append(client.read_response("CONNECT" if data.startswith(b"CONNECT") else "GET", 10))
            except Closed as end:
                return responses, end.how
            except TimeoutError:
                return responses, None


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_head(target, module_backend, name):
    data, statuses = HEADS[name]
    module_backend.forget()
    if 200 in statuses or 404 in statuses or 408 in statuses:
        with RawClient(target.port()) as client:
            client.send_quietly(data)
            first = client.read_response() if 408 not in statuses else client.read_response(seconds=1) if _answers(client) else None
        assert first is None or first.status in statuses
    else:
        responses, end = send_hostile(target, data)
        assert end is not None, f"the connection stayed open; answers: {responses}"
        assert len(responses) == 1, responses
        assert responses[0].status in statuses
        assert responses[0].will_close, "the refusal does not say Connection: close"
        assert module_backend.requests == [], "the backend saw a request"
    assert not any("smuggled" in t for t in module_backend.targets())
    assert not module_backend.violations
    assert_next_client_is_served(target, module_backend)


def _answers(client):
    """Whether something comes at once: a length of 2^63 may be refused, or taken for what it says."""
    from harness import Deadline
    try:
        return client.fill(Deadline(0.3))
    except TimeoutError:
        return False


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body(target, module_backend, name):
    module_backend.forget()
    with RawClient(target.port()) as client:
        client.send_quietly(post(TE, body=BODIES[name]) + HIDDEN)
        client.half_close()
        try:
            answer = client.read_response("POST", 10)
        except Closed:
            answer = None
        if name == "chunk-size-overflow-zeros" and answer is not None and answer.status == 200:
            return  # leading zeros have one reading
        if answer is not None:
            assert answer.status in (400, 413, 431, 502), answer
            assert client.read_to_end() == b""
    assert not any(r.is_complete for r in module_backend.requests), "the backend took it for a whole request"
    assert not any("smuggled" in t for t in module_backend.targets())
    assert_next_client_is_served(target, module_backend)


@pytest.mark.parametrize("line", FORBIDDEN_TRAILERS, ids=lambda l: l.split(b":")[0].decode())
def test_a_forbidden_trailer_is_never_passed_on(target, module_backend, line):
    module_backend.forget()
    with RawClient(target.port()) as client:
        client.send_quietly(post(TE, body=b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n"))
        try:
            assert client.read_response("POST").status in (200, 400)
        except Closed:
            pass
    name = line.split(b":")[0].decode()
    for request in module_backend.requests:
        assert name not in request.trailers
        assert request["host"] == "t.example"
    assert_next_client_is_served(target, module_backend)


@pytest.mark.parametrize("name", PECULIAR)
def test_a_peculiar_request_with_one_reading_is_served_once(target, module_backend, name):
    module_backend.forget()
    with RawClient(target.port()) as client:
        client.send(PECULIAR[name])
        assert client.read_response().status == 200
        assert client.get("/after").status == 200
    assert len(module_backend.requests) == 2 and module_backend.targets()[1] == "/after"
    assert not module_backend.violations


@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ["cl-and-te", "te-name-space", "bare-lf-header", "obs-fold-space", "cr-cr-lf", "two-hosts"])
def test_a_hostile_head_in_pieces_is_refused_alike(target, module_backend, name, pieces):
    module_backend.forget()
    data = HEADS[name][0]
    with RawClient(target.port()) as client:
        for at in range(0, len(data), pieces):
            if not client.send_quietly(data[at:at + pieces]):
                break
        try:
            assert client.read_response().status in HEADS[name][1]
        except Closed as end:
            assert end.how == "reset", "closed without an answer"
    assert not module_backend.requests


def test_a_good_request_before_a_hostile_one_is_still_answered(target, module_backend):
    module_backend.forget()
    responses, end = send_hostile(target, get(target=b"/good") + HEADS["cl-and-te"][0])
    assert [r.status for r in responses] == [200, 400] and end
    assert module_backend.targets() == ["/good"]


def test_a_request_pipelined_behind_a_hostile_one_is_not_served(target, module_backend):
    module_backend.forget()
    responses, end = send_hostile(target, get(b"X A: bad") + HIDDEN)
    assert [r.status for r in responses] == [400] and end and module_backend.requests == []


def test_bytes_behind_a_body_with_a_length_are_the_next_request_and_no_more(target, module_backend):
    module_backend.forget()
    responses, _ = send_hostile(target, post(CL5, body=b"12345") + b"garbage\r\n\r\n")
    assert [r.status for r in responses] == [200, 400]
    assert len(module_backend.requests) == 1


def test_a_thousand_refusals_leave_memory_flat(target):
    data = HEADS["cl-and-te"][0]

    def refuse(times):
        for _ in range(times):
            with RawClient(target.port()) as client:
                client.send_quietly(data)
                client.read_to_end()
    refuse(200)
    before = target.rss_bytes()
    refuse(800)
    if not target.is_sanitized:
        assert target.rss_bytes() - before < 2 << 20


def test_connections_closed_at_every_byte_of_a_request_leave_nothing_behind(target, module_backend):
    module_backend.forget()
    data = post(TE, body=b"3\r\nabc\r\n0\r\n\r\n")
    for at in range(len(data)):
        client = RawClient(target.port())
        client.send(data[:at])
        client.reset() if at % 2 else client.close()
    wait_until(lambda: target.admin.metrics().sum("weir_connections", listener="web") == 0, 10, "all connections gone")
    assert not any(r.is_complete for r in module_backend.requests)
    assert_next_client_is_served(target, module_backend)
