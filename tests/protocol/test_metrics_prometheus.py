"""A real Prometheus scrapes a real weir: what it then says equals what was sent; and what packaging/ holds for it."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

from harness import HttpBackend, Reply
from harness.deadline import SCALE, wait_until
from harness.ports import free_port
from harness.weir import ROOT

RULES = os.path.join(ROOT, "packaging", "prometheus")
DASHBOARD = os.path.join(ROOT, "packaging", "grafana", "weir.json")
needs_prometheus = pytest.mark.skipif(not shutil.which("prometheus") or not shutil.which("promtool"), reason="needs prometheus")


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60 * SCALE)


class Prometheus:
    def __init__(self, folder, target, rules=()):
        self.port, self.folder = free_port(), str(folder)
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": list(rules),
                  "scrape_configs": [{"job_name": "weir", "static_configs": [{"targets": [target]}]}]}
        with open(os.path.join(self.folder, "prometheus.yml"), "w") as f:
            yaml.safe_dump(config, f)
        self.log = open(os.path.join(self.folder, "prometheus.log"), "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage", "--log.level=warn"],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.get("/-/ready", raw=True), 30, "prometheus to be ready")

    def get(self, path, raw=False, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10 * SCALE) as answer:
                return answer.read() if raw else json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None

    def query(self, expression):
        """Series of a vector as (labels, value)."""
        data = self.get("/api/v1/query", query=expression)
        assert data["resultType"] == "vector", data
        return [(r["metric"], float(r["value"][1])) for r in data["result"]]

    def value(self, expression):
        found = self.query(expression)
        assert len(found) == 1, (expression, found)
        return found[0][1]

    def exemplars(self, selector):
        now = time.time()
        series = self.get("/api/v1/query_exemplars", query=selector, start=now - 3600, end=now + 60)
        return [(s["seriesLabels"], e) for s in series for e in s["exemplars"]]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20 * SCALE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


SENT = {("app", 200): 60, ("app", 404): 7, ("own", 200): 13}


def send(weir, client, numbers):
    targets = {("app", 200): "/app/{}", ("app", 404): "/app/missing/{}", ("own", 200): "/"}
    for key, count in SENT.items():
        for number in range(count)[numbers.start:numbers.stop]:
            answer = client.get(targets[key].format(number), headers=[("X-Request-Id", f"{key[0]}-{key[1]}-{number}")])
            assert answer.status == key[1]
            weir.ids.add(f"{key[0]}-{key[1]}-{number}")


@pytest.fixture(scope="module")
def watched(module_site, tmp_path_factory):
    """Prometheus scrapes; then traffic, and the ids that clients were told."""
    if not shutil.which("prometheus"):
        pytest.skip("needs prometheus")
    backend = HttpBackend("backend", lambda request: Reply("404 Not Found" if "missing" in request.target else "200 OK", body=b"x"))
    weir = module_site([{"name": "app", "path": "/app/", "upstream": "app", "cache": {}}, {"name": "own", "respond": {"body": "mine"}}],
                       {"app": {"servers": [backend.address], "health_check": {"type": "http", "path": "/", "interval": "1s"},
                                "queue": {"size": 10, "timeout": "1s"}, "breaker": {}}})
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{weir.port('admin')}",
                            [os.path.join(RULES, "weir.rules.yml")])
    try:
        wait_until(lambda: prometheus.value("up") == 1 and prometheus.query("weir_connections"), 30, "a scrape")
        weir.ids = set()
        with weir.client() as client:
            send(weir, client, range(1))  # a series that begins does not grow: what comes after is a rate
            wait_until(lambda: prometheus.value("sum(weir_requests_total)") == len(SENT), 30, "a scrape of the first")
            send(weir, client, range(1, 1000))
        wait_until(lambda: prometheus.value("sum(weir_requests_total)") == sum(SENT.values()), 30, "a scrape of all that was sent")
        weir.prometheus = prometheus
        yield weir
    finally:
        prometheus.close()
        backend.close()


# -- scraped ---------------------------------------------------------------------------------------------------------------------------

def test_totals_equal_what_was_sent(watched):
    query = watched.prometheus.query
    found = {(l["route"], int(l["status"])): v for l, v in query("sum by (route, status) (weir_requests_total)")}
    assert found == SENT
    assert {l["route"]: v for l, v in query("sum by (route) (weir_request_duration_seconds_count)")} == {"app": 67, "own": 13}
    assert {l["status"]: v for l, v in query('weir_upstream_requests_total{upstream="app"}')} == {"200": 60, "404": 7}
    assert watched.prometheus.value("sum(weir_connections_total)") == 1
    assert watched.prometheus.value("up") == 1


def test_increases_and_rates_follow(watched):
    """Between the first scrape of each series and the last, exactly what was sent after the first requests."""
    prometheus = watched.prometheus
    grown = "last_over_time(weir_requests_total[1h]) - min_over_time(weir_requests_total[1h])"
    assert {(l["route"], int(l["status"])): v for l, v in prometheus.query(grown)} == {k: n - 1 for k, n in SENT.items()}
    rates = {l["route"]: v for l, v in prometheus.query("sum by (route) (rate(weir_requests_total[5m]))")}
    assert set(rates) == {"app", "own"} and rates["app"] > rates["own"] > 0


def test_it_was_scraped_as_openmetrics_and_packed(watched):
    prometheus = watched.prometheus
    metadata = prometheus.get("/api/v1/metadata")
    assert metadata["weir_requests"][0]["type"] == "counter" and metadata["weir_cache_bytes"][0]["unit"] == "bytes"
    assert metadata["weir_connections_total"][0]["type"] == "unknown"
    targets = prometheus.get("/api/v1/targets")["activeTargets"]
    assert [(t["health"], t["lastError"]) for t in targets] == [("up", "")]


def test_exemplars_are_ids_of_requests_that_were_sent(watched):
    found = watched.prometheus.exemplars("weir_request_duration_seconds_bucket")
    assert {l["route"] for l, _ in found} == {"app", "own"}
    for labels, exemplar in found:
        assert exemplar["labels"]["request_id"] in watched.ids
        assert exemplar["labels"]["request_id"].startswith(labels["route"]) and 0 <= float(exemplar["value"]) < 30
    upstream = watched.prometheus.exemplars("weir_upstream_duration_seconds_bucket")
    assert upstream and all(e["labels"]["request_id"].startswith("app-") for _, e in upstream)


def test_the_recordings_are_recorded(watched):
    prometheus = watched.prometheus
    wait_until(lambda: {l["route"] for l, _ in prometheus.query("weir:requests:rate5m")} == {"app", "own"}, 30, "recordings")
    wait_until(lambda: prometheus.query("weir:request_duration_seconds:p99_5m"), 30, "recordings of durations")
    groups = prometheus.get("/api/v1/rules")["groups"]
    assert {g["name"] for g in groups} == {"weir", "weir-recordings"}
    assert [(r["name"], r["lastError"]) for g in groups for r in g["rules"] if r["health"] == "err"] == []


def test_no_series_has_the_id_of_a_request_as_a_label(watched):
    series = watched.prometheus.get("/api/v1/series", **{"match[]": '{job="weir"}'})
    values = {v for s in series for v in s.values()}
    assert not values & watched.ids and len(series) < 400


# -- the dashboard ---------------------------------------------------------------------------------------------------------------------

def expressions():
    with open(DASHBOARD) as f:
        dashboard = json.load(f)
    return [(p["title"], t["expr"]) for p in dashboard["panels"] for t in p.get("targets", [])]


# What stays empty where nothing of the kind has happened, or there is nothing of the kind.
MAY_BE_EMPTY = re.compile(r"5\.\.|ejections|tls_|grpc|terminations|hedges|connections_refused|rate_limited|== 0")


def filled(expression):
    for name, value in {"$job": "weir", "$instance": ".*", "$listener": ".*", "$route": ".*", "$upstream": ".*", "$server": ".*",
                        "$__rate_interval": "1m"}.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def test_every_panel_of_the_dashboard_can_be_asked_and_the_main_ones_have_data(watched):
    empty = []
    for title, expression in expressions():
        found = watched.prometheus.query(filled(expression))
        if not found and not MAY_BE_EMPTY.search(expression):
            empty.append((title, expression))
    assert not empty
    assert len(expressions()) > 50


def test_the_dashboard_shows_what_was_sent(watched):
    by_title = {}
    for title, expression in expressions():
        by_title.setdefault(title, []).append(filled(expression))
    prometheus = watched.prometheus
    assert {l["route"] for l, _ in prometheus.query(by_title["Requests by route"][0])} == {"app", "own"}
    assert {l["status"] for l, _ in prometheus.query(by_title["Requests by status"][0])} == {"200", "404"}
    assert prometheus.value(by_title["Servers up"][0]) == 1 and prometheus.value(by_title["Last reload"][0]) == 1
    assert prometheus.value(by_title["Answered with 5xx"][0]) == 0


def test_the_variables_and_the_metrics_of_the_dashboard_are_there(watched):
    with open(DASHBOARD) as f:
        dashboard = json.load(f)
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and {"listener", "route", "upstream"} <= set(variables)
    for name, variable in variables.items():
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            assert label == name and watched.prometheus.query(filled(selector)), name
    exported = set(watched.admin.metrics().types)
    named = set(re.findall(r"weir_\w+", " ".join(e for _, e in expressions())))
    assert {n for n in named if n.removesuffix("_bucket") not in exported} == set()
    identities = [p["id"] for p in dashboard["panels"]]
    assert len(identities) == len(set(identities))
    assert all(t["datasource"]["uid"] == "${datasource}" for p in dashboard["panels"] for t in p.get("targets", []))


# -- promtool --------------------------------------------------------------------------------------------------------------------------

@needs_prometheus
def test_promtool_finds_nothing_to_say_of_the_metrics(watched):
    done = promtool("check", "metrics", text=watched.admin.request("GET", "/metrics").text)
    assert done.returncode == 0 and done.stdout + done.stderr == ""


@needs_prometheus
def test_promtool_finds_nothing_to_say_of_openmetrics_but_its_exemplars(watched):
    """It reads Prometheus' text alone: exemplars are left out, and a counter's family is named as its samples are."""
    from harness.raw_client import get
    text = get(watched.port("admin"), "/metrics", [("Accept", "application/openmetrics-text")], host="127.0.0.1").text
    counters = set(re.findall(r"(?m)^# TYPE (\w+) counter$", text))
    text = re.sub(r"(?m)^# (TYPE|HELP) (\w+) ", lambda m: f"# {m[1]} {m[2]}{'_total' if m[2] in counters else ''} ", text)
    done = promtool("check", "metrics", text=re.sub(r"(?m) # \{.*$", "", text).replace(" unknown\n", " counter\n"))
    assert done.returncode == 0 and done.stdout + done.stderr == ""


@needs_prometheus
def test_the_rules_and_the_scrape_configuration_are_good():
    assert promtool("check", "rules", "--lint-fatal", os.path.join(RULES, "weir.rules.yml")).returncode == 0
    done = promtool("check", "config", os.path.join(RULES, "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_tests_of_the_rules_pass():
    done = promtool("test", "rules", os.path.join(RULES, "weir.rules.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def rules():
    with open(os.path.join(RULES, "weir.rules.yml")) as f:
        return [r for g in yaml.safe_load(f)["groups"] for r in g["rules"]]


def test_every_alert_is_tested_and_says_what_to_do():
    with open(os.path.join(RULES, "weir.rules.test.yml")) as f:
        tested = set(re.findall(r'alertname="(\w+)"', f.read()))
    alerts = [r for r in rules() if "alert" in r]
    assert {r["alert"] for r in alerts} == tested
    for rule in alerts:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"] and len(rule["annotations"]["description"]) > 40, rule["alert"]


def test_the_rules_name_metrics_that_are_there(watched):
    exported = set(watched.admin.metrics().types)
    recorded = {r["record"] for r in rules() if "record" in r}
    for rule in rules():
        for name in re.findall(r"\bweir[_:][\w:]+", rule["expr"]):
            assert name in recorded or name.removesuffix("_bucket") in exported or "_redis_" in name, (rule, name)


def test_the_page_tells_of_every_alert():
    from docs_pages import read
    page = read("docs/metrics.md")
    for rule in rules():
        assert "alert" not in rule or f"`{rule['alert']}`" in page, rule["alert"]
