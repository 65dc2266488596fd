"""Whatever a tool answers, the caller gets one outcome, soon, and never an exception."""

import json

import pytest

from sandbox.limits import STANDARD, TESTS_ONLY, Limits
from sandbox.outcomes import Status
from sandbox.profiles import FRESH, WARM

MEBIBYTE = 1024 * 1024
LONG = 60


def crashed(outcome):
    return (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")


@pytest.mark.parametrize(
    "value", [None, 0, -1.5, "", "é \0 \U0001f600", [], {}, [1, [2, {"a": None}]], True, "\\ud800"]
)
def test_a_json_value_comes_back_as_it_was(workshop, value):
    outcome = workshop.run({"do": "echo", "value": value}, timeout=LONG)
    assert (outcome.status, outcome.data, outcome.error) == (Status.SUCCESS, value, "")


@pytest.mark.feature("X8")
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_mebibyte_comes_back_whole(workshop, profile):
    job = {"do": "text_of_json_size", "size": MEBIBYTE}
    outcome = workshop.run(job, timeout=LONG, profile=profile)
    assert outcome.status is Status.SUCCESS
    assert outcome.data == "x" * (MEBIBYTE - 2)


@pytest.mark.feature("X8")
@pytest.mark.parametrize("size", [MEBIBYTE + 1, 50 * MEBIBYTE])
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_one_byte_more_is_killed_and_never_cut(workshop, size, profile):
    job = {"do": "text_of_json_size", "size": size}
    outcome = workshop.run(job, timeout=LONG, profile=profile)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "OutputLimit")
    assert outcome.data is None
    assert outcome.seconds < LONG / 2


@pytest.mark.feature("T16")
def test_a_result_larger_than_a_pipe_does_not_block(workshop):
    outcome = workshop.run({"do": "pairs_of", "count": 20_000}, timeout=LONG)
    assert outcome.data == {str(n): [n, None, True, "é"] for n in range(20_000)}


def test_a_job_larger_than_a_socket_holds_arrives_whole(workshop):
    value = "é" * MEBIBYTE
    assert (
        workshop.run({"do": "echo", "value": value[:500_000]}, timeout=LONG).data
        == (value[:500_000])
    )


def test_a_job_over_its_limit_is_refused_before_anything_starts(other_workshop):
    never_started = other_workshop("no_such_module:run")
    with pytest.raises(ValueError, match="larger than 4096 bytes"):
        never_started.run({"value": "x" * 4096}, timeout=1, limits=TESTS_ONLY)


@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"])
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_what_a_tool_raises_becomes_an_error_with_its_name(workshop, kind, profile):
    outcome = workshop.run({"do": "fail", "kind": kind}, timeout=LONG, profile=profile)
    assert outcome.status is Status.ERROR
    assert (outcome.error_type, outcome.error) == (kind, "it went wrong")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("Explosive", "(its message cannot be printed)"),
        ("Enormous", "m" * STANDARD.error_characters),
        ("Sly", "sly"),
        ("MemoryError", "it went wrong"),
    ],
)
def test_an_exception_that_resists_is_told_as_far_as_it_goes(workshop, kind, error):
    outcome = workshop.run({"do": "fail", "kind": kind}, timeout=LONG)
    assert (outcome.status, outcome.error_type, outcome.error) == (Status.ERROR, kind, error)


def test_a_message_that_utf8_cannot_carry_is_made_so_that_it_can(workshop):
    outcome = workshop.run({"do": "fail_with_half_a_pair"}, timeout=LONG)
    assert (outcome.error_type, outcome.error) == ("ValueError", "half ? a pair")


def test_endless_recursion_is_an_error(workshop):
    outcome = workshop.run({"do": "recurse"}, timeout=LONG)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "RecursionError")


def test_a_failed_allocation_is_an_error(workshop):
    outcome = workshop.run({"do": "ask_for_too_much_memory"}, timeout=LONG)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "MemoryError")


@pytest.mark.parametrize(
    "job", ["object_without_json", "not_a_number", "half_a_surrogate_pair", "a_circle"]
)
def test_a_result_that_is_not_json_is_a_type_error(workshop, job):
    outcome = workshop.run({"do": job}, timeout=LONG)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "TypeError")
    assert outcome.error.startswith("the tool's result is not JSON: ")


@pytest.mark.parametrize("code", [0, 1, 77])
def test_a_tool_that_leaves_without_an_answer_has_crashed(workshop, code):
    outcome = workshop.run({"do": "exit_without_answer", "code": code}, timeout=LONG)
    assert crashed(outcome)
    assert outcome.error == f"the tool's process exited with {code} and gave no answer"
    assert outcome.signal is None


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (6, "SIGABRT")])
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_tool_that_dies_of_a_signal_has_crashed(workshop, number, name, profile):
    outcome = workshop.run({"do": "die_of", "number": number}, timeout=LONG, profile=profile)
    assert crashed(outcome)
    assert (outcome.signal, outcome.error) == (number, f"the tool's process died of {name}")


