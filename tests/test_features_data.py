"""All families over the first rows of recorded ticks: no infinity, and no missing value that the metadata of its column does not explain."""

import pytest
from conftest import DATA
from feature_data import COLUMNS, compute, errors, files, main, rules

FILES = files() if DATA.is_dir() else []
HERE = pytest.mark.skipif(not FILES, reason="recorded ticks are not here (TICKARROW_DATA names their folder)")


@pytest.mark.parametrize("column", [c for _, c in COLUMNS], ids=lambda c: c.name)
def test_every_warm_up_says_when_a_value_is_owed(column):
    assert all(reason for reason, _ in rules(column))  # a text without a rule is an error


@HERE
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_missing_values_of_recorded_ticks_are_explained(path):
    told = compute(path, small=True)
    assert not errors(told)


@HERE
def test_the_page_counts_and_holds_no_row(tmp_path):
    page = tmp_path / "features-data.md"
    assert main(["--small", "--only", "es_futures_mbp1", "--write", str(page)]) == 0
    text = page.read_text()
    assert "| es_futures_mbp1_dev | 2,408 |" in text
    assert all(f"| {c.name} |" in text for _, c in COLUMNS)
