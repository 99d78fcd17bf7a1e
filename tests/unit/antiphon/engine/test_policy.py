"""The order of replies: first sound first, then by slack, and nobody starves."""

from dataclasses import dataclass
from itertools import pairwise

from antiphon.engine.policy import Pace, PlaybackPolicy, Progress

PACE = Pace(first_block_tokens=3, tokens_per_s=10.0, head_start_s=5.0)


@dataclass(eq=False)
class Reply:
    name: str
    progress: Progress


def speaking(name: str, n_tokens: int, first_block_at: float) -> Reply:
    return Reply(name, Progress(0.0, n_tokens, first_block_at))


def silent(name: str, submitted_at: float) -> Reply:
    return Reply(name, Progress(submitted_at))


def order(*replies: Reply) -> str:
    return "".join(each.name for each in PlaybackPolicy(PACE).most_urgent(replies, 99))


def test_replies_without_sound_go_first_in_the_order_they_came() -> None:
    lasting = speaking("c", n_tokens=30, first_block_at=100.0)
    assert order(lasting, silent("b", 101.0), silent("a", 100.0)) == "abc"


def test_replies_with_sound_go_by_the_moment_they_run_dry() -> None:
    assert (
        order(speaking("b", 30, 100.0), speaking("a", 10, 101.0), speaking("c", 50, 99.0)) == "abc"
    )


def test_a_reply_that_has_long_been_dry_goes_before_a_new_one() -> None:
    dry = speaking("d", n_tokens=10, first_block_at=100.0)  # since 101.0
    assert order(dry, silent("n", 105.9)) == "nd"
    assert order(dry, silent("n", 106.1)) == "dn"


def test_equal_ones_keep_their_order_and_the_limit_holds() -> None:
    replies = [silent(name, 1.0) for name in "abc"]
    assert PlaybackPolicy(PACE).most_urgent(replies, 2) == replies[:2]
    assert PlaybackPolicy(PACE).most_urgent([], 2) == []


def test_the_first_block_is_noted_when_it_is_complete() -> None:
    policy, progress = PlaybackPolicy(PACE), Progress(7.0)
    assert policy.deadline(progress) == 2.0
    for now in (10.0, 11.0, 12.0, 13.0):
        policy.note_token(progress, now)
    assert (progress.n_tokens, progress.first_block_at) == (4, 12.0)
    assert policy.deadline(progress) == 12.4


def test_nobody_starves_while_more_keep_coming_than_can_be_served() -> None:
    """A token a step and a new reply each step: the queue of silent ones grows without end."""
    policy, step_s = PlaybackPolicy(PACE), 0.1
    old = speaking("old", n_tokens=3, first_block_at=0.0)
    replies, served_at = [old], [0.0]
    for step in range(600):
        now = step * step_s
        replies.append(silent("new", now))
        (reply,) = policy.most_urgent(replies, 1)
        policy.note_token(reply.progress, now)
        if reply is old:
            served_at.append(now)
    # Before its turn come those that arrive until 5 s after it ran dry, with 3 tokens each.
    assert max(after - before for before, after in pairwise(served_at)) < 3 * (5.0 + 0.3) + 1
    assert len(served_at) > 20
