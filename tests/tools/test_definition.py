"""What decorators make of a function."""

import itertools
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

import tools
from tests.conftest import Agent
from tests.tools import tool_with_postponed_annotations as module
from tests.tools.conftest import Bench
from tools import (
    ToolContext,
    isolated_process,
    max_retries,
    policy,
    preview,
    rate_limit,
    redact,
    require_approval,
    require_idempotency_key,
    scope,
    secrets,
    side_effects,
    timeout,
    tool,
)
from tools.errors import OutputValidationError, ToolRegistrationError

Decorate = Callable[[Any], Any]


def never(context: Any, arguments: dict[str, Any]) -> bool:
    """Denies everything."""
    return False


def faults(error: ValidationError) -> list[str]:
    """The paths at which arguments are wrong."""
    return [".".join(map(str, item["loc"])) for item in error.errors()]


# Types.


@pytest.mark.feature("TD1", "T23")
@pytest.mark.django_db
def test_a_nested_model_reaches_the_function_as_that_model(agent: Agent) -> None:
    answer = agent.invoke("spend", money={"amount": 5, "currency": "EUR"})
    assert answer.json()["data"] == "Money 5 EUR"


@pytest.mark.feature("TD1", "T23")
def test_postponed_annotations_with_types_of_the_module_work(bench: Bench) -> None:
    built = bench.build(tool(module.total))
    answer = built.call({"invoice": {"lines": [{"amount": "1.5"}, {"amount": 2}]}})
    assert built.checked_result(answer) == {"amount": "3.5", "currency": "EUR"}


@pytest.mark.feature("TD1")
@pytest.mark.django_db
def test_an_unknown_argument_is_422_with_its_path(agent: Agent) -> None:
    answer = agent.invoke("spend", money={"amount": 5, "currency": "EUR"}, tip=1)
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["fields"]] == ["tip"]


@pytest.mark.feature("TD1")
@pytest.mark.django_db
def test_a_wrong_value_deep_inside_is_422_with_its_path(agent: Agent) -> None:
    answer = agent.invoke("spend", money={"amount": "much", "currency": "EUR"})
    assert [fault["path"] for fault in answer.json()["fields"]] == ["money.amount"]
    assert "much" not in answer.content.decode()


def test_a_parameter_may_have_a_name_that_pydantic_uses_itself(bench: Bench) -> None:
    @tool
    def odd(copy: int, schema: str, model_config: bool, field_0: int = 1) -> list[Any]:
        return [copy, schema, model_config, field_0]

    built = bench.build(odd)
    assert built.call({"copy": 1, "schema": "s", "model_config": True}) == [1, "s", True, 1]
    assert built.public_schema["input_schema"]["required"] == ["copy", "schema", "model_config"]


def test_a_default_may_be_a_field_with_rules(bench: Bench) -> None:
    @tool
    def limited(count: int = Field(3, ge=1, description="how many")) -> int:
        return count

    built = bench.build(limited)
    assert built.call({}) == 3
    with pytest.raises(ValidationError):
        built.call({"count": 0})
    assert built.public_schema["input_schema"]["properties"]["count"]["description"] == "how many"


@pytest.mark.feature("T15")
@pytest.mark.parametrize("number", ["NaN", float("nan"), float("inf")])
def test_what_is_no_finite_number_never_reaches_a_float(bench: Bench, number: Any) -> None:
    @tool
    def pay(amount: float) -> float:
        return amount

    with pytest.raises(ValidationError):
        bench.build(pay).call({"amount": number})


def test_a_result_of_another_type_is_an_error_without_its_value(bench: Bench) -> None:
    class Answer(BaseModel):
        count: int

    @tool
    def wrong() -> list[Answer]:
        return [{"count": "hush"}]  # type: ignore[list-item]

    built = bench.build(wrong)
    with pytest.raises(OutputValidationError, match=r"at 0\.count$"):
        built.checked_result(built.call({}))


