"""Since when Kafka answers: an absence is noticed, and so is that nobody looked."""

from faust.types import TP

from streams.transport_heard import LONGEST_BREAK_S, Heard

LANE = TP("clickstream", 0)


def test_answers_without_a_break() -> None:
    """From the first answer on, however often it is looked, and over breaks that are short enough."""
    heard = Heard()
    for step in range(10):
        heard.look(LANE, step // 2, 100.0 + step * LONGEST_BREAK_S / 2)
        assert heard.since(LANE) == 100.0
    assert heard.since(TP("clickstream", 1)) > 0.0


def test_an_absence() -> None:
    """While no new answer comes for too long it is now; afterwards it is when the first came again."""
    heard = Heard()
    heard.look(LANE, 1, 100.0)
    for now in (105.0, 106.0, 130.0):
        heard.look(LANE, 1, now)
        assert heard.since(LANE) == (100.0 if now == 105.0 else now)
    heard.look(LANE, 2, 131.0)
    heard.look(LANE, 3, 133.0)
    assert heard.since(LANE) == 131.0


def test_nobody_looked() -> None:
    """A process that was stopped, or busy, for too long does not know what it missed."""
    heard = Heard()
    heard.look(LANE, 1, 100.0)
    heard.look(LANE, 2, 106.0)
    assert heard.since(LANE) == 106.0
