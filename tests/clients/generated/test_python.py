"""What generators of Python make of the OpenAPI document works."""

import sys
from pathlib import Path

from tests.support.generators import generate, python_tool, use
from tests.support.node import run

GENERATED_BY_OPENAPI_GENERATOR = """
import sys
from openapi_client import *

url, admin = sys.argv[1:]
with ApiClient(Configuration(host=url)) as client:
    body = RegisterBody(username="alice", password="correct horse")
    AccountsApi(client).register(body)
    token = AccountsApi(client).login(LoginBody(**body.to_dict())).token
configuration = Configuration(host=url, access_token=token)
configuration.datetime_format = "%Y-%m-%dT%H:%M:%S.%fZ"  # its own, +0000, is not RFC 3339's
with ApiClient(configuration) as client:
    devices = DevicesApi(client)
    (first, *_) = devices.list_devices(status=[StatusCode.FAILED_400, StatusCode.FAILED_500])
    assert first.sync_status_code == StatusCode.FAILED_400
    assert devices.get_device(first.device_id) == first
    accepted = devices.sync_device_with_http_info(first.device_id)
    assert accepted.data.sync_status_code is StatusCode.PENDING
    assert accepted.headers["Pisync-Attempt"] == "1"
    status = [FailureCode.FAILURE_400]
    logs = ErrorLogsApi(client).list_errors(since=first.last_attempt_at, status=status)
    assert first.device_id in [log.device_id for log in logs]
    assert devices.sync_devices(SyncBody(device_ids=[2, 999])).not_found == [999]
    try:
        devices.get_device(999)
    except ApiException as error:
        assert Problem.from_json(error.body).message == "There is no such device in this fleet."
with ApiClient(Configuration(host=url, access_token=admin)) as client:
    fleets = FleetsApi(client)
    delay = Delay(UniformDelay(distribution="uniform", min=0.5, max=2))
    failure = {"sync_status_code": OutcomeCode.OUTCOME_500, "error_message": "No"}
    outcomes = [WeightedOutcome(**failure, weight=1)]
    profile = PartialProfile(seed=2**53 - 1, outcomes=outcomes, delay=delay)
    fleet = fleets.put_fleet("mine", FleetBody(devices=FirstData(3), profile=profile))
    assert (fleet.seed, fleet.profile.delay.actual_instance.max) == (2**53 - 1, 2)
    (step,) = fleets.get_forecast("mine", device_id=1, attempts=1)
    assert (step.attempt, step.error_message) == (1, "No") and 0.5 <= step.delay <= 2
    fleets.put_script("mine", 1, [Step(hold=True)])
"""

GENERATED_BY_OPENAPI_PYTHON_CLIENT = """
import sys
from pi_sync_client import AuthenticatedClient, Client
from pi_sync_client.api.accounts import login, register
from pi_sync_client.api.devices import get_device, list_devices, sync_device
from pi_sync_client.api.error_logs import list_errors
from pi_sync_client.api.fleets import get_forecast, put_fleet
from pi_sync_client.models import *

url, admin = sys.argv[1:]
client = Client(url)
register.sync(client=client, body=RegisterBody("alice", "correct horse"))
token = login.sync(client=client, body=LoginBody("alice", "correct horse")).token
client = AuthenticatedClient(url, token)
status = [StatusCode.FAILED_400, StatusCode.FAILED_500]
(first, *_) = list_devices.sync(client=client, status=status)
assert get_device.sync(first.device_id, client=client) == first
assert sync_device.sync(first.device_id, client=client).sync_status_code is StatusCode.PENDING
since = first.last_attempt_at
logs = list_errors.sync(client=client, since=since, status=[FailureCode.FAILURE_400])
assert first.device_id in [log.device_id for log in logs]
assert isinstance(get_device.sync(999, client=client), Problem)
client = AuthenticatedClient(url, admin)
outcome = WeightedOutcome(OutcomeCode.OUTCOME_500, error_message="No", weight=1)
fleet = put_fleet.sync("mine", client=client, body=FleetBody(3, PartialProfile(outcomes=[outcome])))
(step,) = get_forecast.sync("mine", client=client, device_id=1, attempts=1)
assert (step.attempt, step.sync_status_code, step.delay > 0) == (1, OutcomeCode.OUTCOME_500, True)
"""

GENERATED_BY_DATAMODEL_CODE_GENERATOR = """
from models import *

profile = Profile(**{
    "seed": 7, "outcomes": [{"sync_status_code": 200, "weight": 1}], "when_pending": "join",
    "delay": {"distribution": "constant", "seconds": 1}, "max_pending": 5,
})
assert profile.outcomes[0].weight == 1 and profile.delay.root.seconds == 1
assert {"attempt", "delay", "sync_status_code", "error_message"} == set(Forecast.model_fields)
assert FirstData(3).root == 3 and FirstData([{"device_id": 1}]).root[0].device_id == 1
"""


def test_openapi_generators_client_makes_the_calls(document: Path, tmp_path: Path) -> None:
    generate(document, "python", tmp_path)
    use(sys.executable, "-c", GENERATED_BY_OPENAPI_GENERATOR, cwd=tmp_path)


def test_openapi_python_client_makes_the_calls(document: Path, tmp_path: Path) -> None:
    program = python_tool("openapi-python-client", "openapi_python_client")
    config = tmp_path / "config.yaml"
    config.write_text("content_type_overrides: {application/x-ndjson: application/octet-stream}")
    run(
        *(program, "generate", "--path", str(document), "--meta", "none", "--config", str(config)),
        *("--output-path", "pi_sync_client", "--fail-on-warning"),
        cwd=tmp_path,
    )
    use(sys.executable, "-c", GENERATED_BY_OPENAPI_PYTHON_CLIENT, cwd=tmp_path)


def test_datamodel_code_generator_loses_no_field(document: Path, tmp_path: Path) -> None:
    program = python_tool("datamodel-codegen", "datamodel_code_generator")
    run(
        *(program, "--input", str(document), "--input-file-type", "openapi"),
        *("--output", "models.py", "--output-model-type", "pydantic_v2.BaseModel"),
        cwd=tmp_path,
    )
    run(sys.executable, "-c", GENERATED_BY_DATAMODEL_CODE_GENERATOR, cwd=tmp_path)
