"""At most so many requests of one user are let through in a minute.

Everybody who counts first and adds afterwards lets too many through: between the two others count, too. And a counter
whose time to live is set by a second command stays for ever where its caller dies in between: that user is refused
for good. Which requests a minute holds is a rule of its own, and there are four usual ones. They differ in what they
keep and in what they let through around the end of a minute, not in who may come between. A counter that keeps no end
at all (`endless`) is no fifth one: nothing needs to go wrong for it to refuse for ever.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from re import sub
from typing import Any, Self

from harness import (
    Breach,
    Column,
    CommandsForm,
    Evidence,
    Forms,
    Invariant,
    Line,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rows,
    Rule,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    Table,
    ValueLayout,
    procedure_forms,
    procedure_layouts,
)

WINDOW_MS = 60_000
KEPT_MS = 4 * WINDOW_MS
"""How long a store keeps what has run out, for a caller who looked at the clock a while ago."""
SLACK_MS = 50
"""So close to the end of a window both answers are right: the clocks of caller and store differ."""
SLACK = 1.2
"""What an approximate limit may be exceeded by, where the rule says that it is one."""
ALONE = 60
"""The limit where nobody else is about: for a load that asks one by one."""

LIMITED = Reply("limited")


def admitted(left: int) -> Reply:
    """Let through, with so many left."""
    return Reply("admitted", {"left": left})


def answer(left: int) -> Reply:
    """Let through as long as what is left is not below nought."""
    return admitted(left) if left >= 0 else LIMITED


# The rules. Whole numbers only, so that Python, Lua and SQL come to the same.


def fixed(state: State, request: Request, now_ms: int) -> Outcome:
    """A window begins with the first request, and ends a minute later. Who is refused is counted, too."""
    held = state[request.key]
    if held is None or 0 < held["until_ms"] <= now_ms:
        held = {"count": 0, "until_ms": now_ms + WINDOW_MS}
    counted = {**held, "count": held["count"] + 1}
    return Outcome({request.key: counted}, answer(request.args["limit"] - counted["count"]))


def weight(previous: int, count: int, into_ms: int) -> int:
    """How many came in the last minute: those of this one, and of the one before the share that it still covers.

    An estimate, counted in 1/60,000, so that it is whole: 49.5 is 2,970,000.
    """
    return previous * (WINDOW_MS - into_ms) + count * WINDOW_MS


def sliding_counter(state: State, request: Request, now_ms: int) -> Outcome:
    """Two numbers, this minute's and the last one's, which fades: an estimate, and nearly nothing to keep."""
    held, limit = state[request.key], request.args["limit"]
    window, into_ms = divmod(now_ms, WINDOW_MS)
    count = previous = 0
    if held is not None and held["window"] >= window:
        into_ms = into_ms if held["window"] == window else 0
        window, count, previous = held["window"], held["count"], held["previous"]
    elif held is not None and held["window"] == window - 1:
        previous = held["count"]
    used = weight(previous, count, into_ms)
    if used >= limit * WINDOW_MS:
        return Outcome({}, LIMITED)
    counted = {"window": window, "count": count + 1, "previous": previous}
    return Outcome({request.key: counted}, admitted(max(0, limit - 1 + -used // WINDOW_MS)))


def sliding_log(state: State, request: Request, now_ms: int) -> Outcome:
    """The instant of every request that was let through: exact, and as much to keep as there are."""
    held, limit = state[request.key], request.args["limit"]
    live = [at_ms for at_ms in (held["log"] if held else ()) if at_ms > now_ms - WINDOW_MS]
    if len(live) >= limit:
        return Outcome({}, LIMITED)
    return Outcome({request.key: {"log": [*live, now_ms]}}, admitted(limit - 1 - len(live)))


def token_bucket(state: State, request: Request, now_ms: int) -> Outcome:
    """A bucket of `limit` tokens that fills up evenly within a minute: one number, when it will be full again.

    Counted in 1/limit ms, a token is worth one minute (the generic cell rate algorithm, ITU-T I.371).
    """
    held, limit = state[request.key], request.args["limit"]
    now = now_ms * limit
    full_at = max(held["full_at"] if held else 0, now) + WINDOW_MS
    left = limit * WINDOW_MS - (full_at - now)
    if left < 0:
        return Outcome({}, LIMITED)
    return Outcome({request.key: {"full_at": full_at}}, admitted(left // WINDOW_MS))


def endless(state: State, request: Request, now_ms: int) -> Outcome:
    """A number that nothing ends: whoever has reached the limit is refused for ever."""
    counted = {"count": (state[request.key] or {"count": 0})["count"] + 1}
    return Outcome({request.key: counted}, answer(request.args["limit"] - counted["count"]))


# In Redis a state is its numbers in a row, so that a counter is a number that INCR takes.

FIELDS = {
    "fixed": ("count", "until_ms"),
    "sliding-counter": ("window", "count", "previous"),
    "sliding-log": ("log",),
    "token-bucket": ("full_at",),
    "endless": ("count",),
}


def encode(held: Mapping[str, Any]) -> str:
    """The numbers of a state."""
    return " ".join(map(str, held["log"] if "log" in held else held.values()))


def decode(raw: str, rule: str = "fixed") -> dict[str, Any]:
    """The state of those numbers. A count alone ends when the store forgets it: `until_ms` is 0."""
    numbers = [int(word) for word in raw.split()]
    if rule == "sliding-log":
        return {"log": numbers}
    return dict(zip(FIELDS[rule], [*numbers, 0], strict=False))


LUA_HEAD = """
local now, limit, window, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local held = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or '', '%d+') do held[#held + 1] = tonumber(word) end
local function save(...)
  local words = {...}
  for place, word in ipairs(words) do words[place] = string.format('%.0f', word) end
  redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', kept)
end
"""
LUA = {
    "fixed": """
local count, ends = held[1], held[2]
if not count or (ends and ends <= now) then count, ends = 0, now + window end
save(count + 1, ends or 0)
return limit - count - 1
""",
    "sliding-counter": """
local this, into, count, previous = math.floor(now / window), now % window, 0, 0
if held[1] and held[1] >= this then
  if held[1] > this then into = 0 end
  this, count, previous = held[1], held[2], held[3]
elseif held[1] == this - 1 then
  previous = held[2]
end
local used = previous * (window - into) + count * window
if used >= limit * window then return -1 end
save(this, count + 1, previous)
return math.max(0, limit - 1 - math.ceil(used / window))
""",
    "sliding-log": """
local live = {}
for _, at in ipairs(held) do if at > now - window then live[#live + 1] = at end end
if #live >= limit then return -1 end
live[#live + 1] = now
save(unpack(live))
return limit - #live
""",
    "token-bucket": """
local full = math.max(held[1] or 0, now * limit) + window
local left = limit * window - (full - now * limit)
if left < 0 then return -1 end
save(full)
return math.floor(left / window)
""",
    "endless": """
held[1] = (held[1] or 0) + 1
redis.call('SET', KEYS[1], string.format('%.0f', held[1]))
return limit - held[1]
""",
}


def lua_args(request: Request, now_ms: int) -> tuple[int, ...]:
    """The arguments of every script. The caller's clock counts, so that one instant decides and is recorded."""
    return (now_ms, request.args["limit"], WINDOW_MS, KEPT_MS)


# Where the store's own clock ends the window, a count is all there is to keep.


def count(key: str, _request: Request, _now_ms: int, begin: bool = False) -> tuple[tuple[str | int, ...], ...]:
    """One more; nought for a minute where there is nothing, or who has the first one sees to its end."""
    return (*[("SET", key, 0, "NX", "PX", WINDOW_MS)] * begin, ("INCR", key))


def expire(key: str, answers: Sequence[Any], _request: Request, each: bool = False) -> tuple[str | int, ...] | None:
    """The minute begins with the first, or with the first of all who gets so far."""
    return ("PEXPIRE", key, WINDOW_MS, *["NX"] * each) if each or answers[-1] == 1 else None


def left_of(answers: Sequence[Any], request: Request) -> Reply:
    """What the number that INCR answered means."""
    return answer(request.args["limit"] - answers[-1])


# In PostgreSQL a user is a row, which is NULL at first.

SQL = {
    "fixed": """
UPDATE fixed_windows SET
  count = CASE WHEN until_ms > $2 THEN count + 1 ELSE 1 END,
  until_ms = CASE WHEN until_ms > $2 THEN until_ms ELSE $2 + $4 END
WHERE key = $1 RETURNING $3 - count
""",
    "sliding-counter": """
UPDATE sliding_counters SET
  count = CASE WHEN "window" >= $2 / $4 THEN count + 1 ELSE 1 END,
  previous = CASE WHEN "window" >= $2 / $4 THEN previous WHEN "window" = $2 / $4 - 1 THEN count ELSE 0 END,
  "window" = greatest("window", $2 / $4)
WHERE key = $1 AND $3 * $4 > CASE
  WHEN "window" > $2 / $4 THEN (previous + count) * $4
  WHEN "window" = $2 / $4 THEN previous * ($4 - $2 % $4) + count * $4
  WHEN "window" = $2 / $4 - 1 THEN count * ($4 - $2 % $4)
  ELSE 0 END
RETURNING greatest(0, ($3 * $4 - previous * ($4 - CASE WHEN "window" = $2 / $4 THEN $2 % $4 ELSE 0 END)) / $4 - count)
""",
    "sliding-log": """
UPDATE sliding_logs SET log = array(SELECT at FROM unnest(log) AS at WHERE at > $2 - $4) || $2
WHERE key = $1 AND $3 > (SELECT count(*) FROM unnest(log) AS at WHERE at > $2 - $4)
RETURNING $3 - cardinality(log)
""",
    "token-bucket": """
UPDATE token_buckets SET full_at = greatest(full_at, $2 * $3) + $4
WHERE key = $1 AND greatest(full_at, $2 * $3) + $4 - $2 * $3 <= $3 * $4
RETURNING ($3 * $4 - (full_at - $2 * $3)) / $4
""",
    "endless": """
UPDATE endless SET count = coalesce(count, 0) + 1 WHERE key = $1 AND $2 + $4 > 0 RETURNING $3 - count
""",
}
CALL_FIXED = "SELECT hit_fixed_window($1, $2::bigint, $3::bigint, $4::bigint)"
TABLES = {rule: f"{rule.replace('-', '_')}s" for rule in FIELDS} | {"fixed": "fixed_windows", "endless": "endless"}


def statement(rule: str) -> str:
    """The statement of a rule, with its numbers wide enough."""
    return sub(r"\$[234]", r"\g<0>::bigint", SQL[rule])


def sql_args(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of every statement."""
    return (request.key, now_ms, request.args["limit"], WINDOW_MS)


def row_left(rows: Rows, _request: Request) -> Reply:
    """What the row that was changed says; none was where nothing is left."""
    return answer(rows.rows[0][0]) if rows.rows else LIMITED


def row_layout(rule: str) -> RowLayout:
    """The columns of a rule's state."""
    if rule == "sliding-log":
        return RowLayout({"log": "bigint[]"}, lambda held: (held["log"],), lambda row: {"log": row[0]}, TABLES[rule])
    names = FIELDS[rule]
    return RowLayout(
        {f'"{name}"': "bigint" for name in names},
        lambda held: tuple(held[name] for name in names),
        lambda row: dict(zip(names, row, strict=True)),
        TABLES[rule],
    )


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule."""
    script = ScriptForm(LUA_HEAD + LUA[rule], lua_args, lambda left, _request: answer(left))
    return {
        "command": NotExpressible("no one command counts and sets the end of what it counts"),
        "multi": NotExpressible("it must read before it counts"),
        "lua": {"hit": script},
        "edge": {"hit": script},
        "sql": {"hit": StatementForm(statement(rule), sql_args, row_left)},
        "unique": NotExpressible("everybody counts: there is nothing to claim"),
    }


def at_most(share: float, heading: tuple[str, str]) -> Column:
    """Whether no more than this share of the limit was let through."""
    return Column(heading, lambda seen, load: "kept" if seen.figures[load].most <= share * ALONE else "broken")


COPIES = Table(
    "one truth, or copies that lag",
    f"A limit of {ALONE} a minute, in a closed loop on four users. A copy that lags lets too many through with one"
    " caller after the other, too: exact or approximate is a choice, and the largest number is what it costs.",
    (
        Line("one truth: a script at the primary", "lua"),
        Line("one truth, looked at before it is counted", "naive"),
        Line("a copy, behind by its own delay", "replica-lag:own-delay"),
        Line("a copy, 20 ms behind", "replica-lag"),
        Line("a copy, 200 ms behind", "replica-lag:200-ms"),
    ),
    (
        at_most(1, ("exact", "")),
        at_most(SLACK, ("at most", "120 %")),
        Column(("most let", "through"), lambda seen, load: str(seen.figures[load].most)),
        Column(("p99", "ms"), lambda seen, load: f"{seen.figures[load].p99_ms or 0:.2f}"),
    ),
    {
        "one caller, one by one": {"processes": 1, "connections": 1, "keys": 4},
        "two callers at two edges": {"processes": 2, "connections": 2, "keys": 4},
    },
    each_load=True,
    counts=lambda evidence: max((len(through) for _limit, through in at_first(evidence)), default=0),
)


class RateLimit(Scenario):
    """So many a minute."""

    name = "rate-limit"
    summary = "at most so many requests of one user in a minute"
    goes_wrong = "a limit is passed, or never lifted"
    symptoms = {
        "more let through than the limit": "--strategy naive",
        "refused for ever": "--strategy multi:expire-later --faults crash",
        "refused since the day the limit was reached": "--strategy pg-conditional --rule endless",
    }
    invariant = "no more requests are let through in a minute than the limit"
    tables = {"copies": COPIES}
    refusals = ("limited",)
    operations = {"hit": Signature({"limit": int}, {}, "", ("admitted", "limited"))}
    rules = {
        "fixed": fixed,
        "sliding-counter": sliding_counter,
        "sliding-log": sliding_log,
        "token-bucket": token_bucket,
        "endless": endless,
    }
    wrong = {"endless": "the window is not in the state: nothing begins a new one"}
    leases_ms = 2 * WINDOW_MS
    values = ValueLayout(encode, decode, lambda _held, _now_ms: KEPT_MS)
    rows = row_layout("fixed")
    layouts = procedure_layouts(rows, __file__)
    forms = {
        **forms_of("fixed"),
        "multi": {"hit": CommandsForm(partial(count, begin=True), left_of)},
        **procedure_forms(hit=StatementForm(CALL_FIXED, sql_args, row_left)),
        "expire-later": {"hit": CommandsForm(count, left_of, expire)},
        "expire-each": {"hit": CommandsForm(count, left_of, partial(expire, each=True))},
    }
    other_forms = {rule: forms_of(rule) for rule in FIELDS if rule != "fixed"}

    def under(self, rule: str) -> Self:
        """Each rule keeps something else."""
        self.executed = rule
        if rule != "fixed":
            lives_ms = None if self.unending else KEPT_MS
            self.values = ValueLayout(encode, lambda raw: decode(raw, rule), lambda _held, _now_ms: lives_ms)
            self.rows = row_layout(rule)
        return super().under(rule)

    def example(self) -> str:
        """What the estimate is, and what the rule makes of it where that is just enough, and just too much."""
        previous, count, into_s, limit = 42, 18, 15, 50
        state = {"user": {"window": 1, "count": count, "previous": previous}}
        now_ms = WINDOW_MS + into_s * 1000
        says = (
            f"sliding-counter takes {previous} in the last minute and {count} in this one, {into_s} s into it,"
            f" for {weight(previous, count, into_s * 1000) / WINDOW_MS:g}"
        )
        for at_most in (limit, limit - 1):
            told = sliding_counter(state, Request("hit", ("user",), {"limit": at_most}), now_ms).reply.decision
            says += f"; with a limit of {at_most} one more is {told}"
        return says

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Twice as many as the limit; alone, the limit is far away."""
        limit = size // 2 if size > 1 else ALONE
        return [Request("hit", ("user",), {"limit": limit})] * size

    def invariants(self) -> Sequence[Invariant]:
        """Not too many, not too few, not for ever."""
        few = "as long as fewer than the limit were let through, nobody is refused"
        again = "after two minutes of silence a request is let through"
        far = partial(too_many, slack=SLACK, says_more=f": at most {SLACK:.0%}")
        return [
            Invariant("at most the limit", self.invariant, too_many),
            Invariant("at most 120 %", "no more are let through than 120 % of the limit", far),
            Invariant("nobody refused for nothing", few, too_few, ("burst",)),
            Invariant("let through again", again, not_again, ("probe",)),
            *([Invariant("a window ends", "what is counted is counted for a minute", unended)] * self.unending),
        ]

    @property
    def unending(self) -> bool:
        """Whether nothing in the state says when it ends."""
        return self.executed == "endless"

    def view(self, value: Any, now_ms: int) -> Any:
        """What counts at that instant."""
        if value is None or "full_at" in value or self.unending:
            return value
        if "log" in value:
            return [at_ms for at_ms in value["log"] if at_ms > now_ms - WINDOW_MS]
        if "until_ms" in value:  # 0 where the store knows
            return None if 0 < value["until_ms"] <= now_ms else value["count"] or None
        return value if value["window"] >= now_ms // WINDOW_MS - 1 else None

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """What the rule says; at the end of a window also what it says a moment before or after."""
        instants = [now_ms]
        ends_ms = (state[request.key] or {}).get("until_ms", 0)
        if ends_ms and abs(ends_ms - now_ms) <= SLACK_MS:
            instants.append(ends_ms if now_ms < ends_ms else ends_ms - 1)
        for outcome in (rule(state, request, at_ms) for at_ms in instants):
            if reply is None or outcome.reply.same(reply):
                yield {**state, **outcome.changes}


def too_many(evidence: Evidence, slack: float = 1, says_more: str = "") -> Iterator[Breach]:
    """Count those let through at first. A limit that is approximate is a choice of the business."""
    for limit, through in at_first(evidence):
        if len(through) > slack * limit:
            says = f"{len(through)} requests were let through, and the limit is {limit}{says_more}"
            yield Breach(says, tuple(hit.request.id for hit in through), len(through) - limit)


def at_first(evidence: Evidence) -> Iterator[tuple[int, list[Any]]]:
    """Of each user the limit, and who was let through before a window can have ended, or a token have come back."""
    for hits in by_key(evidence).values():
        limit = hits[0].request.args["limit"]
        # Who died may have been first, at an instant that nobody knows.
        first_ms = min(hit.now_ms or (hit.invoked_ns + evidence.monotonic_to_unix_ns) // 1_000_000 for hit in hits)
        until_ms = min(first_ms + WINDOW_MS // limit, (first_ms // WINDOW_MS + 1) * WINDOW_MS)
        yield limit, [hit for hit in hits if let_through(hit.reply) and hit.now_max_ms < until_ms]


def too_few(evidence: Evidence) -> Iterator[Breach]:
    """On an idle user nobody is refused before the limit is reached, unless nobody knows what became of one."""
    for hits in by_key(evidence).values():
        limit = hits[0].request.args["limit"]
        refused = tuple(hit.request.id for hit in hits if hit.reply == LIMITED)
        possible = sum(1 for hit in hits if let_through(hit.reply) or hit.status == "unknown")
        if refused and possible < limit:
            asked = f"{len(refused)} request{'s were' if len(refused) > 1 else ' was'}"
            says = f"{asked} refused although only {possible} of {limit} were let through"
            yield Breach(says, refused, min(len(refused), limit - possible))


def not_again(evidence: Evidence) -> Iterator[Breach]:
    """After the windows and with nobody else about, a request is let through; giving up is no answer."""
    for probe in evidence.probes:
        if probe.status == "ok" and not let_through(probe.reply):
            told = probe.reply.decision if probe.reply else "nothing"
            yield Breach(f"a request after two minutes of silence was answered {told}", (probe.request.id,))


def unended(evidence: Evidence) -> Iterator[Breach]:
    """Look at the counters at rest: those of which nobody could say when they end."""
    for held in filter(None, (evidence.rest or {}).values()):
        yield Breach(f"a count of {held['count']} has no end: in time everybody is refused for ever")


def let_through(reply: Reply | None) -> bool:
    """Whether a request was."""
    return reply is not None and reply.decision == "admitted"


def by_key(evidence: Evidence) -> Mapping[str, list[Any]]:
    """The hits of each user."""
    found: dict[str, list[Any]] = {}
    for hit in evidence.operations:
        found.setdefault(hit.request.key, []).append(hit)
    return found
