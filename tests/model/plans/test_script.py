from pisync.model.device import HOLD, Plan
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step, plan

FULL = Outcome(400, "Storage Full")
PROFILE = Profile(seed=7)


def test_steps_come_one_after_the_other_and_then_it_is_over() -> None:
    first, second = Step(FULL), Step(SUCCEEDED)
    script = Script((first, second))
    assert script.step == first
    rest = script.after()
    assert rest is not None
    assert rest.step == second
    assert rest.after() is None


def test_a_sticky_script_repeats_its_last_step_for_ever() -> None:
    script: Script | None = Script((Step(FULL), Step(SUCCEEDED)), sticky=True)
    seen = []
    for _ in range(5):
        assert script is not None
        seen.append(script.step.outcome)
        script = script.after()
    assert seen == [FULL] + [SUCCEEDED] * 4


def test_without_a_script_the_plan_is_the_profiles() -> None:
    assert plan(PROFILE, None, 3, 5) == Plan(*draw(PROFILE, 3, 5))


def test_a_step_says_outcome_and_delay() -> None:
    assert plan(PROFILE, Script((Step(FULL, 1_500_000),)), 3, 5) == Plan(FULL, 1_500_000)
    assert plan(PROFILE, Script((Step(FULL, 0),)), 3, 5) == Plan(FULL, 0)


def test_a_step_without_a_delay_takes_the_one_that_the_profile_draws() -> None:
    assert plan(PROFILE, Script((Step(FULL),)), 3, 5) == Plan(FULL, draw(PROFILE, 3, 5).delay)


def test_a_step_without_an_outcome_holds() -> None:
    assert plan(PROFILE, Script((Step(None),)), 3, 5) == HOLD


def test_a_plan_is_of_the_step_at_the_scripts_position() -> None:
    script = Script((Step(FULL, 1), Step(SUCCEEDED, 2)), position=1)
    assert plan(PROFILE, script, 3, 5) == Plan(SUCCEEDED, 2)
