"""The filters of system calls: NATIVE's in real children, both on both machines by evaluation."""

import errno
import os
import signal
import struct
from types import SimpleNamespace

import pytest

from sandbox import seccomp, system_calls
from sandbox.outcomes import Status
from sandbox.seccomp import ALLOW, KILL, refuse
from tests.sandbox.conftest import make_workshop
from tests.sandbox.jailed_jobs import NATIVES, ON_INTEL

pytestmark = pytest.mark.feature("S3")
LONG = 60


@pytest.fixture(scope="module")
def workshop():
    shared = make_workshop("jailed_jobs:run")
    yield shared
    shared.close()


# NATIVE's list.

DEADLY = {
    "trace",
    "read_memory",
    "take_a_descriptor",
    "load_a_module",
    "load_a_kernel",
    "restart",
    "set_the_clock",
}
REFUSED = {
    "mount": "EPERM",
    "chroot": "EPERM",
    "unshare": "EPERM",
    "clone_into_a_namespace": "EPERM",
    "clone3": "ENOSYS",
    "ring": "ENOSYS",
    "file_in_memory": "ENOSYS",
    "shared_memory": "ENOSYS",
    "keys": "EPERM",
    "bpf": "EPERM",
    "handle": "EPERM",
    "type_into_a_terminal": "EPERM",
    "personality": "EPERM",
    "netlink": "EAFNOSUPPORT",
    "vsock": "EAFNOSUPPORT",
    "socket_file": "EAFNOSUPPORT",
    "call_of_a_newer_kernel": "ENOSYS",
}


def under_natives_filter(workshop, act, network=False):
    job = {"do": "under_natives_filter", "act": act, "network": network}
    return workshop.run(job, timeout=LONG)


@pytest.mark.parametrize("act", sorted(DEADLY))
def test_what_no_honest_tool_does_is_death(workshop, act):
    outcome = under_natives_filter(workshop, act)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Violation")


@pytest.mark.parametrize("act", REFUSED)
def test_what_libraries_try_is_refused_and_they_go_on(workshop, act):
    outcome = under_natives_filter(workshop, act)
    assert outcome.status is Status.ERROR
    assert outcome.error.startswith(f"[Errno {getattr(errno, REFUSED[act])}]")


@pytest.mark.parametrize("act", sorted(NATIVES.keys() - DEADLY - REFUSED.keys()))
def test_what_programs_usually_do_is_allowed(workshop, act):
    assert under_natives_filter(workshop, act).data is True


def test_a_socket_file_may_be_used_where_the_network_is_granted(workshop):
    assert under_natives_filter(workshop, "socket_file", network=True).data is True


# Ways around the numbers.


@pytest.mark.skipif(not ON_INTEL, reason="only x86_64 has a second table")
def test_the_32_bit_door_is_shut(workshop, tmp_path):
    tmp_path.chmod(0o777)
    job = {"do": "by_the_32_bit_door", "with_filter": False}
    without = workshop.run({**job, "path": f"{tmp_path}/without"}, timeout=LONG)
    if without.data != 0:
        pytest.skip("this kernel has no 32-bit door")
    job["with_filter"] = True
    outcome = workshop.run({**job, "path": f"{tmp_path}/with"}, timeout=LONG)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Violation")
    assert [each.name for each in tmp_path.iterdir()] == ["without"]


# Both machines, evaluated.

COMPUTING = {
    *("brk", "munmap", "mremap", "mprotect", "futex"),
    *("recvfrom", "recvmsg", "sendto", "read", "write"),
    *("clock_gettime", "clock_getres", "gettimeofday", "clock_nanosleep", "restart_syscall"),
    *("getrandom", "getpid", "gettid", "getrusage"),
    *("exit", "exit_group", "rt_sigreturn", "rt_sigprocmask"),
}


