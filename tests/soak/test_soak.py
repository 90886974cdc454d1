"""A short soak in the suite: what takes no minutes to show."""

from __future__ import annotations

import sys

import pytest

from tests.soak.run import soak
from tests.soak.sampling import Sample, slope_of


@pytest.mark.timeout(90)
@pytest.mark.skipif(sys.platform != "linux", reason="figures of a process are read from /proc")
def test_service_under_load_leaves_nothing_behind() -> None:
    """All answers keep the convention, also while the storage is gone, and everything that was opened is closed."""
    report = soak("uvicorn", 6, 60, waits=False)

    assert report.faults == []


def _samples(*megabytes: float) -> list[Sample]:
    return [Sample(10.0 * at, int(rss * 1024 * 1024), 10, 5, 3, 0) for at, rss in enumerate(megabytes)]


def test_slope_is_that_of_the_last_two_thirds() -> None:
    """A service that grows while it warms up and then by 1 MB in 100 s grows by 36 MB an hour."""
    samples = _samples(*range(0, 300, 10), *(300 + each / 10 for each in range(60)))

    slope = slope_of(samples)

    assert slope.mb_per_h == pytest.approx(36, rel=0.02)
    assert slope.error < 0.5


def test_noise_is_no_growth() -> None:
    """It is told by the error."""
    slope = slope_of(_samples(*(100 + each % 2 for each in range(90))))

    assert abs(slope.mb_per_h) < 2 * slope.error
