"""What a native tool can try: all of CPython, ctypes, programs, and raw system calls.

An attack that returns got through. One that was refused raises an OSError, or its process does not
live to tell. Those that would change the machine ask with arguments which the kernel refuses only
after it has taken the call.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

libc = ctypes.CDLL(None, use_errno=True)
ON_INTEL = platform.machine() == "x86_64"
BUFFER = ctypes.create_string_buffer(4096)
SCRATCH = "/tmp"
NEW_USER, NEW_MOUNTS = 0x1000_0000, 0x0002_0000
REMOUNT, BIND = 32, 4096
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def run(job):
    return globals()[job["do"]](**{name: value for name, value in job.items() if name != "do"})


def attack(name, aims):
    """True if it got through."""
    ATTACKS[name](SimpleNamespace(**aims))
    return True


def raw(intel, arm, *arguments):
    """A system call by its number on this machine; EFAULT and the like mean that it was taken."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = libc.syscall(ctypes.c_long(intel if ON_INTEL else arm), *words)
    if result == -1 and ctypes.get_errno() in REFUSALS:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def refuse():
    raise PermissionError(errno.EPERM, "it did nothing")


def read(path):
    with open(path, "rb") as file:
        return file.read(16)


def write(path):
    with open(path, "r+b", buffering=0) as file:
        file.write(b"changed")


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.send(b"changed")


def through_link(folder, target):
    link = f"{folder}/link-{os.getpid()}"
    os.symlink(target, link)
    try:
        read(link)
    finally:
        os.unlink(link)


def climb(aims):
    """The old way out of a chroot: another one below, and up from where one was."""
    os.mkdir("below")
    checked(libc.chroot(b"below"))
    for _ in range(64):
        os.chdir("..")
    checked(libc.chroot(b"."))
    read(aims.file)


def mount(source, target, kind, flags, options=None):
    checked(libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), options))


def overlay(aims):
    for name in ("up", "work"):
        os.mkdir(name)
    options = f"lowerdir={aims.read},upperdir=/tmp/up,workdir=/tmp/work".encode()
    mount(b"overlay", aims.read, b"overlay", 0, options)


def lift_read_only(aims):
    clear = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
    checked(libc.syscall(442, -100, aims.read.encode(), 0, clear, 32))


def handle(aims):
    """A file by its inode's number, past every path."""
    BUFFER[:8] = (128).to_bytes(4, "little") + bytes(4)
    raw(303, 264, -100, aims.read.encode(), BUFFER, ctypes.byref(ctypes.c_int()), 0)
    raw(304, 265, -100, BUFFER, 0)


def device(kind, major, minor):
    def make(aims):
        os.mknod(f"{aims.write}/device", kind | 0o666, os.makedev(major, minor))

    return make


def run_a_copy(folder):
    copy = f"{folder}/program-{os.getpid()}"
    shutil.copy("/bin/true", copy)
    os.chmod(copy, 0o755)
    try:
        subprocess.run([copy], check=True)
    finally:
        os.unlink(copy)


def lend_rights(path, make):
    """A file that runs with its owner's rights, for anyone outside to run."""
    try:
        make(path)
        if not os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
            refuse()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def lend_later(mode):
    def make(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
        os.chmod(path, mode)

    return make


def lend_by_descriptor(path):
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o755)
    os.fchmod(descriptor, 0o4755)


def lend_from_a_folder(path):
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
    os.chmod(os.path.basename(path), 0o4755, dir_fd=folder)


def lend_at_birth(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755))


def lend_by_the_newest_open(path):
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    raw(437, 437, -100, path.encode(), how, 24)


def lend_as_a_device_is_made(path):
    os.mknod(path, stat.S_IFREG | 0o4755)


def list_of(folder, *names):
    found = os.listdir(folder)
    if not set(names) & set(found):
        refuse()


def raise_interface(aims):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = b"lo".ljust(16, b"\0") + (0x1).to_bytes(2, "little") + bytes(22)
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS, IFF_UP
    connect(socket.AF_INET, ("127.0.0.1", aims.port))


def resolve(aims):
    """A name that only a server outside can know."""
    query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(query, ("127.0.0.1", aims.udp))


def set_user_limits(aims):
    raw(302, 261, aims.pid, 7, (ctypes.c_uint64 * 2)(8, 8), None)
    os.kill(aims.pid, 0)


def slow_down(aims):
    os.setpriority(os.PRIO_PROCESS, aims.pid, 19)


def ask_by_program(*words):
    done = subprocess.run(words, capture_output=True, timeout=10)
    if done.returncode != 0:
        refuse()


