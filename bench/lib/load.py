"""One measurement under load: a proxy, a case, so many seconds."""

import os
import re

from .processes import BenchError, run

WARM_UP_SECONDS = 0.5


def measure(case, proxy, processes, seconds):
    """CPU time a request in us, requests a second, latencies in ms, peak memory in MiB, and errors (a handshake of
    the other kind is one)."""
    generate(case, proxy, processes, WARM_UP_SECONDS)
    proxy.forget_peak()
    before = proxy.cpu_ns()
    told = generate(case, proxy, processes, seconds)
    used = proxy.cpu_ns() - before
    if told["requests"] == 0:
        raise BenchError(f"{case.name}: no request through {proxy.name} was answered: {told}")
    resumed = told.get("resumed", 0)
    wrong = 0
    if case.kind == "full":
        wrong = resumed
    elif case.kind == "resumed" and resumed < 0.9 * told["requests"]:  # the first ones have nothing to resume
        wrong = told["requests"] - resumed
    return {
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
