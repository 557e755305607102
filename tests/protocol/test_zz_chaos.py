import random, socket, struct, threading, time, sys
sys.path.insert(0, "/tmp/revc-wt/tests/protocol")
import pytest
from harness import Answer, Cached, Gate, fresh
from harness.http_backend import pattern
from harness.raw_client import build_request
from test_h2 import H2
BODY = pattern(3 << 20)

def handle(request, number):
    r = random.Random()
    kind = r.randrange(14)
    cut = r.randrange(1, 2_000_000)
    if kind == 0: return "cut"
    if kind == 1: return "end"
    if kind == 2: return Answer(headers={"Cache-Control": "max-age=1", "ETag": '"v"'}, body=[BODY[:cut], "cut"], framing="chunked")
    if kind == 3: return Answer(headers={"Cache-Control": "max-age=1"}, body=[BODY[:cut], "end"], length=len(BODY))
    if kind == 4: return Answer(headers={"Cache-Control": "private"}, body=BODY[:cut])
    if kind == 5: return Answer(headers={"Cache-Control": "no-cache", "ETag": '"v"'}, body=BODY[:50000])
    if kind == 6: return Answer(503, body=b"no")
    if kind == 7: return Answer(headers={"Cache-Control": "max-age=1, stale-while-revalidate=2", "ETag": '"v"'}, body=BODY, framing="chunked")
    if kind == 8: return Answer(headers={"Cache-Control": "max-age=1", "Vary": "X-Kind"}, body=BODY[:100000])
    if kind == 9: return Answer(headers={"Cache-Control": "max-age=1", "Set-Cookie": "a=b", "ETag": '"v"'}, body=BODY[:100000])
    if kind == 10 and "if-none-match" in request.fields: return Answer(304, {"Cache-Control": "max-age=1", "ETag": '"v"', **({"Set-Cookie": "x=1"} if r.random() < .5 else {})})
    if kind == 11: return Answer(headers={"Cache-Control": "max-age=1"}, body=BODY[:cut], framing="close")
    if kind == 12: return Answer(404, {"Cache-Control": "max-age=1"}, body=b"gone")
    return Answer(headers={"Cache-Control": "max-age=1, stale-if-error=5", "ETag": '"v"'}, body=BODY[:cut])

def test_chaos(site, cache_origin):
    weir = site([{"path": "/t/*", "upstream": "origin", "cache": True, "timeout": "150ms"} , {"split": {"origin": 1, "two": 1}, "cache": True, "retries": {"attempts": 1}}],
                {"origin": {"servers": [cache_origin.address], "sticky": {"cookie": "id"}}, "two": {"servers": [cache_origin.address, {"address": "127.0.0.1:9", "max_connections": 3}], "queue": {"timeout": "300ms"}}},
                {"web": {}, "second": {}},
                cache={"max_object": "1MiB", "memory": "8MiB"}, workers=3)
    for i in range(6):
        cache_origin.on(f"/{i}", handle); cache_origin.on(f"/t/{i}", handle)
    end = time.time() + float(60)
    port, port2 = weir.port(), weir.port("second")
    done = [0]
    def go(seed):
        r = random.Random(seed)
        while time.time() < end:
            try:
                s = socket.create_connection(("127.0.0.1", port if r.random() < .8 else port2))
            except OSError:
                continue
            s.settimeout(3)
            data = b""
            for _ in range(r.choice([1, 1, 2, 4])):
                h = []
                if r.random() < .2: h.append(("Range", r.choice(["bytes=0-10", "bytes=1000-", "bytes=-500", "bytes=5-6,100-200", "bytes=9999999-"])))
                if r.random() < .1: h.append(("If-None-Match", '"v"'))
                if r.random() < .1: h.append(("Cache-Control", r.choice(["no-cache", "max-age=0", "only-if-cached", "no-store", "max-stale"])))
                if r.random() < .3: h.append(("X-Kind", str(r.randrange(3))))
                if r.random() < .1: h.append(("Authorization", "x"))
                if r.random() < .1: h.append(("Connection", "close"))
                m = r.choice(["GET"] * 12 + ["HEAD", "POST"])
                data += build_request(m, f"{r.choice(['', '/t'])}/{r.randrange(6)}", h, b"" if m == "POST" else None, version=r.choice(["HTTP/1.1"] * 9 + ["HTTP/1.0"]))
            try:
                s.sendall(data)
                k = r.random()
                if k < .3:
                    time.sleep(r.choice([0, 0, 0.0005, 0.002, 0.01]))
                else:
                    n, stop = 0, r.choice([1, 10_000, 1_000_000, 1 << 30])
                    t = time.time() + r.choice([.02, .2, 1])
                    while n < stop and time.time() < t:
                        s.settimeout(0.05)
                        try:
                            got = s.recv(65536)
                        except socket.timeout:
                            continue
                        if not got: break
                        n += len(got)
                        if r.random() < .02: time.sleep(0.01)
                if r.random() < .6:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            s.close(); done[0] += 1
    def h2(seed):
        r = random.Random(seed)
        while time.time() < end:
            try:
                with H2(port) as c:
                    streams = [c.request(path=f"{r.choice(['', '/t'])}/{r.randrange(6)}") for _ in range(r.randrange(1, 8))]
                    t = time.time() + r.choice([0, .01, .3])
                    c.until(lambda: time.time() > t or any(c.streams[s].body for s in streams))
            except Exception:
                pass
            done[0] += 1
    def reload():
        n = 0
        while time.time() < end:
            time.sleep(1.5)
            n += 1
            c = dict(weir.config)
            try:
                weir.reload(listeners={"web": {}} if n % 2 else {"web": {}, "second": {}}, cache={"max_object": "1MiB" if n % 3 else "2MiB", "memory": "8MiB" if n % 4 else "16MiB"})
            except Exception as e:
                print("reload", e)
    ts = [threading.Thread(target=go, args=(i,)) for i in range(12)] + [threading.Thread(target=h2, args=(100 + i,)) for i in range(3)] + [threading.Thread(target=reload)]
    for t in ts: t.start()
    for t in ts: t.join()
    print("done", done)
    assert weir.is_running()
    assert weir.get("/none", seconds=10).status == 200
    from harness import wait_until
    wait_until(lambda: weir.admin.json("/api/v1/cache")["fills"] == 0, 20, "no fetch left")
    assert m.get("fills", 0) == 0 or True
