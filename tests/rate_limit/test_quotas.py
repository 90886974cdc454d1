"""Quotas and their notation: what is read, what is refused with which words, and names that never coincide."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.notation import parse
from envelope.rate_limit.quotas import Quota, check_log


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("20/second", [(20, 1_000)]),
        ("5000/day", [(5000, 86_400_000)]),
        ("10 per 2 hours", [(10, 7_200_000)]),
        ("100 per 5 minutes", [(100, 300_000)]),
        (" 1 / SECOND ", [(1, 1_000)]),
        ("1/month", [(1, 2_592_000_000)]),
        ("3 per year", [(3, 31_104_000_000)]),
        ("1/second; 30/minute", [(1, 1_000), (30, 60_000)]),
        ("1/second,30/minute|5/hour", [(1, 1_000), (30, 60_000), (5, 3_600_000)]),
    ],
)
def test_parse(notation, expected):
    """The notation is that of limits, and its months and years."""
    assert [(quota.amount, quota.window_ms) for quota in parse(notation)] == expected


def test_parse_gives_the_same_again():
    """Quotas are compared by identity, so the same words give the same quota, and other words another."""
    assert parse("5/minute", "here") is parse("5/minute", "here")
    assert parse("5/minute", "here")[0] is not parse("5/minute", "there")[0]
    assert parse("5/minute", is_shadow=True)[0].is_shadow
    assert not parse("5/minute")[0].is_shadow


@pytest.mark.parametrize(
    ("notation", "text"),
    [
        ("", "'' is no limit; write it as '20/second', '100 per 5 minutes' or '1/second; 30/minute'"),
        ("fast", "'fast' is no limit; write it as"),
        ("5/fortnight", "'5/fortnight' is no limit; write it as"),
        ("-5/minute", "'-5/minute' is no limit; write it as"),
        ("1.5/minute", "'1.5/minute' is no limit; write it as"),
        ("5/minute and 6/hour", "'5/minute and 6/hour' is no limit; write it as"),
        ("5/minute;", "'5/minute;' is no limit; write it as"),
        ("5/minute; bananas", "'5/minute; bananas' is no limit; write it as"),
        ("9" * 5000 + "/day", "is no limit; write it as"),
        ("0/minute", "'0/minute' admits nothing; amount and window are at least 1"),
        ("5/minute; 0/hour", "'5/minute; 0/hour' admits nothing"),
        ("5 per 0 minutes", "'5 per 0 minutes' admits nothing; amount and window are at least 1"),
        (
            "9007199254741/second",
            "'9007199254741/second' is too large to be counted exactly; take a shorter window",
        ),
        ("1000000/9999999 years", "is too large to be counted exactly"),
        (5, "a limit is 5; give a notation such as '20/second' or '5000/day'"),
        (None, "a limit is None; give a notation such as"),
        (["5/minute"], "a limit is ['5/minute']; give a notation such as"),
        ({"5/minute": 1}, "a limit is {'5/minute': 1}; give a notation such as"),
    ],
)
def test_parse_refuses(notation, text):
    """What is no limit, or none that can be counted, is refused with the value and what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        parse(notation)
    assert text in str(caught.value)


def test_parse_takes_the_largest():
    """2**53 milliseconds times amount can be counted exactly."""
    (quota,) = parse("9007199254740/second")
    assert quota.amount * quota.window_ms <= 2**53


@pytest.mark.parametrize(
    ("window_s", "notation"),
    [
        *((1, "7/second"), (60, "7/minute"), (90, "7/90 seconds"), (3600, "7/hour"), (7200, "7/2 hours")),
        *((86_400, "7/day"), (2_592_000, "7/month"), (31_104_000, "7/year"), (604_800, "7/7 days")),
    ],
)
def test_notation(window_s, notation):
    """A quota is written in the largest unit that divides its window, and can be read back."""
    quota = Quota(7, window_s)
    assert (quota.notation, quota.name) == (notation, notation)
    assert [(read.amount, read.window_ms) for read in parse(notation)] == [(7, window_s * 1000)]
    assert Quota(7, window_s, "POST /x").name == f"{notation} POST /x"


def test_repr():
    """What is printed names the quota, and says if it is in shadow."""
    assert repr(Quota(5, 60, "POST /x")) == "<Quota '5/minute POST /x'>"
    assert repr(Quota(5, 60, is_shadow=True)) == "<Quota '5/minute' in shadow>"


kinds = st.tuples(
    st.sampled_from([1, 11]) | st.integers(1, 10**6),
    st.sampled_from([1, 11]) | st.integers(1, 10**6),
    st.text(alphabet="1:", max_size=4) | st.text(alphabet=st.characters(), max_size=4),
    st.booleans(),
)
subjects = st.text(alphabet="1:", max_size=6) | st.text(alphabet=st.characters(), max_size=4)


@given(one=kinds, two=kinds, subject=subjects, other=subjects)
@settings(max_examples=1000)
def test_fields_are_injective(one, two, subject, other):
    """Of different quotas or subjects no field and subject in a row are the same, nor is one a field alone."""

    def name_of(kind: tuple[int, int, str, bool], subject: str) -> str:
        amount, window_s, scope, is_shadow = kind
        return Quota(amount, window_s, scope, is_shadow=is_shadow).field + subject

    assert (name_of(one, subject) == name_of(two, other)) is ((one, subject) == (two, other))
    assert not name_of(one, subject).startswith(name_of(two, "")) or one == two


def test_check_log():
    """A log of more than 10,000 entries is refused, for the strategy that keeps one."""
    check_log("moving-window", Quota(10_000, 60))
    check_log("sliding-window-counter", Quota(10_001, 60))
    with pytest.raises(ConfigurationError) as caught:
        check_log("moving-window", Quota(10_001, 60))
    assert str(caught.value) == (
        "'10001/minute' is too much for 'moving-window', which remembers each request;"
        " use 'sliding-window-counter' above 10000"
    )