def clone_user(aims):
    raw(56, 220, NEW_USER | signal.SIGCHLD, None, None, None, None) or os._exit(0)
    os.wait()


def be_root(aims):
    os.setresuid(0, 0, 0)


def regain(aims):
    """CAP_SYS_ADMIN and all others, asked for by name."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    checked(libc.capset(header, (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))


def regain_by_a_program(aims):
    """What a program that is run has is decided anew."""
    told = subprocess.check_output(["/bin/cat", "/proc/self/status"], text=True)
    caps = [line.split()[1] for line in told.splitlines() if line.startswith("Cap")]
    if not any(int(each, 16) for each in caps):
        refuse()


def ambient(aims):
    checked(libc.prctl(47, 2, 21, 0, 0))


def write_map(aims):
    with open("/proc/self/uid_map", "w") as file:
        file.write("0 0 1")


def write_text(path, text):
    with open(path, "w") as file:
        file.write(text)


def dumpable_again(aims):
    """Then look into the process above, which started as a copy of ours."""
    libc.prctl(4, 1, 0, 0, 0)
    read("/proc/1/mem")


def find_words(aims):
    """Every environment that /proc shows."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if aims.word.encode() in file.read():
                return
    if aims.word in str(os.environ):
        return
    refuse()


def find_words_above(aims):
    for name in ("environ", "mem", "maps", "auxv", "stack", "syscall"):
        with contextlib.suppress(OSError), open(f"/proc/1/{name}", "rb") as file:
            file.read(16)
            return
    refuse()


def find_descriptor(aims):
    """Whatever was open before: all but the standard streams and the way to the server."""
    kinds = [os.fstat(int(fd)) for fd in descriptors()]
    others = [one for one in kinds if not stat.S_ISSOCK(one.st_mode)]
    if len(kinds) - len(others) <= 1 and all(one.st_rdev == os.makedev(1, 3) for one in others):
        refuse()


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            yield name


def channel():
    return next(int(fd) for fd in descriptors() if stat.S_ISSOCK(os.fstat(int(fd)).st_mode))


def peer_folder(aims):
    """Over the channel's own end nothing but bytes can be had: it has no path."""
    sock = socket.socket(fileno=os.dup(channel()))
    if not sock.getpeername():
        refuse()


NUMBERS = {"reboot": (169, 142), "clock_settime": (227, 112)}

