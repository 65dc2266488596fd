from sandbox_jobs import echo  # noqa: F401
from sandbox_jobs import run as run

from sandbox import kin

kin._LISTING = "/proc/{pid}/task/{thread}/no-such-file"  # a kernel without CONFIG_PROC_CHILDREN
