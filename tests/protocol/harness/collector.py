"""A collector of OpenTelemetry that records: OTLP/HTTP with JSON over a real socket, strict about the shape of what it gets."""

import json
import time

import jsonschema

from .deadline import SCALE, wait_until
from .http_backend import HttpBackend, Reply

_NANOSECONDS = {"type": "string", "pattern": "^[1-9][0-9]{17,19}$"}
_VALUE = {
    "oneOf": [
        {"type": "object", "additionalProperties": False, "required": ["stringValue"], "properties": {"stringValue": {"type": "string"}}},
        {"type": "object", "additionalProperties": False, "required": ["intValue"],
         "properties": {"intValue": {"type": "string", "pattern": "^-?[0-9]+$"}}},
        {"type": "object", "additionalProperties": False, "required": ["boolValue"], "properties": {"boolValue": {"type": "boolean"}}},
    ]
}
_ATTRIBUTES = {
    "type": "array",
    "items": {"type": "object", "additionalProperties": False, "required": ["key", "value"],
              "properties": {"key": {"type": "string", "minLength": 1}, "value": _VALUE}},
}
_SPAN = {
    "type": "object", "additionalProperties": False,
    "required": ["traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes", "flags"],
    "properties": {
        "traceId": {"type": "string", "pattern": "^(?!0{32})[0-9a-f]{32}$"},
        "spanId": {"type": "string", "pattern": "^(?!0{16})[0-9a-f]{16}$"},
        "parentSpanId": {"type": "string", "pattern": "^(?!0{16})[0-9a-f]{16}$"},
        "traceState": {"type": "string", "minLength": 1},
        "flags": {"type": "integer", "minimum": 0, "maximum": 0x3FF},
        "name": {"type": "string", "minLength": 1},
        "kind": {"enum": [2, 3]},
        "startTimeUnixNano": _NANOSECONDS,
        "endTimeUnixNano": _NANOSECONDS,
        "attributes": _ATTRIBUTES,
        "events": {"type": "array", "minItems": 1,
                   "items": {"type": "object", "additionalProperties": False, "required": ["timeUnixNano", "name"],
                             "properties": {"timeUnixNano": _NANOSECONDS, "name": {"type": "string"}}}},
        "status": {"type": "object", "additionalProperties": False, "required": ["code"],
                   "properties": {"code": {"const": 2}, "message": {"type": "string"}}},
    },
}
_MESSAGE = {
    "type": "object", "additionalProperties": False, "required": ["resourceSpans"],
    "properties": {"resourceSpans": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
        "type": "object", "additionalProperties": False, "required": ["resource", "scopeSpans"],
        "properties": {
            "resource": {"type": "object", "additionalProperties": False, "required": ["attributes"], "properties": {"attributes": _ATTRIBUTES}},
            "scopeSpans": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
                "type": "object", "additionalProperties": False, "required": ["scope", "spans"],
                "properties": {"scope": {"type": "object", "required": ["name", "version"]},
                               "spans": {"type": "array", "minItems": 1, "items": _SPAN}}}},
        }}}},
}
_VALIDATOR = jsonschema.Draft7Validator(_MESSAGE)


def values(attributes):
    """{name: value}; a name that stands there twice is a fault."""
    found = {}
    for each in attributes:
        assert each["key"] not in found, f"{each['key']} twice"
        (kind, value), = each["value"].items()
        found[each["key"]] = int(value) if kind == "intValue" else value
    return found


class Span:
    def __init__(self, raw, resource):
        self.raw, self.resource = raw, resource
        self.trace, self.id, self.parent = raw["traceId"], raw["spanId"], raw.get("parentSpanId")
        self.name, self.kind = raw["name"], {2: "server", 3: "client"}[raw["kind"]]
        self.start, self.end = int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"])
        self.attributes = values(raw["attributes"])
        self.events = {e["name"]: int(e["timeUnixNano"]) for e in raw.get("events", [])}
        self.failed, self.message = "status" in raw, raw.get("status", {}).get("message")

    def __getitem__(self, name):
        return self.attributes[name]

    def get(self, name, default=None):
        return self.attributes.get(name, default)

    def __repr__(self):
        return f"<{self.kind} {self.name} {self.trace}/{self.id} of {self.parent} {self.attributes}>"


class Collector:
    """`answer`: what it says to a message, a Reply, None to close without a word, or a function of the request (which may wait)."""

    def __init__(self, tls=None):
        self.answer = Reply(body=b"{}", headers=[("Content-Type", "application/json")])
        self.spans, self.messages, self.faults, self.refused = [], [], [], []
        self.backend = HttpBackend("collector", self._handle, tls=tls)
        self.port = self.backend.port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1/traces"

    def _handle(self, request):
        answer = self.answer(request) if callable(self.answer) else self.answer
        if answer is None or answer == "reset" or not answer.status.startswith("2"):
            self.refused.append(request)
            return answer
        try:
            assert request.method == "POST" and request.target == "/v1/traces", request
            assert request["content-type"] == "application/json", request.fields
            message = json.loads(request.body)
            error = next(iter(_VALIDATOR.iter_errors(message)), None)
            assert error is None, f"{error.message} at {list(error.absolute_path)}"
            whole, = message["resourceSpans"]
            resource = values(whole["resource"]["attributes"])
            spans = [Span(raw, resource) for raw in whole["scopeSpans"][0]["spans"]]
            for span in spans:
                assert span.start <= span.end and abs(span.end / 1e9 - time.time()) < 3600 * SCALE, span
            self.messages.append(request)
            self.spans += spans
        except (AssertionError, ValueError, KeyError) as error:
            self.faults.append(error)
        return answer

    def wait(self, count, seconds=10):
        """So many spans, all told."""
        wait_until(lambda: len(self.spans) >= count or self.faults, seconds, f"{count} spans")
        assert not self.faults, self.faults
        assert len(self.spans) == count, self.spans
        assert len({s.id for s in self.spans}) == count, "an id twice"
        return self.spans

    def trace(self, count=2, seconds=10):
        """(the request's span, those of its attempts in order) of the one trace that there is."""
        spans = self.wait(count, seconds)
        server, = [s for s in spans if s.kind == "server"]
        clients = sorted((s for s in spans if s.kind == "client"), key=lambda s: (s.start, s.get("http.request.resend_count", 0)))
        assert all(c.trace == server.trace and c.parent == server.id for c in clients), spans
        return server, clients

    def forget(self):
        self.spans.clear()
        self.messages.clear()

    def close(self):
        self.backend.close()
