import re
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pisync.model.timestamp import (
    EARLIEST,
    LATEST,
    MAX_AGE_DAYS,
    SECOND,
    RelativeMoment,
    from_seconds,
    parse,
    parse_relative,
    render,
)

MOMENTS = st.integers(EARLIEST, LATEST)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00.000000Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2026-11-22T07:40:12.000000Z", 1_795_333_212_000_000),
        ("2000-02-29T12:00:00.500000Z", 951_825_600_500_000),
        ("0001-01-01T00:00:00.000000Z", -62_135_596_800_000_000),
        ("0999-12-31T23:59:59.999999Z", -30_610_224_000_000_001),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ],
)
def test_a_moment_and_its_text_are_one(text: str, moment: int) -> None:
    assert parse(text) == moment
    assert render(moment) == text


@given(MOMENTS)
@example(EARLIEST)
@example(LATEST)
def test_every_moment_of_the_years_1_to_9999_comes_back_from_its_text(moment: int) -> None:
    text = render(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text, re.ASCII)
    assert parse(text) == moment


@given(st.datetimes())
def test_the_calendar_is_the_standard_librarys(moment: datetime) -> None:
    since_1970 = moment - datetime(1970, 1, 1)  # noqa: DTZ001  # both without a zone, both UTC
    microseconds = since_1970 // timedelta(microseconds=1)
    assert render(microseconds) == moment.isoformat(timespec="microseconds") + "Z"


@given(MOMENTS, MOMENTS)
def test_texts_sort_as_their_moments_do(one: int, other: int) -> None:
    assert (render(one) < render(other)) == (one < other)


@pytest.mark.parametrize("moment", [EARLIEST - 1, LATEST + 1, -(2**63), 2**63])
def test_no_text_for_other_years(moment: int) -> None:
    with pytest.raises(OverflowError):
        render(moment)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T07:40:12.Z",
        "2026-11-22T07:40:12.0000000000Z",
        "2026-11-22T07:40:12,000000Z",
        "2026-11-22T07:40:12.000000",
        "2026-11-22 07:40:12.000000Z",
        "2026-11-22T07:40:12.000000 +00:00",
        "2026-11-22T07:40:12.000000+0000",
        "2026-11-22T07:40:12.000000+00",
        "2026-11-22T07:40:12.000000+24:00",
        "2026-11-22T07:40:12.000000+00:60",
        "2026-11-22T07:40:12.000000+00:00:00",
        "2026-11-22T07:40:12.000000Z+00:00",
        "2026-11-22T24:00:00.000000Z",
        "2026-11-22T25:40:12.000000Z",
        "2026-11-22T07:40:12.000000Z\n",
        " 2026-11-22T07:40:12.000000Z",
        "2026-11-22T07:40.000000Z",
        "20261122T074012.000000Z",
        "2026-W47-7T07:40:12.000000Z",
        "02026-11-22T07:40:12.000000Z",
        "-026-11-22T07:40:12.000000Z",
        "+026-11-22T07:40:12.000000Z",
        "\u0662\u0660\u0662\u0666-11-22T07:40:12.000000Z",
        "2026-11-22T07:40:12.\u0660\u0660\u0660\u0660\u0660\u0660Z",
        "2026\uff0d11-22T07:40:12.000000Z",
        "2026-11-22T07:40:12.00000\ud800Z",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a timestamp"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00.000000Z",
        "2026-00-22T07:40:12.000000Z",
        "2026-13-22T07:40:12.000000Z",
        "2026-11-00T07:40:12.000000Z",
        "2026-11-31T07:40:12.000000Z",
        "2026-02-30T07:40:12.000000Z",
        "2026-02-29T07:40:12.000000Z",
        "1900-02-29T07:40:12.000000Z",
        "2026-11-22T07:60:12.000000Z",
        "2016-12-31T23:59:60.000000Z",
        "2016-12-31T23:59:61.000000Z",
        "9999-12-31T23:59:60.000000Z",
    ],
)
def test_what_is_not_in_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a timestamp|must be in|out of range"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T07:40:12Z", "2026-11-22T07:40:12.000000Z"),
        ("2026-11-22T07:40:12.5Z", "2026-11-22T07:40:12.500000Z"),
        ("2026-11-22T07:40:12.123Z", "2026-11-22T07:40:12.123000Z"),
        ("2026-11-22T07:40:12.123456789Z", "2026-11-22T07:40:12.123456Z"),
        ("2026-11-22t07:40:12.999999999z", "2026-11-22T07:40:12.999999Z"),
        ("2026-11-22T07:40:12+00:00", "2026-11-22T07:40:12.000000Z"),
        ("2026-11-22T07:40:12.000000-00:00", "2026-11-22T07:40:12.000000Z"),
        ("2026-11-22T07:40:12+02:00", "2026-11-22T05:40:12.000000Z"),
        ("2026-11-22T20:40:12.25-05:30", "2026-11-23T02:10:12.250000Z"),
        ("0001-01-01T23:59:00+23:59", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T00:00:59.9999999-23:59", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_what_other_languages_write_is_read(text: str, moment: str) -> None:
    assert render(parse(text)) == moment


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "0001-01-01T23:58:59.999+23:59"],
)
def test_a_moment_outside_the_years_1_to_9999_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        parse(text)


