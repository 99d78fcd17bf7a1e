"""How many spoken questions language models answer rightly in text, in a minute or two a model.

    python benchmarks/text_answers.py resources/embedded mine --names shipped mine --out mine.json

Asks the questions of `antiphon eval` of the full domain, reserved combinations all, in batches and
without sound: turns before are answered as they should have been, and the first block of the
reply's text has to say what is right. A trial is judged so before its speech is worth judging. Of
several models a picture is drawn in their order.
"""

import argparse
import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from antiphon.dialogue.prompt import N_TEXT_BLOCK, render_prompt, speech_turn
from antiphon.evaluation.full_questions import FullQuestion, draw_full_questions
from antiphon.evaluation.full_suite import reference_voice
from antiphon.evaluation.report import describe_machine
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.domain.words import as_written
from antiphon.training.grammar import normalise
from antiphon.training.lm_data import interleave
from antiphon.training.synthesis import SAMPLE_RATE
from speech_tokenizer import SpeechTokenizer

BATCH = 50
Counts: TypeAlias = dict[str, dict[str, float]]  # "right", "of" and "share" by name
Tally: TypeAlias = dict[str, Counts]  # of "groups" and "skills"


@dataclass(frozen=True)
class Turn:
    """What is asked in sound, the right answer, and its sound, at 16 kHz; no sound at the end."""

    asked: torch.Tensor
    answer: str
    answered: torch.Tensor


def spoken_turns(question: FullQuestion) -> list[Turn]:
    """Let synthesisers speak a question and all that comes before it."""
    turns = []
    for turn in question.turns:
        is_last = turn is question.turns[-1]
        said = () if is_last else reference_voice(turn.answer, turn.language, turn.pace)
        turns.append(Turn(torch.tensor(question.speak(turn)), turn.answer, torch.tensor(said)))
    return turns


