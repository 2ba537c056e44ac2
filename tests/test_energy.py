"""Energy: units, ranges, the meter, and what the paper's training may have taken."""

import time

import pytest

from ddpm_lite import energy, paper


def test_a_kilowatt_for_an_hour_is_a_kilowatt_hour():
    assert energy.kwh(3600, energy.Range(500, 1000, 2000)) == energy.Range(0.5, 1.0, 2.0)


def test_a_range_is_scaled_from_both_sides_and_says_all_three():
    assert 2 * energy.Range(1, 2, 3) == energy.Range(1, 2, 3) * 2 == energy.Range(2, 4, 6)
    assert energy.Range(0.0312, 0.0789, 0.2345).text("Wh") == "0.079 Wh (0.031 to 0.23)"
    assert energy.Range(5214, 9328, 11109).text("Wh") == "9,300 Wh (5,200 to 11,000)"


@pytest.mark.parametrize(
    "call",
    [
        lambda: energy.Range(2, 1, 3),
        lambda: energy.Range(-1, 1, 3),
        lambda: energy.Range(1, 2, float("inf")),
        lambda: energy.kwh(-1, energy.CORE_WATTS),
        lambda: energy.kwh(float("nan"), energy.CORE_WATTS),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_the_meter_counts_work_and_not_sleep():
    with energy.Meter() as meter:
        time.sleep(0.2)
        slept = meter.cpu_seconds
        start = time.process_time()
        while time.process_time() - start < 0.1:
            pass
    assert slept < 0.1 <= meter.cpu_seconds < 1 and meter.wall_seconds >= 0.3
    before = meter.cpu_seconds
    assert meter.cpu_seconds == before  # it stands still outside
    assert meter.kwh == energy.kwh(before, energy.CORE_WATTS)
    with meter:
        sum(range(100_000))
    assert meter.cpu_seconds > before  # and goes on
    assert "processor time" in repr(meter) and "assumed" in repr(meter)


def test_a_meter_that_runs_cannot_be_started_again():
    with energy.Meter() as meter, pytest.raises(RuntimeError, match="runs already"):
        meter.__enter__()


def test_the_paper_took_some_nine_kilowatt_hours():
    estimate = energy.of_the_paper()
    assert estimate.likely == pytest.approx(paper.FACTS["training_hours"].value * 0.88)
    assert estimate.low < 6 < 9 < estimate.likely < 10 < estimate.high


def test_codecarbon_is_asked_for_but_not_needed():
    assert energy.has_codecarbon() in (True, False)