def test_a_result_that_is_no_json_is_an_error(bench: Bench) -> None:
    @tool
    def odd() -> Any:
        return object()

    built = bench.build(odd)
    with pytest.raises(OutputValidationError, match="cannot be written as JSON"):
        built.checked_result(built.call({}))


# ToolRampart's decorators.

DECORATORS = (
    "tool", "scope", "require_approval", "redact", "rate_limit", "policy", "timeout",
    "max_retries", "side_effects", "isolated_process", "require_idempotency_key", "secrets",
    "preview", "progress", "ToolContext", "SideEffectMetadata",
)  # fmt: skip


@pytest.mark.feature("TD2")
@pytest.mark.parametrize("name", DECORATORS)
def test_every_name_is_imported_from_tools(name: str) -> None:
    assert name in tools.__all__
    assert callable(getattr(tools, name))


@pytest.mark.feature("TD2")
def test_the_function_stays_what_it_was(bench: Bench) -> None:
    def plain(text: str) -> str:
        """Say it."""
        return text

    assert tool(scope("x")(timeout(3)(plain))) is plain
    assert plain("said") == "said"


@pytest.mark.feature("TD2")
def test_name_and_first_docstring_line_describe_a_tool(bench: Bench) -> None:
    @tool
    def plain() -> None:
        """Do it.

        And this is why.
        """

    @tool(name="other.name", description="Said here.")
    def named() -> None:
        """Not said here."""

    read = bench.registry().tools
    assert (read["plain"].name, read["plain"].description) == ("plain", "Do it.")
    assert read["other.name"].description == "Said here."


@pytest.mark.feature("TD2")
def test_the_public_schema_has_toolramparts_keys(bench: Bench) -> None:
    @tool
    @scope("a.b")
    @require_approval(over_amount=5)
    @redact(["card"])
    @rate_limit("10/minute/user")
    @policy(never, name="never", description="No.")
    @timeout(7)
    @max_retries(2)
    @side_effects(money_movement=True)
    @isolated_process
    def pay(amount: float, card: str = "") -> int:
        """Pay."""
        return 1

    schema = bench.build(pay).public_schema
    assert set(schema) == {
        "name", "description", "input_schema", "output_schema", "side_effects", "policies",
    }  # fmt: skip
    assert schema["policies"] == {
        "scope": "a.b",
        "approval": {
            "conditions": [{"field": "amount", "operator": ">", "value": 5}],
            "always": False,
        },
        "rate_limit": "10/minute/user",
        "redacts": ["card"],
        "custom": [{"name": "never", "description": "No."}],
        "timeout_seconds": 7,
        "max_retries": 2,
        "execution_mode": "subprocess",
        "requires_idempotency_key": False,
    }
    assert schema["side_effects"]["money_movement"] is True
    assert set(schema["side_effects"]) == {
        "read_only", "idempotent", "destructive", "external_network", "money_movement",
        "writes_data", "changes_permissions",
    }  # fmt: skip
    assert schema["input_schema"]["additionalProperties"] is False
    assert schema["output_schema"] == {"type": "integer"}


@pytest.mark.feature("TD2")
def test_defaults_are_toolramparts(bench: Bench) -> None:
    @tool
    def plain() -> None:
        """Plain."""

    built = bench.build(plain)
    assert (built.timeout_seconds, built.max_retries, built.scope) == (30.0, 0, None)
    assert (built.isolated, built.requires_idempotency_key) == (False, False)
    assert not any(built.public_schema["side_effects"].values())


