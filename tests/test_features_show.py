"""`tickarrow features list` and `describe`: every column with what its family declares, near names for one that is not there."""

import re
from pathlib import Path

import pytest
from commands import tickarrow

from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features_registry import choose
from tickarrow.pipeline.features_show import FEEDS, all_of, main
from tickarrow.pipeline.prepare import compose

CLEAN = Path(__file__).with_name("user_features.py")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(features_user, "_files", {})
    monkeypatch.setattr(features_registry, "_families", dict(features_registry._families))


@pytest.fixture
def shown(capsys):
    """What a command prints."""

    def run(command, *overrides):
        main(compose(f"features_{command}", list(overrides)))
        return capsys.readouterr().out

    return run


def rows(text):
    """Cells of the table, one list a row."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


def fields(text):
    """What `describe` prints, by the name of the line; folded lines are joined."""
    out, name = {}, ""
    for line in text.splitlines():
        found = re.match(r"(\S.*?)\s{2,}(.*)", line)
        if found:
            name = found.group(1)
        out[name] = f"{out.get(name, '')} {found.group(2) if found else line}".strip()
    return {k: " ".join(v.split()) for k, v in out.items()}


def test_every_column_of_every_family_is_listed_in_order(shown):
    text = shown("list")
    wanted = [column for c in choose(all_of(compose("features_list").features)) for column in c.columns]
    listed = [r for r in rows(text) if r[0]]  # a folded cell goes on in a row without a name
    assert [r[0] for r in listed] == [c.name for c in wanted]
    assert f"{len(wanted)} columns of {len(features_registry.BUILT_IN)} families" in text


def test_a_configuration_lists_its_own_columns(shown):
    listed = rows(shown("list", "features=schema", "features.families=[{name: quote, columns: [depth, spread_bp]}]"))
    assert [r[:3] for r in listed] == [["depth", "quote", "1"], ["spread_bp", "quote", "bp"]]


def test_a_users_columns_are_listed_beside_the_built_in_ones(shown):
    listed = rows(shown("list", f"features.files=[{CLEAN}]"))
    assert ["my_spread", "my_spread", "bp", "", "any", "Harris (2003)"] in listed
    assert "spread_bp" in [r[0] for r in listed]


def test_a_column_is_described_with_all_that_is_known_of_it(shown):
    said = fields(shown("describe", "name=imbalance_5s"))
    column = next(c for c in choose(all_of(compose("features_list").features))[0].columns if c.name == "imbalance_5s")
    assert said["column"] == "imbalance_5s"
    assert said["formula"] == column.formula
    assert said["checked against"] == column.verifier
    assert said["warm-up"] == column.warm_up
    assert said["feed"] == FEEDS[column.feed]
    assert said["family"].startswith("quote, version ")
    assert said["module"] == "jit/quote.py"
    assert said["computed"] == "with every tick"


@pytest.mark.parametrize(("name", "when"), [("rsi_14", "when a bar closes"), ("beta_300s", "with each pass over the cross-section")])
def test_it_says_when_a_column_is_computed(name, when, shown):
    assert fields(shown("describe", f"name={name}"))["computed"] == when


def test_a_family_is_described_with_its_columns(shown):
    said = fields(shown("describe", "name=flow"))
    assert said["family"] == "flow"
    assert said["windows"] == "1 s, 5 s, 30 s, 300 s"
    assert said["module"].split()[0] == "jit/flow.py"
    assert " vpin " in shown("describe", "name=flow")


def test_the_windows_are_those_of_the_configuration(shown):
    assert "7 s" in fields(shown("describe", "name=flow", "features.families=[{name: flow, tau_s: [7.0]}]"))["windows"]


def test_the_module_of_a_users_column_is_his_file(shown):
    for name in ("my_spread", "last_bid"):
        assert fields(shown("describe", f"name={name}", f"features.files=[{CLEAN}]"))["module"] == str(CLEAN)


def test_a_name_of_a_family_and_of_another_ones_column_is_described_as_both(shown):
    text = shown("describe", "name=depth")
    assert "  mlofi_1" in text
    assert fields(text)["formula"] == "ln(bs + as)"


@pytest.mark.parametrize(
    ("name", "meant"), [("rsi14", "rsi_14"), ("ofi_7s", "ofi_5s"), ("qoute", "quote"), ("SPREAD_BP", "spread_bp")],
)  # fmt: skip
def test_an_unknown_name_gets_near_ones(name, meant):
    with pytest.raises(ConfigError) as e:
        main(compose("features_describe", [f"name={name}"]))
    assert str(e.value).startswith(f"features: there is no column or family {name!r}. Did you mean ")
    assert meant in str(e.value)


def test_the_command_takes_the_name_as_a_word(tmp_path):
    done = tickarrow("features", "describe", "vpin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert fields(done.stdout)["column"] == "vpin"
    done = tickarrow("features", "describe", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == "tickarrow: name is not set. Give it on the command line: name=VALUE"


@pytest.mark.parametrize("command", ["list", "describe", "check"])
def test_help_says_what_a_command_does_and_takes(command, tmp_path):
    done = tickarrow("features", command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"tickarrow features {command}: ")
    assert "  files: []" in done.stdout
