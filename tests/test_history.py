"""Frames of history as Arrow tables."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.history import HISTORY_SCHEMAS, decode_history

T = 1_700_000_000
AT = datetime.fromtimestamp(T, UTC)
NEW_YORK = ZoneInfo("America/New_York")


def payload(*fields: object) -> bytes:
    return "".join(f"{f}\0" for f in fields).encode()


def test_trades_have_flags_and_texts_and_nulls():
    h = decode_history(payload(98, 7, 3, T, 0, "150.25", 100, "NYSE", " O X", T, 3, "?", 1, "OVERNIGHT", "", T + 1, 1, 5, 2, "NYSE", "", 1))
    assert (h.id, h.req_id, h.done) == (98, 7, True)
    assert h.table.schema.equals(HISTORY_SCHEMAS[98], check_metadata=True)
    assert h.table.to_pydict() == {
        "ts": [AT, AT, datetime.fromtimestamp(T + 1, UTC)], "price": [150.25, None, 5.0], "size": [100.0, 1.0, 2.0],
        "past_limit": [False, True, True], "unreported": [False, True, False], "exchange": ["NYSE", "OVERNIGHT", "NYSE"], "conditions": [" O X", None, None],
    }  # fmt: skip


def test_quotes_without_a_bid_are_null_and_the_mask_is_that_of_history():
    h = decode_history(payload(97, 7, 2, T, 1, 0, 11, 0, 5, T, 2, 10, 11, 4, 5, 0))
    assert not h.done
    assert h.table.drop_columns(["ts"]).to_pylist() == [
        {"bid": None, "ask": 11.0, "bid_size": None, "ask_size": 5.0, "bid_past_low": False, "ask_past_high": True},
        {"bid": 10.0, "ask": 11.0, "bid_size": 4.0, "ask_size": 5.0, "bid_past_low": True, "ask_past_high": False},
    ]


def test_bars_know_their_zone():
    values = (1, 4, "0.5", 3, 100, "2.25", 9)
    h = decode_history(
        payload(17, 7, "from", "to", 4, "20231105", *values, "20231106 09:30:00", *values, "20231106 09:30:00 Asia/Tokyo", *values, T, 1, 1, 1, 1, -1, -1, -1),
        NEW_YORK,
    )
    assert (h.start, h.end, h.done) == ("from", "to", True)
    expected = [datetime(2023, 11, 5, tzinfo=NEW_YORK), datetime(2023, 11, 6, 9, 30, tzinfo=NEW_YORK), datetime(2023, 11, 6, 0, 30, tzinfo=UTC), AT]
    assert h.table["ts"].to_pylist() == expected
    assert h.table["volume"].to_pylist() == [100.0, 100.0, 100.0, None]
    assert h.table["wap"].to_pylist() == [2.25, 2.25, 2.25, None]
    assert h.table["count"].to_pylist() == [9, 9, 9, None]


@pytest.mark.parametrize("frame", [payload(96, 7, 0, 1), payload(97, 7, 0, 1), payload(98, 7, 0, 1), payload(17, 7, "", "", 0)])
def test_an_answer_without_rows_is_an_empty_table(frame):
    h = decode_history(frame)
    assert h.done
    assert h.table.num_rows == 0
    assert h.table.schema.equals(HISTORY_SCHEMAS[h.id])


def test_texts_are_those_of_the_frame_however_long():
    words = ["", "A", " ", "NASDAQ", "é", "X" * 300]
    h = decode_history(payload(98, 7, len(words), *(f for w in words for f in (T, 0, 1, 1, w, w[::-1])), 1))
    assert h.table["exchange"].to_pylist() == [w or None for w in words]
    assert h.table["conditions"].to_pylist() == [w[::-1] or None for w in words]
    assert pa.types.is_dictionary(h.table["exchange"].type)


def test_a_malformed_frame_is_one_sentence():
    with pytest.raises(DataError, match=r"^history frame 96 of request 7 is malformed \(not a number\): b'96\\x007.*Ask for it again\.$"):
        decode_history(payload(96, 7, 1, T, 0, "abc", 1, 1))


def test_an_unknown_zone_is_one_sentence():
    with pytest.raises(DataError, match=r"^a bar's time is in time zone 'Mars/Base', which this system does not know\."):
        decode_history(payload(90, 7, 1, "20231106 09:30:00 Mars/Base", 1, 1, 1, 1, 1, 1))
