"""One measurement under load: a proxy, a case, so many seconds."""

import os
import re

from .processes import BenchError, run

WARM_UP_SECONDS = 0.5


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
    if told["requests"] == 0:
        raise BenchError(f"{case.name}: no request through {proxy.name} was answered: {told}")
    resumed = told.get("resumed", 0)
    wrong = 0
    if case.kind == "full":
        wrong = resumed
    elif case.kind == "resumed" and resumed < 0.9 * told["requests"]:  # the first ones have nothing to resume
        wrong = told["requests"] - resumed
    return {
        "misses": passed_on if case.cached else 0,
        "cpu_us": used / told["requests"] / 1000,
        "rate": told["requests"] / (told["us"] / 1e6),
        "p50_ms": told["p50_us"] / 1000,
        "p99_ms": told["p99_us"] / 1000,
        "peak_mib": proxy.peak_rss_kib() / 1024,
        "busy": used / 1000 / told["us"],
        "errors": told["errors"] + wrong,
    }


def generate(case, proxy, processes, seconds):
    port = proxy.ports[case.listener]
    on_load_cpu = ["taskset", "-c", str(processes.load_cpu)]
    if case.kind == "h2":
        return generate_h2(case, f"http://127.0.0.1:{port}{case.path}", on_load_cpu, processes, seconds)
    if case.kind in ("full", "resumed"):
        command = [processes.tool("handshake"), str(port), str(case.connections), str(seconds), case.kind, case.path]
    else:
        # wrk takes whole seconds
        command = ["wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s",
                   "-s", os.path.join(processes.here, "load", "report.lua")]
        if case.kind == "close":
            command += ["-H", "Connection: close"]
        command.append(f"{'https' if case.listener == 'https' else 'http'}://127.0.0.1:{port}{case.path}")
    output = run(on_load_cpu + command).stdout
    told = re.search(r"^RESULT (.*)$", output, re.M)
    if not told:
        raise BenchError(f"{command[0]} told no result: {output[-800:]}")
    return {key: int(value) for key, value in (pair.split("=") for pair in told[1].split())}


def generate_h2(case, url, on_load_cpu, processes, seconds):
    """h2load, which tells no percentiles: they are taken from its log of every request (start, status, microseconds)."""
    log = os.path.join(processes.folder, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    streams = 100 if case.path == "/1k" else 4
    output = run(on_load_cpu + ["h2load", "-t1", f"-c{case.connections}", f"-m{streams}", f"-D{max(1, round(seconds))}",
                                f"--log-file={log}", url]).stdout
    told = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output, re.M)
    if not told:
        raise BenchError(f"h2load told no result: {output[-800:]}")
    with open(log) as f:
        times = sorted(int(line.split()[2]) for line in f)
    done, errors = int(told[1]), sum(int(n) for n in told.groups()[1:])
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] if times else 0  # noqa: E731
    return {"requests": done, "errors": errors, "us": max(1, round(seconds)) * 1_000_000, "p50_us": at(0.5), "p99_us": at(0.99)}
