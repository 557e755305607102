"""Results as Markdown."""

import statistics

PEERS = ("nginx", "haproxy", "varnish")


def cell(values, digits):
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def ratios(results, key):
    """Each proxy's median over that of the best peer, as text; who passed on what was to be a hit has none and is no measure."""
    medians = {name: statistics.median(r[key] for r in rounds) for name, rounds in results.items() if not any(r.get("misses") for r in rounds)}
    best = min((medians[p] for p in PEERS if p in medians), default=None)
    return {name: f"{medians[name] / best:.2f}" if best and name in medians else "–" for name in results}


def load_table(case, results):
    lines = [f"### {case.name}: {case.title}", "",
             "| | CPU us/request | to the best peer | requests/s | p50 ms | p99 ms | CPU busy | peak MiB | errors |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    ratio = ratios(results, "cpu_us")
    for name, rounds in results.items():
        def of(key):
            return [r[key] for r in rounds]
        lines.append(f"| {name} | {cell(of('cpu_us'), 2)} | {ratio[name]} | {cell(of('rate'), 0)} | {cell(of('p50_ms'), 2)} "
                     f"| {cell(of('p99_ms'), 2)} | {statistics.median(of('busy')):.0%} | {max(of('peak_mib')):.1f} "
                     f"| {sum(of('errors'))} |")
        if any(of("misses")):
            lines[-1] = f"| {name} | not a cache hit: the server behind saw {sum(of('misses')):,} requests | | | | | | | |"
    return "\n".join(lines) + "\n"


def idle_table(case, results):
    lines = [f"### {case.name}: {case.title}, {case.connections:,} open", "",
             "| | KiB/connection | to the best peer | MiB before |", "| --- | ---: | ---: | ---: |"]
    ratio = ratios(results, "kib")
    for name, rounds in results.items():
        lines.append(f"| {name} | {cell([r['kib'] for r in rounds], 2)} | {ratio[name]} "
                     f"| {statistics.median(r['base_mib'] for r in rounds):.1f} |")
    return "\n".join(lines) + "\n"
