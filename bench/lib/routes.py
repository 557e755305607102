"""Few routes and many: what a request, the start and the memory come to."""

from . import load


def measure(case, proxy, processes, seconds):
    """The proxy has just been started: how long that took, and what it keeps then."""
    started = {"start_ms": proxy.start_ms, "pss_mib": proxy.pss_kib() / 1024}
    return {**load.measure(case, proxy, processes, seconds), **started, "routes": proxy.routes}
