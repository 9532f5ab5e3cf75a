"""Trading hours: published opens and closes, holidays, early closes and lunch breaks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.errors import ConfigError


def ns(text, zone="America/New_York"):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000_000


@pytest.fixture(scope="module")
def new_york():
    return Hours("XNYS", ns("2025-11-20 12:00"))


# Hours of NYSE: 9:30 to 16:00; Thanksgiving 2025-11-27 closed, the day after to 13:00, Christmas Eve to 13:00.
@pytest.mark.parametrize(("when", "open_"), [
    ("2025-11-20 09:29:59", False), ("2025-11-20 09:30:00", True), ("2025-11-20 15:59:59", True), ("2025-11-20 16:00:00", False),
    ("2025-11-22 12:00:00", False), ("2025-11-27 12:00:00", False), ("2025-11-28 12:59:59", True), ("2025-11-28 13:00:00", False),
    ("2025-12-24 12:59:59", True), ("2025-12-24 13:00:00", False), ("2026-03-09 09:30:00", True), ("2026-03-09 09:29:59", False),
])  # fmt: skip
def test_new_york_trades_in_its_regular_hours(new_york, when, open_):
    assert new_york.is_open(ns(when)) is open_


def test_hong_kong_has_a_lunch_break():
    hours = Hours("XHKG", ns("2025-11-20 12:00", "Asia/Hong_Kong"))
    found = [hours.is_open(ns(f"2025-11-20 {t}", "Asia/Hong_Kong")) for t in ("09:30", "11:59", "12:00", "12:59", "13:00", "15:59", "16:00")]
    assert found == [True, True, False, False, True, True, False]


def test_without_a_calendar_the_market_is_always_open():
    assert Hours("", 0).is_open(ns("2025-11-22 12:00"))


def test_an_unknown_exchange_is_told():
    with pytest.raises(ConfigError, match=r"gateway\.calendar is 'NYSE2': no such exchange. Use an ISO code such as XNYS"):
        Hours("NYSE2", ns("2025-11-20 12:00"))