@pytest.mark.feature("TD2")
@pytest.mark.parametrize(
    ("conditions", "values", "reason"),
    [
        ({}, {"amount": 1}, "approval is required"),
        ({"over_amount": 100}, {"amount": 100}, None),
        ({"over_amount": 100}, {"amount": 100.01}, "amount exceeds 100"),
        ({"at_or_over_amount": 100}, {"amount": 99}, None),
        ({"at_or_over_amount": 100}, {"amount": 100}, "amount is at least 100"),
        ({"currency": "USD"}, {"currency": "EUR"}, None),
        ({"currency": "USD"}, {"currency": "USD"}, "currency matched 'USD'"),
        (
            {"over_amount": 1, "currency": "USD"},
            {"amount": 2, "currency": "USD"},
            "amount exceeds 1; currency matched 'USD'",
        ),
        ({"over_amount": 1, "currency": "USD"}, {"amount": 2, "currency": "E"}, "amount exceeds 1"),
    ],
)
def test_any_condition_met_is_a_reason_in_toolramparts_words(
    bench: Bench, conditions: dict[str, Any], values: dict[str, Any], reason: str | None
) -> None:
    @tool
    @require_approval(**conditions)
    def pay(amount: float = 0, currency: str = "EUR") -> None:
        """Pay."""

    assert bench.build(pay).approval_reason({"amount": 0, "currency": "EUR"} | values) == reason


@pytest.mark.feature("TD2")
def test_conditions_of_one_field_said_twice_both_count(bench: Bench) -> None:
    @tool
    @require_approval(currency="USD")
    @require_approval(currency="CHF")
    def pay(currency: str) -> None:
        """Pay."""

    built = bench.build(pay)
    assert built.approval_reason({"currency": "USD"}) == "currency matched 'USD'"
    assert built.approval_reason({"currency": "CHF"}) == "currency matched 'CHF'"
    assert built.approval_reason({"currency": "EUR"}) is None


@pytest.mark.feature("TD2")
def test_redacted_names_may_come_from_any_iterable(bench: Bench) -> None:
    @tool
    @redact(name for name in ("pin", "card"))
    def pay(pin: str, card: str) -> None:
        """Pay."""

    assert bench.build(pay).redacts == {"pin", "card"}


@pytest.mark.feature("TD2")
def test_a_parameter_that_is_called_over_something_is_compared_by_its_own_name(
    bench: Bench,
) -> None:
    @tool
    @require_approval(over_limit=True)
    def pay(over_limit: bool) -> None:
        """Pay."""

    built = bench.build(pay)
    assert built.approval_reason({"over_limit": True}) == "over_limit matched True"
    assert built.approval_reason({"over_limit": False}) is None


@pytest.mark.feature("TD2")
def test_only_what_may_run_again_is_tried_again(bench: Bench) -> None:
    @tool
    @max_retries(3)
    def write() -> None:
        """Write."""

    @tool
    @max_retries(3)
    @side_effects(idempotent=True)
    def read() -> None:
        """Read."""

    read_tools = bench.registry().tools
    assert read_tools["write"].attempts_allowed == 1
    assert read_tools["read"].attempts_allowed == 4


@pytest.mark.feature("TD2")
def test_no_deadline_is_said_with_none(bench: Bench) -> None:
    @tool
    @timeout(None)
    def patient() -> None:
        """Patient."""

    assert bench.build(patient).timeout_seconds is None


@pytest.mark.feature("TD2", "T5")
def test_a_context_begins_as_toolramparts_and_is_never_changed() -> None:
    context = ToolContext()
    assert asdict(context) == {
        "actor": "anonymous", "scopes": (), "approved": False, "approved_by": None,
        "approval_id": None, "idempotency_key": None, "idempotency_started": False,
        "request_id": None, "source": "python", "metadata": {},
    }  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        context.approved = True  # type: ignore[misc]


def test_a_default_that_cannot_be_written_down_stops_the_start(bench: Bench) -> None:
    @tool
    def endless(seconds: float = float("inf")) -> None:
        """Endless."""

    assert "endless" in bench.problem()


# Order.

STACK: tuple[Decorate, ...] = (
    tool,
    scope("pay"),
    require_approval(over_amount=100),
    redact(["card"]),
    rate_limit("3/hour/actor"),
    policy(never),
    timeout(9),
    max_retries(1),
    side_effects(money_movement=True),
    isolated_process(network=True),
    require_idempotency_key,
    secrets("STRIPE_KEY"),
    preview(never),
)


def _decorated(decorators: tuple[Decorate, ...]) -> Callable[..., Any]:
    def pay(amount: float, card: str = "") -> float:
        """Pay."""
        return amount

    for decorate in reversed(decorators):
        pay = decorate(pay)
    return pay


