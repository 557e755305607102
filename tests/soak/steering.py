"""Everything that operators do to a weir that is busy, at random, beside any of the soaks: `soak.py --steer`, and so the others.

Steered is a Weir (harness) that adds tracing and an access log to whatever configuration it is given, and while it runs is scraped twice
a second (OpenMetrics, gzip), listened to (/api/v1/events), asked to explain requests, reloaded on trial (confirmed, rolled back), rolled
back, and has its access log rotated, while its collector dies and comes back. Its stop() raises when

  - a counter fell, a scrape was not whole, an event was not JSON or of the past, or a call was refused that should not be;
  - a line of the access log is torn or there twice, or, unless there was an upgrade, lines, requests and the counters differ;
  - spans are not as many as requests and attempts: exported, or counted as dropped; or the collector has fewer than were exported."""

import collections
import glob
import gzip
import http.client
import http.server
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

from harness import Weir, free_port, wait_until  # noqa: E402
from harness.admin import Admin  # noqa: E402
from harness.deadline import SCALE  # noqa: E402

_SAMPLE = re.compile(r"^([a-z_0-9]+(?:\{.*?\})?) (\S+)(?: # .*)?$")
UPGRADE_TAKES = 20


class Collector:
    """A process that writes down the ids of spans, and is killed."""

    def __init__(self, file):
        self.port, self.file, self.process = free_port(), file, None
        open(file, "w").close()

    def live(self):
        self.process = subprocess.Popen([sys.executable, __file__, str(self.port), self.file])

    def die(self):
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()

    def received(self):
        with open(self.file) as f:
            return len(set(f.read().split()))


class CollectorHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        spans = re.findall(rb'"spanId":"([0-9a-f]{16})"', self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "ab") as f:
            f.write(b"".join(s + b"\n" for s in spans))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class SteeredAdmin(Admin):
    """Changes wait for the trial that is on, as they would be refused."""

    def __init__(self, weir):
        super().__init__(weir.port("admin"))
        self.weir = weir

    def request(self, method, path, *arguments, **options):
        with self.weir.changing if path.startswith("/api/v1/reload") else threading.Lock():
            return super().request(method, path, *arguments, **options)


