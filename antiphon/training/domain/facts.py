"""Days and months, opposites, capitals, colours and animal sounds, in both languages."""

import random

from antiphon.training import lexicon
from antiphon.training.domain import facts_lexicon, mandarin_lexicon
from antiphon.training.domain.mandarin_lexicon import DIGITS
from antiphon.training.domain.numbers import chinese_number
from antiphon.training.domain.skill import Skill, fact
from antiphon.training.grammar import Exchange, sentence

CHINESE_DAYS = tuple(f"星期{day}" for day in (*DIGITS[1:7], "日"))
CHINESE_MONTHS = tuple(f"{chinese_number(month)}月" for month in range(1, 13))


def calendar(rng: random.Random) -> Exchange:
    """Draw a question on what comes before or after a day or month."""
    noun, names = rng.choice((("day", lexicon.DAYS), ("month", lexicon.MONTHS)))
    index, relation = rng.randrange(len(names)), rng.choice(("after", "before"))
    other = names[(index + (1 if relation == "after" else -1)) % len(names)]
    wordings = (
        f"what {noun} comes {relation} {{}}",
        f"which {noun} is {relation} {{}}",
        f"what comes {relation} {{}}",
        f"tell me the {noun} {relation} {{}}",
        f"do you know what {noun} comes {relation} {{}}",
        f"which {noun} comes {relation} {{}}",
        f"what is the {noun} {relation} {{}}",
    )
    answer = sentence(f"{relation} {names[index]} comes {other}")
    return fact("calendar", "en", rng, wordings, names[index], answer)


def chinese_calendar(rng: random.Random) -> Exchange:
    """Draw a question on what comes before or after a day or month, in Mandarin."""
    asked, names = rng.choice((("星期几", CHINESE_DAYS), ("几月", CHINESE_MONTHS)))
    index, relation = rng.randrange(len(names)), rng.choice(("后面", "前面"))
    other = names[(index + (1 if relation == "后面" else -1)) % len(names)]
    wordings = (
        f"{{}}{relation}是{asked}",
        f"{{}}的{relation}是{asked}",
        f"请问{{}}{relation}是{asked}",
        f"{{}}{relation}是什么",
        f"告诉我{{}}{relation}是{asked}",
        f"{{}}的{relation}是什么",
        f"你知道{{}}{relation}是{asked}吗",
    )
    return fact(
        "calendar", "zh", rng, wordings, names[index], f"{names[index]}{relation}是{other}。"
    )


