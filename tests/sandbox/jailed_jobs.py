"""Native attacks: what code can try that has all of CPython, ctypes and raw system calls.

Each gets through where it returns. None does harm where there is no jail: signals are 0, and what
would change the machine is asked with arguments that the kernel refuses once it has taken the call.
"""

import ctypes
import errno
import gc
import mmap
import os
import platform
import posix
import random
import resource
import signal
import socket
import sys
import threading
import time
from types import SimpleNamespace

from sandbox import acts, kernel, landlock, seccomp
from sandbox.child import report_progress

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
ON_INTEL = platform.machine() == "x86_64"
BUFFER = ctypes.create_string_buffer(4096)
HERE = ctypes.addressof(BUFFER)
PAGE = mmap.PAGESIZE
RIGHTS = mmap.PROT_READ | mmap.PROT_WRITE
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def run(job):
    return globals()[job["do"]](**{name: value for name, value in job.items() if name != "do"})


def attack(name, aims):
    """True if it got through."""
    ATTACKS[name](SimpleNamespace(**aims))
    return True


def raw(intel, arm, *arguments):
    """A system call by its number on this machine; EFAULT and the like mean that it was taken."""
    result = libc.syscall(ctypes.c_long(intel if ON_INTEL else arm), *map(_long, arguments))
    if result == -1 and ctypes.get_errno() in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), "refused")
    return result


def _long(value):
    return ctypes.c_long(value) if isinstance(value, int) else value


def memory(rights, flags, descriptor=-1, size=PAGE):
    if libc.mmap(None, size, rights, flags, descriptor, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "refused")


def in_memory_of(call):
    place = mmap.mmap(-1, PAGE, flags=ANONYMOUS, prot=RIGHTS)
    return call(ctypes.addressof(ctypes.c_char.from_buffer(place)))


def connect(family, address):
    with socket.socket(family) as sock:
        sock.connect(address)


def channel():
    """The descriptor on which the answer goes, found without a system call."""
    return next(each for each in gc.get_objects() if isinstance(each, socket.socket)).fileno()


def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def thread():
    started = threading.Thread(target=int)
    started.start()
    started.join()


def read(path):
    with open(path) as file:
        return file.read()


def write(path):
    with open(path, "w") as file:
        file.write("changed")


def write_with(flags):
    return lambda aims: os.write(os.open(aims.file, os.O_WRONLY | flags), b"x")


