"""There are so many places, and whoever is let in keeps one until leaving: jobs at once, tickets, uses of a coupon.

One place is left, and two want it. Both count who is in, both find room, both enter. Who is in is a row each, so a lock
on those rows keeps nobody out: the row that is too many was not there to be locked. What helps is to meet somewhere: at
the row above, at a total in it, at a number. And all have to: a shop that locks where there is a voucher, and
for speed does not where a cart is fresh, sells the last ticket twice (`cart=pg-read-committed,*=pg-advisory`).

An order that uses a coupon looks before it is paid, and counts once it is completed. Between the two nothing is
held, and uses that are not completed yet are seen by nobody (`look-only`): however well each of the two is locked, all
orders that have looked are completed. The look is for the customer; the place has to be claimed at the end (`cap`).

Without a lock or a script: enter, count, and leave again if that was too many. Nobody is let in who is too many, and
now and then somebody is turned away by one who is about to leave again, which the business has to accept (`in-doubt`).
It takes both in one MULTI, or two that have entered before either counts turn each other away. And a number of places
left that has gone below zero must be read as one: without a sign it is plenty (`unsigned`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Self

from harness import (
    Attempt,
    Breach,
    ChildRowLayout,
    Claim,
    CommandsForm,
    Evidence,
    Flow,
    Forms,
    HashLayout,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    Rows,
    Rule,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    ValueLayout,
    procedure_forms,
    procedure_layouts,
)

PLACES = 3
STAYS, LEAVES = "x", "y"
"""Who is in from the beginning, and stays, or may leave."""
KINDS = ("cart", "voucher")
"""What an order is: each may be protected in a way of its own."""

ENTERED, FULL = Reply("entered"), Reply("full")
LEFT, NOT_IN, FREE = Reply("left"), Reply("not in"), Reply("free")
TOLD = {"enter": (FULL, ENTERED), "leave": (NOT_IN, LEFT), "look": (FULL, FREE)}

# In Redis a room is JSON, in which who is in is an object: an empty list of Lua would be one, too.


def encode(room: Mapping[str, Any]) -> str:
    """How many places, and who is in."""
    return json.dumps({"places": room["places"], "in": dict.fromkeys(room["in"], 1)})


def decode(raw: str) -> dict[str, Any]:
    """The room of that JSON."""
    room = json.loads(raw)
    return {"places": room["places"], "in": sorted(room["in"])}


HEAD = """
local room, count = cjson.decode(redis.call('GET', KEYS[1])), 0
for _ in pairs(room['in']) do count = count + 1 end
"""
SAVE = """
redis.call('SET', KEYS[1], cjson.encode(room))
return 1
"""
ENTER_ANYWAY = f"{HEAD} room['in'][ARGV[1]] = 1 {SAVE}"
ENTER = f"{HEAD} if count >= room.places then return 0 end room['in'][ARGV[1]] = 1 {SAVE}"
LEAVE = f"{HEAD} if not room['in'][ARGV[1]] then return 0 end room['in'][ARGV[1]] = nil {SAVE}"
LOOK = f"{HEAD} return count < room.places and 1 or 0"

# In PostgreSQL whoever is in is a row. One statement counts and enters; others do so meanwhile.

ENTER_ROW = """
INSERT INTO places (key, member) SELECT $1::text, $2::text
WHERE (SELECT count(*) FROM places WHERE key = $1) < (SELECT places FROM rooms WHERE key = $1)
"""
ENTER_ROW_ANYWAY = "INSERT INTO places (key, member) VALUES ($1, $2)"
LEAVE_ROW = "DELETE FROM places WHERE key = $1 AND member = $2"
LOOK_ROWS = "SELECT (SELECT count(*) FROM places WHERE key = $1) < places FROM rooms WHERE key = $1"

# With the number of those who are in in the room's own row there is a row to check and to write.

ENTER_TOTAL_ANYWAY = """
WITH room AS (UPDATE totalled_rooms SET taken = taken + 1 WHERE key = $1 RETURNING key)
INSERT INTO totalled_places (key, member) SELECT key, $2::text FROM room
"""
ENTER_TOTAL = ENTER_TOTAL_ANYWAY.replace("key = $1", "key = $1 AND taken < places")
LEAVE_TOTAL = """
WITH gone AS (DELETE FROM totalled_places WHERE key = $1 AND member = $2 RETURNING key)
UPDATE totalled_rooms SET taken = taken - 1 WHERE key = $1 AND EXISTS (SELECT FROM gone)
"""
LOOK_TOTAL = "SELECT taken < places FROM totalled_rooms WHERE key = $1"

# Or, in Redis, whoever is in is a field of a hash, of which the length is asked for.


class Members(HashLayout):
    """One field for each who is in; how many places there are, whoever asks knows."""

    def parse(self, raw: Any) -> Any:
        """The room behind a reply to HGETALL."""
        return {"places": PLACES, "in": sorted(word.decode() for word in raw[::2])}

    def write(self, key: str, value: Any, now_ms: int) -> tuple[Any, ...]:
        """The fields of a room that has none yet."""
        return ("HSET", key, *(word for name in value["in"] for word in (name, 1)))


def counted(answers: Sequence[Any], request: Request) -> Reply:
    """Of who enters and then counts: whether that was too many. Of who leaves, or looks: the answer."""
    count = answers[-1]
    return told({"enter": count <= PLACES, "look": count < PLACES}.get(request.operation, count), request)


def undone(key: str, answers: Sequence[Any], request: Request) -> tuple[Any, ...] | None:
    """Leave again, where it was too many."""
    return ("HDEL", key, request.id) if answers[-1] > PLACES else None


def leaves(key: str, request: Request, _now_ms: int) -> list[tuple[Any, ...]]:
    """One command."""
    return [("HDEL", key, request.args["who"])]


def counts(key: str, _request: Request, _now_ms: int) -> list[tuple[Any, ...]]:
    """One command."""
    return [("HLEN", key)]


ENTER_AND_COUNT: Forms = {
    "enter": CommandsForm(lambda key, one, _now: [("HSET", key, one.id, 1), ("HLEN", key)], counted, undone),
    "leave": CommandsForm(leaves, counted, several=False),
    "look": CommandsForm(counts, counted, several=False),
}


def count_first(free: Callable[[int], int]) -> Forms:
    """Count, and then enter: `free` says how many places are left when so many are in."""

    def entered(key: str, answers: Sequence[Any], request: Request) -> tuple[Any, ...] | None:
        return ("HSET", key, request.id, 1) if free(answers[0]) else None

    def reply(answers: Sequence[Any], request: Request) -> Reply:
        return told(free(answers[0]), request)

    return {
        "enter": CommandsForm(counts, reply, entered, several=False),
        "leave": ENTER_AND_COUNT["leave"],
        "look": CommandsForm(counts, reply, several=False),
    }


def left_over(count: int) -> int:
    """How many places are free; none where there are too many."""
    return max(0, PLACES - count)


def unsigned(count: int) -> int:
    """The same in 32 bits without a sign: one less than none is 4,294,967,295."""
    return (PLACES - count) % 2**32


NO_ROW = "whoever is too many has no row yet: FOR UPDATE locks those who are in"
SKEW = "each inserts a row that the other did not count"
SNAPSHOT = "the count is older than the lock"


def name_of(request: Request, _now_ms: int) -> tuple[str, ...]:
    """Who enters, or leaves."""
    return {"enter": (request.id,), "leave": (request.args.get("who", ""),), "look": ()}[request.operation]


def key_and_name(request: Request, now_ms: int) -> tuple[str, ...]:
    """The arguments of a statement."""
    return (request.key, *name_of(request, now_ms))


def told(done: Any, request: Request) -> Reply:
    """Read whether it was done, or would be."""
    return TOLD[request.operation][bool(done)]


def row_told(rows: Rows, request: Request) -> Reply:
    """Read the row count, or what a look or a function answered."""
    return told(rows.rows[0][0] if rows.rows else rows.count, request)


def statements(*sources: str) -> dict[str, StatementForm]:
    """The forms in SQL, in the order of the operations."""
    return {name: StatementForm(source, key_and_name, row_told) for name, source in zip(TOLD, sources, strict=True)}


def forms_of(*, claims: bool) -> dict[str, Forms | NotExpressible]:
    """The native forms: of who enters if there is room, or of who has looked before and enters anyway."""
    scripts = (ENTER if claims else ENTER_ANYWAY, LEAVE, LOOK)
    enter = "enter_room" if claims else "enter_anyway"
    return {
        "command": NotExpressible("one command cannot count and enter"),
        "multi": NotExpressible("it counts before it enters; to enter, count and leave again is rule `in-doubt`"),
        "unique": NotExpressible("places are counted: any will do, and none is claimed"),
        "exclusion": NotExpressible("a constraint compares rows, it does not count them"),
        "lua": {name: ScriptForm(source, name_of, told) for name, source in zip(TOLD, scripts, strict=True)},
        "sql": statements(ENTER_ROW if claims else ENTER_ROW_ANYWAY, LEAVE_ROW, LOOK_ROWS),
        "total": statements(ENTER_TOTAL if claims else ENTER_TOTAL_ANYWAY, LEAVE_TOTAL, LOOK_TOTAL),
        **procedure_forms(**statements(f"SELECT {enter}($1, $2)", "SELECT leave_room($1, $2)", "SELECT look_into($1)")),
    }


def entering(*, claims: bool, free: Callable[[int], int] = left_over) -> Callable[[State, Request, int], Outcome]:
    """The rule: to enter `claims` a place that is free, or takes one that was free when somebody looked."""

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        room = state[request.key]
        full = not free(len(room["in"]))
        if request.operation == "look":
            return Outcome({}, FULL if full else FREE)
        if request.operation == "leave":
            others = [name for name in room["in"] if name != request.args["who"]]
            return Outcome({}, NOT_IN) if others == room["in"] else Outcome({request.key: {**room, "in": others}}, LEFT)
        if full and claims:
            return Outcome({}, FULL)
        return Outcome({request.key: {**room, "in": [*room["in"], request.id]}}, ENTERED)

    return rule


IN_DOUBT = {
    "multi": Claim(
        "holds", "of those that are too many each leaves again", breaks_under=("crash", "lost-reply", "duplicate")
    ),
    "multi:no-multi": Claim("breaks", "both enter before either counts, and they turn each other away"),
}


class Places(Scenario):
    """No more in than there are places."""

    name = "places"
    summary = "one place is left and two want it: jobs at once, tickets, uses of a coupon"
    goes_wrong = "a limit is passed, or never lifted"
    symptoms = {
        "more at work at once than allowed": "--strategy pg-for-update",
        "the last ticket was sold twice": "--strategy cart=pg-read-committed,*=pg-advisory",
        "turned away, and nobody else was let in": "--strategy multi:no-multi --rule in-doubt",
        "a coupon was used twice": "--strategy pg-conditional:total --rule look-only",
    }
    invariant = "no more are in than there are places"
    refusals = ("full", "not in")
    initial_value: Any = {"places": PLACES, "in": [STAYS, LEAVES]}
    operations = {
        "enter": Signature({}, {}, "", ("entered", "full")),
        "leave": Signature({"who": str}, {}, "", ("left", "not in")),
        "look": Signature({}, {}, "", ("free", "full")),
    }
    roles = KINDS
    looking = ("look",)
    rules = {
        "cap": entering(claims=True),
        "look-only": entering(claims=False),
        "in-doubt": entering(claims=True),
        "unsigned": entering(claims=True, free=unsigned),
    }
    untranslated = {"unsigned": "as that of rule cap: what never gets below zero needs no sign"}
    split = {"look-only": "who has looked enters, and meanwhile others have looked as well"}
    values = ValueLayout(encode, decode)
    value_layouts = dict.fromkeys(("multi", "look-first"), Members())
    rows = ChildRowLayout(
        "rooms",
        "places",
        split=lambda room: ((room["places"],), dict.fromkeys(room["in"], ())),
        join=lambda row, names: {"places": row[0], "in": sorted(names)},
        parent_columns={"places": "int"},
    )
    layouts = {
        "total": replace(
            rows,
            parent="totalled_rooms",
            children="totalled_places",
            parent_columns={"places": "int", "taken": "int"},
            split=lambda room: ((room["places"], len(room["in"])), dict.fromkeys(room["in"], ())),
        ),
        **procedure_layouts(rows, __file__),
    }
    forms = {**forms_of(claims=True), "look-first": count_first(left_over)}
    other_forms = {
        "look-only": forms_of(claims=False),
        "in-doubt": {**forms, "multi": ENTER_AND_COUNT},
        "unsigned": {"look-first": count_first(unsigned)},
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement counts and inserts, and others come in between"),
        "pg-for-update": Claim("breaks", NO_ROW),
        "pg-for-update:others": Claim("holds", "both wait at the row of one who stays, and then count anew"),
        "pg-for-update:nowait": Claim("holds", "one has the row of one who stays", errors=("55P03",)),
        "pg-version": Claim("breaks", "a row that is not there has no version"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
    }

    def under(self, rule: str) -> Self:
        """Where in doubt somebody is turned away, more holds."""
        if rule == "in-doubt":
            self.claims = {**self.claims, **IN_DOUBT}
        return super().under(rule)

    def spec(self, rule: str) -> Rule:
        """A number without a sign is no other rule."""
        return self.rules["cap" if rule == "unsigned" else rule]

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """In doubt it is full, for a moment, of somebody who is about to leave again."""
        yield from super().allowed(state, request, now_ms, reply, rule)
        if self.executed == "in-doubt" and request.operation != "leave" and (reply is None or reply == FULL):
            yield state

    def burst(self, rng: Random, size: int) -> Sequence[Request | Attempt]:
        """Two want the last place; then others do, or look, or one leaves. Who looks and then enters is an attempt."""
        if self.executed == "look-only":
            return [Attempt(("room",), role=KINDS[0])] * size
        others = (rng.choice((enter(rng.choice(KINDS)), leave(LEAVES), LOOK_IN)) for _ in range(size - 2))
        return [*([enter(KINDS[0])] * 2), *others][:size]

    async def flow(self, flow: Flow) -> None:
        """Look; pay, which is nothing to others; and use it."""
        if await flow.apply("look") == FREE:
            await flow.apply("enter")

    def invariants(self) -> Sequence[Invariant]:
        """Not too many, and nobody thrown out."""
        return [
            Invariant("no more than places", self.invariant, too_many),
            Invariant("somebody is let in", "nobody is turned away from a place that nobody takes", turned_away),
            Invariant("who is in stays in", "whoever was let in is in until leaving", thrown_out),
        ]

    def view(self, value: Any, now_ms: int) -> Any:
        """Who is in, in whatever order they came."""
        return {**value, "in": sorted(value["in"])}


LOOK_IN = Request("look", ("room",))


def enter(kind: str) -> Request:
    """Somebody wants a place."""
    return Request("enter", ("room",), role=kind)


def leave(who: str) -> Request:
    """Somebody has done."""
    return Request("leave", ("room",), {"who": who})


def too_many(evidence: Evidence) -> Iterator[Breach]:
    """Count who is in at rest, or who was let in and has not left: where one write covers another, there are more."""
    for key, room in (evidence.rest or {}).items():
        entered = let_in(evidence, key)
        leaves = [one for one in evidence.operations if one.request.operation == "leave" and one.request.key == key]
        left = sum(1 for one in leaves if one.reply == LEFT or one.status == "unknown")
        number = max(len(room["in"]), len(evidence.initial[key]["in"]) + len(entered) - left)
        if number > room["places"]:
            says = f"{number} were let in, and there are {room['places']} places"
            yield Breach(says, entered, number - room["places"])


def turned_away(evidence: Evidence) -> Iterator[Breach]:
    """Compare who was let in, or may have been, with the places that were free before anybody came."""
    for key, room in evidence.initial.items():
        wanted = [one for one in evidence.operations if one.request.operation == "enter" and one.request.key == key]
        full = tuple(one.request.id for one in wanted if one.reply == FULL)
        free = room["places"] - len(room["in"])
        taken = sum(1 for one in wanted if one.reply == ENTERED or one.status == "unknown")
        if full and taken < free:
            yield Breach(f"{len(full)} were turned away, and a place was free that nobody took", full)


def thrown_out(evidence: Evidence) -> Iterator[Breach]:
    """Look for those who were let in."""
    for key, room in (evidence.rest or {}).items():
        gone = {one.request.args["who"] for one in evidence.operations if one.request.operation == "leave"}
        missing = tuple(name for name in let_in(evidence, key) if name not in {*room["in"], *gone})
        if missing:
            yield Breach(f"{len(missing)} that had been let in {'is' if len(missing) == 1 else 'are'} not in", missing)


def let_in(evidence: Evidence, key: str) -> tuple[str, ...]:
    """Who was told to have a place."""
    return tuple(one.request.id for one in evidence.operations if one.reply == ENTERED and one.request.key == key)
