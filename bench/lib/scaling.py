"""The same work by one worker and by two. With four CPUs and more the workers have two of their own. With fewer they share theirs with
the load, in both rows alike: then requests a second say nothing, and CPU time a request says what the second worker costs the first
(locks, shared cache lines, connections that each has of its own)."""

from . import load


def measure(case, proxy, processes, seconds):
    with processes.backend_spread(case):
        others = processes.backend_connections()
        result = load.measure(case, proxy, processes, seconds)
        opened = processes.backend_connections() - others
    return {**result, "pss_mib": proxy.pss_kib() / 1024, "upstream_connections": opened}
