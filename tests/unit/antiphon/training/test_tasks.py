"""Tasks wait for those they need, one that fails in its process is told; recipes fit together."""

import pytest

from antiphon.errors import TrainingError
from antiphon.training.tasks import TASKS, ready, train_whole_model, whole_model_settings
from antiphon.training.vocoder_task import vocoder_arguments


def test_tasks_start_when_what_they_need_is_done():
    assert ready(set(), {}) == ["data"]
    assert ready({"data"}, {}) == ["tokenizer", "vocoder"]
    assert ready({"data", "tokenizer", "vocoder"}, {}) == ["codes", "letters"]
    begun = {"data", "tokenizer", "vocoder", "codes"}
    assert ready(begun, {}) == ["decoder", "lm", "letters", "recogniser"]
    begun.add("letters")
    assert ready(begun, {}) == ["decoder", "lm", "recogniser"]
    order = list(TASKS)
    for name, task in TASKS.items():
        assert all(order.index(needed) < order.index(name) for needed in task.needs)


def test_a_failure_in_a_process_is_told():
    with pytest.raises(TrainingError, match="task data failed"):
        train_whole_model(dict.fromkeys(TASKS, None), n_jobs=2)


@pytest.mark.parametrize("recipe", ["cpu", "cpu-full", "gpu", "toy"])
def test_the_recipes_of_a_name_belong_together(recipe, tmp_path):
    settings = whole_model_settings(recipe, tmp_path, [])
    data, tokenizer, decoder, lm = (
        settings[name] for name in ("data", "tokenizer", "decoder", "lm")
    )
    assert data.domain == tokenizer.domain == lm.domain
    assert decoder.vocab_size == tokenizer.codebook_size
    assert settings["codes"].is_wide == tokenizer.is_wide
    vocoder = TASKS["vocoder"].settings("vocoder", decoder.vocoder_recipe, [])
    assert vocoder_arguments(vocoder) == vocoder_arguments(settings["vocoder"])
    assert settings["vocoder"].output_voices == decoder.output_voices


def test_the_cpu_recipes_of_the_full_domain_fit_into_a_day(tmp_path):
    """On two cores, training two parts at once; data and codes need some two hours of it."""
    settings = whole_model_settings("cpu-full", tmp_path, [])
    timed = ("tokenizer", "vocoder", "decoder", "lm", "recogniser")
    minutes = {name: settings[name].minutes for name in timed}
    first, second = (
        max(minutes["tokenizer"], minutes["vocoder"]),
        max(minutes["decoder"] + minutes["recogniser"], minutes["lm"]),
    )
    assert first + second <= 22 * 60