ATTACKS = {
    # Files.
    "read_a_file": lambda aims: read(aims.file),
    "append_to_a_file": write_with(os.O_APPEND),
    "cut_a_file": write_with(os.O_TRUNC),
    "make_a_file": lambda aims: os.open(aims.folder + "/made", os.O_CREAT | os.O_RDWR),
    "make_a_file_without_a_name": lambda aims: os.open(aims.folder, os.O_TMPFILE | os.O_RDWR),
    "list_a_folder": lambda aims: os.listdir(aims.folder),
    "open_by_openat2": lambda aims: raw(437, 437, -100, aims.file.encode(), BUFFER, 24),
    "open_by_its_handle": lambda aims: raw(304, 265, -100, BUFFER, 0),
    "ask_for_its_handle": lambda aims: raw(303, 264, -100, aims.file.encode(), BUFFER, BUFFER, 0),
    "change_a_mode": lambda aims: os.chmod(aims.file, 0o777),
    "change_an_owner": lambda aims: os.chown(aims.file, os.getuid(), -1),
    "change_a_time": lambda aims: os.utime(aims.file),
    "change_an_attribute": lambda aims: raw(188, 5, None, None, None, 0, 0),
    "remove_a_file": lambda aims: os.unlink(aims.file),
    "rename_a_file": lambda aims: os.rename(aims.file, aims.file + "2"),
    "link_a_file": lambda aims: os.link(aims.file, aims.file + "2"),
    "link_by_name": lambda aims: os.symlink("/", aims.folder + "/link"),
    "make_a_folder": lambda aims: os.mkdir(aims.folder + "/made"),
    "make_a_fifo": lambda aims: os.mkfifo(aims.folder + "/made"),
    "enter_a_folder": lambda aims: os.chdir(aims.folder),
    "write_own_memory": lambda aims: open("/proc/self/mem", "r+b").close(),
    "read_own_maps": lambda aims: read("/proc/self/maps"),
    "ask_for_less_killing": lambda aims: open("/proc/self/oom_score_adj", "w").close(),
    "watch_a_file": lambda aims: raw(294, 26, 0),
    # The network and other channels.
    "connect_by_tcp": lambda aims: connect(socket.AF_INET, ("127.0.0.1", aims.port)),
    "send_by_udp": lambda aims: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "connect_by_a_socket_file": lambda aims: connect(socket.AF_UNIX, aims.folder + "/door"),
    "connect_by_an_abstract_socket": lambda aims: connect(socket.AF_UNIX, "\0" + aims.abstract),
    "make_a_pair_of_sockets": lambda aims: socket.socketpair(),
    "talk_to_the_kernel_by_netlink": lambda aims: raw(41, 198, 16, 3, 0),
    "talk_to_the_hypervisor_by_vsock": lambda aims: raw(41, 198, 40, 1, 0),
    "make_a_pipe": lambda aims: os.pipe(),
    "make_a_queue": lambda aims: raw(240, 180, None, 0, 0, None),
    "make_shared_memory": lambda aims: raw(29, 194, 0, PAGE, 0),
    "make_a_file_in_memory": lambda aims: os.memfd_create("x"),
    "type_into_a_terminal": lambda aims: raw(16, 29, 0, 0x5412, b"x"),
    # The channel to the server, and what could be done with more than one of it.
    "copy_the_channel": lambda aims: os.dup(channel()),
    "close_the_channel": lambda aims: os.close(channel()),
    "close_everything": lambda aims: os.closerange(0, 256),
    "send_a_descriptor": lambda aims: raw(46, 211, channel(), None, 0),
    "have_the_channel_not_wait": lambda aims: os.set_blocking(channel(), False),
    "ask_who_is_at_the_other_end": lambda aims: raw(55, 209, channel(), 1, 17, BUFFER, BUFFER),
    "copy_between_descriptors": lambda aims: raw(40, 71, 1, 0, None, 1),
    "wait_for_many": lambda aims: raw(291, 20, 0),
    "use_a_ring": lambda aims: raw(425, 425, 1, None),
    # Processes and programs.
    "fork": lambda aims: fork(),
    "start_a_thread": lambda aims: thread(),
    "clone": lambda aims: raw(56, 220, 0x0002_0000, None, None, None, None),  # CLONE_SIGHAND: no
    "vfork": lambda aims: raw(58, 435, None, 0),
    "clone_by_clone3": lambda aims: raw(435, 435, None, 0),
    "spawn": lambda aims: os.posix_spawn("/bin/true", ["true"], {}),
    "run_a_program": lambda aims: raw(59, 221, None, None, None),
    "run_a_program_by_descriptor": lambda aims: raw(322, 281, 0, None, None, None, 0),
    "signal_a_process": lambda aims: os.kill(aims.pid, 0),
    "signal_everybody": lambda aims: os.kill(-1, 0),
    "signal_the_keepers_group": lambda aims: os.killpg(os.getpgid(aims.pid), 0),
    "abort_another_process": lambda aims: raw(234, 131, aims.pid, aims.pid, 0),
    "signal_a_thread": lambda aims: raw(200, 130, aims.pid, 0),
    "queue_a_signal": lambda aims: raw(129, 138, aims.pid, 0, None),
    "hold_a_process": lambda aims: os.pidfd_open(aims.pid),
    "take_a_descriptor": lambda aims: raw(438, 438, 0, 0, 0),
    "be_traced": lambda aims: raw(101, 117, 0, 0, 0, 0),
    "trace_a_process": lambda aims: raw(101, 117, 0x4206, aims.pid, 0, 0),
    "read_anothers_memory": lambda aims: raw(310, 270, aims.pid, None, 0, None, 0, 0),
    "write_anothers_memory": lambda aims: raw(311, 271, aims.pid, None, 0, None, 0, 0),
    "lower_anothers_limits": lambda aims: raw(302, 261, aims.pid, 7, None, BUFFER),
    "ask_for_the_parent": lambda aims: os.getppid(),
    "leave_the_group": lambda aims: os.setpgid(0, 0),
    # The jail itself.
    "raise_a_limit": lambda aims: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)),
    "ask_for_a_limit": lambda aims: resource.getrlimit(resource.RLIMIT_AS),
    "be_dumpable": lambda aims: raw(157, 167, 4, 1, 0, 0, 0),
    "outlive_the_keeper": lambda aims: raw(157, 167, 1, 0, 0, 0, 0),
    "adopt_orphans": lambda aims: raw(157, 167, 36, 1, 0, 0, 0),
    "add_a_filter": lambda aims: raw(317, 277, 1, 0, None),
    "catch_the_kill": lambda aims: signal.signal(signal.SIGSYS, lambda *_: None),
    "ignore_the_end": lambda aims: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "take_another_stack": lambda aims: raw(131, 132, None, None),
    "set_an_alarm": lambda aims: signal.setitimer(signal.ITIMER_REAL, 100),
    # Rights.
    "become_root": lambda aims: os.setresuid(0, 0, 0),
    "join_a_group": lambda aims: os.setgroups([0]),
    "gain_capabilities": lambda aims: raw(126, 91, None, None),
    "make_namespaces": lambda aims: raw(272, 97, 0x1000_0000),
    "enter_namespaces": lambda aims: raw(308, 268, 0, 0),
    "mount": lambda aims: raw(165, 40, None, None, None, 0, None),
    "have_a_root_of_its_own": lambda aims: os.chroot(aims.folder),
    "pivot": lambda aims: raw(155, 41, None, None),
    "read_keys": lambda aims: raw(250, 219, 0, -3, 0),
    "add_a_key": lambda aims: raw(248, 217, None, None, None, 0, -3),
    "load_a_program_into_the_kernel": lambda aims: raw(321, 280, -1, None, 0),
    "count_events": lambda aims: raw(298, 241, None, 0, -1, -1, 0),
    "handle_page_faults": lambda aims: raw(323, 282, -1),
    "load_a_module": lambda aims: raw(175, 105, None, 0, None),
    "load_a_kernel": lambda aims: raw(246, 104, 0, 0, None, 0),
    "restart_the_machine": lambda aims: raw(169, 142, 0, 0, 0, None),
    "set_the_clock": lambda aims: raw(227, 112, 0, None),
    "name_the_machine": lambda aims: raw(170, 161, None, -1),
    "be_another_kind_of_process": lambda aims: raw(135, 92, 0xFFFF_FFFF),
    "run_first": lambda aims: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "choose_a_processor": lambda aims: posix.sched_setaffinity(0, {0}),
    # Memory.
    "make_machine_code": lambda aims: memory(RIGHTS | mmap.PROT_EXEC, ANONYMOUS),
    "make_memory_executable": lambda aims: in_memory_of(lambda at: raw(10, 226, at, PAGE, 5)),
    "make_memory_executable_by_a_key": lambda aims: raw(329, 288, HERE, 0, 5, -1),
    "share_memory": lambda aims: memory(RIGHTS, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS),
    "map_a_descriptor": lambda aims: memory(mmap.PROT_READ, mmap.MAP_PRIVATE, 0),
    "take_huge_pages": lambda aims: memory(RIGHTS, ANONYMOUS | 0x40000, -1, 0),
    "keep_memory_from_being_swapped": lambda aims: raw(149, 228, HERE, 0),
    "spoil_memory": lambda aims: raw(28, 233, 0, 0, 100),
    "lend_priority_by_a_lock": lambda aims: raw(202, 98, HERE, 7, 0, None, None, 0),
    "turn_locks_into_others": lambda aims: raw(202, 98, HERE, 3, 0, 0, HERE, 0),
    "use_a_segment": lambda aims: raw(158 if ON_INTEL else 157, 167, -1, None),
}
if ON_INTEL:
    ATTACKS["ask_by_another_table"] = lambda aims: raw(0x4000_0000 | 39, 0)

