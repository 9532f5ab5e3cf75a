"""Slow independent twins of the kernels in jit/trees.py, jit/native.py and jit/labels.py."""

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
