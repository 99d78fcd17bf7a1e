"""Draws what the spoken corpus consists of: texts with the voices that say them. Makes no sound."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from antiphon.training import grammar
from antiphon.training.domain.conversation import FAST, SLOW
from antiphon.training.domain.table import FULL, SMALL, Domain, find_domain
from antiphon.training.grammar import Exchange
from antiphon.training.voices import (
    ANSWER_STRETCH,
    ANSWER_VOICE,
    MIDDLE,
    OUTPUT_VOICES,
    RESERVED_MANDARIN_VOICES,
    RESERVED_VOICES,
    Speaking,
    draw_speaking,
    output_speaking,
)

RESERVED = "reserved"
PACED_RECITALS = 0.3


@dataclass(frozen=True)
class DataTaskConfig:
    """What `antiphon train data` makes.

    Attributes:
        out: Folder of the corpus.
        n_questions: Spoken questions in training voices; those that belong to one conversation
            count as one.
        n_readings: Rows of words read aloud in training voices: practice in hearing alone.
        n_answers: Distinct answers spoken in the output voice (fewer if the grammar has fewer).
        n_recitals: Other texts spoken in the output voice: practice in speaking alone.
        n_paced: Draws of an answer, of all skills alike, to be said slower and faster: what a model
            knows at the usual pace alone it says at it whatever is wished.
        n_false_counts: Recitals besides that look like counts and are none: from real ones alone a
            model learns to say the count that it knows, not the one that is written.
        n_other_voices: Answers and recitals that are also spoken in each of the other output
            voices; the small domain has one.
        n_validation: Questions with reserved combinations, in training voices; never trained on.
        n_reserved: The same in each of the voices kept for testing: they show while a tokenizer
            learns how well it hears those.
        n_workers: Synthesiser processes.
        seed: Seed of texts and voices.
        domain: "small" (seven skills in English) or "full" (all skills, English and Mandarin).
        prefix: What names begin with: another one adds a draw (of another seed) to a corpus.
    """

    out: str = "data/speech"
    n_questions: int = 14_000
    n_readings: int = 6_000
    n_answers: int = 12_000
    n_recitals: int = 9_500
    n_paced: int = 0
    n_false_counts: int = 0
    n_other_voices: int = 3_000
    n_validation: int = 400
    n_reserved: int = 0
    n_workers: int = 2
    seed: int = 1
    domain: str = SMALL
    prefix: str = ""


@dataclass(frozen=True)
class Utterance:
    """One line of the corpus.

    Attributes:
        id: Its name; "q7.0" is what was asked before "q7".
        text: What is said; empty for a noise.
        speaking: The voice.
        skill: Of the question, or "reading" or "recital".
        role: "question", "reading", "answer" (in the usual output voice) or "voice" (an answer in
            another one).
        split: "train", "valid", or "reserved" for questions in voices kept for testing.
        answer: The answer to a question; an answer's own text.
        language: "en", "zh", or another for a question that nobody can answer.
        pace: Of the answer, as a factor on its duration.
        output: The output voice of an answer; empty for all others.
        context: Id of the question before in the same conversation.
    """

    id: str
    text: str
    speaking: Speaking
    skill: str
    role: str
    split: str
    answer: str = ""
    language: str = "en"
    pace: float = 1.0
    output: str = ""
    context: str = ""


def plan_corpus(config: DataTaskConfig) -> list[Utterance]:
    """Draw all utterances of a corpus, in random order, the same for the same seed.

    Questions in reserved voices come first: validation needs them early.

    Raises:
        ConfigError: If there is no such domain.
    """
    domain = find_domain(config.domain)
    plan = plan_full(config, domain) if domain.name == FULL else plan_small(config)
    return [named(config.prefix, each) for each in (*reserved_questions(config, domain), *plan)]


def named(prefix: str, utterance: Utterance) -> Utterance:
    """Put a prefix before an utterance's name and that of the one before it."""
    context = prefix + utterance.context if utterance.context else ""
    return replace(utterance, id=prefix + utterance.id, context=context)


def plan_small(config: DataTaskConfig) -> list[Utterance]:
    """Draw the corpus of the small domain."""
    rng = random.Random(config.seed)
    plan: list[Utterance] = []
    answers: dict[str, str] = {}
    for index in range(config.n_questions + config.n_validation):
        is_training = index < config.n_questions
        exchange = grammar.draw(rng, reserved=not is_training)
        split = "train" if is_training else "valid"
        speaking = draw_speaking(rng)
        plan.append(
            Utterance(
                f"q{index}",
                exchange.question,
                speaking,
                exchange.skill,
                "question",
                split,
                exchange.answer,
            )
        )
        if is_training and len(answers) < config.n_answers:
            answers.setdefault(exchange.answer, exchange.skill)
    for index in range(config.n_readings):
        text, speaking = grammar.reading(rng), draw_speaking(rng)
        plan.append(Utterance(f"r{index}", text, speaking, "reading", "reading", "train"))
    answering = Speaking(ANSWER_VOICE, ANSWER_STRETCH)
    for index, (answer, skill) in enumerate(answers.items()):
        plan.append(Utterance(f"a{index}", answer, answering, skill, "answer", "train", answer))
    for index in range(config.n_recitals):
        text = grammar.recital(rng)
        plan.append(Utterance(f"s{index}", text, answering, "recital", "answer", "train", text))
    rng.shuffle(plan)
    return plan