@pytest.mark.feature("TD3")
def test_decorators_in_any_order_define_the_same_tool(bench: Bench) -> None:
    chance, hashes = random.Random(7), set()
    for _ in range(60):
        bench.clear()
        built = bench.build(_decorated(tuple(chance.sample(STACK, len(STACK)))))
        assert built.requires_idempotency_key and built.scope == "pay" and built.always_approve == 0
        hashes.add((built.schema_hash, built.policy_version))
    assert len(hashes) == 1


@pytest.mark.feature("TD3", "T15")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_scope_and_approval_hold_above_and_below_tool(bench: Bench, order: tuple[int, ...]) -> None:
    decorators = (tool, scope("pay"), require_approval)
    built = bench.build(_decorated(tuple(decorators[place] for place in order)))
    assert (built.scope, built.approval_reason({})) == ("pay", "approval is required")


@pytest.mark.feature("TD3")
def test_one_call_of_tool_says_the_same_as_decorators(bench: Bench) -> None:
    said_in_one = tool(
        scope="pay", approval={"over_amount": 100}, timeout_seconds=9, max_retries=1,
        side_effects={"money_movement": True}, execution_mode="subprocess",
    )  # fmt: skip
    one = bench.build(_decorated((said_in_one,)))
    bench.clear()
    said_apart = (*STACK[:3], timeout(9), max_retries(1), side_effects(money_movement=True))
    other = bench.build(_decorated((*said_apart, isolated_process)))
    assert one.schema_hash == other.schema_hash


@pytest.mark.feature("TD3")
@pytest.mark.parametrize(
    ("approval", "always"), [(True, True), ({}, True), (False, False), (None, False)]
)
def test_approval_in_one_call_is_asked_for_unless_it_is_declined(
    bench: Bench, approval: Any, always: bool
) -> None:
    assert bench.build(_decorated((tool(approval=approval),))).always_approve is always


# Wrong use.

WRONG_AT_ONCE: list[tuple[str, Callable[[], Any]]] = [
    ("bad window", lambda: rate_limit("5/-3 minutes/user")),
    ("no window", lambda: rate_limit("5/0 minutes/user")),
    ("no calls", lambda: rate_limit("0/minute/user")),
    ("unknown scope of a limit", lambda: rate_limit("5/minute/planet")),
    ("a window beyond a year", lambda: rate_limit("5/400 days/user")),
    ("a limit that is no text", lambda: rate_limit(5)),  # type: ignore[arg-type]
    ("negative retries", lambda: max_retries(-1)),
    ("retries that are a flag", lambda: max_retries(True)),
    ("a timeout of zero", lambda: timeout(0)),
    ("a timeout of NaN", lambda: timeout(float("nan"))),
    ("an endless timeout", lambda: timeout(float("inf"))),
    ("a scope with a space", lambda: scope("a b")),
    ("an empty scope", lambda: scope("")),
    ("a scope used bare", lambda: scope(never)),  # type: ignore[arg-type]
    ("redact with one text", lambda: redact("card")),
    ("redact with a number", lambda: redact([5])),  # type: ignore[list-item]
    ("a side effect with a typo", lambda: side_effects(destuctive=True)),
    ("a side effect that is no flag", lambda: side_effects(destructive="yes")),  # type: ignore[arg-type]
    ("a policy that cannot be called", lambda: policy("no")),  # type: ignore[arg-type]
    ("a preview that cannot be called", lambda: preview("no")),  # type: ignore[arg-type]
    ("secrets without a name", lambda: secrets()),
    ("a relative path", lambda: isolated_process(read=["data"])),
    ("one path that is no list", lambda: isolated_process(read="/data")),
    ("a path that is no text", lambda: isolated_process(read=[5])),  # type: ignore[list-item]
    ("a path with dots", lambda: isolated_process(write=["/data/../etc"])),
    ("a path with a slash too many", lambda: isolated_process(write=["/data/"])),
    ("a path with a NUL", lambda: isolated_process(read=["/data\0"])),
    ("the whole machine", lambda: isolated_process(read=["/"])),
    ("a path with two slashes", lambda: isolated_process(read=["//proc"])),
    ("the jail's own scratch", lambda: isolated_process(write=["/tmp"])),
    ("the kernel's own files", lambda: isolated_process(read=["/proc/1"])),
    ("a device", lambda: isolated_process(write=["/dev"])),
    ("an unknown execution mode", lambda: tool(execution_mode="coroutine")(lambda: None)),
    ("a class for a tool", lambda: tool(dict)),
    ("a condition on what is no function", lambda: require_approval(100)),  # type: ignore[call-overload]
]


