"""Tasks wait for those they need, and one that fails in its process is told."""

import pytest

from antiphon.errors import TrainingError
from antiphon.training.tasks import TASKS, ready, train_whole_model


def test_tasks_start_when_what_they_need_is_done():
    assert ready(set(), {}) == ["data"]
    assert ready({"data"}, {}) == ["tokenizer", "vocoder"]
    assert ready({"data", "tokenizer", "vocoder"}, {}) == ["codes"]
    assert ready({"data", "tokenizer", "vocoder", "codes"}, {}) == ["decoder", "lm"]
    order = list(TASKS)
    for name, task in TASKS.items():
        assert all(order.index(needed) < order.index(name) for needed in task.needs)


def test_a_failure_in_a_process_is_told():
    with pytest.raises(TrainingError, match="task data failed"):
        train_whole_model(dict.fromkeys(TASKS, None), n_jobs=2)
