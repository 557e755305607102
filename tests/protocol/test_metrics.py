"""GET /metrics: both formats, what a scraper asks for, what must be there, what bounds it, and what it counts."""

import contextlib
import gzip
import re
import ssl

import pytest
import yaml

from docs_pages import read
from harness import Metrics, RawClient
from harness.collector import Collector
from harness.deadline import wait_until
from harness.raw_client import get

# The contract: names and labels that others' dashboards count on.
CONTRACT = """weir_requests_total{listener,route,status} weir_request_duration_seconds{listener,route}
weir_connections{listener} weir_connections_total{listener} weir_bytes_total{listener,direction}
weir_upstream_requests_total{upstream,server,status} weir_upstream_duration_seconds{upstream,server}
weir_upstream_up{upstream,server} weir_upstream_connections{upstream,server,state} weir_retries_total{upstream}
weir_cache_requests_total{result} weir_cache_bytes weir_cache_objects weir_cache_evictions_total
weir_tls_handshakes_total{listener,version,resumed} weir_tls_certificate_expiry_seconds{listener,name,fingerprint}
weir_config_reloads_total weir_config_reload_failures_total weir_rate_limited_total{route}"""

# Prometheus 2.42's own.
PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
MANY = 1500

ROUTES = [{"name": "app", "path": "/app/", "upstream": "app"}, {"name": "own", "respond": {"body": "mine"}}]


def scrape(weir, accept=None, encoding=None, **options):
    headers = [(n, v) for n, v in (("Accept", accept), ("Accept-Encoding", encoding)) if v is not None]
    return get(weir.port("admin"), "/metrics", headers, host=f"127.0.0.1:{weir.port('admin')}", **options)


