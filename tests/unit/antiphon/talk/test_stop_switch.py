"""Ctrl-C stops what there is to stop, and leaves otherwise."""

from antiphon.talk.stop_switch import StopSwitch


def test_once_stops_and_twice_leaves() -> None:
    times = iter([0.0, 1.9, 10.0, 12.1, 14.0])
    switch = StopSwitch(clock=lambda: next(times))
    assert not switch.press(is_busy=True)
    assert switch.press(is_busy=True)  # within two seconds
    assert not switch.press(is_busy=True)
    assert not switch.press(is_busy=True)  # too late to count as the second
    assert switch.press(is_busy=True)


def test_idle_leaves_at_once() -> None:
    assert StopSwitch().press(is_busy=False)