class Listener:
    """Answers spoken questions in text, greedily, many at once.

    Args:
        folder: Folder with tokenizer/ and lm/.
    """

    def __init__(self, folder: Path) -> None:
        self.speech = SpeechTokenizer.from_pretrained(folder / "tokenizer")
        self.model = load_language_model(folder / "lm", progress=False).float().eval()
        self.tokenizer = GlmTextTokenizer.from_pretrained(folder / "lm")

    def codes(self, sound: torch.Tensor) -> list[int]:
        """Speech tokens of a sound."""
        return [int(code) for code in self.speech.encode(sound.numpy(), SAMPLE_RATE)]

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The whole conversation up to where the last reply begins."""
        layout, history = self.tokenizer.layout, []
        for turn in turns:
            asked = speech_turn(self.codes(turn.asked), layout, self.tokenizer)
            if len(turn.answered):
                sound = [layout.audio_0 + code for code in self.codes(turn.answered)]
                reply = interleave(self.tokenizer.encode(as_written(turn.answer)), sound)
                asked = replace(asked, reply_ids=tuple(reply))
            history.append(asked)
        return render_prompt(history, layout, self.tokenizer)

    @torch.inference_mode()
    def first_blocks(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """The first block of text that follows each prompt."""
        padding = self.tokenizer.layout.stop[0]
        longest = max(map(len, prompts))
        room = [longest - len(prompt) for prompt in prompts]
        ids = [[padding] * n + [*prompt] for n, prompt in zip(room, prompts, strict=True)]
        mask = [[0] * n + [1] * (longest - n) for n in room]
        made = self.model.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            do_sample=False,
            max_new_tokens=N_TEXT_BLOCK,
            pad_token_id=padding,
        )
        return [self.text(reply) for reply in made[:, longest:].tolist()]

    def text(self, reply: Sequence[int]) -> str:
        """The text at the beginning of a reply."""
        n_text = self.tokenizer.n_ranks
        end = next((place for place, token in enumerate(reply) if token >= n_text), len(reply))
        return self.tokenizer.decode(list(reply[:end]))

    def first_words(self, answer: str) -> set[str]:
        """What the first block of a right reply may say, as the model may have learned to write."""
        blocks = (
            self.tokenizer.encode(text)[:N_TEXT_BLOCK] for text in (answer, as_written(answer))
        )
        return {normalise(self.tokenizer.decode(block)) for block in blocks}


def ask(
    listener: Listener, questions: Sequence[FullQuestion], spoken: Sequence[Sequence[Turn]]
) -> list[bool]:
    """Tell of each question whether its answer begins rightly."""
    prompts = [listener.prompt(turns) for turns in tqdm(spoken, unit="question", desc="hearing")]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    is_right = [False] * len(prompts)
    for first in tqdm(range(0, len(order), BATCH), unit="batch", desc="answering"):
        places = order[first : first + BATCH]
        replies = listener.first_blocks([prompts[place] for place in places])
        for place, reply in zip(places, replies, strict=True):
            right = listener.first_words(questions[place].exchange.answer)
            is_right[place] = normalise(reply) in right
    return is_right


def tally(questions: Sequence[FullQuestion], is_right: Sequence[bool]) -> Tally:
    """Count by group and by skill: right answers, questions, share."""
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    skills: defaultdict[str, list[bool]] = defaultdict(list)
    for question, right in zip(questions, is_right, strict=True):
        language, skill = question.exchange.language, question.exchange.skill
        groups[question.group.name].append(right)
        skills[f"{skill} ({language})"].append(right)

    def counted(found: dict[str, list[bool]]) -> Counts:
        return {
            name: {"right": sum(each), "of": len(each), "share": round(sum(each) / len(each), 4)}
            for name, each in found.items()
        }

    return {"groups": counted(groups), "skills": counted(skills)}


def draw_growth(tallies: dict[str, Tally], path: Path) -> None:
    """Draw the share of right answers by group, model after model."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = list(tallies)
    groups: dict[str, list[float]] = defaultdict(list)
    for tallied in tallies.values():
        for group, counts in tallied["groups"].items():
            groups[group].append(100 * counts["share"])
    for group, shares in groups.items():
        axes.plot(names, shares, marker="o", label=group)
    lowest = min(min(shares) for shares in groups.values())
    axes.set(ylabel="right answers in text, %", ylim=(10 * (lowest // 10), 101))
    axes.tick_params(axis="x", rotation=20)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="folders with tokenizer/ and lm/")
    parser.add_argument("--names", nargs="+", help="what the models are called")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the questions")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/text_answers.json"))
    parser.add_argument(
        "--go-on", action="store_true", help="keep what is in OUT of other models, and go on there"
    )
    options = parser.parse_args()
    names = options.names or [str(folder) for folder in options.models]
    if len(names) != len(options.models):
        parser.error(f"{len(options.models)} models have {len(names)} names")
    torch.set_num_threads(options.threads)
    questions = list(draw_full_questions(options.seed, options.scale))
    spoken = [spoken_turns(question) for question in tqdm(questions, desc="speaking")]
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.go_on else {}
    tallies: dict[str, Tally] = before.get("models", {})
    for name, folder in zip(names, options.models, strict=True):
        tallies[name] = tally(questions, ask(Listener(folder), questions, spoken))
        print(name, json.dumps({g: c["share"] for g, c in tallies[name]["groups"].items()}))
    words = ["python", "benchmarks/text_answers.py", *(folder.name for folder in options.models)]
    words += ["--names", *names, "--seed", str(options.seed), "--scale", str(options.scale)]
    words += ["--go-on"] * options.go_on
    report = {
        "what": "spoken questions whose reply begins with the right text, in batches, greedily, "
        "with the turns before as they should have been",
        "command": " && ".join([*filter(None, [before.get("command")]), shlex.join(words)]),
        "machine": describe_machine(),
        "models": tallies,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if len(tallies) > 1:
        draw_growth(tallies, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