ATTACKS = {
    # Files that are not there.
    "read_a_file": lambda aims: read(aims.file),
    "write_a_file": lambda aims: write(aims.file),
    "read_by_dots": lambda aims: read(f"{SCRATCH}/../../..{aims.file}"),
    "read_beside_a_grant": lambda aims: read(f"{aims.read}/../file"),
    "read_beside_another_grant": lambda aims: read(f"{aims.write}/../file"),
    "list_beside_a_grant": lambda aims: list_of(f"{aims.read}/..", "file"),
    "follow_a_link_in_the_scratch": lambda aims: through_link(SCRATCH, aims.file),
    "follow_a_link_in_a_grant": lambda aims: through_link(aims.write, aims.file),
    "follow_a_link_that_lay_there": lambda aims: read(f"{aims.read}/link"),
    "link_a_file_in": lambda aims: os.link(aims.file, f"{aims.write}/linked"),
    "link_a_readable_file_into_a_writable_folder": lambda aims: os.link(
        f"{aims.read}/file", f"{aims.write}/linked"
    ),
    "read_by_the_root_of_the_first": lambda aims: read(f"/proc/1/root{aims.file}"),
    "read_by_its_own_root": lambda aims: read(f"/proc/self/root{aims.file}"),
    "read_by_the_folder_of_the_first": lambda aims: os.listdir("/proc/1/cwd/"),
    "read_by_a_thread_of_the_first": lambda aims: os.listdir("/proc/1/task/1/root/"),
    "list_descriptors_of_the_first": lambda aims: os.listdir("/proc/1/fd"),
    "read_by_handle": handle,
    "change_the_root": lambda aims: checked(libc.chroot(SCRATCH.encode())),
    "climb_out_of_a_root": climb,
    "pivot_back": lambda aims: checked(libc.pivot_root(b"/tmp", b"/tmp")),
    "read_shadow": lambda aims: read("/etc/shadow"),
    "read_the_machines_users": lambda aims: subprocess.run(
        ["/bin/grep", "-q", "nobody", "/etc/passwd"], check=False
    ).returncode
    and refuse(),
    "list_homes": lambda aims: os.listdir("/home"),
    "list_run": lambda aims: os.listdir("/run"),
    "list_var": lambda aims: os.listdir("/var"),
    "list_sys": lambda aims: os.listdir("/sys"),
    # Files that are there, to be read only.
    "write_what_may_be_read": lambda aims: write(f"{aims.read}/file"),
    "append_to_what_may_be_read": lambda aims: open(f"{aims.read}/file", "a").close(),
    "cut_what_may_be_read": lambda aims: os.truncate(f"{aims.read}/file", 0),
    "make_a_file_there": lambda aims: open(f"{aims.read}/made", "x").close(),
    "remove_what_may_be_read": lambda aims: os.unlink(f"{aims.read}/file"),
    "rename_what_may_be_read": lambda aims: os.rename(f"{aims.read}/file", f"{aims.read}/f"),
    "change_its_mode": lambda aims: os.chmod(f"{aims.read}/file", 0o777),
    "change_its_time": lambda aims: os.utime(f"{aims.read}/file"),
    "change_its_attribute": lambda aims: os.setxattr(f"{aims.read}/file", "user.x", b"1"),
    "write_by_a_descriptors_name": lambda aims: write(
        f"/proc/self/fd/{os.open(f'{aims.read}/file', os.O_RDONLY)}"
    ),
    "write_below_a_granted_folder": lambda aims: write(f"{aims.read}/below/file"),
    "write_a_program": lambda aims: write("/usr/bin/env"),
    "write_the_interpreter": lambda aims: write(os.path.realpath(sys.executable)),
    "write_the_standard_library": lambda aims: write(os.__file__),
    "write_its_own_module": lambda aims: write(__file__),
    "make_a_module": lambda aims: open(f"{os.path.dirname(__file__)}/new.py", "x").close(),
    "write_the_users": lambda aims: write("/etc/passwd"),
    "make_a_file_in_the_root": lambda aims: open("/made", "x").close(),
    "make_a_device_file_name": lambda aims: open("/dev/made", "x").close(),
    # Mounts.
    "mount_a_file_system": lambda aims: mount(b"none", SCRATCH, b"tmpfs", 0),
    "mount_writable": lambda aims: mount(None, aims.read, None, REMOUNT | BIND),
    "lift_read_only": lift_read_only,
    "bind": lambda aims: mount(b"/", aims.write, None, BIND),
    "lay_over": overlay,
    "take_away_a_mount": lambda aims: checked(libc.umount2(aims.read.encode(), 2)),
    "mount_proc": lambda aims: mount(b"proc", SCRATCH, b"proc", 0),
    "copy_a_mount": lambda aims: checked(libc.syscall(428, -100, b"/", 1)),
    "open_a_file_system": lambda aims: raw(430, 430, b"tmpfs", 0),
    # Devices.
    "make_a_memory_device": device(stat.S_IFCHR, 1, 1),
    "make_a_disk": device(stat.S_IFBLK, 254, 0),
    "read_memory_of_the_machine": lambda aims: read("/dev/mem"),
    "read_the_kernels_log": lambda aims: read("/dev/kmsg"),
    "open_a_terminal": lambda aims: os.open("/dev/tty", os.O_RDWR),
    "open_kvm": lambda aims: os.open("/dev/kvm", os.O_RDWR),
    # The kernel's files.
    "read_the_kernels_memory": lambda aims: read("/proc/kcore"),
    "press_the_magic_key": lambda aims: os.open("/proc/sysrq-trigger", os.O_WRONLY),
    "set_the_core_pattern": lambda aims: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "read_the_kernels_keys": lambda aims: read("/proc/keys"),
    "be_spared_when_memory_is_short": lambda aims: write_text("/proc/self/oom_score_adj", "-999"),
    "move_to_another_cgroup": lambda aims: write_text("/sys/fs/cgroup/cgroup.procs", "0"),
    # Programs and rights.
    "run_a_program_from_the_scratch": lambda aims: run_a_copy(SCRATCH),
    "run_a_program_from_a_grant": lambda aims: run_a_copy(aims.write),
    "lend_its_users_rights": lambda aims: lend_rights(f"{aims.write}/a", lend_later(0o4755)),
    "lend_its_groups_rights": lambda aims: lend_rights(f"{aims.write}/b", lend_later(0o2755)),
    "lend_rights_by_descriptor": lambda aims: lend_rights(f"{aims.write}/c", lend_by_descriptor),
    "lend_rights_from_a_folder": lambda aims: lend_rights(f"{aims.write}/d", lend_from_a_folder),
    "lend_rights_at_birth": lambda aims: lend_rights(f"{aims.write}/e", lend_at_birth),
    "lend_rights_by_the_newest_open": lambda aims: lend_rights(
        f"{aims.write}/f", lend_by_the_newest_open
    ),
    "lend_rights_as_a_device_is_made": lambda aims: lend_rights(
        f"{aims.write}/g", lend_as_a_device_is_made
    ),
    "be_root": be_root,
    "be_somebody_else": lambda aims: os.setresuid(65534, 65534, 65534),
    "join_roots_group": lambda aims: os.setgroups([0]),
    "be_another_group": lambda aims: os.setresgid(0, 0, 0),
    "regain_capabilities": regain,
    "regain_capabilities_by_a_program": regain_by_a_program,
    "keep_capabilities_in_the_ambient_set": ambient,
    "run_su": lambda aims: ask_by_program("/bin/su", "-c", "true"),
    "be_root_of_new_namespaces": lambda aims: checked(libc.unshare(NEW_USER)),
    "have_new_mounts": lambda aims: checked(libc.unshare(NEW_MOUNTS)),
    "clone_into_a_user_namespace": clone_user,
    "clone_by_its_newer_name": lambda aims: raw(435, 435, BUFFER, 88),
    "enter_the_namespace_of_the_first": lambda aims: os.open("/proc/1/ns/mnt", os.O_RDONLY),
    "write_its_map_of_users": write_map,
    "unshare_by_a_program": lambda aims: ask_by_program("/usr/bin/unshare", "-Ur", "true"),
    # The network.
    "connect_by_tcp": lambda aims: connect(socket.AF_INET, ("127.0.0.1", aims.port)),
    "connect_by_tcp_6": lambda aims: connect(socket.AF_INET6, ("::1", aims.port)),
    "connect_by_a_mapped_address": lambda aims: connect(
        socket.AF_INET6, ("::ffff:127.0.0.1", aims.port)
    ),
    "connect_to_anywhere": lambda aims: connect(socket.AF_INET, ("0.0.0.0", aims.port)),
    "send_by_udp": lambda aims: connect(
        socket.AF_INET, ("127.0.0.1", aims.udp), socket.SOCK_DGRAM
    ),
    "resolve_a_name": resolve,
    "connect_by_a_file": lambda aims: connect(socket.AF_UNIX, aims.door),
    "connect_by_a_file_in_a_grant": lambda aims: connect(socket.AF_UNIX, f"{aims.read}/door"),
    "connect_by_an_abstract_socket": lambda aims: connect(socket.AF_UNIX, f"\0{aims.abstract}"),
    "talk_to_the_hypervisor": lambda aims: socket.socket(40, socket.SOCK_STREAM),
    "talk_to_the_kernel": lambda aims: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "send_raw_packets": lambda aims: socket.socket(
        socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
    ),
    "listen_to_all_packets": lambda aims: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "have_the_kernel_encrypt": lambda aims: socket.socket(38, socket.SOCK_SEQPACKET),
    "raise_an_interface": raise_interface,
    # Other processes.
    "find_a_process": lambda aims: list_of("/proc", str(aims.pid)),
    "signal_a_process": lambda aims: os.kill(aims.pid, signal.SIGKILL),
    "signal_a_group": lambda aims: os.killpg(aims.pid, signal.SIGKILL),
    "signal_a_thread": lambda aims: raw(234, 131, aims.pid, aims.pid, 9) and refuse(),
    "hold_a_process": lambda aims: os.pidfd_open(aims.pid),
    "slow_a_process_down": slow_down,
    "limit_a_process": set_user_limits,
    "trace_the_first": lambda aims: raw(101, 117, 0x4206, 1, 0, 0),
    "read_memory_of_the_first": lambda aims: raw(310, 270, 1, BUFFER, 1, BUFFER, 1, 0),
    "write_memory_of_the_first": lambda aims: os.open("/proc/1/mem", os.O_RDWR),
    "look_into_the_first_as_if_it_were_open": dumpable_again,
    "take_a_descriptor_of_the_first": lambda aims: raw(438, 438, os.pidfd_open(1), 0, 0),
    "see_what_the_first_holds": find_words_above,
    "signal_everybody": lambda aims: (os.kill(-1, signal.SIGKILL), refuse()),
    # The kernel.
    "read_keys": lambda aims: raw(250, 219, 0, -3, 0),
    "load_a_program_into_the_kernel": lambda aims: raw(321, 280, -1, None, 0),
    "count_events": lambda aims: raw(298, 241, None, 0, -1, -1, 0),
    "use_a_ring": lambda aims: raw(425, 425, 1, None),
    "handle_page_faults": lambda aims: raw(323, 282, -1),
    "load_a_module": lambda aims: raw(175, 105, None, 0, None),
    "load_a_module_by_file": lambda aims: raw(313, 273, -1, None, 0),
    "load_a_kernel": lambda aims: raw(246, 104, 0, 0, None, 0),
    "restart_the_machine": lambda aims: raw(169, 142, 0, 0, 0, None),
    "set_the_clock": lambda aims: raw(227, 112, 0, None),
    "name_the_machine": lambda aims: socket.sethostname("changed"),
    "read_the_log": lambda aims: raw(103, 116, 3, BUFFER, 16),
    "count_processes_to_a_file": lambda aims: raw(163, 89, None),
    "swap_to_a_file": lambda aims: raw(167, 224, b"/tmp/swap", 0),
    "turn_off_random_addresses": lambda aims: raw(135, 92, 0x0004_0000),
    "watch_all_files": lambda aims: raw(300, 262, 0, 0),
    "share_memory_by_number": lambda aims: raw(29, 194, 1, 4096, 0o1600),
    "make_a_file_in_memory": lambda aims: os.memfd_create("x"),
    "raise_a_limit": lambda aims: resource.setrlimit(
        resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    ),
    # What the server has and does not give.
    "find_a_secret_of_the_server": find_words,
    "find_a_descriptor": find_descriptor,
    "ask_whose_the_channel_is": peer_folder,
}  # fmt: skip