REFUSED = {
    "ask_for_a_size": lambda aims: os.stat(aims.file),
    "ask_for_an_open_files_size": lambda aims: os.fstat(0),
    "ask_where_a_link_leads": lambda aims: os.readlink("/proc/self/exe"),
    "ask_whether_it_may_be_read": lambda aims: os.access(aims.file, os.R_OK) or 1 / 0,
    "ask_for_the_folder": lambda aims: os.getcwd(),
}
"""Not death but an error: what honest code asks by the way."""


def ask(name, aims):
    REFUSED[name](SimpleNamespace(**aims))
    return True


# What a program must be able to do in STRICT.


def sum_of_many_lists():
    return sum(len([None] * 100_000) for _ in range(100))


def much_memory():
    parts = [bytearray(b"x" * 10_000_000) for _ in range(10)]
    parts[0] += parts[1]
    size = sum(map(len, parts))
    del parts
    gc.collect()
    return size


def too_much_memory():
    try:
        return len(bytearray(1 << 40))
    except MemoryError:
        return "MemoryError"


def cycles():
    for _ in range(10_000):
        each = []
        each.append(each)
    return gc.collect() > 0


def deep_recursion():
    def down(left):
        return 0 if left == 0 else 1 + down(left - 1)

    sys.setrecursionlimit(20_000)
    try:
        return down(10**6)
    except RecursionError:
        return down(15_000)


