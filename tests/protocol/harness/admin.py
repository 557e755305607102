"""The admin interface as a client of it sees it."""

import json

from .metrics import Metrics
from .raw_client import get


class Admin:
    def __init__(self, port, token=None):
        self.port, self.token = port, token

    def request(self, method, path, body=None, token=True, seconds=10):
        headers = []
        if token and self.token:
            headers.append(("Authorization", f"Bearer {self.token}"))
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers.append(("Content-Type", "application/json"))
        elif method == "POST":
            data = b""
        return get(self.port, path, headers, host=f"127.0.0.1:{self.port}", method=method, body=data, seconds=seconds)

    def json(self, path):
        answer = self.request("GET", path)
        assert answer.status == 200, (answer.status, answer.body)
        assert answer["content-type"].startswith("application/json"), answer.fields
        return json.loads(answer.body)

    def status(self):
        return self.json("/api/v1/status")

    def upstreams(self):
        return self.json("/api/v1/upstreams")

    def metrics(self):
        answer = self.request("GET", "/metrics")
        assert answer.status == 200, (answer.status, answer.body)
        return Metrics(answer.text)

    def health(self):
        return self.request("GET", "/health")

    def reload(self):
        return self.request("POST", "/api/v1/reload")

    def server_is_up(self, upstream, server):
        """By the metric weir_upstream_up: True, False, or None when the series is not there."""
        found = self.metrics().matching("weir_upstream_up", upstream=upstream, server=server)
        return bool(found[0][1]) if found else None


def find(value, **wanted):
    """Every map inside a JSON value that has those members; so that a test need not know the whole shape."""
    found = []
    if isinstance(value, dict):
        if all(value.get(k) == v for k, v in wanted.items()):
            found.append(value)
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            found += find(element, **wanted)
    return found
