"""The registry of model sets: the pointer and its history under kills and many processes, the commands, by their text."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import textwrap

import pytest
from commands import tickarrow
from models_common import COLUMNS, booster, make_set

from tickarrow.pipeline import registry_diff, registry_show
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import read_set
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.registry import HISTORY, POINTER, Registry, stack


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with three sets."""
    home = tmp_path_factory.mktemp("registry")
    for i, name in enumerate(("one", "two", "three")):
        make_set(home / name, [booster(i * 10 + k, n_trees=3) for k in range(4)])
    return home


@pytest.fixture
def home(made, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path / "sets")
    return tmp_path / "sets"


def refused(call, *args):
    with pytest.raises(ModelError) as e:
        call(*args)
    return str(e.value)


def test_promotions_and_rollbacks_go_back_one_by_one(home):
    registry = Registry(home)
    assert registry.promoted() is None
    assert [registry.promote(n).before for n in ("one", "two", "three")] == ["", "one", "two"]
    assert registry.rollback().name == "two"
    assert registry.rollback().name == "one"
    assert refused(registry.rollback) == (
        f"there is no promotion to go back to: 'one' is the first one of {home}. Promote another: tickarrow models promote NAME."
    )
    assert [(r.number, r.action, r.name, r.before) for r in registry.history()] == [
        (1, "promote", "one", ""), (2, "promote", "two", "one"), (3, "promote", "three", "two"), (4, "rollback", "two", "three"),
        (5, "rollback", "one", "two"),
    ]  # fmt: skip
    assert [r.name for r in stack(registry.history())] == ["one"]
    times = [r.at_ns for r in registry.history()]
    assert times == sorted(times)


def test_a_set_that_is_promoted_is_not_promoted_again(home):
    registry = Registry(home)
    assert registry.promote("one") == registry.promote("one")
    assert len(registry.history()) == 1


def test_promoted_is_a_name_for_the_promoted_set_as_long_as_it_is_the_same(home):
    registry = Registry(home)
    assert refused(registry.find, "promoted") == (
        f"no model set of {home} is promoted. Promote one: tickarrow models promote NAME (there: one, three, two)."
    )
    registry.promote("two")
    assert registry.find("promoted") == home / "two"
    assert registry.find("one") == home / "one"
    assert registry.find(str(home / "three")) == home / "three"
    shutil.rmtree(home / "two")
    shutil.copytree(home / "one", home / "two")
    said = refused(registry.find, "promoted")
    assert said.startswith("model set 'two' is not the one that was promoted: its digest is ")
    assert said.endswith("Promote it anew (tickarrow models promote two) or roll back (tickarrow models rollback).")


def test_a_damaged_set_is_not_promoted_and_not_rolled_back_to(home):
    registry = Registry(home)
    registry.promote("one")
    registry.promote("two")
    (home / "one" / read_set(home / "one").entries[0].file).write_bytes(b"x")
    assert "model set 'one' is damaged: " in refused(registry.rollback)
    assert "model set 'one' is damaged: " in refused(registry.promote, "one")
    assert registry.current().name == "two"
    assert f"'four' is neither a folder with a manifest.json nor a set in {home} (there: one, three, two)" in refused(registry.promote, "four")
    assert "is a path. Name a set of " in refused(registry.promote, str(home / "three"))


def test_a_set_is_found_by_its_digest_under_another_name(home):
    digest = read_set(home / "two").digest
    (home / "two").rename(home / "renamed")
    (home / "one" / "manifest.json").write_text("{")
    assert Registry(home).by_digest(digest) == home / "renamed"
    assert Registry(home).by_digest("0" * 32) is None


def test_a_kill_between_pointer_and_history_loses_nothing(home, monkeypatch):
    registry = Registry(home)
    registry.promote("one")
    monkeypatch.setattr(Registry, "_append", lambda self, records: None)  # the process dies before the line is written
    registry.promote("two")
    monkeypatch.undo()
    assert (home / HISTORY).read_text().count("\n") == 1
    assert [r.name for r in Registry(home).history()] == ["one", "two"]
    Registry(home).promote("three")
    assert [json.loads(line)["name"] for line in (home / HISTORY).read_text().splitlines()] == ["one", "two", "three"]


def test_a_torn_line_of_the_history_is_written_again_from_the_pointer(home):
    registry = Registry(home)
    registry.promote("one")
    registry.promote("two")
    whole = (home / HISTORY).read_bytes()
    (home / HISTORY).write_bytes(whole[:-30])
    assert [r.name for r in registry.history()] == ["one", "two"]
    registry.promote("three")
    assert [(r.number, r.name) for r in Registry(home).history()] == [(1, "one"), (2, "two"), (3, "three")]
    assert (home / HISTORY).read_bytes().startswith(whole[:-30] + b"\n")  # only appended to


