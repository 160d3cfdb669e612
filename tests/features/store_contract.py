"""What every store must keep: the suite that test_memory_store.py and test_redis_store.py each run on theirs."""

from dataclasses import replace
from typing import Any

import pytest

from features.store import Answer, Claimed, Commit, Cursor, NotOwner, PartitionKey, Verdict
from tests.features.driven_store import Driven, after, first, refused

OTHER_KEYS = [
    PartitionKey("test", "clickstream", 1),
    PartitionKey("test", "clicks", 0),
    PartitionKey("production", "clickstream", 0),
]
SHIRTS, SHOES = b"\x00\xff\r\n{}\x80\x00", b"shoes..."
ODD_IDS = [
    "",
    " ",
    "a b",
    "Zoë",
    "客户",
    "🎈",
    "a\x00b",
    "line\r\nbreak",
    "{x}",
    "}{",
    "s:1",
    "meta",
    "*?[a]\\",
    "x" * 256,
    "\x7f",
]


class StoreContract:
    """The whole contract; a test file gives it a `store` fixture."""

    # Claiming

    def test_new(self, store: Driven) -> None:
        """A partition nobody has written to starts before every offset, without outbox or names."""
        assert store.cursor() == Cursor("", 0, -1, -1)
        assert store.claim() == Claimed(Cursor("mine", 0, -1, -1), b"", {})
        assert store.cursor() == Cursor("mine", 0, -1, -1)

    def test_finds_the_last_commit(self, store: Driven) -> None:
        """A new owner gets the cursor, the outbox still to be published and the names; the last claim wins."""
        store.claim()
        store.done(first(states={"anna": b"1"}, names={SHIRTS: "Hemden", SHOES: "Schuhe"}, outbox=b"\x00publish\xff"))
        found = store.claim("theirs")
        assert found == Claimed(Cursor("theirs", 1, 20, 1_000), b"\x00publish\xff", {SHIRTS: "Hemden", SHOES: "Schuhe"})
        assert store.peek("anna") == [b"1"]

    def test_keeps_the_count_of_partitions(self, store: Driven) -> None:
        """The first claim that says how many partitions the topic has is remembered, whatever later ones say."""
        assert store.claim().partitions == 0
        assert store.claim(partitions=8).partitions == 8
        store.done(first())
        assert store.claim("theirs", partitions=12).partitions == 8
        assert store.claim("theirs").partitions == 8

    def test_keeps_the_id_of_the_topic(self, store: Driven) -> None:
        """The first claim that says which id the topic has is remembered, whatever later ones say."""
        assert store.claim().topic_id == ""
        assert store.claim(topic_id="one").topic_id == "one"
        store.done(first())
        assert store.claim("theirs", topic_id="two").topic_id == "one"
        assert store.claim("theirs").topic_id == "one"

    def test_without_a_token(self, store: Driven) -> None:
        """An empty token is refused: it would equal that of a partition nobody claimed."""
        before = store.dump()
        with pytest.raises(ValueError, match="token"):
            store.claim("")
        assert store.dump() == before

    def test_partitions_are_apart(self, store: Driven) -> None:
        """Namespace, topic and partition each keep states, deadlines, names and cursor apart."""
        store.claim()
        store.done(first(states={"anna": b"1"}, deadlines={"anna": 5}, names={SHOES: "shoes"}, outbox=b"out"))
        for other in OTHER_KEYS:
            assert store.peek("anna", key=other) == [None]
            assert store.due(100, key=other) == []
            assert store.claim(key=other) == Claimed(Cursor("mine", 0, -1, -1), b"", {})

    # Verdicts, and what a commit writes

    def test_tombstones(self, store: Driven) -> None:
        """Forgotten customers are kept by hash with their time, set anew and taken out by the commit that says so."""
        store.claim()
        cursor = store.done(first(forgotten={SHIRTS: 5, SHOES: 6}))
        assert store.claim().forgotten == {SHIRTS: 5, SHOES: 6}
        refused(store, replace(first(forgotten={SHIRTS: 9}), sequence=7), Verdict.GAP)
        store.done(after(cursor, forgotten={SHIRTS: None, SHOES: 7}))
        assert store.claim().forgotten == {SHOES: 7}

    def test_how_far_intents_are_adopted(self, store: Driven) -> None:
        """A commit says up to which offset intents are adopted, and the next one may end that."""
        store.claim()
        cursor = store.done(first(adopt_until=90))
        assert cursor.adopt_until == store.cursor().adopt_until == store.claim().cursor.adopt_until == 90
        assert store.done(after(cursor)).adopt_until == -1

    def test_since_when_states_are_whole(self, store: Driven) -> None:
        """A commit says since when states are whole, and those that say nothing leave it."""
        store.claim()
        cursor = store.done(first(complete_since=1_000))
        assert cursor.complete_since == store.cursor().complete_since == 1_000
        cursor = store.done(after(cursor))
        assert cursor.complete_since == store.cursor().complete_since == store.claim().cursor.complete_since == 1_000
        refused(store, replace(after(cursor, complete_since=7), sequence=0), Verdict.GAP)
        assert store.done(after(cursor, complete_since=2_000)).complete_since == store.cursor().complete_since == 2_000

    def test_ok(self, store: Driven) -> None:
        """A commit that continues the last one is applied whole and moves the cursor."""
        store.claim()
        commit = first(states={"anna": b"1", "ben": b"2"}, deadlines={"anna": 7}, names={SHOES: "shoes"}, outbox=b"out")
        assert store.commit(commit) == Answer(Verdict.OK, Cursor("mine", 1, 20, 1_000))
        assert store.cursor() == Cursor("mine", 1, 20, 1_000)
        assert store.peek("ben", "anna") == [b"2", b"1"]
        assert store.due(100) == [("anna", 7)]
        assert store.names() == {SHOES: "shoes"}

    @pytest.mark.parametrize("start", [-1, 0, 1, 10, 2**53 + 1])
    def test_first_start(self, store: Driven, start: int) -> None:
        """The first commit of all may start anywhere: retention may have taken the beginning."""
        store.claim()
        assert store.done(replace(first(), start=start, position=start + 5)) == Cursor("mine", 1, start + 5, 1_000)

    def test_position_may_stay(self, store: Driven) -> None:
        """Commits without records (deadlines, idle time) follow one another; each is told from its own repetition."""
        store.claim()
        at = store.done(first())
        for _ in range(3):
            commit = replace(after(at), position=at.position)
            at = store.done(commit)
            assert store.commit(commit) == Answer(Verdict.ALREADY, at)
        assert at == Cursor("mine", 4, 20, 1_003)

    def test_large_numbers(self, store: Driven) -> None:
        """Positions, sequences and watermarks are exact beyond what a double holds."""
        store.claim()
        at = store.done(Commit("mine", 0, 0, 2**53 + 1, 2**60 + 1))
        assert at == store.cursor() == Cursor("mine", 1, 2**53 + 1, 2**60 + 1)
        for off_by_one in (2**53, 2**53 + 2):
            assert store.commit(replace(after(at), start=off_by_one)).verdict is Verdict.GAP
        assert store.done(after(at)).position == 2**53 + 11

    def test_fenced(self, store: Driven) -> None:
        """After another claim the old owner's commit changes nothing and tells whose it is."""
        store.claim()
        old = store.done(first(states={"anna": b"1"}))
        store.claim("theirs")
        refused(store, after(old, states={"anna": b"2"}), Verdict.FENCED)

    def test_fenced_even_if_applied(self, store: Driven) -> None:
        """Whoever lost the partition is told so, also when asking about a commit that was applied."""
        store.claim()
        store.done(first())
        store.claim("theirs")
        refused(store, first(), Verdict.FENCED)

    def test_unclaimed(self, store: Driven) -> None:
        """A commit to a partition without a claim (a store that lost its memory) is fenced."""
        refused(store, first(states={"anna": b"1"}), Verdict.FENCED)
        assert store.cursor() == Cursor("", 0, -1, -1)

    def test_already(self, store: Driven) -> None:
        """The same commit again is recognised, and not applied twice."""
        store.claim()
        commit = first(states={"anna": b"1"}, deadlines={"anna": 7}, outbox=b"out")
        store.done(commit)
        refused(store, commit, Verdict.ALREADY)

    @pytest.mark.parametrize(
        ("sequence", "start", "position"),
        [(1, 19, 30), (1, 21, 30), (1, -1, 30), (2, 20, 30), (7, 20, 30), (0, 20, 30), (0, 10, 21), (-1, 10, 20)],
        ids=["before", "after", "no start", "next", "ahead", "behind", "other end", "far behind"],
    )
    def test_gap(self, store: Driven, sequence: int, start: int, position: int) -> None:
        """Whatever does not continue at the cursor (sequence 1, position 20) is a gap and changes nothing."""
        store.claim()
        store.done(first(states={"anna": b"1"}, deadlines={"anna": 7}, outbox=b"out"))
        refused(store, Commit("mine", sequence, start, position, 2_000, {"anna": None}, {"ben": 1}), Verdict.GAP)

    def test_gap_before_the_first(self, store: Driven) -> None:
        """Any start is accepted before the first commit, but not any sequence."""
        store.claim()
        refused(store, replace(first(), sequence=1), Verdict.GAP)

    def test_outbox_is_replaced(self, store: Driven) -> None:
        """A commit's outbox takes the place of the last one, an empty one too."""
        store.claim()
        at = store.done(first(outbox=b"one"))
        at = store.done(after(at, outbox=b"two"))
        assert store.claim("next").outbox == b"two"
        store.done(after(replace(at, token="next")))
        assert store.claim("last").outbox == b""

    def test_names_gather(self, store: Driven) -> None:
        """Names of earlier commits stay; a subject named again has its new name."""
        store.claim()
        at = store.done(first(names={SHIRTS: "Hemden", SHOES: "Schuhe 👟"}))
        store.done(after(at, names={SHIRTS: "Blusen", b"12345678": ""}))
        assert store.names() == {SHIRTS: "Blusen", SHOES: "Schuhe 👟", b"12345678": ""}

    @pytest.mark.parametrize("customers", [999, 1_000, 4_500])
    def test_many(self, store: Driven, customers: int) -> None:
        """A thousand customers and more go in one commit: set, read, erased."""
        store.claim()
        ids = [f"customer-{number}" for number in range(customers)]
        states = {name: name.encode() * 3 for name in ids}
        names = {number.to_bytes(8, "big"): f"subject {number}" for number in range(customers)}
        at = store.done(first(states=states, deadlines={name: place for place, name in enumerate(ids)}, names=names))
        assert store.read(at, ids) == list(states.values())
        assert store.due(customers, customers) == [(name, place) for place, name in enumerate(ids)]
        assert store.names() == names
        store.done(after(at, states=dict.fromkeys(ids[1:]), deadlines=dict.fromkeys(ids)))
        assert store.peek(*ids) == [states[ids[0]]] + [None] * (customers - 1)
        assert store.due(customers) == []

    # Reading and erasing states

    def test_read_in_order(self, store: Driven) -> None:
        """States come in the order asked, as often as asked, None for strangers; an empty state is a state."""
        store.claim()
        every_byte = bytes(range(256))
        at = store.done(first(states={"anna": every_byte, "ben": b""}))
        assert store.read(at, ["ben", "who", "anna", "ben"]) == [b"", None, every_byte, b""]
        assert store.read(at, []) == []

    @pytest.mark.parametrize("change", [{"token": "theirs"}, {"sequence": 0}, {"position": 19}])
    @pytest.mark.parametrize("customers", [["anna"], []])
    def test_read_is_bound(self, store: Driven, change: dict[str, Any], customers: list[str]) -> None:
        """A read with another token, sequence or position is refused, even one of no customers."""
        store.claim()
        at = store.done(first(states={"anna": b"1"}))
        with pytest.raises(NotOwner):
            store.read(replace(at, **change), customers)

    def test_read_after_another_claim(self, store: Driven) -> None:
        """Whoever lost the partition cannot read on; the new owner can."""
        store.claim()
        at = store.done(first(states={"anna": b"1"}))
        claimed = store.claim("theirs")
        with pytest.raises(NotOwner):
            store.read(at, ["anna"])
        assert store.read(claimed.cursor, ["anna"]) == [b"1"]

    def test_peek(self, store: Driven) -> None:
        """Peeking needs no claim and gives nothing away about strangers."""
        assert store.peek("anna") == [None]
        assert store.peek() == []

    def test_looking_changes_nothing(self, store: Driven) -> None:
        """Reads of every kind leave the store as it was, also of a partition that nobody claimed."""
        store.claim()
        at = store.done(first(states={"anna": b"1"}, deadlines={"anna": 3, "ben": 3}))
        before = store.dump()
        store.read(at, ["anna", "who"]), store.peek("anna"), store.cursor(), store.names(), store.due(100, 1)
        for key in OTHER_KEYS:
            store.peek("anna", key=key), store.cursor(key), store.names(key), store.due(100, key=key)
        assert store.dump() == before

    def test_erase(self, store: Driven) -> None:
        """A state of None erases the customer and their deadline; others stay; a stranger may be erased."""
        store.claim()
        at = store.done(first(states={"anna": b"1", "ben": b"2"}, deadlines={"anna": 3, "ben": 4}))
        at = store.done(after(at, states={"anna": None, "who": None}))
        assert store.peek("anna", "ben", "who") == [None, b"2", None]
        assert store.due(100) == [("ben", 4)]
        store.done(after(at, states={"anna": b"3"}))
        assert store.peek("anna") == [b"3"]

    def test_odd_ids(self, store: Driven) -> None:
        """Any text is a customer id: braces, zero bytes, patterns, names of our own keys, none of them special."""
        store.claim()
        states = {name: f"state of {name}".encode() for name in ODD_IDS}
        at = store.done(first(states=states, deadlines=dict.fromkeys(ODD_IDS, 5)))
        assert store.read(at, ODD_IDS) == list(states.values())
        assert [name for name, _ in store.due(6)] == sorted(ODD_IDS, key=str.encode)
        store.done(after(at, states=dict.fromkeys(ODD_IDS)))
        assert store.peek(*ODD_IDS) == [None] * len(ODD_IDS)
        assert store.due(6) == []

    # Deadlines in their order

    def test_order(self, store: Driven) -> None:
        """Earliest first; equal ones by the ids' bytes, which is not that of UTF-16 or of arrival."""
        store.claim()
        deadlines = {"b": 2, "\uffee": 2, "🎈": 2, "a": 2, "B": 2, "z": 1, "": 3, "aa": 2}
        store.done(first(deadlines=deadlines))
        expected = sorted(deadlines.items(), key=lambda entry: (entry[1], entry[0].encode()))
        assert (
            store.due(100) == expected == [("z", 1), *[(x, 2) for x in ("B", "a", "aa", "b", "\uffee", "🎈")], ("", 3)]
        )

    def test_bound_is_exclusive(self, store: Driven) -> None:
        """A deadline is due when it is less than the bound, not when it equals it."""
        store.claim()
        store.done(first(deadlines={"anna": 1_511_539_200_000, "ben": 1_511_539_200_001}))
        assert store.due(1_511_539_200_000) == []
        assert store.due(1_511_539_200_001) == [("anna", 1_511_539_200_000)]
        assert len(store.due(1_511_539_200_002)) == 2

    def test_limit(self, store: Driven) -> None:
        """At most `limit` come, the earliest; asking does not use them up."""
        store.claim()
        store.done(first(deadlines={f"c{number}": number // 2 for number in range(10)}))
        assert store.due(100, 3) == store.due(100, 3) == [("c0", 0), ("c1", 0), ("c2", 1)]
        assert store.due(100, 0) == []
        assert len(store.due(100, 10)) == 10

    def test_moved_and_removed(self, store: Driven) -> None:
        """A customer has one deadline, the last one set; None removes it and leaves the state."""
        store.claim()
        at = store.done(first(states={"anna": b"1"}, deadlines={"anna": 5, "ben": 6}))
        at = store.done(after(at, deadlines={"anna": 8}))
        at = store.done(after(at, deadlines={"anna": 5}))
        assert store.due(100) == [("anna", 5), ("ben", 6)]
        at = store.done(after(at, deadlines={"anna": 9}))
        assert store.due(100) == [("ben", 6), ("anna", 9)]
        store.done(after(at, deadlines={"anna": None, "who": None}))
        assert store.due(100) == [("ben", 6)]
        assert store.peek("anna") == [b"1"]

    def test_set_with_an_erased_state(self, store: Driven) -> None:
        """A deadline given together with an erased state is kept: the caller said so."""
        store.claim()
        store.done(first(states={"anna": None, "ben": None}, deadlines={"anna": 5, "ben": None}))
        assert store.due(100) == [("anna", 5)]

    def test_extremes(self, store: Driven) -> None:
        """Deadlines before 1970 and up to 2**53 ms are exact."""
        store.claim()
        extremes = {"early": -(2**53), "before": -1, "late": 2**53 - 1, "last": 2**53}
        store.done(first(deadlines=extremes))
        assert store.due(2**53 + 2) == list(extremes.items())
