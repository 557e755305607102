"""A real browser (Chromium, headless): WebSockets over HTTP/1.1 and over HTTP/2, which it opens by an extended CONNECT where it may."""

import json
import signal

import pytest

from harness import wait_until
from harness.browser import IS_THERE, Browser
from test_websocket import WebSocketBackend

pytestmark = pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")

OPEN = """
    const socket = window.socket = new WebSocket(`wss://${location.host}/socket`, ["other", "chat"]);
    const told = window.told = [];
    socket.binaryType = "arraybuffer";
    socket.onerror = () => told.push("error");
    socket.onmessage = e => told.push(typeof e.data == "string" ? e.data : e.data.byteLength);
    const ending = window.ending = new Promise(resolve => socket.onclose = e => resolve([e.code, e.reason, e.wasClean]));
    ending.then(end => done(["closed", ...end]));
    socket.onopen = () => done(["open", socket.protocol, socket.extensions]);
"""
TALK = """
    for (let i = 0; i < 100; i++) socket.send(`message ${i}`);
    socket.send(new Uint8Array(1000000));
    socket.send("close");
    ending.then(end => done([told, end]));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as it:
        yield it


@pytest.fixture
def backend():
    it = WebSocketBackend()
    yield it
    it.close()


@pytest.fixture
def start(site, backend, localhost_cert, tmp_path):
    def start(alpn):
        log = tmp_path / "access.log"
        tls = {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}], "alpn": alpn}
        page = {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<!doctype html><title>page</title>"}
        weir = site([{"path": "/socket", "upstream": "ws"}, {"respond": page}], {"ws": backend.address}, {"web": {"tls": tls}},
                    log={"access": {"output": str(log), "format": "json"}}, timeouts={"drain": "4s"})
        return weir, log
    return start


def entry(log, target):
    def find():
        found = [e for e in map(json.loads, log.read_text().splitlines()) if e["target"] == target] if log.exists() else []
        return found[0] if found else None
    return wait_until(find, 10, f"a line for {target}")


WAYS = pytest.mark.parametrize("alpn, protocol, status", [(["http/1.1"], "HTTP/1.1", 101), (["h2", "http/1.1"], "HTTP/2.0", 200)])


@WAYS
def test_a_page_talks_by_websocket(browser, start, alpn, protocol, status):
    weir, log = start(alpn)
    browser.open(f"https://localhost:{weir.port()}/")
    state, subprotocol, extensions = browser.run(OPEN)
    assert (state, subprotocol) == ("open", "chat") and extensions.startswith("permessage-deflate")
    told, end = browser.run(TALK)
    assert told == [f"message {i}" for i in range(100)] + [1000000]
    assert end == [4001, "as asked", True]
    assert entry(log, "/")["protocol"] == protocol
    found = entry(log, "/socket")
    assert (found["protocol"], found["status"], found["method"]) == (protocol, status, "GET")


@WAYS
def test_a_page_is_told_that_weir_stops(browser, start, backend, alpn, protocol, status):
    weir, log = start(alpn)
    browser.open(f"https://localhost:{weir.port()}/")
    assert browser.run(OPEN)[0] == "open"
    weir.signal(signal.SIGTERM)
    assert browser.run("ending.then(done);") == [1001, "", True]
    assert weir.wait() == 0
    wait_until(lambda: backend.codes == [1001])
    assert entry(log, "/socket")["protocol"] == protocol


def test_a_socket_that_is_refused_fails_in_the_page(browser, start, backend):
    weir, log = start(["h2"])
    backend.close()
    browser.open(f"https://localhost:{weir.port()}/")
    assert browser.run(OPEN)[:2] == ["closed", 1006]
    assert entry(log, "/socket")["status"] == 502