# Processes that do not want to end, and answers that are none.


def note(path):
    with open(path, "a") as file:
        file.write(f"{time.monotonic()}\n")


def beat_for_ever(path):
    while True:
        note(path)
        time.sleep(0.005)


def leave_a_daemon(path):
    """Double fork, a session of its own, nothing open: as daemons do."""
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            beat_for_ever(path)
        os._exit(0)
    os.waitpid(middle, 0)
    while not os.path.exists(path):
        time.sleep(0.002)
    return "left"


def leave_a_daemon_and_hang(path):
    leave_a_daemon(path)
    hang()


def leave_a_daemon_and_die(path):
    leave_a_daemon(path)
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    while True:
        time.sleep(60)


def hang_deaf():
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    hang()


def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)
    hang()


def kill_the_group():
    os.killpg(0, signal.SIGKILL)
    hang()


def kill_the_first():
    """If it were to die of it, so would this process, and never answer."""
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV, signal.SIGKILL):
        with contextlib.suppress(PermissionError):
            os.kill(1, number)
    time.sleep(0.05)
    return "it lives"


def say_goodbye(path):
    def leave(*_):
        time.sleep(0.2)  # what has to be put in order takes a moment
        with open(path, "w") as file:
            file.write("bye")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    note(path)
    hang()


