"""What is measured: every case by its name, in the order of the tables."""


class Case:
    """`listener` of the proxy that is asked, `kind` of load or of measurement, `group` of proxies that take part.

    Kinds of load: keepalive, close (a connection a request), post, full or resumed handshakes, h2 (100 streams at once on each
    connection), open (a constant rate); other measurements: idle, reload, scaling, routes, each a module beside this one.
    Groups: plain; large (bodies that are encoded, not spliced); cache (the answer is stored); reload, scaling, routes (started anew for each measurement)."""

    def __init__(self, name, title, listener, path, connections=64, kind="keepalive", floor=True, group="plain", rate=0, at_most=0):
        self.name, self.title, self.listener, self.path = name, title, listener, path
        self.connections, self.kind, self.floor, self.group = connections, kind, floor, group
        self.rate, self.at_most = rate, at_most  # requests a second of an open loop; rounds (0: as many as asked for)

    @property
    def cached(self):
        return self.group == "cache"


CASES = [
    Case("l7-1k", "HTTP, 1 KiB, 64 keep-alive connections", "http", "/1k"),
    Case("l7-1k-256", "HTTP, 1 KiB, 256 keep-alive connections over 4 servers", "four", "/1k", 256, floor=False),
    Case("l7-100k", "HTTP, 100 KiB, 64 keep-alive connections", "http", "/100k"),
    Case("l7-1m", "HTTP, 1 MiB, 32 keep-alive connections", "http", "/1m", 32),
    Case("l7-close", "HTTP, 1 KiB, a new client connection for each request", "http", "/1k", kind="close"),
    Case("l7-post", "HTTP, POST of 64 KiB, 64 keep-alive connections", "post", "/", kind="post", floor=False),
    Case("l4-1k", "TCP, 1 KiB answers on 64 connections", "tcp", "/1k"),
    Case("l4-1m", "TCP, 1 MiB answers on 32 connections", "tcp", "/1m", 32),
    Case("l4-close", "TCP, a new connection for each 1 KiB answer", "tcp", "/1k", kind="close"),
    Case("tls-1k", "HTTPS, 1 KiB, 64 keep-alive connections", "https", "/1k", floor=False),
    Case("tls-1m", "HTTPS, 1 MiB, 32 keep-alive connections", "https", "/1m", 32, floor=False, group="large"),
    Case("h2-1k", "HTTP/2 without TLS, 1 KiB, 8 connections with 100 streams each", "h2c", "/1k", 8, "h2", False),
    Case("h2-1m", "HTTP/2 without TLS, 1 MiB, 8 connections with 4 streams each", "h2c", "/1m", 8, "h2", False, "large"),
    Case("tls-handshake", "HTTPS, a full handshake (ECDSA P-256) for each 1 KiB answer", "https", "/1k", 32, "full", False),
    Case("tls-resumed", "HTTPS, a resumed handshake for each 1 KiB answer", "https", "/1k", 32, "resumed", False),
    Case("cache-1k", "hits of the cache, HTTP, 1 KiB, 64 keep-alive connections", "http", "/cached/1k", group="cache"),
    Case("cache-100k", "hits of the cache, HTTP, 100 KiB, 64 keep-alive connections", "http", "/cached/100k", group="cache"),
    Case("latency", "HTTP, 1 KiB, 64 connections, open loop at half of what the slowest proxy can", "http", "/1k", kind="open"),
    Case("reload", "HTTP, 1 KiB, 64 keep-alive connections, open loop, two reloads a second", "http", "/1k", kind="reload",
         group="reload", rate=10000, at_most=3),
    Case("reload-close", "HTTP, 1 KiB, a new connection for each request, open loop, two reloads a second", "http", "/1k",
         kind="reload", group="reload", rate=3000, at_most=3),
    Case("scaling", "HTTP, 1 KiB, 64 keep-alive connections, one worker and two", "http", "/1k", kind="scaling", group="scaling", at_most=5),
    Case("routes", "HTTP, 1 KiB, 64 keep-alive connections, each request another route of 10 and of 100,000", "http", "/1k",
         kind="routes", group="routes", at_most=3),
    Case("idle-plain", "Memory of an idle HTTP connection, 5,000 open", "http", "/1k", 5000, "idle", False, at_most=3),
    Case("idle-tls", "Memory of an idle HTTPS connection, 5,000 open", "https", "/1k", 5000, "idle", False, at_most=3),
]
