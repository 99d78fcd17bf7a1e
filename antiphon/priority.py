"""Lets a program go after others that need the processor at the same time. Knows no program.

Linux weighs the programs of one session against each other by their niceness, and, where it groups
sessions (autogroup), the sessions by one of their own; see sched(7) and sched-autogroup.
"""

import os
from contextlib import suppress
from pathlib import Path


def let_others_go_first(pid: int, niceness: int) -> None:
    """Make a process that leads a session of its own, and all that it starts from then on, nicer.

    Where the system has no such thing, or does not let us, all stays as it is.

    Args:
        pid: The process, just started.
        niceness: From 1 to 19; each step is worth about a tenth of the processor.
    """
    if not hasattr(os, "setpriority"):
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
