"""docs/features.md is what the registry and the checks say."""

from __future__ import annotations

import math

import feature_table
import pytest
from feature_table import HEAD, PAGE, page, power, without_errors


def test_the_page_is_up_to_date():
    assert without_errors(PAGE.read_text()) == without_errors(page(lambda check: 0.0)), "run: python tests/feature_table.py"


def test_no_error_of_the_page_is_above_its_tolerance():
    rows = [line.replace("\\|", "").split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows
    for cells in rows:
        said = dict(zip(HEAD, (c.strip() for c in cells)))
        for error, tolerance in zip(said["largest error"].split("; "), said["tolerance"].split("; ")):
            # both are rounded to a digit: 1.5e-6 is printed 2e-06
            assert float(error) <= 10 ** math.ceil(math.log10(float(tolerance))) if float(tolerance) else error == "0", said["column"]


def test_every_column_says_what_it_is():
    for f in feature_table.families():
        for _, listed in feature_table.columns(f):
            for c in listed:
                assert c.unit, c.name
                assert c.formula, c.name
                assert c.feed in ("any", "trades", "every trade", "depth"), c.name
                assert "\n" not in "".join(c), c.name


def test_a_column_without_a_check_is_named(monkeypatch):
    monkeypatch.setattr(feature_table, "checks", dict)
    with pytest.raises(LookupError, match=r"column '.*' of family '.*' has no check in tests/verify_\*\.py"):
        page(lambda check: 0.0)


def test_a_check_of_no_column_would_be_noticed():
    names = {c.name for f in feature_table.families() for _, listed in feature_table.columns(f) for c in listed}
    assert set(feature_table.checks()) <= names


def test_errors_are_rounded_up_to_a_power_of_ten():
    assert [power(x) for x in (0.0, 1e-12, 1.1e-12, 9e-3)] == ["0", "1e-12", "1e-11", "1e-2"]
