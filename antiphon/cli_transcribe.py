"""The subcommand `antiphon transcribe`: what the speech tokens of clips still say, in letters.

It reads the tokens, not the sound, with the half of the tokenizer's training that turns them into
characters: what is lost here, no model that hears through these tokens can know.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from antiphon.errors import AntiphonError
from antiphon.logs import configure_logging


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `antiphon transcribe`."""
    parser = argparse.ArgumentParser(
        prog="antiphon transcribe",
        description="Write down clips, read from their speech tokens.",
        allow_abbrev=False,
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        help="a speech tokenizer with recogniser.safetensors (default: the embedded one)",
    )
    parser.add_argument(
        "--greedy",
        action="store_true",
        help="read the tokens alone, without the letter model beside the recogniser",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one object a clip: file, text, tokens"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `antiphon transcribe`; returns 1 if a clip failed, else 0.

    Raises:
        CheckpointError: If the tokenizer cannot be loaded, has no recogniser or a damaged one.
    """
    options = build_parser().parse_args(argv)
    configure_logging("WARNING")
    from antiphon.audio import read_audio
    from antiphon.evaluation.transcriber import CodeTranscriber
    from antiphon.models.registry import find_paths
    from speech_tokenizer import SpeechTokenizer

    folder = options.tokenizer or find_paths().speech_tokenizer
    tokenizer = SpeechTokenizer.from_pretrained(folder)
    codebook = tokenizer.model.codebook.weight.detach()
    transcriber = CodeTranscriber(folder, codebook)
    n_failed = 0
    for clip in options.clips:
        try:
            codes = tokenizer.encode(read_audio(clip, tokenizer.sample_rate), tokenizer.sample_rate)
        except AntiphonError as error:
            print(f"antiphon: {error}", file=sys.stderr)
            n_failed += 1
            continue
        text = transcriber.transcribe(codes, options.greedy)
        record = {"file": str(clip), "text": text, "tokens": codes.tolist()}
        print(json.dumps(record) if options.json else text, flush=True)
    return min(n_failed, 1)