def plan_full(config: DataTaskConfig, domain: Domain) -> list[Utterance]:
    """Draw the corpus of the full domain: conversations, readings, answers in several voices."""
    rng = random.Random(config.seed)
    plan: list[Utterance] = []
    answers: dict[str, Utterance] = {}
    for index in range(config.n_questions + config.n_validation):
        is_training = index < config.n_questions
        exchange = domain.draw(rng, reserved=not is_training)
        split = "train" if is_training else "valid"
        plan += conversation(f"q{index}", exchange, split, rng)
        for turn in (*exchange.before, exchange) if is_training else exchange.before:
            answer = spoken_answer("", turn)
            answers.setdefault(answer_key(answer.text, answer.pace), answer)
    for index in range(config.n_readings):
        read = domain.reading(rng)
        speaking = draw_speaking(rng, read.language)
        plan.append(
            Utterance(
                f"r{index}",
                read.question,
                speaking,
                "reading",
                "reading",
                "train",
                language=read.language,
            )
        )
    kept = list(answers.values())[: config.n_answers]
    kept += [spoken_answer("", recital_at_a_pace(rng, domain)) for _ in range(config.n_recitals)]
    kept += paced_answers(rng, domain, config.n_paced)
    kept += [spoken_answer("", domain.false_count(rng)) for _ in range(config.n_false_counts)]
    numbered = [replace(answer, id=f"a{index}") for index, answer in enumerate(kept)]
    plan += numbered
    others = rng.sample(numbered, min(len(numbered), config.n_other_voices))
    plan += [other for answer in others for other in in_other_voices(answer)]
    rng.shuffle(plan)
    return plan


def reserved_questions(config: DataTaskConfig, domain: Domain) -> Iterator[Utterance]:
    """Give questions in the voices kept for testing; drawn apart, so that all else stays as is."""
    rng = random.Random(f"reserved {config.seed}")
    voices = [(voice, "en") for voice in RESERVED_VOICES]
    if "zh" in domain.languages:
        voices += [(voice, "zh") for voice in RESERVED_MANDARIN_VOICES]
    for voice, language in voices:
        for index in range(config.n_reserved):
            exchange = single_question(rng, domain, language)
            yield Utterance(
                f"t{voice}.{index}",
                exchange.question,
                Speaking(voice),
                exchange.skill,
                "question",
                RESERVED,
                exchange.answer,
                language,
            )


def single_question(rng: random.Random, domain: Domain, language: str) -> Exchange:
    """Draw a question with a reserved combination that is neither a noise nor a follow-up."""
    while True:
        exchange = domain.draw(rng, reserved=True, language=language)
        if not exchange.sound and not exchange.before:
            return exchange


def conversation(
    name: str, exchange: Exchange, split: str, rng: random.Random
) -> Iterator[Utterance]:
    """Give the questions of one conversation in one voice; the last is what it is about."""
    speaking = draw_speaking(rng, exchange.language)
    turns = (*exchange.before, exchange)
    for place, turn in enumerate(turns):
        is_last = place == len(turns) - 1
        yield Utterance(
            name if is_last else f"{name}.{place}",
            turn.question,
            Speaking(turn.sound) if turn.sound else speaking,
            turn.skill,
            "question",
            split,
            turn.answer,
            question_language(turn),
            turn.pace,
            context=f"{name}.{place - 1}" if place else "",
        )


def question_language(turn: Exchange) -> str:
    """The language of a question's words: a synthesiser's own for a foreign one, "" for a noise."""
    if not turn.sound:
        return turn.language
    return turn.sound.partition(":")[2] if turn.question else ""


def recital_at_a_pace(rng: random.Random, domain: Domain) -> Exchange:
    """Draw a text to say, now and then slower or faster than usual."""
    text = domain.recital(rng)
    return replace(text, pace=rng.choice((SLOW, FAST))) if rng.random() < PACED_RECITALS else text


def paced_answers(rng: random.Random, domain: Domain, n_draws: int) -> list[Utterance]:
    """Draw answers, those of all skills alike, to be said slower and faster than usual."""
    answers: dict[str, Utterance] = {}
    for _ in range(n_draws):
        exchange = domain.draw(rng, rng.choice(domain.skills))
        for pace in (SLOW, FAST):
            answer = spoken_answer("", replace(exchange, pace=pace))
            answers.setdefault(answer_key(answer.text, answer.pace), answer)
    return list(answers.values())


def spoken_answer(name: str, turn: Exchange) -> Utterance:
    """Make the answer of an exchange in the usual output voice."""
    speaking = output_speaking(MIDDLE, turn.language, turn.pace)
    return Utterance(
        name,
        turn.answer,
        speaking,
        turn.skill,
        "answer",
        "train",
        turn.answer,
        turn.language,
        turn.pace,
        MIDDLE,
    )


def in_other_voices(answer: Utterance) -> Iterator[Utterance]:
    """Give an answer in each output voice but the usual one."""
    for voice in OUTPUT_VOICES:
        if voice != MIDDLE:
            speaking = output_speaking(voice, answer.language, answer.pace)
            yield replace(
                answer, id=f"{answer.id}.{voice}", speaking=speaking, role="voice", output=voice
            )


def answer_key(text: str, pace: float) -> str:
    """Name an answer by its text and, where it is another than usual, its pace."""
    return text if pace == 1.0 else f"{text}\n{pace}"