@pytest.mark.feature("TD3", "P4", "T10")
@pytest.mark.parametrize("wrong", [pytest.param(use, id=what) for what, use in WRONG_AT_ONCE])
def test_a_wrong_use_that_can_be_judged_alone_raises_at_once(
    bench: Bench, wrong: Callable[[], Any]
) -> None:
    with pytest.raises((ToolRegistrationError, ValueError)):
        wrong()


@pytest.mark.feature("TD3", "T15")
@pytest.mark.parametrize(
    "conditions",
    [
        {"over_amout": 5},
        {"at_or_over_": 5},
        {"amountt": 5},
        {"over_amount": "5"},
        {"over_amount": None},
        {"over_amount": True},
        {"over_amount": float("nan")},
        {"at_or_over_amount": float("inf")},
    ],
)
def test_a_condition_that_can_never_be_judged_stops_the_start(
    bench: Bench, conditions: dict[str, Any]
) -> None:
    @tool
    @require_approval(**conditions)
    def pay(amount: float) -> None:
        """Pay."""

    assert "@require_approval" in bench.problem()


@pytest.mark.feature("TD3")
@pytest.mark.parametrize(
    "decorate", [scope("a"), require_approval, redact(["a"]), timeout(1), isolated_process]
)
def test_decorators_without_tool_stop_the_start(bench: Bench, decorate: Decorate) -> None:
    def forgotten() -> None:
        """Forgotten."""

    decorate(forgotten)
    assert bench.problem().endswith("forgotten has decorators of a tool but no @tool")


@pytest.mark.feature("TD3")
def test_functions_without_a_schema_stop_the_start(bench: Bench) -> None:
    def some(*args: int) -> None:
        """Some."""

    def named(**kwargs: int) -> None:
        """Named."""

    def by_place(amount: int, /) -> None:
        """By place."""

    def unknown(amount: "Unheard") -> None:  # type: ignore[name-defined] # noqa: F821
        """Unknown."""

    def untellable(amount: object) -> Callable[[], None]:
        """Untellable."""
        return lambda: None

    wrong = (some, named, by_place, unknown, untellable)
    for function in wrong:
        tool(function)
    assert len(bench.registry().problems) == len(wrong)
    assert bench.registry().tools == {}


@pytest.mark.feature("TD3")
def test_two_tools_of_one_name_stop_the_start(bench: Bench) -> None:
    for _ in range(2):
        _decorated((tool,))
    assert "the name 'pay' is taken" in bench.problem()


@pytest.mark.feature("TD3")
@pytest.mark.parametrize("name", ["a/b", "a b", "ä", "a:b", "x" * 129])
def test_a_name_that_no_path_can_hold_stops_the_start(bench: Bench, name: str) -> None:
    _decorated((tool(name=name),))
    assert "the name" in bench.problem()


@pytest.mark.feature("TD3")
@pytest.mark.parametrize(
    "decorate",
    [tool, scope("a"), timeout(1), rate_limit("1/hour/user"), max_retries(1), preview(never),
     side_effects(read_only=True), isolated_process(network=True)],
)  # fmt: skip
def test_saying_the_same_thing_twice_raises(bench: Bench, decorate: Decorate) -> None:
    with pytest.raises(ToolRegistrationError, match="is given twice"):
        _decorated((decorate, decorate))
