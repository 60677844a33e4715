"""What the dashboard's modules reckon by themselves, in the browser that runs them."""

from typing import Any

import pytest
from playwright.async_api import Page

from pisync.model.profile import ConstantDelay, Delay, LognormalDelay, UniformDelay
from tests.browser.conftest import visit

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

STREAM = "\r\n".join(
    [
        ": a comment",
        "",
        "id: 1",
        "event: sync",
        'data: {"ü": 1}',
        "",
        "id: 2",
        "data:two",
        "data: lines",
        "",
        "event: nothing",
        "",
        "data: the last id stays",
        "",
        "data: not complete",
    ]
)
EVENTS = [
    {"id": "1", "name": "sync", "data": '{"ü": 1}'},
    {"id": "2", "name": "message", "data": "two\nlines"},
    {"id": "2", "name": "message", "data": "the last id stays"},
]


async def run(page: Page, module: str, body: str, argument: object) -> Any:
    """Run the body of a function that has `module` and `given`."""
    await visit(page, "/")
    script = f"async (given) => {{ const module = await import('/dashboard/{module}'); {body} }}"
    return await page.evaluate(script, argument)


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"], ids=["CRLF", "LF", "CR"])
async def test_events_are_found_however_the_stream_is_cut(page: Page, line_end: str) -> None:
    found = await run(
        page,
        "sse.js",
        """return [...given, ""].map((_, at) => {
            const parser = new module.EventParser();
            return [...parser.feed(given.slice(0, at)), ...parser.feed(given.slice(at))];
        });""",
        STREAM.replace("\r\n", line_end),
    )
    assert all(events == EVENTS for events in found)


@pytest.mark.parametrize(
    ("delay", "given"),
    [
        (ConstantDelay(3), {"distribution": "constant", "seconds": 3}),
        (UniformDelay(1, 5), {"distribution": "uniform", "min": 1, "max": 5}),
        (
            LognormalDelay(2, 0.5, 10),
            {"distribution": "lognormal", "median": 2, "sigma": 0.5, "max": 10},
        ),
        (
            LognormalDelay(2, 3, 60),
            {"distribution": "lognormal", "median": 2, "sigma": 3, "max": 60},
        ),
    ],
    ids=["constant", "uniform", "lognormal", "cut off"],
)
async def test_the_preview_of_a_delay_is_what_the_server_draws(
    page: Page, delay: Delay, given: dict[str, object]
) -> None:
    shares = [0.01, 0.5, 0.95, 0.99]
    body = "return given.shares.map((u) => module.quantile(given.delay, u));"
    shown = await run(page, "views/distribution.js", body, {"delay": given, "shares": shares})
    assert shown == pytest.approx([delay.quantile(u) for u in shares], rel=1e-4)


async def test_batches_arrive_together_and_too_many_are_told(page: Page) -> None:
    body = """
        const batches = [];
        let overflows = 0;
        const deliver = (batch) => batches.push(batch.length);
        const { add } = module.createBatches(deliver, () => { overflows += 1; });
        for (let each = 0; each < 30; each += 1) add([each]);
        await new Promise((resolve) => setTimeout(resolve, given));
        add(Array(30_000).fill(0));
        return [batches, overflows];
    """
    assert await run(page, "batches.js", body, 1_000) == [[30], 1]
