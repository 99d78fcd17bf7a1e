"""The subcommand `antiphon bench`: picks a benchmark, runs it and writes what it found."""

import argparse
import asyncio
import importlib
import shlex
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.logs import configure_logging

if TYPE_CHECKING:
    from antiphon.bench.parts import Parts
    from antiphon.bench.report import Report

GPU = "gpu"
BENCHMARKS = {
    "latency": "how long one listener waits, stage by stage",
    "load": "how many people can talk at once",
    "turns": "what each further turn of a conversation costs",
    "long": "whether the blocks of a long reply stay cheap",
    "memory": "memory of replies and conversations",
    "decoder": "blocks of sound in batches, and how much past they see",
    "engine": "tokens a second with many replies at once",
    "step": "a token of many replies beside what memory allows",
    "hearing": "what is left to compute when the user stops speaking",
    GPU: "all of these on a CUDA device, random weights in the official shape",
}
DEFAULT_OUT = Path("benchmarks/results")


def build_parser() -> argparse.ArgumentParser:
    """Build the outer parser; each benchmark has flags of its own (`build_flags`)."""
    width = max(map(len, BENCHMARKS))
    lines = [f"  {name:{width}}  {text}" for name, text in BENCHMARKS.items()]
    parser = argparse.ArgumentParser(
        prog="antiphon bench",
        description="Measure speed and memory beside a baseline that works as the original does, "
        "in the same process. Writes NAME.json, NAME.md and NAME.png.",
        epilog="benchmarks:\n" + "\n".join(lines) + "\n\n`antiphon bench NAME --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def build_flags(benchmark: str) -> argparse.ArgumentParser:
    """Build the parser of one benchmark's flags."""
    parser = argparse.ArgumentParser(
        prog=f"antiphon bench {benchmark}", description=BENCHMARKS[benchmark], allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for torch's choice")
    if benchmark == GPU:
        return parser
    group = parser.add_argument_group("model and questions")
    group.add_argument(
        "--model", default="embedded", help="a name, or a folder as for antiphon ask"
    )
    group.add_argument("--device", default="auto", help="auto, cpu or a GPU (default: auto)")
    group.add_argument("--dtype", default="auto", help="number format of the language model")
    group.add_argument("--clips", nargs="+", metavar="FILE", help="spoken questions to ask")
    group.add_argument(
        "--n-clips",
        type=int,
        default=7,
        help="without --clips: questions to synthesise (default: 7)",
    )
    from antiphon.bench.options import add_flags

    add_flags(parser, importlib.import_module(f"antiphon.bench.{benchmark}").Options)
    return parser


def load_parts(flags: argparse.Namespace) -> "Parts":
    """Load the model and the questions that the flags name.

    Raises:
        AntiphonError: If one of them cannot be used.
    """
    from antiphon.assembly import ModelChoice
    from antiphon.assembly import load_parts as load_model
    from antiphon.bench.parts import Parts, read_clips, speak_clips

    clips = read_clips(flags.clips) if flags.clips else speak_clips(flags.n_clips)
    choice = ModelChoice(model=flags.model, device=flags.device, dtype=flags.dtype)
    return Parts(bundle=load_model(choice), clips=clips)


async def run(benchmark: str, flags: argparse.Namespace) -> AsyncIterator[tuple[str, "Report"]]:
    """Run one benchmark, or all on a GPU; yields file names without ending, and reports."""
    if benchmark == GPU:
        from antiphon.bench.gpu import large_presets, measure_all, open_official_parts

        async for name, report in measure_all(open_official_parts(), large_presets()):
            yield f"{GPU}-{name}", report
        return
    from antiphon.bench.options import read_options

    module = importlib.import_module(f"antiphon.bench.{benchmark}")
    options = read_options(module.Options, flags)
    yield benchmark, await module.measure(load_parts(flags), options)


async def run_and_write(benchmark: str, flags: argparse.Namespace, command: str) -> None:
    """Write and print each report as soon as it is there."""
    from antiphon.bench.report import write_report

    async for name, report in run(benchmark, flags):
        print(write_report(report, flags.out, name, command))


def main(argv: Sequence[str]) -> int:
    """Run `antiphon bench`.

    Raises:
        AntiphonError: If a flag, the model or the machine cannot be used.
    """
    chosen = build_parser().parse_args(argv)
    flags = build_flags(chosen.benchmark).parse_args(chosen.arguments)
    configure_logging("INFO")
    import torch

    if flags.threads > 0:
        torch.set_num_threads(flags.threads)
    command = shlex.join(["antiphon", "bench", chosen.benchmark, *chosen.arguments])
    asyncio.run(run_and_write(chosen.benchmark, flags, command))
    return 0
