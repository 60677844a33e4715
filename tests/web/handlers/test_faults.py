"""Faults of HTTP, as the API sets and shows them; `tests/web/pipeline` sees what they do."""

from typing import Any

import pytest

from tests.conftest import Api

PATH = "/admin/fleets/default/faults"
RESET = {"kind": "reset"}
DELAY = {"kind": "delay", "delay": {"distribution": "constant", "seconds": 0.01}}


def rule(fault: object = RESET, **more: object) -> dict[str, Any]:
    return {"calls": ["sync"], "share": 0.25, "fault": fault, **more}


class TestRules:
    async def test_are_shown_as_they_are(self, admin: Api) -> None:
        assert (await admin.get(PATH)).json == []
        rules = [
            rule(device_ids=[7, 3]),
            {"calls": ["devices", "sync"], "first": 2, "fault": {"kind": "truncate"}},
            {"calls": ["stats"], "fault": DELAY},
        ]
        answer = await admin.put(PATH, rules)
        assert answer.status == 200
        shown = [
            {**rule(), "device_ids": [3, 7], "when": "before", "hits": 0},
            {
                "calls": ["sync", "devices"],
                "first": 2,
                "fault": {"kind": "truncate", "share": 0.5},
                "when": "before",
                "hits": 0,
            },
            {"calls": ["stats"], "share": 1.0, "fault": DELAY, "when": "after", "hits": 0},
        ]
        assert answer.json == (await admin.get(PATH)).json == shown
        assert (await admin.delete(PATH)).status == 204
        assert (await admin.get(PATH)).json == []

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            (rule(calls=[]), "1.calls"),
            (rule(calls=["login"]), "1.calls.0"),
            (rule(share=1.5), "1.share"),
            (rule(first=2), "1.first"),
            (rule(device_ids=[0]), "1.device_ids.0"),
            (rule(device_ids="7"), "1.device_ids"),
            (rule(when="later"), "1.when"),
            (rule(DELAY, when="before"), "1.when"),
            (rule({"kind": "delay"}), "1.fault.delay"),
            (rule({"kind": "explode"}), "1.fault.kind"),
            (rule({"kind": "status", "status": 418}), "1.fault.status"),
            (rule({"kind": "status", "status": 503, "retry_after": -1}), "1.fault.retry_after"),
            (rule({"kind": "truncate", "share": 1}), "1.fault.share"),
            (rule({"kind": "drip", "bytes": 0}), "1.fault.bytes"),
            (rule({"kind": "drip", "every": 61}), "1.fault.every"),
            (rule({"kind": "reset", "status": 500}), "1.fault.status"),
            (rule(often=1), "1.often"),
            ({"calls": ["sync"]}, "1.fault"),
            ({"fault": RESET}, "1.calls"),
        ],
    )
    async def test_a_bad_one_is_named_and_changes_nothing(
        self, admin: Api, wrong: object, field: str
    ) -> None:
        await admin.put(PATH, [rule()])
        answer = await admin.put(PATH, [rule(share=0.75), wrong])
        assert answer.status == 422
        assert list(answer.json["errors"]) == [field]
        assert [each["share"] for each in (await admin.get(PATH)).json] == [0.25]

    async def test_all_that_is_wrong_is_named(self, admin: Api) -> None:
        wrong = [rule(often=1), rule(first=1), rule()]
        assert list((await admin.put(PATH, wrong)).json["errors"]) == ["0.often", "1.first"]

    @pytest.mark.parametrize("body", [{}, 7, "reset", [rule()] * 101, [1]])
    async def test_are_a_list(self, admin: Api, body: object) -> None:
        assert (await admin.put(PATH, body)).status == 422

    async def test_there_may_be_a_hundred(self, admin: Api) -> None:
        assert len((await admin.put(PATH, [rule()] * 100)).json) == 100

    async def test_are_the_admins(self, user: Api, admin: Api) -> None:
        for call in (user.get(PATH), user.put(PATH, [rule()]), user.delete(PATH)):
            assert (await call).status == 403
        path = "/admin/fleets/nowhere/faults"
        for call in (admin.get(path), admin.put(path, [rule()]), admin.delete(path)):
            assert (await call).status == 404


class TestLedger:
    async def test_counts_faults_and_balances(self, admin: Api) -> None:
        answer = {"kind": "status", "status": 503}
        rules = [rule(answer, share=1, device_ids=[1]), rule(answer, share=1, when="after")]
        await admin.put(PATH, rules)
        for device_id in (1, 2, 3):
            assert (await admin.post(f"/devices/{device_id}/sync")).status == 503
        assert (await admin.post("/devices/99/sync")).status == 404
        ledger = (await admin.get("/admin/fleets/default/ledger")).json
        assert ledger["faults"] == {"before": {"status": 1}, "after": {"status": 2}}
        assert (ledger["accepted"], ledger["balanced"]) == (2, True)
        assert [each["hits"] for each in (await admin.get(PATH)).json] == [1, 2]

    async def test_and_rules_begin_anew_with_a_reset(self, admin: Api) -> None:
        fault = {"kind": "status", "status": 502}
        await admin.put(PATH, [{"calls": ["stats"], "first": 2, "fault": fault}])
        for _ in range(2):
            assert [(await admin.get("/stats")).status for _ in range(3)] == [502, 502, 200]
            await admin.post("/admin/fleets/default/reset")
