"""The guide's example of embedding runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from commands import SMALL

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide.md"


def test_the_guides_example_decides_on_a_pandas_table(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    own_lines = code.split("\n\n")[2].strip().splitlines()
    assert len(own_lines) <= 10
    small = ", ".join(repr(s) for s in SMALL)
    code = code.replace('load("universe.symbols=[AAA]", ', f'load("universe.symbols=[AAA]", {small}, ')
    assert small in code
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert "reason" in done.stdout