def fork_without_end():
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def die_of(number):
    signal.signal(number, signal.SIG_DFL) if number not in (9, 19) else None
    os.kill(os.getpid(), number)
    hang()


def abort():
    os.abort()


def leave_with(code):
    os._exit(code)


def frame(text):
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


def forge(text, then):
    os.write(channel(), frame(text))
    return then


def forge_from_a_grandchild():
    """The tool itself is dead by then; its copy of the channel is not."""
    way = channel()
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.05)
        os.write(way, frame('{"id":"0","spent":true,"end":"success","data":"forged"}'))
        hang()
    os._exit(0)


def close_the_channel_and_go_on():
    os.close(channel())
    hang()


# Resources.


def fill_the_scratch():
    with open("/tmp/full", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


def fill_the_scratch_with_names():
    for number in range(1_000_000):
        open(f"/tmp/{number}", "x").close()


def fill_shared_memory():
    with open("/dev/shm/full", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


def write_a_huge_file(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def open_without_end():
    kept = []
    while True:
        kept.append(os.open("/dev/null", os.O_RDONLY))


def take_memory():
    kept = []
    while True:
        kept.append(b"x" * (8 << 20))


# Ordinary work.


def look_around():
    return {
        "user": os.getuid(),
        "pids": sorted(int(each) for each in os.listdir("/proc") if each.isdigit()),
        "folder": os.getcwd(),
        "scratch": os.listdir("/tmp"),
        "environment": dict(os.environ),
        "host": socket.gethostname(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
    }


NAMESPACES = ("user", "pid", "net", "ipc", "uts", "mnt")


def litter():
    open("/tmp/litter", "w").close()