def opposites(rng: random.Random) -> Exchange:
    """Draw a question for the opposite of a word."""
    pair = rng.choice(lexicon.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    wordings = (
        "what is the opposite of {}",
        "tell me the opposite of {}",
        "the opposite of {}",
        "what is the contrary of {}",
        "opposite of {}",
        "give me the opposite of {}",
        "which word is the opposite of {}",
        "do you know the opposite of {}",
    )
    return fact("opposites", "en", rng, wordings, word, f"The opposite of {word} is {other}.")


def chinese_opposites(rng: random.Random) -> Exchange:
    """Draw a question for the opposite of a word, in Mandarin."""
    pair = rng.choice(mandarin_lexicon.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    wordings = (
        "{}的反义词是什么",
        "{}的反义词",
        "什么是{}的反义词",
        "请说{}的反义词",
        "请问{}的反义词是什么",
        "告诉我{}的反义词",
        "你知道{}的反义词吗",
        "{}的反义词是哪个",
    )
    return fact("opposites", "zh", rng, wordings, word, f"{word}的反义词是{other}。")


def capitals(rng: random.Random) -> Exchange:
    """Draw a question for the capital of a country."""
    country, capital = rng.choice(facts_lexicon.CAPITALS)
    wordings = (
        "what is the capital of {}",
        "tell me the capital of {}",
        "the capital of {}",
        "which city is the capital of {}",
        "name the capital of {}",
        "do you know the capital of {}",
        "what city is the capital of {}",
        "capital of {}",
    )
    answer = f"The capital of {country} is {capital}."
    return fact("capitals", "en", rng, wordings, country, answer)


def chinese_capitals(rng: random.Random) -> Exchange:
    """Draw a question for the capital of a country, in Mandarin."""
    country, capital = rng.choice(mandarin_lexicon.CAPITALS)
    wordings = (
        "{}的首都是哪里",
        "{}的首都是什么",
        "{}的首都叫什么",
        "请问{}的首都是哪里",
        "{}的首都是哪个城市",
        "告诉我{}的首都",
        "请说{}的首都",
        "你知道{}的首都吗",
    )
    return fact("capitals", "zh", rng, wordings, country, f"{country}的首都是{capital}。")


def colours(rng: random.Random) -> Exchange:
    """Draw a question for the colour of a thing."""
    thing, colour = rng.choice(facts_lexicon.COLOURS)
    wordings = (
        "what color is {}",
        "which color is {}",
        "tell me what color {} is",
        "the color of {}",
        "what is the color of {}",
        "do you know what color {} is",
        "can you tell me the color of {}",
        "say what color {} is",
    )
    return fact("colours", "en", rng, wordings, thing, sentence(f"{thing} is {colour}"))


def chinese_colours(rng: random.Random) -> Exchange:
    """Draw a question for the colour of a thing, in Mandarin."""
    thing, colour = rng.choice(mandarin_lexicon.COLOURS)
    wordings = (
        "{}是什么颜色",
        "{}是什么颜色的",
        "{}的颜色是什么",
        "请问{}是什么颜色",
        "告诉我{}是什么颜色",
        "你知道{}是什么颜色吗",
        "{}是哪种颜色",
        "请说{}的颜色",
    )
    return fact("colours", "zh", rng, wordings, thing, f"{thing}是{colour}的。")


def sounds(rng: random.Random) -> Exchange:
    """Draw a question for the sound of an animal."""
    animal, sound = rng.choice(facts_lexicon.SOUNDS)
    wordings = (
        "what does {} say",
        "what sound does {} make",
        "how does {} sound",
        "what noise does {} make",
        "tell me what {} says",
        "do you know what {} says",
        "which sound does {} make",
        "can you tell me how {} sounds",
    )
    return fact("sounds", "en", rng, wordings, animal, sentence(f"{animal} says {sound}"))


def chinese_sounds(rng: random.Random) -> Exchange:
    """Draw a question for the sound of an animal, in Mandarin."""
    animal, sound = rng.choice(mandarin_lexicon.SOUNDS)
    wordings = (
        "{}怎么叫",
        "{}的叫声是什么",
        "{}是怎么叫的",
        "请问{}怎么叫",
        "告诉我{}怎么叫",
        "你知道{}怎么叫吗",
        "{}会怎么叫",
        "请说{}怎么叫",
    )
    return fact("sounds", "zh", rng, wordings, animal, f"{animal}{sound}叫。")


SKILLS: tuple[Skill, ...] = (
    Skill("calendar", "en", calendar, 0.06, "(after | before) <name> comes <name>"),
    Skill("opposites", "en", opposites, 0.06, "the opposite of <opposite> is <opposite>"),
    Skill("capitals", "en", capitals, 0.08, "the capital of <country> is <city>"),
    Skill("colours", "en", colours, 0.04, "<thing> is <colour>"),
    Skill("sounds", "en", sounds, 0.03, "<animal> says <sound>"),
    Skill("calendar", "zh", chinese_calendar, 0.04),
    Skill("opposites", "zh", chinese_opposites, 0.04),
    Skill("capitals", "zh", chinese_capitals, 0.05, "<country> 的首都是 <city>"),
    Skill("colours", "zh", chinese_colours, 0.03, "<thing> 是 <colour> 的"),
    Skill("sounds", "zh", chinese_sounds, 0.02, "<animal> <sound>"),
)

# Words of the answers that can be judged: language -> rule name -> phrases.
JUDGED_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    language: {
        "country": tuple(country for country, _ in pairs.CAPITALS),
        "city": tuple(city for _, city in pairs.CAPITALS),
        "thing": tuple(thing for thing, _ in pairs.COLOURS),
        "colour": tuple(colour for _, colour in pairs.COLOURS),
        "animal": tuple(animal for animal, _ in pairs.SOUNDS),
        "sound": tuple(sound for _, sound in pairs.SOUNDS),
    }
    for language, pairs in (("en", facts_lexicon), ("zh", mandarin_lexicon))
}
# "叫" stands with the sound, which tells how "呱呱" is read.
JUDGED_WORDS["zh"]["sound"] = tuple(f"{sound}叫" for _, sound in mandarin_lexicon.SOUNDS)
JUDGED_WORDS["en"] |= {
    "name": (*lexicon.DAYS, *lexicon.MONTHS),
    "opposite": tuple(word for pair in lexicon.OPPOSITES for word in pair),
}
