"""A configuration reloaded again and again under a constant load: what is lost, what it costs, what those who wait feel."""

import time

from . import load

EVERY_SECONDS = 0.5


def measure(case, proxy, processes, seconds):
    """First half of the time without a reload, then all of it with one every half second: figures of the second part, those of the
    first beside them as `calm_…`."""
    seconds = max(seconds, 4 * EVERY_SECONDS)
    load.generate(case, proxy, processes, load.WARM_UP_SECONDS)
    calm = observed(case, proxy, processes, seconds / 2, False)
    result = observed(case, proxy, processes, seconds, True)
    return {**result, **{f"calm_{key}": value for key, value in calm.items()}}


def observed(case, proxy, processes, seconds, reloads):
    state = {"peak_kib": proxy.pss_kib(), "reloads": 0, "next": time.monotonic() + EVERY_SECONDS / 2}
    began = time.monotonic()

    def meanwhile():
        state["peak_kib"] = max(state["peak_kib"], proxy.pss_kib())
        now = time.monotonic()
        # The last one is early enough to be over before the load is.
        if reloads and now >= state["next"] and now - began < seconds - EVERY_SECONDS / 4:
            proxy.reload()
            state["reloads"] += 1
            state["next"] += EVERY_SECONDS

    before = proxy.cpu_ns_with_ended()
    told = load.generate(case, proxy, processes, seconds, meanwhile)
    result = load.judged(case, told, proxy.cpu_ns_with_ended() - before, proxy)
    return {**result, "peak_mib": state["peak_kib"] / 1024, "reloads": state["reloads"]}