def deep_recursion_in_c():
    """Grows the stack itself by some megabytes."""

    def down(left):
        return 0 if left == 0 else 1 + max([left - 1], key=lambda each: 0) * 0 + deeper(left - 1)

    def deeper(left):
        return next(map(down, [left]))

    sys.setrecursionlimit(20_000)
    return down(4_000)


def time_and_chance():
    time.sleep(0.001)
    local = time.localtime(0)
    again = time.mktime(local)
    return [time.time() > 0, time.process_time() > 0, 0 <= random.random() < 1, again, local[0]]


def fresh_chance():
    return len({os.urandom(8).hex(), random.SystemRandom().randbytes(8).hex()})


def lock():
    with threading.Lock(), threading.RLock():
        return threading.Semaphore(1).acquire(timeout=0.01)


def wait_for_a_lock():
    held = threading.Lock()
    held.acquire()
    return held.acquire(timeout=0.01)


def raise_it():
    raise ValueError("as any tool may")


def leave():
    sys.exit(3)


def missing_module():
    try:
        import wave  # noqa: F401
    except ImportError as error:
        return str(error)


def rare_codec():
    try:
        return "x".encode("mac_roman").decode()
    except LookupError as error:
        return str(error)


def printing():
    print("nobody hears it", flush=True)
    sys.stderr.write("nor this")
    return "printed"


def echo(value):
    return value


def progress():
    report_progress({"step": 1})
    return "told"


def forge(text):
    """Write what one likes to where the answer goes."""
    os.write(channel(), text.encode())
    return "an honest answer"


def hang():
    while True:
        time.sleep(60)


def spin():
    while True:
        pass


# Ways to die that are nobody's attack.


def abort():
    os.abort()


def touch_nothing():
    ctypes.string_at(0)


def stop_itself():
    """A stop is a signal to itself, and those are not among what is allowed."""
    os.kill(os.getpid(), signal.SIGSTOP)


# Of the process itself; only where no filter forbids to ask.


def identity():
    return {
        "pid": os.getpid(),
        "user": os.getresuid(),
        "group": os.getresgid(),
        "groups": os.getgroups(),
        "capabilities": capabilities_now(),
        "dies_with_keeper": _death_signal(),
    }


def capabilities_now():
    """Those in effect, permitted and inheritable, each in two halves."""
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    sets = (ctypes.c_uint32 * 6)()
    raw(125, 90, ctypes.byref(header), ctypes.byref(sets))
    return list(sets)


def _death_signal():
    number = ctypes.c_int()
    libc.prctl(2, ctypes.byref(number), 0, 0, 0)
    return number.value


# Landlock and seccomp by themselves, in a child without a jail.


def under_landlock(acts, read=(), write=(), network=False):
    """What becomes of each act under rules of its own."""
    landlock.restrict(read, write, network=network)
    return {name: _outcome(*act) for name, act in acts.items()}