FORGED = [
    "null",
    "[]",
    "1",
    "not json",
    '"success"',
    '{"end":"success","data":1}',
    '{"id":"guess","spent":false,"end":"success","data":1}',
    '{"id":{},"end":"success"}',
    '{"progress":NaN}',
    '{"progress":1e999}',
    '{"progress":"\\ud800"}',
    "[" * 100_000,
]


@pytest.mark.parametrize("payload", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_frame_that_is_no_answer_of_ours_is_a_crash(workshop, payload, profile):
    job = {"do": "write_frame", "payload": payload, "then": "hang"}
    outcome = workshop.run(job, timeout=LONG, profile=profile)
    assert crashed(outcome)
    assert outcome.seconds < LONG / 2
    assert workshop.run({"do": "echo", "value": 7}, timeout=LONG, profile=profile).data == 7


@pytest.mark.parametrize("then", ["hang", "an answer"])
def test_bytes_that_are_no_frame_are_a_crash(workshop, then):
    text = "GET / HTTP/1.1\r\n\r\n"
    outcome = workshop.run({"do": "write_raw", "text": text, "then": then}, timeout=LONG)
    assert crashed(outcome)


def test_a_claim_of_four_gigabytes_is_refused_at_its_first_bytes(workshop):
    outcome = workshop.run({"do": "claim_four_gigabytes"}, timeout=LONG)
    assert crashed(outcome)
    assert outcome.seconds < LONG / 2


def test_half_a_frame_does_not_outlast_the_deadline(workshop):
    job = {"do": "write_raw", "text": "\0\0\0\x09{}", "then": "hang"}
    assert workshop.run(job, timeout=0.3).status is Status.TIMEOUT


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_tool_that_closes_its_socket_and_hangs_is_ended_at_once(workshop, profile):
    job = {"do": "close_the_socket", "then": "hang"}
    outcome = workshop.run(job, timeout=LONG, limits=TESTS_ONLY, profile=profile)
    assert crashed(outcome)
    assert outcome.seconds < LONG / 2


def test_the_end_is_told_by_the_kernel_though_another_holds_the_socket(workshop, processes, notes):
    job = {"do": "hand_the_socket_on_and_die", "notes": str(notes)}
    outcome = workshop.run(job, timeout=None)
    assert crashed(outcome)
    assert outcome.error.startswith("the tool's process exited with 0")
    assert not any(map(processes.is_running, processes.noted_in(notes, 1)))


def test_a_flood_of_progress_is_a_crash_and_keeps_nobody_busy(workshop):
    heard = []
    outcome = workshop.run({"do": "flood"}, timeout=LONG, on_progress=heard.append)
    assert crashed(outcome)
    assert len(heard) < 1000


def test_progress_of_a_child_that_keeps_no_bounds_is_a_crash(workshop):
    heard = []
    frame = json.dumps({"progress": "x" * 5000})
    job = {"do": "write_frame", "payload": frame}
    assert crashed(workshop.run(job, timeout=LONG, on_progress=heard.append))
    assert heard == []


def test_the_time_is_told_until_the_process_has_ended(workshop):
    outcome = workshop.run({"do": "answer_and_work_on", "seconds": 0.3}, timeout=LONG)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, "early")
    assert outcome.seconds >= 0.3


def test_a_fresh_run_tells_how_much_memory_it_had(workshop):
    outcome = workshop.run({"do": "echo"}, timeout=LONG)
    assert outcome.max_rss_bytes > MEBIBYTE


@pytest.mark.parametrize("name", ["grace_seconds", "result_bytes", "warm_calls"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


def test_progress_is_heard_while_the_tool_works(workshop):
    heard = []
    job = {"do": "progress", "values": [1, {"of": 3}, "three"], "wait": 0.15}
    outcome = workshop.run(job, timeout=LONG, on_progress=heard.append)
    assert outcome.data == "done"
    assert heard == [1, {"of": 3}, "three"]


def test_progress_that_is_too_much_is_dropped_in_silence(workshop):
    heard = []
    job = {"do": "progress", "values": ["x" * 5000, *range(200)]}
    outcome = workshop.run(job, timeout=LONG, on_progress=heard.append)
    assert outcome.data == "done"
    assert heard[0] == 0
    assert len(heard) <= 2 + outcome.seconds * 10


def test_progress_that_nobody_hears_does_no_harm(workshop):
    assert workshop.run({"do": "progress", "values": [1]}, timeout=LONG).data == "done"


def test_only_the_tool_itself_reports_progress(workshop):
    heard = []
    workshop.run({"do": "progress_from_a_fork"}, timeout=LONG, on_progress=heard.append)
    assert heard == ["from the tool"]


def test_an_error_while_progress_is_told_ends_the_run(workshop):
    def stop(_value):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        workshop.run({"do": "progress", "values": [1], "wait": 60}, timeout=LONG, on_progress=stop)
