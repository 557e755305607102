"""The public tests for HTTP caches (npm http-cache-tests, pinned in tests/cache_suite), with their own server and client, weir with
`cache: true` between them. What fails is listed with its reason in tests/cache_suite/expected.json: nothing else may, and what passes
must not stand there."""

import json
import os
import shutil
import signal
import subprocess

import pytest

from harness import SCALE, free_port, release_ports, wait_until
from harness.ports import listening_ports
from harness.weir import ROOT

HERE = os.path.join(ROOT, "tests", "cache_suite")
FOLDER = os.environ.get("WEIR_CACHE_SUITE") or os.path.join(ROOT, "build", "cache_suite")
SUITE = os.path.join(FOLDER, "node_modules", "http-cache-tests")
LEAST = {"required": 93, "optimal": 82}  # percent of each kind that must pass
AGAIN = 2  # on a busy machine a test may miss its moment: what fails beside the others is tried this often without them

needs_node = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")),
                                reason="node and npm are not installed (./dev protocol installs them)")


def expectations():
    with open(os.path.join(HERE, "expected.json"), encoding="utf-8") as f:
        return json.load(f)


def run(*command, seconds, environment=None):
    done = subprocess.run(command, cwd=SUITE, env={**os.environ, **(environment or {})}, timeout=seconds * SCALE,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Origin:
    """The suite's own server."""

    def __init__(self, folder):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["node", "server/server.mjs"], cwd=SUITE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            env={**os.environ, "npm_config_protocol": "http", "npm_config_port": str(self.port),
                 "npm_config_pidfile": os.path.join(folder, "server.pid")})
        wait_until(lambda: self.port in listening_ports(), 20, "the suite's server")

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        release_ports([self.port])


class Outcome:
    """The suite's results, judged as its own display does: a test also fails when one that it depends on has failed."""

    def __init__(self, tests, results):
        self.tests, self.results = tests, results

    def why(self, name):
        """None for a test that passed, or why it did not."""
        for needed in self.tests[name]["depends_on"]:
            if self.why(needed):
                return f"depends on {needed}: {self.why(needed)}"
        result = self.results.get(name)
        if result is True:
            return None
        return ": ".join(map(str, result)) if result else "did not run"

    def failures(self):
        return {n: self.why(n) for n, t in self.tests.items() if t["kind"] in LEAST and self.why(n)}

    def own_failures(self):
        return [n for n, t in self.tests.items() if self.results.get(n) is not True]

    def score(self, kind):
        wanted = [n for n, t in self.tests.items() if t["kind"] == kind]
        return sum(1 for n in wanted if not self.why(n)), len(wanted)


@pytest.fixture
def outcome(site, tmp_path):
    installed = subprocess.run([os.path.join(HERE, "install"), FOLDER], capture_output=True, text=True)
    assert installed.returncode == 0, f"the suite cannot be installed: {installed.stderr}"
    runner = os.path.join(HERE, "run.mjs")
    tests = run("node", runner, SUITE, seconds=20)
    origin = Origin(str(tmp_path))
    try:
        weir = site([{"upstream": "origin", "cache": True}], {"origin": f"127.0.0.1:{origin.port}"})
        base = f"http://127.0.0.1:{weir.port()}"
        results = run("node", "--no-warnings", "cli.mjs", seconds=100,
                      environment={"npm_config_base": base, "npm_config_id": "", "npm_package_config_id": ""})
        outcome = Outcome(tests, results)
        known = expectations()["failures"]
        needed = {n for t in tests.values() for n in t["depends_on"]}
        for _ in range(AGAIN):
            doubtful = [n for n in outcome.own_failures() if n not in known and (tests[n]["kind"] in LEAST or n in needed)]
            if not doubtful or len(doubtful) > 40:
                break
            results.update(run("node", "--no-warnings", runner, SUITE, base, *doubtful, seconds=60))
    finally:
        origin.close()
    tell(outcome)
    return outcome


def tell(outcome):
    """What was found, beside the suite and on standard output (pytest -s)."""
    said = [f"{kind}: {passed} of {total} ({100 * passed / total:.1f} %)" for kind in LEAST for passed, total in [outcome.score(kind)]]
    said += [f"{outcome.tests[n]['kind']} {n}: {why}" for n, why in outcome.failures().items()]
    said += [f"check {n}: {'yes' if not outcome.why(n) else 'no: ' + outcome.why(n)}"
             for n, t in outcome.tests.items() if t["kind"] == "check"]
    with open(os.path.join(FOLDER, f"score.{os.getpid()}"), "w", encoding="utf-8") as f:
        f.write("\n".join(said) + "\n")
    os.replace(f.name, os.path.join(FOLDER, "score.txt"))
    print("\n".join(said))


@needs_node
@pytest.mark.slow
def test_the_suite_passes_but_for_the_known_failures(outcome):
    expected = expectations()
    known, found, faults = expected["failures"], outcome.failures(), []
    for kind, least in LEAST.items():
        passed, total = outcome.score(kind)
        if total != expected["tests"][kind]:
            faults.append(f"{total} tests of kind {kind}, not {expected['tests'][kind]}")
        if 100 * passed < least * total:
            faults.append(f"{passed} of {total} of kind {kind} passed; at least {least} % must")
    for name, why in found.items():
        if name not in known:
            faults.append(f"{name} ({outcome.tests[name]['kind']}) fails: {why}")
    for name, failure in known.items():
        if name not in outcome.tests or outcome.tests[name]["kind"] != failure["kind"]:
            faults.append(f"{name} is no test of kind {failure['kind']}")
        elif name not in found:
            faults.append(f"{name} passes: take it off tests/cache_suite/expected.json, then run tools/make-conformance")
    assert not faults, "\n".join(faults)


def test_the_documentation_tells_the_score_and_each_failures_reason():
    assert all(f["reason"] for f in expectations()["failures"].values())
    done = subprocess.run([os.path.join(ROOT, "tools", "make-conformance"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
