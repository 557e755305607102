"""One measurement under load: a proxy, a case, so many seconds."""

import os
import re
import subprocess
import time

from .processes import BenchError

WARM_UP_SECONDS = 0.5
POST_BYTES = 64 * 1024


def measure(case, proxy, processes, seconds):
    """CPU time a request in us, requests a second, latencies in ms, peak memory in MiB, and errors (a handshake of
    the other kind is one). `misses`: requests of a case of the cache that the server behind saw."""
    generate(case, proxy, processes, WARM_UP_SECONDS)
    proxy.forget_peak()
    passed_on = processes.backend_requests()
    before = proxy.cpu_ns()
    told = generate(case, proxy, processes, seconds)
    used = proxy.cpu_ns() - before
    passed_on = processes.backend_requests() - passed_on
    result = judged(case, told, used, proxy)
    result["misses"] = passed_on if case.cached else 0
    return result


def judged(case, told, used_ns, proxy):
    if told["requests"] == 0:
        raise BenchError(f"{case.name}: no request through {proxy.label} was answered: {told}")
    resumed = told.get("resumed", 0)
    wrong = 0
    if case.kind == "full":
        wrong = resumed
    elif case.kind == "resumed" and resumed < 0.9 * told["requests"]:  # the first ones have nothing to resume
        wrong = told["requests"] - resumed
    result = {
        "cpu_us": used_ns / told["requests"] / 1000,
        "rate": told["requests"] / (told["us"] / 1e6),
        "busy": used_ns / 1000 / told["us"],
        "peak_mib": proxy.peak_rss_kib() / 1024,
        "errors": told["errors"] + wrong,
        "lost": told.get("lost", 0),
    }
    return {**result, **{key.replace("_us", "_ms"): told[key] / 1000 for key in ("p50_us", "p99_us", "p999_us", "max_us") if key in told}}


def generate(case, proxy, processes, seconds, meanwhile=None):
    """Runs the load and gives what it told. `meanwhile` is called again and again until it ends."""
    log = os.path.join(processes.folder, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    command = ["taskset", "-c", processes.load_cpus(case), *command_of(case, proxy, processes, seconds, log)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while meanwhile and process.poll() is None:
            meanwhile()
            time.sleep(0.02)
        output, complaint = process.communicate()
    if process.returncode != 0:
        raise BenchError(f"{command[3]}: {complaint.strip()[-800:]}")
    return told_by_h2load(output, log, seconds) if case.kind == "h2" else told_by_line(output, command[3])


def command_of(case, proxy, processes, seconds, log):
    port = proxy.ports[case.listener]
    whole_seconds = max(1, round(seconds))  # wrk and h2load take no others
    url = f"{'https' if case.listener == 'https' else 'http'}://127.0.0.1:{port}{case.path}"
    if case.kind == "h2":
        streams = 100 if case.path == "/1k" else 4
        return ["h2load", "-t1", f"-c{case.connections}", f"-m{streams}", f"-D{whole_seconds}", f"--log-file={log}", url]
    if case.kind in ("full", "resumed"):
        return [processes.tool("handshake"), str(port), str(case.connections), str(seconds), case.kind, case.path]
    if case.rate:
        kind = "close" if case.name.endswith("-close") else "keepalive"
        return [processes.tool("open_loop"), str(port), str(case.connections), str(seconds), str(case.rate), kind, case.path]
    command = ["wrk", f"-t{processes.load_threads(case)}", f"-c{case.connections}", f"-d{whole_seconds}s", "--timeout", "10s",
               "-s", os.path.join(processes.here, "load", "report.lua")]
    if case.kind == "close":
        command += ["-H", "Connection: close"]
    command.append(url)
    if case.kind == "post":
        command += ["--", "post", str(POST_BYTES)]
    elif case.kind == "routes":
        command += ["--", "routes", str(proxy.routes), str(proxy.prefixes)]
    return command


def told_by_line(output, program):
    told = re.search(r"^RESULT (.*)$", output, re.M)
    if not told:
        raise BenchError(f"{program} told no result: {output[-800:]}")
    return {key: int(value) for key, value in (pair.split("=") for pair in told[1].split())}


def told_by_h2load(output, log, seconds):
    """h2load tells no percentiles: they are taken from its log of every request (start, status, microseconds)."""
    told = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output, re.M)
    if not told:
        raise BenchError(f"h2load told no result: {output[-800:]}")
    with open(log) as f:
        times = sorted(int(line.split()[2]) for line in f)
    done, errors = int(told[1]), sum(int(n) for n in told.groups()[1:])
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] if times else 0  # noqa: E731
    return {"requests": done, "errors": errors, "us": max(1, round(seconds)) * 1_000_000, "p50_us": at(0.5), "p99_us": at(0.99)}


def half_of_slowest(closed_loop, proxies, processes, seconds=1):
    """The rate of an open loop: half of what the slowest of the proxies did at its best of two tries, the floor left out."""
    best = [max(told["requests"] / told["us"] * 1e6 for told in (generate(closed_loop, p, processes, seconds) for _ in range(2)))
            for p in proxies if p.name != "floor"]
    return round(min(best) / 2, -2)