def judge(program, number, *arguments, audit=None):
    """What the kernel would answer, by the few instructions that are used."""
    audit = system_calls.machine().audit if audit is None else audit
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    lines = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = lines[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            value &= operand
        else:
            holds = {0x15: value == operand, 0x25: value > operand, 0x35: value >= operand}[code]
            at += if_true if holds else if_false


@pytest.fixture
def nothing_assembled():
    kept = (seccomp.native, seccomp._for_all_who_compute)
    for each in kept:
        each.cache_clear()
    yield
    for each in kept:
        each.cache_clear()


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request, monkeypatch, nothing_assembled):
    uname = SimpleNamespace(machine=request.param)
    monkeypatch.setattr(system_calls, "os", SimpleNamespace(uname=lambda: uname))
    return system_calls.MACHINES[request.param]


def named(name):
    number = system_calls.number(name)
    assert number is not None
    return number


def test_strict_allows_the_same_on_each_machine(machine):
    allowed = {name for name in system_calls.NUMBERS if judged(seccomp.strict(), name) == ALLOW}
    assert allowed - {"time"} == COMPUTING


def judged(program, name, *arguments):
    number = system_calls.number(name)
    return None if number is None else judge(program, number, *arguments)


def test_strict_kills_for_every_number_that_it_does_not_name(machine):
    named_here = {system_calls.number(name) for name in system_calls.NUMBERS}
    program = seccomp.strict()
    assert {judge(program, number) for number in set(range(1024)) - named_here} == {KILL}
    assert judge(program, 0xFFFF_FFFF) == KILL


@pytest.mark.parametrize("offset", [0, 1])
def test_another_machines_call_is_death_in_both_lists(machine, offset):
    programs = [seccomp.strict(), seccomp.native(network=True)]
    other = 0x4000_0003  # AUDIT_ARCH_I386
    assert {judge(each, named("getpid") + offset, audit=other) for each in programs} == {KILL}
    assert {judge(each, 0x4000_0000 + named("getpid")) for each in programs} == {KILL}


def test_memory_for_machine_code_is_death(machine):
    program = seccomp.strict()
    assert judge(program, named("mmap"), 0, 4096, 3, 0x22) == ALLOW
    assert judge(program, named("mmap"), 0, 4096, 7, 0x22) == KILL
    assert judge(program, named("mmap"), 0, 4096, 3, 0x02) == KILL  # of a file
    assert judge(program, named("mmap"), 0, 4096, 3, 0x21) == KILL  # shared
    assert judge(program, named("mprotect"), 0, 4096, 5) == KILL


def test_locks_may_wait_and_wake_only(machine):
    program = seccomp.strict()
    allowed = {op for op in range(16) if judge(program, named("futex"), 0, op) == ALLOW}
    assert allowed == {0, 1, 9, 10}
    assert judge(program, named("futex"), 0, 9 | 128 | 256) == ALLOW


def test_a_process_may_abort_itself_and_nobody_else(machine):
    program, number = seccomp.strict(), named("tgkill")
    assert judge(program, number, os.getpid(), os.getpid(), signal.SIGABRT) == ALLOW
    assert judge(program, number, os.getppid(), os.getppid(), signal.SIGABRT) == KILL
    assert judge(program, number, os.getpid(), os.getpid(), signal.SIGTERM) == KILL


def test_native_answers_a_call_of_the_future_as_an_old_kernel_would(machine):
    program = seccomp.native(network=False)
    assert judge(program, system_calls.NEWEST + 1) == refuse(errno.ENOSYS)
    assert judge(program, named("getpid")) == ALLOW


def test_native_sees_a_namespace_flag_among_others(machine):
    program = seccomp.native(network=False)
    threads = 0x003D_0F00  # as pthread_create asks
    assert judge(program, named("clone"), threads) == ALLOW
    for flag in (1 << 17, *(1 << bit for bit in range(25, 31))):
        assert judge(program, named("clone"), threads | flag) == refuse(errno.EPERM)


def test_an_unknown_machine_has_no_filter(monkeypatch, nothing_assembled):
    uname = SimpleNamespace(machine="riscv64")
    monkeypatch.setattr(system_calls, "os", SimpleNamespace(uname=lambda: uname))
    with pytest.raises(OSError, match="riscv64") as refusal:
        seccomp.strict()
    assert refusal.value.errno == errno.ENOSYS
