"""The arithmetic of the sliding window counter, in Python and in Lua, beside counting through every millisecond."""

from __future__ import annotations

from importlib import resources
from typing import Any

import lupa.lua51  # type: ignore[import-untyped]  # it has no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.rate_limit.windows import sliding_reset_ms, sliding_wait_ms

#: Previous, current, left, window.
State = tuple[int, int, int, int]


def used_after(previous: int, current: int, left: int, window: int, passed: int) -> int:
    """Use when so many milliseconds have passed and nobody has taken anything."""
    if passed < left:
        return current + previous * (left - passed) // window
    passed -= left
    return current * (window - passed) // window if passed < window else 0


class LuaWindows:
    """The functions of ``sliding-window-counter.lua``, with the clock at 0."""

    def __init__(self) -> None:
        text = (resources.files("envelope.rate_limit.storages.redis") / "sliding-window-counter.lua").read_text()
        runtime: Any = lupa.lua51.LuaRuntime()
        self._functions = runtime.execute(
            f"local now = 0\n{text}\nreturn {{used = used, reset = reset, wait = wait}}"
        )
        self._table = runtime.table_from

    def reset_ms(self, previous: int, current: int, left: int, window: int) -> float:
        return float(self._functions.reset(self._quota(previous, current, left, window)))

    def wait_ms(self, previous: int, current: int, left: int, window: int, fitting: int) -> float:
        return float(self._functions.wait(self._quota(previous, current, left, window), fitting))

    def used(self, previous: int, current: int, left: int, window: int) -> float:
        return float(self._functions.used(self._quota(previous, current, left, window)))

    def _quota(self, previous: int, current: int, left: int, window: int) -> Any:
        return self._table({"previous": previous, "current": current, "left": left, "window": window})


lua = LuaWindows()

small = st.integers(1, 60).flatmap(
    lambda window: st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, window), st.just(window))
)


@st.composite
def large(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Amount x window up to 2**53, which is the most that a notation may say."""
    window = 1000 * draw(st.integers(1, 31_104_000))
    amount = draw(st.integers(1, 2**53 // window) | st.just(2**53 // window))
    count = st.integers(0, amount) | st.just(amount)
    return draw(count), draw(count), draw(st.integers(1, window) | st.sampled_from([1, window])), window


@given(state=small)
@settings(max_examples=400)
def test_reset_is_the_first_millisecond_with_more(state: State):
    """Nothing leaves before it; what is used is less at it, or the window has just ended."""
    _, current, left, _ = state
    reset = sliding_reset_ms(*state)
    now = used_after(*state, passed=0)
    if not now:
        assert reset == 0
        return
    assert 0 < reset <= left
    assert all(used_after(*state, passed=passed) == now for passed in range(reset))
    assert used_after(*state, passed=reset) < now or (reset == left and current)


@given(state=small, fitting=st.integers(0, 90))
@settings(max_examples=400)
def test_wait_is_the_first_millisecond_that_fits(state: State, fitting):
    """It does not fit before, and does from then on."""
    if used_after(*state, passed=0) <= fitting:
        return
    wait = sliding_wait_ms(*state, fitting=fitting)
    assert wait > 0
    assert all(used_after(*state, passed=passed) > fitting for passed in range(wait))
    assert used_after(*state, passed=wait) <= fitting


@given(state=large(), share=st.integers(0, 1000))
@settings(max_examples=400)
def test_wait_is_exact_for_large_amounts(state: State, share):
    """No count that a notation allows is too large for the millisecond."""
    now = used_after(*state, passed=0)
    if not now:
        return
    fitting = (now - 1) * share // 1000
    wait = sliding_wait_ms(*state, fitting=fitting)
    assert used_after(*state, passed=wait - 1) > fitting >= used_after(*state, passed=wait)


@given(state=small | large(), share=st.integers(0, 1000))
@settings(max_examples=600)
def test_lua_says_the_same(state: State, share):
    """The scripts, which reckon in doubles, say the same to the millisecond."""
    now = used_after(*state, passed=0)
    assert lua.used(*state) == now
    assert lua.reset_ms(*state) == sliding_reset_ms(*state)
    if now:
        fitting = (now - 1) * share // 1000
        assert lua.wait_ms(*state, fitting=fitting) == sliding_wait_ms(*state, fitting=fitting)


@pytest.mark.parametrize(
    ("state", "reset", "fitting", "wait"),
    [
        ((0, 5, 40, 60), 40, 4, 41),
        ((10, 0, 60, 60), 1, 9, 1),
        ((10, 0, 60, 60), 1, 0, 55),
        ((10, 5, 30, 60), 1, 9, 1),
        ((1, 0, 60, 60), 1, 0, 1),
        ((1, 0, 59, 60), 0, 0, 0),
        ((7, 20, 1, 60), 1, 0, 59),
    ],
)
def test_examples(state: State, reset, fitting, wait):
    """A few that were worked out by hand."""
    assert sliding_reset_ms(*state) == reset
    if wait:
        assert sliding_wait_ms(*state, fitting=fitting) == wait
