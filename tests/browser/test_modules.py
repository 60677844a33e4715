"""Modules of the dashboard, one by one, in the browser."""

from typing import Any

import pytest
from playwright.async_api import Page

from pisync.model.plans.delay import ConstantDelay, Delay, LognormalDelay, UniformDelay
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
        "event: resync",
        "data:[2,",
        "data: 3]",
        "",
        "event: nothing",
        "",
        "event: sync",
        "data: 4",
        "",
        "data: not complete",
    ]
)
EVENTS = [
    {"name": "sync", "data": {"ü": 1}},
    {"name": "resync", "data": [2, 3]},
    {"name": "sync", "data": 4},
]


async def run(page: Page, module: str, body: str, argument: object) -> Any:
    """Run the body of a function that has `module` and `argument`."""
    await visit(page, "/")
    script = f"async (argument) => {{ const module = await import('/dashboard/{module}'); {body} }}"
    return await page.evaluate(script, argument)


# Opens a stream whose first answer comes in two pieces, and waits until it asks for another.
FOLLOW = """
    const bytes = new TextEncoder().encode(argument);
    function follow(at) {
        const events = [];
        let answers = 0;
        return new Promise((resolve) => {
            window.fetch = async (_url, { headers }) => {
                answers += 1;
                if (answers === 2) {
                    stream.close();
                    resolve({ events, lastId: headers["Last-Event-ID"] });
                    return new Promise(() => {});
                }
                return new Response(new ReadableStream({
                    start(controller) {
                        controller.enqueue(bytes.slice(0, at));
                        controller.enqueue(bytes.slice(at));
                        controller.close();
                    },
                }));
            };
            const stream = module.openStream({
                fleet: "default",
                onEvents: (batch) => events.push(...batch),
                onState: () => setTimeout(() => stream.retryNow()),
            });
        });
    }
    const found = [];
    for (let at = 0; at <= bytes.length; at += 1) found.push(await follow(at));
    return found;
"""


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"], ids=["CRLF", "LF", "CR"])
async def test_events_are_parsed_wherever_the_stream_is_split(page: Page, line_end: str) -> None:
    found = await run(page, "stream.js", FOLLOW, STREAM.replace("\r\n", line_end))
    assert len(found) > 100
    assert [result for result in found if result != {"events": EVENTS, "lastId": "2"}] == []


@pytest.mark.parametrize(
    ("delay", "written"),
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
async def test_the_preview_of_a_delay_agrees_with_the_server(
    page: Page, delay: Delay, written: dict[str, object]
) -> None:
    shares = [0.01, 0.5, 0.95, 0.99]
    body = "return argument.shares.map((share) => module.quantile(argument.delay, share));"
    shown = await run(page, "views/distribution.js", body, {"delay": written, "shares": shares})
    assert shown == pytest.approx([delay.quantile(u) for u in shares], rel=1e-4)


async def test_a_value_in_a_path_stays_one_segment(page: Page) -> None:
    body = "return module.pathOf`/admin/fleets/${argument}/ledger`;"
    path = await run(page, "api.js", body, "default/devices/7/script#?x=.. %")
    assert path == "/admin/fleets/default%2Fdevices%2F7%2Fscript%23%3Fx%3D..%20%25/ledger"


async def test_attempts_are_not_counted_while_no_stream_is_open(page: Page) -> None:
    body = """
        let second = 1_000_000;
        Date.now = () => second * 1000;
        const begun = { name: "sync", data: { device: { sync_status_code: 202 } } };
        const countIn = (seconds, events) => { second += seconds; module.count(events); };
        module.clear();
        module.resume();
        countIn(0, [begun, begun]);
        second += 1;
        module.suspend();
        second += 3;
        module.resume(true);
        countIn(0, [begun, begun, begun]); // what was missed
        countIn(2, [begun]);
        second += 1;
        const [, attempts] = module.series();
        return attempts.slice(-8);
    """
    expected = [None, 2, 0, None, None, None, None, 1]
    assert await run(page, "rates.js", body, None) == expected


async def test_seconds_without_a_stream_are_filled_from_the_server_and_no_others(
    page: Page,
) -> None:
    body = """
        let second = 1_000_000;
        Date.now = () => second * 1000;
        const begun = { name: "sync", data: { device: { sync_status_code: 202 } } };
        module.clear();
        module.resume();
        module.count([begun]);
        second += 2;
        module.fill({ started: [5, 6, 7, 8], succeeded: [1, 1, 1, 1], failed: [0, 1, 9, 9] });
        const [, attempts, shares] = module.series(1);
        return [attempts.slice(-5), shares.slice(-5)];
    """
    expected = [[None, 5, 6, 1, 0], [None, 0, 50, None, None]]
    assert await run(page, "rates.js", body, None) == expected


async def test_items_are_delivered_in_batches_and_an_overflow_is_reported(page: Page) -> None:
    body = """
        const batches = [];
        let overflows = 0;
        const deliver = (batch) => batches.push(batch.length);
        const { add } = module.createBatches(deliver, () => { overflows += 1; });
        for (let item = 0; item < 30; item += 1) add([item]);
        await new Promise((resolve) => setTimeout(resolve, argument));
        add(Array(30_000).fill(0));
        return [batches, overflows];
    """
    assert await run(page, "batches.js", body, 1_000) == [[30], 1]