class Steered(Weir):
    def __init__(self, folder, config, seed=1, **options):
        self.random, self.changing, self.over = random.Random(seed), threading.RLock(), threading.Event()
        self.collector, self.faults, self.did = Collector(f"{folder}-spans"), [], collections.Counter()
        self.counters, self.upgrades, self.excused_until, self.turn = {}, 0, 0.0, 0
        self.threads = []
        self.collector.live()
        super().__init__(folder, config, **options)

    # -- the harness' calls --------------------------------------------------------------------------------------------

    def _complete(self, config):
        config = super()._complete(config)
        config["tracing"] = {"endpoint": f"http://127.0.0.1:{self.collector.port}/v1/traces", "sample": "100%"}
        config["log"] = {**config.get("log", {}), "access": {"output": os.path.join(self.folder, "access.log")}}
        return config

    @property
    def admin(self):
        return SteeredAdmin(self)

    def write(self, config):
        with self.changing:
            super().write(config)

    def signal(self, number):
        with self.changing:
            if number == signal.SIGUSR2:
                self.upgrades += 1
                self.excused_until = time.monotonic() + UPGRADE_TAKES * SCALE
            super().signal(number)

    def start(self, seconds=10):
        super().start(seconds)
        loops = [(self._scrape, 0.5), (self._explain, 0.1), (self._rotate, 1.5), (self._try, 2), (self._ask, 0.3),
                 (self._plague_collector, 3), (self._listen, 0.1)]
        self.threads = [threading.Thread(target=self._forever, args=loop, daemon=True) for loop in loops]
        for thread in self.threads:
            thread.start()
        return self

    def kill(self):
        self.over.set()
        super().kill()
        self.collector.die()

    def stop(self, seconds=15):
        self.over.set()
        for thread in self.threads:
            thread.join(60 * SCALE)
        if not self.collector.process:
            self.collector.live()
        try:
            self._judge()
        except AssertionError as error:
            self.faults.append(str(error))
        print(f"steering: {dict(self.did)}")
        super().stop(seconds)
        self.collector.die()
        self._judge_lines(self._lines())
        assert not self.faults, f"{len(self.faults)} faults of steering; {self.faults[:8]}"

    # -- what is done ------------------------------------------------------------------------------------------------------

    def _forever(self, act, every):
        while not self.over.wait(self.random.uniform(0.5, 1.5) * every):
            try:
                act()
                self.did[act.__name__.strip("_")] += 1
            except Exception as error:
                if time.monotonic() > self.excused_until and not self.over.is_set():
                    self.faults.append(f"{act.__name__.strip('_')}: {error!r}")

    def _call(self, method, path, body=None, allowed=(200,)):
        answer = Admin(self.port("admin")).request(method, path, body, seconds=60)
        assert answer.status in allowed, f"{method} {path} {body}: {answer.status} {answer.text[:500]}"
        return answer

    def _scrape(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port("admin"), timeout=60 * SCALE)
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"})
        text = gzip.decompress(connection.getresponse().read()).decode()
        connection.close()
        assert text.endswith("# EOF\n"), f"the end of a scrape: {text[-200:]}"
        now = dict(m.groups() for m in map(_SAMPLE.match, text.splitlines()) if m)
        before, self.counters = self.counters, now
        start = "weir_process_start_time_seconds"
        if before.get(start) != now[start]:
            return
        fell = [f"{name} {before[name]} -> {value}" for name, value in now.items()
                if re.match(r"[a-z_0-9]+_(total|count|bucket)\b", name) and float(value) < float(before.get(name, 0))]
        assert not fell, f"counters fell: {fell[:5]}"

    def _explain(self):
        url = f"http://soak.example/{self.random.choice(['', 'bare/', 'cold/', 'socket', 'unused-1'])}{self.random.randrange(1000)}"
        told = json.loads(self._call("POST", "/api/v1/explain", {"url": url}, (200, 404)).text)
        assert told, told

    def _ask(self):
        path = self.random.choice(["status", "upstreams", "routes", "listeners", "requests", "config", "cache", "certificates"])
        json.loads(self._call("GET", f"/api/v1/{path}").text)

    def _rotate(self):
        name = os.path.join(self.folder, "access.log")
        if os.path.exists(name):
            os.rename(name, f"{name}.{time.monotonic_ns()}")
        with self.changing:  # an upgrade's new process has no handler at first
            if time.monotonic() > self.excused_until:
                os.kill(self.pid, signal.SIGUSR1)

    def _try(self):
        """A change that is tried, and kept or not; or made, and taken back. The file is as it was afterwards."""
        with self.changing:
            before, self.turn = self.config, self.turn + 1
            on_trial = self.random.random() < 0.7
            route = {"name": f"steered-{self.turn}", "path": f"/steered-{self.turn}", "respond": {"body": "x"}}
            self.write({**before, "routes": [route, *before["routes"]]})
            try:
                self._call("POST", "/api/v1/reload", {"confirm": "20s"} if on_trial else {})
                time.sleep(self.random.uniform(0, 1))
                how = self.random.choice(["confirm", "rollback"]) if on_trial else "rollback"
                self._call("POST", f"/api/v1/{how}", {}, (200, 409) if on_trial else (200,))  # 409: it fell back by itself
                self.did[f"{how} of a trial" if on_trial else how] += 1
            finally:
                self.write(before)

    def _plague_collector(self):
        if self.collector.process:
            self.collector.die()
        else:
            self.collector.live()

    def _listen(self):
        """Events, until they end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("admin"), timeout=30 * SCALE)
        connection.request("GET", "/api/v1/events")
        answer, uptime = connection.getresponse(), 0
        end = time.monotonic() + self.random.uniform(1, 20)
        while time.monotonic() < end and not self.over.is_set():
            line = answer.readline()
            if not line:
                assert time.monotonic() < self.excused_until, "the events ended"
                return
            if line.startswith(b"data:"):
                self.did["events"] += 1
                event = json.loads(line[5:])
                assert event.get("uptime_seconds", uptime) >= uptime, f"an event of the past: {event}"
                uptime = event.get("uptime_seconds", uptime)
        connection.close()

    # -- the end -----------------------------------------------------------------------------------------------------------

    def _lines(self):
        lines = []
        for name in glob.glob(os.path.join(self.folder, "access.log*")):
            with open(name) as f:
                lines += f.read().splitlines()
        return lines

    def _judge_lines(self, lines):
        ids = collections.Counter()
        for line in lines:
            try:
                ids[json.loads(line)["request_id"]] += 1
            except ValueError:
                self.faults.append(f"a torn line: {line[:300]}")
        twice = [i for i, n in ids.items() if n > 1]
        if twice:
            self.faults.append(f"{len(twice)} lines twice: {twice[:3]}")

    def _judge(self):
        """When nothing is under way any more."""
        def balanced():
            self._scrape()
            lines, total = [json.loads(line) for line in self._lines()], self._sum
            spans = {r: self._value(f'weir_trace_spans_total{{result="{r}"}}') for r in ("exported", "dropped_queue", "dropped_collector")}
            said = {"lines": len(lines), "attempts": sum(line["attempts"] for line in lines), "requests": total("weir_requests_total"),
                    "lost": total("weir_log_lines_lost_total"), "in flight": total("weir_requests_in_flight"), **spans,
                    "received": self.collector.received()}
            self.said = said
            assert self._value("weir_trace_spans_waiting") == 0, said
            if not self.upgrades:
                assert said["lines"] + said["lost"] == said["requests"], said
                fetches = sum(spans.values()) - said["requests"] - said["attempts"]  # that went on without a client
                assert fetches >= 0 if "cache" in self.config else fetches == 0, said
            assert self.upgrades or spans["exported"] <= said["received"], said
            return True
        try:
            wait_until(balanced, 30, "requests, lines and spans in balance", every=0.5)
        finally:
            print(f"steering: {self.said}")

    def _value(self, name):
        return float(self.counters.get(name, 0))

    def _sum(self, name):
        return sum(float(value) for key, value in self.counters.items() if key.split("{")[0] == name)


def end_with(parent):
    """A soak that is killed leaves no collector behind."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), CollectorHandler).serve_forever()
