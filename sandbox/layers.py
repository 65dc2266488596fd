"""The layers of a jail by name: what operators read in reports and may waive."""

from enum import StrEnum


class Layer(StrEnum):
    """One thing that the kernel is asked to do to a process, and what it is good for."""

    RESOURCE_LIMITS = "resource_limits"
    """No more memory, processor time, processes, open files and file size than is given."""

    OWN_USER = "own_user"
    """A user id of its own: it can neither signal nor read its neighbours. Needs root; without
    root the process stays the server's user, and what that user may do is left to the others."""

    NOT_DUMPABLE = "not_dumpable"
    """No process of the same user may look into this one or trace it."""

    LANDLOCK = "landlock"
    """No file, network port, signal or abstract socket beyond those granted."""

    SYSTEM_CALLS = "system_calls"
    """A seccomp filter: another system call than the profile's kills the process."""

    USER_NAMESPACE = "user_namespace"
    """Rights that the process may win are worth nothing outside."""

    PID_NAMESPACE = "pid_namespace"
    """It sees and signals only what it started, and all of that dies with it."""

    NETWORK_NAMESPACE = "network_namespace"
    """No network interface but its own empty one."""

    IPC_NAMESPACE = "ipc_namespace"
    """No shared memory, semaphores or queues of others."""

    UTS_NAMESPACE = "uts_namespace"
    """A host name of its own."""

    PRIVATE_ROOT = "private_root"
    """A read-only root of its own: the interpreter, the tools, what is granted, and a scratch."""

    NO_CAPABILITIES = "no_capabilities"
    """None of root's powers, not even inside its own namespaces."""