def test_an_unreadable_pointer_is_named(home):
    (home / POINTER).write_text("{")
    assert refused(Registry(home).promoted).startswith(f"{home / POINTER} cannot be read (JSONDecodeError: ")


PROMOTER = """
import sys
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.registry import Registry
registry = Registry(sys.argv[1])
for _ in range(4):
    for name in ("one", "two", "three"):
        registry.promote(name)
print("done", flush=True)
"""


def test_two_processes_promote_at_once_and_one_is_killed(home):
    children = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROMOTER), str(home)], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    registry, seen = Registry(home), 0
    while registry.promoted() is None:
        pass
    children[2].kill()
    while any(c.poll() is None for c in children):
        now = registry.promoted()  # always a whole one
        assert now is not None
        assert now.number >= seen
        seen = now.number
    assert [c.communicate()[0] for c in children[:2]] == ["done\n"] * 2
    history = registry.history()
    assert [r.number for r in history] == list(range(1, len(history) + 1))
    assert all(b.before == a.name for a, b in itertools.pairwise(history))


# --- the commands


@pytest.fixture
def run(home, capsys):
    """A command in this process: what it prints."""

    def run(command, *overrides):
        main = registry_diff.main if command == "diff" else registry_show.main
        main(compose(f"models_{command}", [*overrides, f"models.registry={home}"]))
        return capsys.readouterr().out

    return run


def test_the_life_of_a_promotion_in_the_commands(home, run):
    digest = read_set(home / "one").digest
    text = f"one ({digest}) is promoted; runs with models.follow=true swap to it, model_set=promoted names it\n"
    assert run("promote", "name=one") == text
    assert run("promote", "name=one").startswith("one is promoted already, since 20")
    assert " is promoted in place of one; runs with models.follow=true swap to it, model_set=promoted names it" in run("promote", "name=two")
    listed = run("list")
    assert f"3 model sets in {home}" in listed
    assert digest[:12] in listed
    marked = [line for line in listed.splitlines() if line.startswith("│ *")]
    assert len(marked) == 1
    assert "two" in marked[0]
    assert "* two is promoted since 20" in listed
    assert run("rollback").startswith(f"one ({digest}) is promoted in place of two;")
    one = " ".join(run("show", "name=promoted").split())
    for text in (str(home / "one"), digest, "6 columns, digest 111111", "1, 5 s", "xgb00", "0.050", "promoted by a rollback, before it two", "xgboost"):
        assert text in one, text


def test_the_command_line_takes_names_and_says_what_is_wrong_in_one_sentence(home, tmp_path):
    where = f"models.registry={home}"
    done = tickarrow("models", "promote", "two", where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Registry(home).current().name == "two"
    done = tickarrow("models", "show", "nine", where, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"tickarrow: model set 'nine' is neither a folder with a manifest.json nor a set in {home} (there: one, three, two). "
        "Name one of these (model_set=NAME) or train it (tickarrow train).\n"
    )
    assert tickarrow("models", "diff", "one", where, cwd=tmp_path).stderr == "tickarrow: b is not set. Give it on the command line: b=VALUE\n"
    helped = tickarrow("models", "--help", cwd=tmp_path)
    assert [line.split()[1] for line in helped.stdout.splitlines()] == ["list", "show", "promote", "rollback", "diff"]


def test_a_damaged_set_is_shown_as_such_in_the_list(home, run, tmp_path):
    (home / "two" / "manifest.json").write_text("{")
    listed = run("list")
    assert "damaged" in listed
    assert "model set 'two': " in listed
    assert "nothing is promoted" in listed
    assert refused(registry_show.main, compose("models_list", [f"models.registry={tmp_path / 'none'}"])) == (
        f"there is no model set in {tmp_path / 'none'}. Train one (tickarrow train name=NAME) or name another folder (models.registry=DIR)."
    )


def test_a_diff_names_what_differs(home, run, tmp_path):
    same = run("diff", "a=one", "b=one")
    assert "*" not in same
    other = run("diff", "a=one", "b=two")
    assert [line.split("│")[2].strip() for line in other.splitlines() if "│ *" in line] == ["digest"]
    a, b = read_set(home / "one"), make_set(tmp_path / "b", configurations=("xgb01", "xgb02"))
    rows = {name: (f(a), f(b)) for name, f in registry_diff.PROPERTIES}
    assert rows["configurations"] == ("xgb00, xgb01", "xgb01, xgb02")
    b.columns[2] = "other"
    assert registry_diff.columns_text(a, b) == [f"columns of one only: {COLUMNS[2]}", "columns of b only: other"]
    b.columns[2] = COLUMNS[2]
    assert registry_diff.columns_text(a, b) == []
