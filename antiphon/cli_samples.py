"""The subcommand `antiphon samples`: a model speaks one sample of each skill it was taught."""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import AntiphonError, ConfigError
from antiphon.logs import configure_logging

if TYPE_CHECKING:
    from antiphon.evaluation.samples import Sample, SampleQuestion
    from antiphon.models.registry import ModelBundle

INDEX = "index.html"
DESCRIPTION = """\
Ask a model one question of each skill and language that it was taught, and write each question with
its answer as a short MP3, beside a page index.html that plays them and says which are right.

The synthesised voices that ask were kept out of the training, and so was what they ask, in skills
that keep something.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon samples`."""
    parser = argparse.ArgumentParser(
        prog="antiphon samples",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        default="embedded",
        metavar="NAME|FOLDER",
        help="a folder with lm/, tokenizer/ and decoder/, or a name (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where files and page go"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the questions (default: 1)")
    parser.add_argument("--voice", help="a voice of the decoder to answer in")
    return parser


def prepare_folder(folder: Path) -> None:
    """Make the folder of --out.

    Raises:
        ConfigError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: cannot make this folder ({error.strerror}); name another"
        ) from error


async def make_samples(
    bundle: "ModelBundle", questions: Sequence["SampleQuestion"], options: argparse.Namespace
) -> list["Sample"]:
    """Ask all questions, with a progress bar."""
    from tqdm import tqdm

    from antiphon.assembly import open_pipeline
    from antiphon.evaluation.samples import make_sample

    rate = bundle.decoder.sample_rate
    async with open_pipeline(bundle) as pipeline:
        return [
            await make_sample(pipeline, question, options.out, rate, options.voice)
            for question in tqdm(questions, unit="sample", file=sys.stderr)
        ]


def write_index(samples: Sequence["Sample"], options: argparse.Namespace) -> Path:
    """Write the page; returns where."""
    from antiphon.evaluation.sample_page import render_page

    words = ["antiphon", "samples", "--model", options.model, "--seed", str(options.seed)]
    words += ["--voice", options.voice] if options.voice else []
    path: Path = options.out / INDEX
    try:
        path.write_text(render_page(samples, shlex.join(words)), encoding="utf-8")
    except OSError as error:
        raise AntiphonError(f"cannot write {path}: {error.strerror}") from error
    return path


def main(argv: Sequence[str]) -> int:
    """Run `antiphon samples`.

    Raises:
        AntiphonError: If the model, a synthesiser or the folder cannot be used.
    """
    options = build_parser().parse_args(argv)
    configure_logging("WARNING")
    from antiphon.assembly import ModelChoice, choose_paths, load_parts
    from antiphon.evaluation.samples import draw_samples
    from antiphon.training.domain.table import find_domain
    from antiphon.training.lm_export import read_domain
    from antiphon.training.synthesis import require_synthesisers

    require_synthesisers()
    choice = ModelChoice(model=options.model, device="cpu", dtype="float32")
    domain = find_domain(read_domain(Path(choose_paths(choice).language_model)))
    bundle = load_parts(choice)
    prepare_folder(options.out)
    samples = asyncio.run(make_samples(bundle, draw_samples(domain, options.seed), options))
    path = write_index(samples, options)
    n_right = sum(sample.is_right for sample in samples)
    print(f"{len(samples)} samples, {n_right} right in text: open {path}")
    return 0
