"""Slow independent twins of the kernels in jit/trees.py, jit/native.py and jit/labels*.py."""

import itertools
import json

import numpy as np


def margin(booster, rows):
    """Margins from xgboost's own JSON dump of the trees: walk node by node, add in float32 in tree order."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    base = np.float32(json.loads(learner["learner_model_param"]["base_score"])[0])
    out = np.empty(len(rows), np.float32)
    for r, row in enumerate(rows):
        total = base
        for tree in learner["gradient_booster"]["model"]["trees"]:
            node = 0
            while tree["left_children"][node] != -1:
                value = row[tree["split_indices"][node]]
                if np.isnan(value):
                    left = tree["default_left"][node] == 1
                else:
                    left = value < np.float32(tree["split_conditions"][node])
                node = tree["left_children"][node] if left else tree["right_children"][node]
            total = np.float32(total + np.float32(tree["split_conditions"][node]))
        out[r] = total
    return out


def forward_return(rows, quotes, horizons_ns, gap_ns):
    """Label by definition: rows (ts, symbol, mid), quotes (ts, symbol, mid), each in time order -> list of lists, bp."""
    times = [t for t, _, _ in quotes]
    out = []
    for ts, symbol, mid in rows:
        labels = []
        for h in horizons_ns:
            due = ts + h
            between = [t for t in times if t > ts]
            before = [t for t in times if t <= ts]
            covered = ([before[-1]] if before else []) + between
            unbroken, ends = True, bool(covered) and covered[-1] >= due
            for a, b in itertools.pairwise(covered):
                if a < due and b - a > gap_ns:
                    unbroken = False
            known = [m for t, s, m in quotes if s == symbol and t <= due]
            good = unbroken and ends and known and not np.isnan(mid) and not np.isnan(known[-1])
            labels.append(1e4 * (known[-1] / mid - 1.0) if good else np.nan)
        out.append(labels)
    return out


def deviation(rows, y, horizons_ns, tau_ns, every_ns, least):
    """Root mean square of known outcomes by definition: rows (ts, symbol), outcomes (rows x horizons) -> list of lists, bp."""
    out = [[np.nan] * len(horizons_ns) for _ in rows]
    for h, horizon in enumerate(horizons_ns):
        entered = {}
        for (ts, symbol), outcomes in zip(rows, y):
            mine = entered.setdefault(symbol, [])
            if not np.isnan(outcomes[h]) and (not mine or ts - mine[-1][0] >= every_ns):
                mine.append((ts, float(outcomes[h])))
        for i, (ts, symbol) in enumerate(rows):
            known = [(t + horizon, v) for t, v in entered.get(symbol, []) if t + horizon < ts]
            weights = [np.exp(-(ts - due) / tau_ns) for due, _ in known]
            if sum(weights) >= least:
                out[i][h] = float(np.sqrt(np.average([v * v for _, v in known], weights=weights)))
    return out


def triple_barrier(rows, quotes, horizons_ns, gap_ns, up, down):
    """By definition, from the forward return of the whole horizon: -> lists of lists of return in bp, barrier, time."""
    whole = forward_return(rows, quotes, horizons_ns, gap_ns)
    out = []
    for i, (ts, symbol, mid) in enumerate(rows):
        line = []
        for h, horizon in enumerate(horizons_ns):
            answer = (whole[i][h], 0, ts + horizon)
            later = [(t, 1e4 * (m / mid - 1.0)) for t, s, m in quotes if s == symbol and ts < t <= ts + horizon]
            for t, value in reversed(later):
                if value >= up[i][h]:
                    answer = (value, 1, t)
                elif value <= -down[i][h]:
                    answer = (value, -1, t)
            # A horizon that cannot be seen to its end has no label: a hole, the end of the feed, no quote.
            covered = not np.isnan(forward_return([(ts, symbol, mid)], [(t, symbol, 1.0) for t, _, _ in quotes], [horizon], gap_ns)[0][0])
            last_known = [m for t, s, m in quotes if s == symbol and t <= ts + horizon]
            unknown = np.isnan(up[i][h]) or np.isnan(down[i][h]) or (answer[1] == 0 and (not last_known or np.isnan(answer[0])))
            line.append((np.nan, 0, ts) if unknown or not covered or np.isnan(mid) else answer)
        out.append(line)
    return out


def uniqueness(labels):
    """Labels (ts, symbol, end), whole numbers -> mean over the label's life of 1 / concurrent labels, unit of time by unit of time."""
    out = []
    for ts, symbol, end in labels:
        shares = [1 / sum(s == symbol and a <= t < b for a, s, b in labels) for t in range(ts, end)]
        out.append(float(np.mean(shares)) if shares else np.nan)
    return out