@given(
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\.[0-9]{6}Z", fullmatch=True
    )
)
def test_whatever_is_read_is_what_would_be_written(text: str) -> None:
    try:
        moment = parse(text)
    except ValueError:
        return
    assert render(moment) == text


@pytest.mark.parametrize(
    ("seconds", "microseconds"),
    [
        (0, 0),
        (1, SECOND),
        (1.5, 1_500_000),
        (0.0000004, 0),
        (0.0000006, 1),
        (0.1 + 0.2, 300_000),
        (86_400, 86_400_000_000),
    ],
)
def test_seconds_become_the_nearest_microsecond(seconds: float, microseconds: int) -> None:
    assert from_seconds(seconds) == microseconds


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("now", 0),
        ("now-90s", 90),
        ("now-15m", 15 * 60),
        ("now-2h", 2 * 3600),
        ("now-5d", 5 * 86_400),
        ("now-4w", 28 * 86_400),
        (f"now-{MAX_AGE_DAYS}d", MAX_AGE_DAYS * 86_400),
    ],
)
def test_a_relative_moment_is_so_long_before_the_present(text: str, age: int) -> None:
    moment = parse_relative(text)
    assert moment == RelativeMoment(age)
    assert moment.at(0) == -age * SECOND
    assert str(moment) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("now-0s", "now"),
        ("now-0w", "now"),
        ("now-60s", "now-1m"),
        ("now-120m", "now-2h"),
        ("now-7d", "now-1w"),
        ("now-61s", "now-61s"),
    ],
)
def test_a_relative_moment_is_written_in_its_longest_unit(text: str, written: str) -> None:
    assert str(parse_relative(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "Now", "NOW", "now ", " now", "now\n", "now-", "now-2", "now-h", "now+2h", "now- 2h"),
        *("now-02h", "now--2h", "now-1.5h", "now-2H", "now-2y", "now-2h30m", "now-\u0662h"),
        *("2h", "-2h", "nowadays", f"now-{10**12}s"),
    ],
)
def test_what_is_not_quite_a_relative_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a relative moment"):
        parse_relative(text)


@pytest.mark.parametrize(
    "text", [f"now-{MAX_AGE_DAYS + 1}d", f"now-{MAX_AGE_DAYS * 86_400 + 1}s", "now-999999999999w"]
)
def test_a_relative_moment_lies_in_the_year_1_or_later_whenever_it_is(text: str) -> None:
    assert RelativeMoment(MAX_AGE_DAYS * 86_400).at(0) == EARLIEST
    with pytest.raises(OverflowError, match="too long ago"):
        parse_relative(text)
