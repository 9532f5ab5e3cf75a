"""The name of a model set that is not named."""

from __future__ import annotations

import pytest

from tickarrow.configs.pipeline import TrainConf
from tickarrow.configs.source import SourceConf
from tickarrow.pipeline.train import source_name


@pytest.mark.parametrize(
    ("path", "symbols", "day", "name"),
    [
        ("data/ticks.parquet", ["BAC", "IBM"], "2013-10-08", "ticks-BAC-IBM-2013-10-08"),
        ("my data/my ticks.parquet", ["BRK B"], None, "my-ticks-BRK-B"),
        ("ticks.parquet", [f"SYM{i:03d}" for i in range(100)], "2013-10-08", "ticks-100-symbols-2013-10-08"),
    ],
)
def test_an_unnamed_set_is_named_after_its_source_as_a_folder_can_be(path, symbols, day, name):
    assert source_name(TrainConf(source=SourceConf(kind="parquet", path=path, symbols=symbols, day=day))) == name
