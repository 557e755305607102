"""Results as Markdown: median (min–max) of the rounds."""

import statistics

PEERS = ("nginx", "haproxy", "varnish")
ORDER = ("weir", *PEERS, "floor")


def cell(values, digits):
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def spread(key, digits):
    return lambda rounds: cell([r[key] for r in rounds], digits) if all(key in r for r in rounds) else "–"


def middle(key, form):
    return lambda rounds: format(statistics.median(r[key] for r in rounds), form)


def total(key):
    return lambda rounds: f"{sum(r[key] for r in rounds):,}"


def highest(key, digits):
    return lambda rounds: f"{max(r[key] for r in rounds):,.{digits}f}"


CPU = ("CPU us/request", spread("cpu_us", 2))
RATE = ("requests/s", spread("rate", 0))
P50, P99 = ("p50 ms", spread("p50_ms", 2)), ("p99 ms", spread("p99_ms", 2))
P999, MOST = ("p99.9 ms", spread("p999_ms", 2)), ("max ms", spread("max_ms", 2))
PEAK, ERRORS = ("peak MiB", highest("peak_mib", 1)), ("errors", total("errors"))

# The columns of a kind of case; the first is what the ratios are of. They stand behind it.
COLUMNS = {
    "load": [CPU, RATE, P50, P99, ("CPU busy", middle("busy", ".0%")), PEAK, ERRORS],
    "open": [CPU, RATE, P50, P99, P999, MOST, PEAK, ERRORS],
    "idle": [("KiB/connection", spread("kib", 2)), ("MiB before", middle("base_mib", ".1f"))],
    "reload": [CPU, ("without reloads", spread("calm_cpu_us", 2)), P50, P99, ("p99 ms without", spread("calm_p99_ms", 2)), P999, MOST, PEAK,
               ("reloads", total("reloads")), ("requests lost", total("lost")), ERRORS],
    "scaling": [CPU, RATE, P50, P99, ("PSS MiB", middle("pss_mib", ".1f")), ("connections to the server", middle("upstream_connections", ".0f")),
                ERRORS],
    "routes": [CPU, RATE, P99, ("start ms", spread("start_ms", 0)), ("PSS MiB", middle("pss_mib", ".1f")), ERRORS],
}
MAIN = {"idle": "kib"}


def program(label):
    return label.split(",")[0]


def variant(label):
    return label.partition(", ")[2]


def to_best_peer(results, key):
    """Each row's median over that of the best peer of its variant; who passed on what was to be a hit has none and is no measure."""
    medians = {label: statistics.median(r[key] for r in rounds) for label, rounds in results.items() if not any(r.get("misses") for r in rounds)}
    ratios = {}
    for label in results:
        best = min((m for other, m in medians.items() if program(other) in PEERS and variant(other) == variant(label)), default=None)
        ratios[label] = f"{medians[label] / best:.2f}" if best and label in medians else "–"
    return ratios


def to_first_variant(results, key, turned=False):
    """Each row's median over that of the same program's first row. `turned`: how many times the work of the first row's one worker
    can be done by those of this row, as far as CPU time says."""
    medians = {label: statistics.median(r[key] for r in rounds) for label, rounds in results.items()}
    first = {}
    for label, value in medians.items():
        first.setdefault(program(label), value)
    return {label: f"{int(variant(label).split()[0]) * first[program(label)] / value if turned else value / first[program(label)]:.2f}"
            for label, value in medians.items()}


def table(case, results):
    columns, key = COLUMNS.get(case.kind, COLUMNS["load"]), MAIN.get(case.kind, "cpu_us")
    results = dict(sorted(results.items(), key=lambda item: (ORDER.index(program(item[0])), len(item[0]), item[0])))
    ratios = [("to the best peer", to_best_peer(results, key))]
    if case.kind == "scaling":
        ratios.append(("times one worker's work", to_first_variant(results, key, turned=True)))
    elif any(variant(label) for label in results):
        ratios.append(("to its first row", to_first_variant(results, key)))
    titles = [columns[0][0], *(title for title, _ in ratios), *(title for title, _ in columns[1:])]
    at = f" ({case.rate:,.0f} requests/s)" if case.rate else ""
    lines = [f"### {case.name}: {case.title}{at}", "", f"| | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(titles)}"]
    for label, rounds in results.items():
        cells = [columns[0][1](rounds), *(ratio[label] for _, ratio in ratios), *(text(rounds) for _, text in columns[1:])]
        if any(r.get("misses") for r in rounds):
            cells = [f"not a cache hit: the server behind saw {sum(r['misses'] for r in rounds):,} requests"] + [""] * (len(titles) - 1)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
