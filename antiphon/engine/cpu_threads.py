"""How many processor cores one thread's products use."""

import threading

import torch

SMALL_MODEL = 50_000_000
"""Models with fewer weights run a step on one core sooner than several cores can share it out."""


def use_cores_here(n_cores: int, usual: int) -> None:
    """Let torch compute on so many cores in the calling thread; other threads keep their number.

    With OpenMP, on which torch's builds rest, the number belongs to the thread that sets it, but is
    also what threads start with from then on; so it is set back in a thread of its own.

    Args:
        n_cores: For the calling thread.
        usual: What threads start with, asked before any thread of the program did this: one that
            asks while another is at it would be told the other's number.
    """
    torch.get_num_threads()  # a thread's first call takes the usual number; not after the next line
    torch.set_num_threads(n_cores)
    restore = threading.Thread(target=torch.set_num_threads, args=(usual,))
    restore.start()
    restore.join()
