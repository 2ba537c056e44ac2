"""Stored results: each says how it came about, and what is wrong with a file is said."""

import json

import pytest
import torch

from ddpm_lite import results

GOOD = {
    "command": "python tools/x.py",
    "seeds": [0],
    "minutes": 1.5,
    "machine": "two cores",
    "fd": [3.0, 4.0],
}


@pytest.mark.parametrize("name", results.names() or [None])
def test_stored_results_can_be_read_and_are_small(name):
    if name is None:
        pytest.skip("no results are stored yet")
    assert results.load(name)["command"].startswith("python ")
    assert (results.FOLDER / f"{name}.json").stat().st_size < 200_000


def test_what_is_saved_comes_back(tmp_path):
    results.save("one", GOOD, tmp_path)
    assert results.load("one", tmp_path) == GOOD


def test_about_says_all_that_is_asked_for(tmp_path):
    about = results.about("python tools/x.py", range(2), 90)
    assert set(about) == set(results.ABOUT)
    assert about["seeds"] == [0, 1]
    assert about["minutes"] == 1.5
    results.save("one", about, tmp_path)


def test_short_numbers_have_five_digits():
    assert results.short(torch.tensor([1 / 3, 123456.0], dtype=torch.float64)) == [0.33333, 123460.0]


@pytest.mark.parametrize("field", results.ABOUT)
def test_how_they_came_about_is_asked_for(tmp_path, field):
    content = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(results.ResultsError, match=field):
        results.save("one", content, tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(content))
    with pytest.raises(results.ResultsError, match=field):
        results.load("one", tmp_path)


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(results.ResultsError, match="plain, finite"):
        results.save("one", GOOD | {"fd": value}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "3", "null"])
def test_damaged_file_is_named(tmp_path, text):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(results.ResultsError, match=r"one\.json"):
        results.load("one", tmp_path)


def test_unknown_name_is_named(tmp_path):
    with pytest.raises(results.ResultsError, match="no results 'ablatoin'"):
        results.load("ablatoin", tmp_path)
