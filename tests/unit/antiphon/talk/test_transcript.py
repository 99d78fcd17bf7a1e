"""Lines of a conversation, and the part of a reply that was heard."""

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.talk.transcript import Line, Transcript, Word, item_text, read_words


def test_words_are_heard_in_time() -> None:
    words = [Word("It", 0), Word(" is", 200), Word(" seven.", 400)]
    line = Line("a", "assistant", "It is seven.", words=words)
    assert [line.heard(at) for at in (-1, 0, 250, 900)] == ["", "It", "It is", "It is seven."]


def test_text_after_the_last_timed_word_goes_with_it() -> None:
    line = Line("a", "assistant", "It is seven.", words=[Word("It", 0), Word(" is", 200)])
    assert (line.heard(100), line.heard(300)) == ("It", "It is seven.")


def test_text_without_times_is_heard() -> None:
    assert Line("a", "user", "It").heard(0) == "It"


TEXTS = st.text("ab ", max_size=8)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=6), TEXTS, st.integers(-10, 1_000))
def test_heard_is_a_beginning_and_grows(words: list[str], text: str, at: int) -> None:
    timed = [Word(word, 100.0 * index) for index, word in enumerate(words)]
    line = Line("a", "assistant", text, words=timed)
    assert text.startswith(line.heard(at))
    assert len(line.heard(at)) <= len(line.heard(at + 50))


def test_items_of_both_shapes() -> None:
    assert item_text({"text": "hello"}) == "hello"
    assert item_text({"content": [{"transcript": "a"}, {"text": "b"}, {}, 3]}) == "a b"
    assert item_text({}) == ""
    transcript = Transcript()
    assert transcript.load({"id": 3, "role": "user"}) is None
    transcript.load({"id": "a", "role": "user", "text": "x"})
    transcript.load({"id": "a", "role": "user", "content": []})
    assert [line.text for line in transcript.lines] == ["x"]
    transcript.remove("a")
    assert not transcript.lines


def test_words_of_the_wire() -> None:
    assert read_words([{"text": "a", "start_ms": 1}, {"text": "b"}, 3]) == [Word("a", 1.0)]
    assert read_words(None) == []
