"""What `weir explain` tells of the fields of a trace is what servers then get."""

import json

import pytest


@pytest.mark.parametrize("path, told", [("/on", "(made for each request)"), ("/off", None), ("/own", "mine"), ("/without", None)])
def test_traceparent_is_told_as_it_is_sent(site, http_backend, path, told):
    routes = [{"path": "/on", "upstream": "app"}, {"path": "/off", "upstream": "app", "tracing": False},
              {"path": "/own", "upstream": "app", "request_headers": {"set": {"traceparent": "mine"}}},
              {"path": "/without", "upstream": "app", "request_headers": {"remove": ["traceparent"]}}]
    backend = http_backend()
    weir = site(routes, {"app": backend.address}, workers=1, tracing={"endpoint": "http://127.0.0.1:1"})
    with weir.client("web") as client:
        client.get(path)
    sent = backend.requests[-1]["traceparent"]
    body = {"method": "GET", "url": f"http://t.example:{weir.port('web')}{path}"}
    headers = json.loads(weir.admin.request("POST", "/api/v1/explain", body).body)["request_headers"]
    after = {h["name"].lower(): h["after"] for h in headers}.get("traceparent")
    assert after == told
    assert (sent is None) == (told is None) and (told != "mine" or sent == told)
