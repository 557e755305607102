"""Fixtures. `site` starts a weir for one test; `shared_site` one for a file's tests, where nothing that they do changes it."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import Authority, CacheOrigin, HttpBackend, RawServer, SCALE, TcpBackend, Weir, WeirFailed  # noqa: E402
from harness.weir import BINARY  # noqa: E402


def pytest_collection_modifyitems(config, items):
    if not os.path.exists(BINARY):
        skip = pytest.mark.skip(reason=f"no binary at {BINARY}; name one by WEIR_BINARY")
        for item in items:
            if "test_harness" not in item.nodeid:
                item.add_marker(skip)
    if SCALE > 1:
        for item in items:
            item.add_marker(pytest.mark.timeout(120 * SCALE))


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    if report.when == "call" and report.failed:
        for weir in getattr(item, "weirs", []):
            report.sections.append((f"log of weir ({weir.config_file})", weir.log()[-6000:]))


def _starter(folder, weirs):
    def start(routes=None, upstreams=None, listeners=None, **rest):
        """Starts weir with these parts of a configuration; one listener `web` unless others are given."""
        start_it = rest.pop("start", True)
        options = {k: rest.pop(k) for k in ("environment", "arguments") if k in rest}
        config = {**rest, "listeners": listeners if listeners is not None else {"web": {}}}
        if routes is not None:
            config["routes"] = routes
        if upstreams is not None:
            config["upstreams"] = {name: ({"servers": [u]} if isinstance(u, str) else u) for name, u in upstreams.items()}
        weir = Weir(os.path.join(str(folder), f"weir{len(weirs)}"), config, start=False, **options)
        weirs.append(weir)
        if start_it:
            weir.start()
        return weir
    return start


def _stop_all(weirs):
    failures = []
    for weir in weirs:
        if weir.process is not None:
            try:
                weir.stop()
            except (AssertionError, WeirFailed) as error:
                failures.append(f"{error}\n--- log ---\n{weir.log()[-6000:]}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def site(request, tmp_path):
    """start(routes, upstreams, listeners, **top_level) -> Weir; stopped and judged at the end."""
    weirs = []
    request.node.weirs = weirs
    yield _starter(tmp_path, weirs)
    _stop_all(weirs)


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    weirs = []
    yield _starter(tmp_path_factory.mktemp("weir"), weirs)
    _stop_all(weirs)


@pytest.fixture
def server():
    """A scripted backend that the test plays itself."""
    with RawServer() as s:
        yield s


def _makers(closing):
    def make_http(name="backend", handler=None, **options):
        closing.append(HttpBackend(name, handler, **options))
        return closing[-1]

    def make_raw(script=None, **options):
        closing.append(RawServer(script, **options))
        return closing[-1]

    def make_tcp(greeting=b"", **options):
        closing.append(TcpBackend(greeting, **options))
        return closing[-1]
    return make_http, make_raw, make_tcp


@pytest.fixture
def _closing():
    closing = []
    yield closing
    for each in closing:
        each.close()


@pytest.fixture(scope="module")
def module_origin():
    with CacheOrigin() as origin:
        yield origin


@pytest.fixture
def cache_origin():
    with CacheOrigin() as origin:
        yield origin


@pytest.fixture
def http_backend(_closing):
    return _makers(_closing)[0]


@pytest.fixture
def raw_server(_closing):
    return _makers(_closing)[1]


@pytest.fixture
def tcp_backend(_closing):
    return _makers(_closing)[2]


@pytest.fixture(scope="module")
def module_backend():
    with HttpBackend("module") as backend:
        yield backend


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca2"), "Other CA")


@pytest.fixture(scope="session")
def localhost_cert(authority):
    return authority.leaf("localhost", "t.example", "127.0.0.1")
