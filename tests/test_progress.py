"""A learner's progress: kept across restarts, in one file that is theirs, and never in the way of a check."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from ddpm_lite.exercises import check, progress
from ddpm_lite.exercises.registry import Registry, registry


def right(beta):
    """An answer of the learner's own: the package's function itself counts as lent once a check has failed."""
    return registry.find("01.1").reference(beta)


def wrong(beta):
    """Adds in place of multiplying."""
    return 1 - beta.cumsum(0)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A progress file that does not exist yet, in a folder that does not exist yet."""
    place = tmp_path / "own" / "progress.json"
    monkeypatch.setenv(progress.VARIABLE, str(place))
    monkeypatch.delenv("DDPM_LITE_STRICT", raising=False)
    return place


def line(number: str) -> progress.Chapter:
    """One chapter's summary."""
    return next(one for one in progress.summary() if one.number == number)


def test_check_writes_down_what_was_tried_and_solved(file, capsys):
    check("01.1", wrong)
    assert (line("01").solved, line("01").tried) == ((), ("01.1",))
    check("01.1", right)
    assert (line("01").solved, line("01").tried) == (("01.1",), ())
    assert progress.read()["01.1"] == {"tries": 2, "solved": date.today().isoformat()}
    assert "●····  1 of 5" in progress.text()


def test_what_was_solved_stays_solved(file, capsys):
    check("01.1", right)
    check("01.1", wrong)
    assert line("01").solved == ("01.1",)


def test_untouched_stub_and_a_function_that_was_lent_are_no_tries(file, capsys):
    check("01.2", None)
    assert progress.read() == {}
    lent = check("01.3", wrong)
    check("01.3", lent)
    assert progress.read()["01.3"]["tries"] == 1
    assert not line("01").solved
    registry.lent.pop("01.3")


def test_strict_runs_leave_no_trace(file, monkeypatch, capsys):
    monkeypatch.setenv("DDPM_LITE_STRICT", "1")
    check("01.1", right)
    assert not file.exists()


def test_record_survives_a_restart(file):
    code = "from ddpm_lite.exercises import check, registry as r; check('01.1', r.registry.find('01.1').reference)"
    root = Path(__file__).parent.parent
    environ = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, capture_output=True)
    said = subprocess.run(
        [sys.executable, "-m", "ddpm_lite.exercises.progress"],
        check=True,
        env=environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    ).stdout
    assert "01  ●····  1 of 5" in said


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"format": "foreign"}', '{"format": "ddpm-lite progress", "exercises": 3}'],
)
def test_damaged_file_spoils_no_check(file, content, capsys):
    file.parent.mkdir()
    file.write_text(content)
    assert progress.read() == {}
    check("01.1", right)
    assert line("01").solved == ("01.1",)


def test_place_that_cannot_be_written_spoils_no_check(tmp_path, monkeypatch, capsys):
    (tmp_path / "plain").write_text("a file where a folder should be")
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "plain" / "progress.json"))
    assert check("01.1", right) is right
    assert "correct" in capsys.readouterr().out


def test_off_means_off(monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, "off")
    assert progress.path() is None
    check("01.1", right)
    assert progress.read() == {}
    assert "not kept" in progress.text()
    assert not progress.forget()


def test_by_default_it_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert progress.path() == tmp_path / ".ddpm-lite" / "progress.json"
    assert str(Path("~/.ddpm-lite/progress.json")) in progress.text()


def test_forget(file, capsys):
    check("01.1", right)
    assert progress.main(["--forget"]) == 0
    assert not file.exists()
    assert progress.main(["--forget"]) == 0
    assert "nothing to forget" in capsys.readouterr().out


def test_every_chapter_has_its_line(file):
    assert [one.number for one in progress.summary()] == Registry().chapters()
    assert all(one.total == len(registry.chapter(one.number)) for one in progress.summary())


def test_file_holds_nothing_but_ids_counts_and_days(file, capsys):
    check("01.1", wrong)
    content = json.loads(file.read_text())
    assert content == {"format": progress.FORMAT, "exercises": {"01.1": {"tries": 1, "solved": None}}}
