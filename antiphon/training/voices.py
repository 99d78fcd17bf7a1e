"""Synthesiser voices: which are trained on, kept for testing, spoken in. Knows nothing of text."""

import random
from dataclasses import dataclass, replace

ANSWER_VOICE = "flite:slt"
ANSWER_STRETCH = 1.15  # a little slower than flite's own: easier to follow, more tokens a sound
# Never used for training: the variants f4 and m5 in any accent, and the recorded voice rms.
RESERVED_VOICES = ("flite:rms", "espeak-ng:en-us+f4", "espeak-ng:en-gb-scotland+m5")
RESERVED_VARIANTS = frozenset({"f4", "m5"})
MANDARIN = "espeak-ng:cmn"
RESERVED_MANDARIN_VOICES = (f"{MANDARIN}+f4",)

ACCENTS = (
    "en-us", "en-us", "en-us", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-scotland",
    "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc",
)  # fmt: skip
VARIANTS = (
    "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f5",
    "m1", "m2", "m3", "m4", "m6", "m7", "m8", "adam", "Alex", "Alicia", "Andrea", "Andy", "Annie",
    "antonio", "belinda", "benjamin", "boris", "caleb", "david", "Denis", "ed", "edward", "Gene",
    "Henrique", "Hugo", "Jacky", "john", "Lee", "linda", "Marco", "Mario", "max", "Michael",
    "Mike", "pablo", "paul", "pedro", "quincy", "rob", "robert", "steph", "steph2", "travis",
    "victor", "zac", "anika", "AnxiousAndy", "grandma", "grandpa", "norbert", "sandro", "shelby",
    "klatt2", "klatt4",
)  # fmt: skip
# (voice, weight); festival names are the voice functions without "voice_".
RECORDED = (
    ("flite:slt", 0.16),
    ("flite:awb", 0.30),
    ("flite:kal", 0.10),
    ("flite:kal16", 0.16),
    ("festival:ked_diphone", 0.14),
    ("festival:kal_diphone", 0.06),
    ("festival:cmu_us_slt_arctic_hts", 0.08),
)
ESPEAK_SHARE = 0.52


@dataclass(frozen=True)
class Speaking:
    """One way to say something.

    Attributes:
        voice: "engine:name".
        stretch: Duration factor asked of the synthesiser (1 = its own).
        pitch: espeak-ng pitch, 0..99.
        warp: Playback-speed factor: shifts pitch, formants and tempo together (1 = none).
    """

    voice: str
    stretch: float = 1.0
    pitch: int = 50
    warp: float = 1.0


MIDDLE, LOW, HIGH = "middle", "low", "high"
# The voices to answer in, the usual one first: each says English and Mandarin. Low and high are
# the middle one with a longer and a shorter vocal tract, spoken so much faster or slower that a
# text lasts equally long in all three; so what is said in one can be learned in another.
OUTPUT_VOICES: dict[str, dict[str, Speaking]] = {
    name: {
        "en": Speaking(ANSWER_VOICE, ANSWER_STRETCH * warp, 50, warp),
        "zh": Speaking(f"{MANDARIN}+f2", 1.1 * warp, 50, warp),
    }
    for name, warp in ((MIDDLE, 1.0), (LOW, 0.78), (HIGH, 1.18))
}


def output_speaking(voice: str, language: str, pace: float = 1.0) -> Speaking:
    """How an output voice says something in a language; `pace` is a factor on the duration."""
    speaking = OUTPUT_VOICES[voice][language]
    return replace(speaking, stretch=speaking.stretch * pace)


def draw_speaking(rng: random.Random, language: str = "en") -> Speaking:
    """Draw a training voice with a rate, pitch and speaker-size shift."""
    stretch = rng.uniform(0.82, 1.25)
    if language == "zh":
        warp = rng.uniform(0.88, 1.14) if rng.random() < 0.5 else 1.0
        return Speaking(f"{MANDARIN}+{rng.choice(VARIANTS)}", stretch, rng.randint(25, 75), warp)
    if rng.random() < ESPEAK_SHARE:
        voice = f"espeak-ng:{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}"
        warp = rng.uniform(0.9, 1.12) if rng.random() < 0.3 else 1.0
        return Speaking(voice, stretch, rng.randint(25, 75), warp)
    voice = rng.choices([name for name, _ in RECORDED], [weight for _, weight in RECORDED])[0]
    low, high = (0.76, 1.08) if "slt" in voice else (0.86, 1.22)
    warp = rng.uniform(low, high) if rng.random() < 0.75 else 1.0
    return Speaking(voice, stretch, 50, warp)


def training_voice_sample(language: str = "en") -> tuple[str, ...]:
    """The training voices that evaluations ask in."""
    if language == "zh":
        return tuple(f"{MANDARIN}+{variant}" for variant in ("f2", "m3", "f1", "m7"))
    return ("flite:slt", "flite:awb", "espeak-ng:en-us+f2", "espeak-ng:en-gb+m3", "flite:kal16")