def families(text):
    """The strict parser of the reference client, by name: it refuses what OpenMetrics does not allow."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    return {f.name: f for f in parser.text_string_to_metric_families(text)}


@pytest.fixture
def served(site, http_backend):
    """A request of each kind, over TLS and not, counted."""
    backend = http_backend()
    weir = site(ROUTES, {"app": backend.address}, listeners={"web": {}, "tls": {"tls": {"self_signed": ["t.example"]}}})
    for number in range(3):
        assert weir.get("/app/x", headers=[("X-Request-Id", f"of-app-{number}")]).status == 200
    assert weir.get("/", headers=[("X-Request-Id", "of-own")]).status == 200
    with weir.client("tls", tls=ssl._create_unverified_context()) as client:
        assert client.get("/").status == 200
    weir.await_metric("weir_requests_total", 5)
    return weir


# -- what is there -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_every_metric_of_the_contract_is_there_with_its_labels(served, accept):
    text = scrape(served, accept).text
    for entry in CONTRACT.split():
        name, _, labels = entry.rstrip("}").partition("{")
        lines = re.findall(rf"(?m)^{name}(?:_bucket|_sum|_count)?(?:{{(.*?)}})? [0-9.e+-]+(?: # .*)?$", text)
        assert lines, f"no sample of {name}"
        for line in lines:
            assert set(re.findall(r'(?:^|,)(\w+)="', line)) - {"le"} == set(labels.split(",")) - {""}, (name, line)


def test_the_types_of_the_contract(served):
    types = served.admin.metrics().types
    for entry in CONTRACT.split():
        name = entry.partition("{")[0]
        wanted = "counter" if name.endswith("_total") else "histogram" if "duration" in name else "gauge"
        assert types[name] == wanted, name


def test_the_page_of_the_documentation_lists_every_family_with_its_type_labels_and_meaning(served):
    told = {}
    for name, kind, labels, meaning in re.findall(r"(?m)^\| `(weir_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", read("docs/metrics.md")):
        told[name] = (kind, set(re.findall(r"`(\w+)`", labels)), meaning)
    text = scrape(served).text
    helps, types = dict(re.findall(r"(?m)^# HELP (\w+) (.*)$", text)), dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", text))
    assert set(types) == {n for n in told if not re.search("_redis_|_trace_", n)}  # where there is Redis, or a collector
    for name, kind in types.items():
        assert told[name][0] == kind, name
        assert told[name][2] == helps[name], name
    for name, labels, _ in Metrics(text).samples:
        base = name if name in told else name.rsplit("_", 1)[0]
        assert set(labels) - {"le"} == told[base][1], name


# -- formats -----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("accept,wanted", [
    (None, TEXT), ("", TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("text/html,*/*;q=0.8", TEXT), (PROMETHEUS, OPENMETRICS),
    ("application/openmetrics-text", OPENMETRICS), ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
    ("Application/OpenMetrics-Text;Version=\"1.0.0\"", OPENMETRICS), ("application/openmetrics-text;version=0.0.1", TEXT),
    ("application/openmetrics-text;version=2.0.0", TEXT), ("application/openmetrics-text;q=0", TEXT),
    ("application/openmetrics-text;q=0.4,text/plain;q=0.5", TEXT), ("application/openmetrics-text;q=0.5,text/plain;q=0.4", OPENMETRICS),
    ("application/openmetrics-text;q=0.5,*/*;q=0.4", OPENMETRICS), ("text/plain,application/openmetrics-text", TEXT),
    ("application/openmetrics-text,text/plain", OPENMETRICS), ("*/*,application/openmetrics-text", OPENMETRICS),
    ("application/openmetrics-text;q=2", TEXT), ("application/json", TEXT), ("application/*", TEXT),
    ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5", OPENMETRICS),
])
def test_the_format_is_what_accept_likes_best(module_site, accept, wanted):
    if not hasattr(module_site, "weir"):
        module_site.weir = module_site([{"respond": {"body": "x"}}])
    answer = scrape(module_site.weir, accept)
    assert answer.status == 200 and answer["content-type"] == wanted
    assert answer.text.endswith("# EOF\n") == (wanted == OPENMETRICS)
    assert "accept" in answer["vary"].lower()


def test_openmetrics_is_what_the_reference_parser_takes(served):
    found = families(scrape(served, PROMETHEUS).text)
    assert found["weir_requests"].type == "counter"
    assert found["weir_request_duration_seconds"].unit == "seconds" and found["weir_cache_bytes"].unit == "bytes"
    assert found["weir_connections"].type == "gauge"
    assert "weir_bytes" in found and found["weir_bytes"].unit == "bytes"


def test_both_formats_have_the_same_series(served):
    def series(text):
        return {re.sub(r" [^ ]+$", "", re.sub(r" # .*$", "", line)) for line in text.splitlines() if not line.startswith("#")}
    assert series(scrape(served).text) == series(scrape(served, PROMETHEUS).text)


@pytest.mark.parametrize("accept", [None, PROMETHEUS])
def test_the_answer_is_packed_where_that_is_welcome(served, accept):
    packed = scrape(served, accept, "gzip, deflate")
    assert packed["content-encoding"] == "gzip" and "accept-encoding" in packed["vary"].lower()
    text = gzip.decompress(packed.body).decode()
    assert "weir_requests_total{" in text and len(packed.body) < len(text) / 2
    for encoding in (None, "identity", "gzip;q=0", "br"):
        assert scrape(served, accept, encoding)["content-encoding"] is None


def test_a_head_request_gets_the_head_alone(served):
    answer = scrape(served, method="HEAD")
    assert answer.status == 200 and not answer.body and int(answer["content-length"]) > 1000


# -- exemplars ---------------------------------------------------------------------------------------------------------------------

def exemplars(weir, family="weir_request_duration_seconds", **labels):
    return [s.exemplar for s in families(scrape(weir, PROMETHEUS).text)[family].samples
            if s.exemplar and labels.items() <= s.labels.items()]


def test_a_bucket_has_a_request_that_fell_into_it_as_exemplar(served):
    found = exemplars(served, route="app")
    assert found
    for e in found:
        assert e.labels["request_id"] in {"of-app-0", "of-app-1", "of-app-2"} and 0 <= e.value < 30
    assert [e.labels for e in exemplars(served, route="own", listener="web")] == [{"request_id": "of-own"}]
    assert {e.labels["request_id"] for e in exemplars(served, "weir_upstream_duration_seconds")} <= {"of-app-0", "of-app-1", "of-app-2"}
    assert exemplars(served, "weir_upstream_duration_seconds")
    assert "# {" not in scrape(served).text


def test_an_exemplar_lies_in_its_bucket(served):
    below = {}
    for s in families(scrape(served, PROMETHEUS).text)["weir_request_duration_seconds"].samples:
        if s.exemplar:
            key = (s.labels["listener"], s.labels["route"])
            assert below.get(key, -1) < s.exemplar.value <= float(s.labels["le"])
        if s.name.endswith("_bucket"):
            below[s.labels["listener"], s.labels["route"]] = float(s.labels["le"])


@pytest.mark.parametrize("request_id", ["x" * 65, 'a"b', "a\\b", "a b", "caf\u00e9"])
def test_an_id_that_is_no_fit_label_is_no_exemplar(site, request_id):
    weir = site([{"name": "own", "respond": {"body": "x"}}])
    assert weir.get("/", headers=[("X-Request-Id", request_id)]).status == 200
    weir.await_metric("weir_requests_total", 1)
    assert exemplars(weir, route="own") == []


def test_a_bucket_gets_a_newer_exemplar(site):
    weir = site([{"name": "own", "respond": {"body": "x"}}], workers=1)
    weir.get("/", headers=[("X-Request-Id", "the-first")])
    weir.await_metric("weir_requests_total", 1)

    def is_newer():
        weir.get("/", headers=[("X-Request-Id", "a-later-one")])
        return "a-later-one" in {e.labels["request_id"] for e in exemplars(weir, route="own")}
    wait_until(is_newer, 10, "another exemplar")


def test_the_exemplar_of_a_sampled_trace_has_its_id(site, http_backend):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with contextlib.closing(Collector()) as collector:
        weir = site([{"name": "app", "upstream": "app"}], {"app": http_backend().address},
                    tracing={"endpoint": collector.url, "sample": "0%", "interval": "100ms"})
        for flags in ("00", "01"):
            headers = [("traceparent", f"00-{trace}-00f067aa0ba902b7-{flags}"), ("X-Request-Id", f"sampled-{flags}")]

            def is_told():
                weir.get("/", headers=headers)
                return [e.labels for e in exemplars(weir, route="app") if e.labels["request_id"] == f"sampled-{flags}"]
            told = wait_until(is_told, 10, "the exemplar")
            assert all(labels == {"request_id": f"sampled-{flags}", **({"trace_id": trace} if flags == "01" else {})} for labels in told)
        weir.stop()


# -- what bounds it ----------------------------------------------------------------------------------------------------------------

def test_nothing_that_a_client_sends_becomes_a_label(served):
    before = {(n, tuple(sorted(l.items()))) for n, l, _ in served.admin.metrics().samples}
    for number in range(40):
        word = f"chosen{number}"
        with RawClient(served.port()) as client:
            client.send(f"{word.upper()} /{word}?{word} HTTP/1.1\r\nHost: {word}.example\r\nUser-Agent: {word}\r\nX-Request-Id: {word}\r\n"
                        f"Connection: close\r\n\r\n".encode())
            assert client.read_response().status == 200
    served.await_metric("weir_requests_total", 45)
    text = scrape(served).text
    assert "chosen" not in text.lower()
    after = {(n, tuple(sorted(l.items()))) for n, l, _ in served.admin.metrics().samples}
    assert len(after - before) <= 20, after - before
    openmetrics = scrape(served, PROMETHEUS).text
    assert "chosen" not in re.sub(r" # \{.*", "", openmetrics)


@pytest.fixture
def many(site):
    """So many routes with requests that an answer goes out in pieces."""
    weir = site([{"name": f"route-{n:05}", "path": f"/{n:05}/", "respond": {"body": "x"}} for n in range(MANY)])
    with weir.client() as client:
        for n in range(MANY):
            assert client.get(f"/{n:05}/").status == 200
    weir.await_metric("weir_requests_total", MANY)
    return weir


def stall(weir):
    """A scraper that reads the head of its answer and no more."""
    client = RawClient(weir.port("admin"), receive_buffer=4096)
    client.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    client.read_until(b"\r\n\r\n")
    return client


def test_many_routes_come_whole_and_in_pieces(many):
    answer = scrape(many)
    assert answer.framing == "chunked" and answer.is_complete
    metrics = Metrics(answer.text)
    assert metrics.sum("weir_requests_total") == MANY and metrics.sum("weir_request_duration_seconds_count") == MANY
    assert len(metrics.matching("weir_request_duration_seconds_bucket")) == MANY * 16
    packed = scrape(many, PROMETHEUS, "gzip")
    assert packed.is_complete and len(packed.body) < len(answer.body) / 5
    found = families(gzip.decompress(packed.body).decode())
    assert sum(s.value for s in found["weir_requests"].samples) == MANY


def test_a_scraper_that_takes_nothing_or_leaves_keeps_nobody_waiting(many):
    with stall(many):
        assert Metrics(scrape(many).text).sum("weir_requests_total") == MANY
        many.reload(routes=[{"name": "route-00000", "path": "/00000/", "respond": {"body": "x"}}])
    assert many.admin.health().status == 200
    assert Metrics(scrape(many).text).sum("weir_requests_total") == MANY


def test_weir_stops_amid_a_scrape(many):
    with stall(many):
        many.stop()


def test_a_scraper_of_http_1_0_gets_all_up_to_the_close(many):
    with RawClient(many.port("admin")) as client:
        client.send(f"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:{many.port('admin')}\r\nAccept: {PROMETHEUS}\r\n\r\n".encode())
        answer = client.read_response(seconds=20)
    assert "transfer-encoding" not in answer.raw_head.decode().lower()
    assert answer.text.endswith("# EOF\n")


# -- reloads -----------------------------------------------------------------------------------------------------------------------

def test_a_route_that_is_gone_is_shown_for_a_while_and_goes_on_when_it_is_back(site):
    old, new = {"name": "old", "path": "/old/", "respond": {"body": "x"}}, {"name": "new", "respond": {"body": "x"}}
    weir = site([old, new])
    assert weir.get("/old/").status == 200
    weir.await_metric("weir_requests_total", 1, route="old")
    weir.reload(routes=[new])
    assert weir.admin.metrics().sum("weir_requests_total", route="old") == 1
    weir.reload(routes=[old, new])
    assert weir.get("/old/").status == 200
    weir.await_metric("weir_requests_total", 2, route="old")


def test_the_last_reload_is_told(site):
    weir = site([{"name": "own", "respond": {"body": "x"}}])
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_config_last_reload_successful") == 1 and metrics.sum("weir_config_generation") == 1
    loaded = metrics.sum("weir_config_loaded_timestamp_seconds")
    good = weir.config
    weir.write("routes: [}")
    assert weir.admin.reload().status == 422
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_config_last_reload_successful") == 0 and metrics.sum("weir_config_reload_failures_total") == 1
    assert metrics.sum("weir_config_loaded_timestamp_seconds") == loaded
    weir.write(yaml.safe_load(yaml.safe_dump(good)))
    weir.reload()
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_config_last_reload_successful") == 1 and metrics.sum("weir_config_generation") == 2
    assert metrics.sum("weir_config_loaded_timestamp_seconds") > loaded


def test_the_hash_tells_whether_two_run_the_same_file(site):
    route = {"name": "own", "respond": {"body": "x"}}
    weir = site([route])
    first = weir.admin.metrics().sum("weir_config_hash")
    weir.reload(routes=[{**route, "respond": {"body": "y"}}])
    second = weir.admin.metrics().sum("weir_config_hash")
    weir.reload(routes=[route])
    assert first == weir.admin.metrics().sum("weir_config_hash") != second and first > 0 and first == int(first) < 2 ** 53


# -- the process -------------------------------------------------------------------------------------------------------------------

def test_the_process_and_its_workers_are_told(served):
    metrics = served.admin.metrics()
    assert metrics.sum("weir_workers") == 2 and {l["worker"] for l, _ in metrics.matching("weir_worker_cpu_seconds_total")} == {"0", "1"}
    assert metrics.sum("weir_process_cpu_seconds_total") > 0 and metrics.sum("weir_process_start_time_seconds") > 1.7e9
    assert 1e6 < metrics.sum("weir_process_resident_memory_bytes") < metrics.sum("weir_process_virtual_memory_bytes")
    assert 10 < metrics.sum("weir_process_open_fds") < metrics.sum("weir_process_max_fds")
    assert metrics.sum("weir_connections_limit", listener="web") == 65536
    assert metrics.sum("weir_requests_in_flight") == 0
    served.await_metric("weir_worker_cpu_seconds_total", lambda seconds: seconds > 0)


def test_requests_in_flight_are_told(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t.example\r\n\r\n")
        with server.accept() as backend:
            backend.read_request()
            weir.await_metric("weir_requests_in_flight", 1)
            backend.respond()
        assert client.read_response().status == 200
    weir.await_metric("weir_requests_in_flight", 0)
