"""The number of cores is set for one thread alone."""

import threading
from collections.abc import Callable, Sequence

import torch

from antiphon.engine.cpu_threads import use_cores_here
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.model_runner import Row
from tests.engine_bench import run_with_engine
from tests.tiny_glm import GREEDY, collect


def in_thread(body: Callable[[], None]) -> None:
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_only_the_calling_thread_changes() -> None:
    seen: list[int] = []
    usual = torch.get_num_threads()

    def change() -> None:
        use_cores_here(usual + 1, usual)
        torch.ones(300, 300) @ torch.ones(300, 300)
        seen.append(torch.get_num_threads())

    in_thread(change)
    in_thread(lambda: seen.append(torch.get_num_threads()))
    assert seen == [usual + 1, usual]
    assert torch.get_num_threads() == usual


def test_threads_that_begin_together_leave_the_usual_number() -> None:
    usual = torch.get_num_threads()
    together = threading.Barrier(8)

    def change() -> None:
        together.wait(10)
        use_cores_here(usual + 1, usual)

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: list[int] = []
    in_thread(lambda: seen.append(torch.get_num_threads()))
    assert seen == [usual]


def test_the_worker_runs_a_small_model_on_one_core() -> None:
    seen: list[int] = []

    async def test(engine: LocalEngine) -> None:
        runner = engine._scheduler._batch._runner
        run = runner.run

        def look(rows: Sequence[Row]) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return run(rows)

        runner.run = look  # type: ignore[method-assign]
        await collect(engine.generate([1], GREEDY))

    run_with_engine(test)
    assert set(seen) == {1}
