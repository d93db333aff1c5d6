#!/usr/bin/env python3
"""table.py OUT: the targets that benches/peers/run measured, as a Markdown table.

Each figure is a ratio of medians of the same sweep; what a mail's work includes counts until the last one is decided."""
import json
import statistics
import sys
from pathlib import Path

out = Path(sys.argv[1])


def rows(file):
    path = out / f"{file}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def median(file, label, size, sessions, key):
    """None if it was not measured."""
    found = [r[key] for r in rows(file) if r["label"].split()[0] == label and (r["size"], r["sessions"]) == (size, sessions)]
    return statistics.median(found) if found else None


def ratio(above, below):
    return above / below if above is not None and below else None


def rate(file, label, size, sessions):
    return median(file, label, size, sessions, "through_per_s")


def against(file, size, sessions, peer, key="through_per_s", label="ours"):
    return ratio(median(file, label, size, sessions, key), median(file, peer, size, sessions, key))


targets = []


def target(number, what, figure, relation, must, aim):
    targets.append((number, what, figure, relation, must, aim))


hold, exim = "postfix-hold", "exim-queue"
target(1, "durable mails/s, 10 KB, 10 sessions, x postfix-hold", against("main", 10000, 10, hold), ">=", 2.5, 4)
target(2, "the same at 50 sessions, x the fastest durable peer", ratio(rate("main", "ours", 10000, 50), max(filter(None, (rate("main", p, 10000, 50) for p in (hold, exim))), default=None)), ">=", 1.25, 2)
target(3, "at 1 session, x postfix-hold", against("main", 10000, 1, hold), ">=", 2, 4)
target(4, "1 KB, 10 sessions, x postfix-hold", against("main", 1000, 10, hold), ">=", 3, 6)
target(4, "100 KB, 10 sessions, x postfix-hold", against("main", 100000, 10, hold), ">=", 1.2, 1.7)
target(5, "one mail a connection, 10 sessions, x postfix-hold", against("one", 10000, 10, hold), ">=", 2, 3)
target(6, "share of the ceiling, 10 KB, 10 sessions", against("main", 10000, 10, "ceiling"), ">=", 0.4, 0.65)
target(7, "CPU a mail, 10 KB, of postfix-hold's", against("main", 10000, 10, hold, "cpu_s_per_1000"), "<=", 1 / 3, 1 / 5)
target(7, "CPU a mail, 100 KB, of postfix-hold's", against("main", 100000, 10, hold, "cpu_s_per_1000"), "<=", 2 / 3, 1 / 2)
target(8, "replies/s, x RT by rt-mailgate", ratio(rate("main", "ours", 10000, 10), rate("tracker", "rt-mailgate-reply", 10000, 4)), ">=", 400, 700)
target(8, "CPU a mail, of RT's", ratio(median("main", "ours", 10000, 10, "cpu_s_per_1000"), median("tracker", "rt-mailgate-reply", 10000, 4, "cpu_s_per_1000")), "<=", 1 / 500, 1 / 800)
target(9, "x the plain Python script that does our job", against("python", 10000, 10, "aiosmtpd-sqlite"), ">=", 15, 25)
for sessions, must, aim in ((1, 1.1, 1.05), (10, 0.35, 0.25), (50, 0.1, 0.05)):
    target(10, f"flushes a mail at {sessions} sessions", median("main", "ours", 10000, sessions, "flushes_per_msg"), "<=", must, aim)
target(11, "+2 ms a sync, 50 sessions, x the fastest durable peer", ratio(rate("slow2", "ours", 10000, 50), max(filter(None, (rate("slow2", p, 10000, 50) for p in (hold, exim))), default=None)), ">=", 1.4, 2)
target(12, "+8 ms a sync, 10 sessions, x postfix-hold", against("slow8", 10000, 10, hold), ">=", 0.9, 1)
target(14, "p50 at 100/s, of postfix-hold's", against("rate100", 10000, 10, hold, "p50_ms"), "<=", 1, 1)
target(14, "p99 at 100/s, of postfix-hold's", against("rate100", 10000, 10, hold, "p99_ms"), "<=", 1 / 3, 1 / 3)
target(14, "p99 at 100/s, ms", median("rate100", "ours", 10000, 10, "p99_ms"), "<=", float("inf"), 5)
target(15, "p99 at 500/s on 50 sessions, of exim-queue's", against("rate500", 10000, 50, exim, "p99_ms"), "<=", 2, 1)
target(15, "p99 saturated, 50 sessions, of postfix-hold's", against("main", 10000, 50, hold, "p99_ms"), "<=", 1 / 3, 1 / 6)
target(16, "PSS at 50 sessions over a million comments, of postfix-hold's", ratio(median("store-1000000", "ours", 10000, 50, "peak_pss_mb"), median("main", hold, 10000, 50, "peak_pss_mb")), "<=", 1, 1 / 2)
target(18, "rate with a million comments over rate with 10,000", ratio(rate("store-1000000", "ours", 10000, 10), rate("store-10000", "ours", 10000, 10)), ">=", 0.75, 0.9)
target(19, "p99 with a million comments over p99 with 10,000", ratio(median("store-1000000", "ours", 10000, 10, "p99_ms"), median("store-10000", "ours", 10000, 10, "p99_ms")), "<=", 3, 1.5)
target(20, "intake while two notifications a mail are sent, over intake alone", ratio(rate("agents", "ours-agents", 10000, 10), rate("main", "ours", 10000, 10)), ">=", 0.6, 0.8)

print("| # | figure | measured | must | aim | |")
print("|---|---|---|---|---|---|")
for number, what, figure, relation, must, aim in targets:
    if figure is None:
        print(f"| {number} | {what} | not measured | | | |")
        continue
    good = (lambda bound: figure >= bound) if relation == ">=" else (lambda bound: figure <= bound)
    verdict = "aim" if good(aim) and good(must) else "must" if good(must) else "missed"
    digits = 5 if figure < 0.01 else 3 if figure < 10 else 1
    print(f"| {number} | {what} | {figure:.{digits}f} | {relation} {must:.3g} | {relation} {aim:.3g} | {verdict} |")

print("\n| load | server | size | sessions | through/s | accepted/s | p50 ms | p99 ms | CPU s/1000 | flushes/mail | PSS MB |")
print("|---|---|---|---|---|---|---|---|---|---|---|")
for path in sorted(out.glob("*.jsonl")):
    for label, size, sessions in sorted({(r["label"], r["size"], r["sessions"]) for r in rows(path.stem)}, key=lambda k: (k[1], k[2], k[0])):
        def m(key):
            return statistics.median(r[key] for r in rows(path.stem) if (r["label"], r["size"], r["sessions"]) == (label, size, sessions))
        print(f"| {path.stem} | {label} | {size} | {sessions} | {m('through_per_s'):.0f} | {m('msgs_per_s'):.0f} | {m('p50_ms'):.1f} | {m('p99_ms'):.1f} | {m('cpu_s_per_1000'):.2f} | {m('flushes_per_msg'):.3f} | {m('peak_pss_mb'):.0f} |")
