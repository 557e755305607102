"""The control socket, asked over HTTP as a script would: what weir is and has, whoever may see it."""

import json
import socket

from . import message
from .raw_client import build_request
from .wire import Wire


class ControlSocket:
    def __init__(self, path):
        self.path = path

    def request(self, method, target, body=None):
        """(status, parsed body)."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        wire = Wire(sock)
        try:
            headers = [("Connection", "close")]
            data = None if body is None else json.dumps(body).encode()
            wire.send(build_request(method, target, headers, data))
            raw = wire.read_until(b"\r\n\r\n", 10)
            _, status, _ = message.parse_status_line(raw.partition(b"\r\n")[0])
            fields = message.parse_fields(raw[:-2].partition(b"\r\n")[2])
            content, _, _ = wire.read_body(message.framing(fields, status, method), 10)
            return status, json.loads(content) if "json" in (fields.get("content-type") or "") else content
        finally:
            sock.close()

    def state(self):
        """What changes by hand could have changed: generation, servers with weights and states, splits, what is cached."""
        def get(path):
            status, value = self.request("GET", "/api/v1/" + path)
            assert status == 200, (status, value)
            return value
        status, cache = get("status"), get("cache")
        return {
            "process": (status["pid"], status["state"]),
            "generation": (status["generation"], status["reloads"], status["reload_failures"]),
            "servers": {u["name"]: (u["removed"], [(s["address"], s["source"], s["state"], s["weight"]) for s in u["servers"]])
                        for u in get("upstreams")["upstreams"]},
            "splits": {r["name"]: r.get("split") for r in get("routes")["routes"]},
            "listeners": [(one["name"], one["addresses"]) for one in get("listeners")["listeners"]],
            "cache": {k: v for k, v in cache.items() if k in ("objects", "bytes", "purges")},
        }