def _outcome(what, *where):
    try:
        LANDLOCKED[what](*where)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def try_act(name, aims):
    """Why a forbidden act was refused; None if it got through."""
    return acts.attempt(name, aims)


LANDLOCKED = {
    "read": read,
    "list": os.listdir,
    "write": write,
    "remove": os.unlink,
    "make_folder": os.mkdir,
    "make_device": lambda path: os.mknod(path, 0o020666, os.makedev(1, 3)),
    "run": lambda path: os.spawnv(os.P_WAIT, path, [path]) == 127 and _refused(),
    "connect": lambda port: connect(socket.AF_INET, ("127.0.0.1", port)),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
    "abstract": lambda name: connect(socket.AF_UNIX, "\0" + name),
    "signal": lambda pid: os.kill(pid, 0),
    "signal_itself": lambda: os.kill(os.getpid(), 0),
}


def _refused():
    raise OSError(errno.EACCES, "not run")


def under_natives_filter(act, network):
    kernel.filter_system_calls(seccomp.native(network=network))
    NATIVES[act]()
    return True


NATIVES = {
    # Death.
    "trace": lambda: raw(101, 117, 0, 0, 0, 0),
    "read_memory": lambda: raw(310, 270, os.getpid(), None, 0, None, 0, 0),
    "take_a_descriptor": lambda: raw(438, 438, 0, 0, 0),
    "load_a_module": lambda: raw(175, 105, None, 0, None),
    "load_a_kernel": lambda: raw(246, 104, 0, 0, None, 0),
    "restart": lambda: raw(169, 142, 0, 0, 0, None),
    "set_the_clock": lambda: raw(227, 112, 0, None),
    # Refused.
    "mount": lambda: raw(165, 40, None, None, None, 0, None),
    "chroot": lambda: os.chroot("/"),
    "unshare": lambda: raw(272, 97, 0x1000_0000),
    "clone_into_a_namespace": lambda: raw(56, 220, 0x1000_0000 | 0x0002_0000, *[None] * 4),
    "clone3": lambda: raw(435, 435, None, 0),
    "ring": lambda: raw(425, 425, 1, None),
    "file_in_memory": lambda: os.memfd_create("x"),
    "shared_memory": lambda: raw(29, 194, 0, PAGE, 0),
    "keys": lambda: raw(250, 219, 0, -3, 0),
    "bpf": lambda: raw(321, 280, -1, None, 0),
    "handle": lambda: raw(304, 265, -100, BUFFER, 0),
    "type_into_a_terminal": lambda: raw(16, 29, 0, 0x5412, b"x"),
    "personality": lambda: raw(135, 92, 0x0040_0000),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
    "socket_file": lambda: socket.socket(socket.AF_UNIX),
    "call_of_a_newer_kernel": lambda: raw(500, 500),
    # Allowed.
    "fork": fork,
    "thread": thread,
    "run": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]) == 0 or 1 / 0,
    "socket": lambda: socket.socket(socket.AF_INET).close(),
    "pair": lambda: socket.socketpair(),
    "ask_for_personality": lambda: raw(135, 92, 0xFFFF_FFFF),
    "list": lambda: os.listdir("/"),
}


def by_the_32_bit_door(path, with_filter):
    """mkdir of the old 32-bit table, which has the number of getpid in the usual one."""
    page = mmap.mmap(-1, PAGE, prot=RIGHTS | mmap.PROT_EXEC, flags=ANONYMOUS | 0x40)  # below 4 GiB
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    page[1024 : 1024 + len(path) + 1] = path.encode() + b"\0"
    code = b"\x53"  # push rbx
    code += b"\xb8\x27\0\0\0"  # mov eax, 39
    code += b"\xbb" + (start + 1024).to_bytes(4, "little")  # mov ebx, path
    code += b"\xb9\xed\x01\0\0"  # mov ecx, 0755
    code += b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    page[: len(code)] = code
    call = ctypes.CFUNCTYPE(ctypes.c_int)(start)
    if with_filter:
        kernel.filter_system_calls(seccomp.strict())
    return call()
