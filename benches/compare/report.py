"""Turns what was measured into the tables of RESULTS.md: medians, per-round ratios to the better of HAProxy and nginx, and
whether each target holds. It measures nothing.
"""

from statistics import median, quantiles

ANCHORS = ("haproxy", "nginx")
OURS = "gateway"
# A latency added over the direct way below this many µs cannot be told from none.
LEAST_ADDED = 1.0


def quartiles(values):
    """First quartile, median, third quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def series(results, name, metric):
    """One number a round, `None` where the round failed."""
    return [entry.get(metric) if entry else None for entry in results.get(name, [])]


def known(values):
    return [value for value in values if value is not None]


def ratios(ours, theirs):
    """Per round."""
    return [a / b for a, b in zip(ours, theirs) if a is not None and b]


def best(results, metric, highest):
    """The better of HAProxy and nginx by its median, or `None`."""
    medians = {n: median(known(series(results, n, metric))) for n in ANCHORS if known(series(results, n, metric))}
    return (max if highest else min)(medians, key=medians.get) if medians else None


def as_good(ours, theirs):
    """Whether each median lies within the quartiles of the other: then the difference counts as none."""
    (low_a, a, high_a), (low_b, b, high_b) = quartiles(known(ours)), quartiles(known(theirs))
    return low_a <= b <= high_a and low_b <= a <= high_b


def judge(results, metric, highest, target, tolerant=False):
    """One cell: `1.13 [1.11–1.15] vs haproxy: met`. And the median ratio."""
    anchor = best(results, metric, highest)
    ours = series(results, OURS, metric)
    if anchor is None or not known(ours):
        return "–", None
    theirs = series(results, anchor, metric)
    per_round = ratios(ours, theirs)
    if not per_round:
        return "–", None
    low, middle, high = quartiles(per_round)
    text = f"{middle:.2f} [{low:.2f}–{high:.2f}] vs {anchor}"
    if target is None:
        return text, middle
    met = round(middle, 2) >= target if highest else round(middle, 2) <= target
    if not met and tolerant and as_good(ours, theirs):
        return f"{text}; equal", middle
    return f"{text}; {'met' if met else f'**missed** ({target:.2f})'}", middle


def absolute(rows, measured):
    """What each contender did, in its own units."""
    lines = ["| work | contender | requests/s | CPU µs per request | p50 µs | p99 µs | RSS MiB | busy |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        for name, entries in measured.get(row.key, {}).items():
            done = [entry for entry in entries if entry]
            if not done or row.kind in ("idle", "flip-cost"):
                continue
            middle = lambda metric: median(entry.get(metric, 0) for entry in done)
            busy = f"{middle('busy'):.0%}" if middle("busy") else ""
            rate = middle("rps") or middle("rate")
            cells = [f"{rate:,.0f}", f"{middle('cpu'):.1f}", f"{middle('p50'):,.0f}", f"{middle('p99'):,.0f}"]
            cells.append(f"{middle('rss') / 2**20:.0f}" if middle("rss") else "")
            lines.append(f"| {row.title} | {name} | " + " | ".join(cells) + f" | {busy} |")
    return lines


def ratio_table(rows, measured):
    """The gateway against the better of HAProxy and nginx, and against Envoy."""
    lines = ["| work | requests/s | CPU per request | p99 | requests/s vs Envoy |", "|---|---|---|---|---|"]
    plain = {}
    for row in rows:
        results = measured.get(row.key, {})
        if row.kind != "load" or OURS not in results:
            continue
        targets = row.targets
        if row.logged and plain:
            targets = (plain["rps"] - 0.05, plain["cpu"] + 0.05, None)
        rps, rps_ratio = judge(results, "rps", True, targets[0])
        cpu, cpu_ratio = judge(results, "cpu", False, targets[1])
        p99, _ = judge(results, "p99", False, targets[2], tolerant=True)
        if row.key == "get" and rps_ratio and cpu_ratio:
            plain = {"rps": rps_ratio, "cpu": cpu_ratio}
        envoy = known(ratios(series(results, OURS, "rps"), series(results, "envoy", "rps")))
        over = f"{median(envoy):.2f}; {'met' if median(envoy) >= 2 else '**missed** (2.00)'}" if envoy else "–"
        lines.append(f"| {row.title} | {rps} | {cpu} | {p99} | {over} |")
    return lines if len(lines) > 2 else []


def builds_table(rows, measured):
    """The gateway against other builds of it, and these against each other: what one run can tell apart."""
    lines = ["| work | builds | requests/s | CPU per request |", "|---|---|---|---|"]
    for row in rows:
        results = measured.get(row.key, {})
        builds = [name for name in results if name.startswith(f"{OURS}-")]
        if row.kind != "load" or OURS not in results:
            continue
        for one, other in [(OURS, name) for name in builds] + list(zip(builds[1:], builds)):
            cells = []
            for metric in ("rps", "cpu"):
                per_round = ratios(series(results, one, metric), series(results, other, metric))
                if not per_round:
                    break  # one of them cannot do this work, such as keep the connection
                low, middle, high = quartiles(per_round)
                cells.append(f"{middle:.3f} [{low:.3f}–{high:.3f}]")
            if len(cells) == 2:
                lines.append(f"| {row.title} | {one} / {other} | " + " | ".join(cells) + " |")
    return lines if len(lines) > 2 else []


def added(results):
    """Latency of each contender less that of the direct way, per round, in µs."""
    direct = results.get("direct", [])
    table = {}
    for name, entries in results.items():
        if name != "direct":
            pairs = [(entry, base) for entry, base in zip(entries, direct) if entry and base]
            table[name] = [
                {m: max(entry[m] - base[m], LEAST_ADDED) for m in ("p50", "p99")} for entry, base in pairs
            ]
    return table


def other_lines(measured):
    """Fixed rate, idle memory, floor and flipping: a line each."""
    lines = []
    table = added(measured.get("fixed", {}))
    for metric in ("p50", "p99"):
        if any(table.values()):
            shown = ", ".join(f"{n} {median(known(series(table, n, metric))):.0f} µs" for n in table if table[n])
            text, _ = judge(table, metric, False, 1.0, tolerant=True)
            lines.append(f"- Fixed rate, added {metric} over direct: {shown}; ratio {text}")
    for key, held, target in (("idle", "10,000 idle keep-alive connections", 2.0), ("idle-tls", "2,000 idle TLS connections", 1.0)):
        idle = measured.get(key, {})
        if not any(known(entries) for entries in idle.values()):
            continue
        shown = ", ".join(
            f"{n} {median(known(series(idle, n, 'per_connection'))):,.0f}" for n in idle if known(series(idle, n, "per_connection"))
        )
        text, _ = judge(idle, "per_connection", False, target)
        lines.append(f"- {held}, resident bytes for each: {shown}; ratio {text}")
    get = measured.get("get", {})
    floor = ratios(series(get, OURS, "cpu"), series(get, "floor", "cpu"))
    if floor:
        low, middle, high = quartiles(floor)
        verdict = "met" if round(middle, 2) <= 1.20 else "**missed** (1.20)"
        lines.append(f"- CPU per forwarded request over the floor (HAProxy `mode tcp`): {middle:.2f} [{low:.2f}–{high:.2f}]; {verdict}")
    flip = measured.get("flip", {})
    lost = ratios(series(flip, "flipping", "rps"), series(flip, "steady", "rps"))
    if lost:
        low, middle, high = quartiles(lost)
        verdict = "met" if middle >= 0.97 else "**missed** (0.97)"
        shown = f"{middle:.3f} [{low:.3f}–{high:.3f}]"
        lines.append(f"- Flipping ten times a second, throughput of operations open in both modes: {shown}; {verdict}")
    return lines + own_lines(measured)


def own_lines(measured):
    """What is compared with the gateway itself only: open pages, flips by routes, one worker and two."""
    lines = []
    pages = measured.get("pages", {})
    for metric, name, target in (("rps", "requests/s", 0.99), ("p99", "p99", None)):
        beside = ratios(series(pages, "50 pages", metric), series(pages, "no page", metric))
        if beside:
            low, middle, high = quartiles(beside)
            verdict = "" if target is None else "; met" if round(middle, 2) >= target else f"; **missed** ({target})"
            lines.append(f"- 50 open web pages, {name} beside them over without: {middle:.3f} [{low:.3f}–{high:.3f}]{verdict}")
    cost = measured.get("flip-cost", {})
    flips = ratios(series(cost, "1000 routes", "millis"), series(cost, "shipped routes", "millis"))
    if flips:
        shown = ", ".join(f"{name} {median(known(series(cost, name, 'millis'))):.1f} ms" for name in cost)
        lines.append(f"- A flip without load takes: {shown}; ratio {median(flips):.2f}")
    workers = measured.get("workers", {})
    cpu = ratios(series(workers, "2 workers", "cpu"), series(workers, "1 workers", "cpu"))
    if cpu:
        rps = median(ratios(series(workers, "2 workers", "rps"), series(workers, "1 workers", "rps")))
        shown = f"{median(cpu):.2f} of the CPU per request, {rps:.2f} of the requests/s"
        lines.append(f"- Two workers over one: {shown} (the README says what few processors do to it)")
    return lines


def render(rows, measured, facts, notes):
    """RESULTS.md."""
    lines = ["# Side-by-side comparison: results", "", "Written by `benches/compare/run`; `benches/README.md` says how to read it.", ""]
    lines += [f"- {name}: {value}" for name, value in facts]
    ratio = ratio_table(rows, measured)
    if ratio:
        lines += ["", "## The gateway against the better of HAProxy and nginx", ""]
        lines += ["Medians of per-round ratios [quartiles]; the better one is chosen for each cell by its median.", "", *ratio]
    builds = builds_table(rows, measured)
    if builds:
        lines += ["", "## Builds of the gateway", "", "Medians of per-round ratios [quartiles].", "", *builds]
    others = other_lines(measured)
    if others:
        lines += ["", "## Latency at a fixed rate, memory, floor, flips", "", *others]
    lines += ["", "## Medians of the rounds", "", *absolute(rows, measured)]
    if notes:
        lines += ["", "## What went wrong or was left out", "", *[f"- {note}" for note in notes]]
    return "\n".join(lines) + "\n"
