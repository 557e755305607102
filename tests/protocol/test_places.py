"""Places at servers (max_connections): none is lost or given back twice, whatever becomes of requests, servers and configurations."""

import random
import threading

import pytest

from harness import Reply, free_port, after, wait_until
from harness.admin import find
from harness.wire import Closed
from test_h2 import CANCEL, H2, RST_STREAM, frame


def any_answer(choose):
    def answer(request):
        kind = choose.random()
        if kind < 0.3:
            threading.Event().wait(choose.random() * 0.2)
        if kind < 0.2:
            return Reply(status="503 Service Unavailable", headers=[("Retry-After", "0")] if kind < 0.1 else [])
        if kind > 0.9:
            raise ConnectionResetError("as if it had died")
        return Reply(body=b"x" * choose.choice([0, 10, 200000]), chunked=kind > 0.7, close=kind > 0.8)
    return answer


def any_upstream(choose, servers):
    chosen = [{"address": s, "max_connections": choose.choice([1, 2, 3]), "weight": choose.choice([1, 2])}
              for s in choose.sample(servers, choose.choice([2, 3, 4]))]
    upstream = {"servers": chosen, "balance": choose.choice(["round_robin", "least_connections", "random_two", "maglev", "ring_hash"])}
    if choose.random() < 0.8:
        upstream["queue"] = {"size": choose.choice([2, 100]), "timeout": choose.choice(["50ms", "2s"])}
    if choose.random() < 0.5:
        upstream["hedge"] = {"after": "10ms", "max": "100%"}
    if choose.random() < 0.3:
        upstream["sticky"] = {"cookie": "id"}
    if choose.random() < 0.3:
        upstream["breaker"] = {"errors": "90%", "open": "50ms"}
    return {"app": upstream}


RETRIES = {"attempts": 3, "on": ["connect", "reset", "timeout", "503"], "timeout": "100ms", "budget": "100%"}
ROUTES = [{"path": "/", "upstream": "app", "retries": RETRIES},
          {"path": "/high", "upstream": "app", "priority": "high", "timeout": "150ms", "retries": {**RETRIES, "backoff": "200ms"}}]


def one_client(weir, choose, end):
    while not end.passed():
        target, kind = choose.choice(["/", "/high"]), choose.random()
        try:
            if kind < 0.2:
                with H2(weir.port()) as h2:
                    streams = [h2.request(path=target) for _ in range(5)]
                    h2.send(frame(RST_STREAM, 0, streams[0], CANCEL.to_bytes(4, "big")))
                    if kind < 0.1:
                        h2.until(lambda: False, seconds=choose.random() * 0.1)
                continue
            with weir.client() as client:
                if kind < 0.4:
                    client.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234" % target.encode())
                    client.sock.settimeout(0.05)
                    client.sock.recv(100)
                    continue
                for _ in range(3):
                    client.send_request(target=target, method=choose.choice(["GET", "PUT"]), headers=[("Cookie", f"id={choose.random()}")])
                    if kind < 0.6:
                        threading.Event().wait(choose.random() * 0.05)
                        client.reset()
                        break
                    client.read_response(seconds=10)
        except (OSError, Closed, AssertionError):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_place_comes_back(site, http_backend, seed):
    choose = random.Random(seed)
    servers = [http_backend(f"s{n}", handler=any_answer(random.Random(n))).address for n in range(4)]
    servers.append(f"127.0.0.1:{free_port()}")
    weir = site(ROUTES, any_upstream(choose, servers), workers=2)
    end = after(4)
    clients = [threading.Thread(target=one_client, args=(weir, random.Random(seed * 100 + n), end)) for n in range(12)]
    for thread in clients:
        thread.start()
    while not end.passed():
        threading.Event().wait(0.3)
        weir.reload(upstreams=any_upstream(choose, servers))
    for thread in clients:
        thread.join()

    def at_rest():
        upstream = find(weir.admin.upstreams(), name="app")[0]
        return all(s["in_flight"] == 0 for s in upstream["servers"]) and (upstream.get("queue") or {"waiting": 0})["waiting"] == 0
    wait_until(at_rest, 20, "the end of every request")
