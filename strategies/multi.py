"""Several commands in one MULTI/EXEC, sent without a look at anything first.

EXEC runs them with nobody in between, and either all of them or none. That suffices where every
caller does the same whatever is there: begin a window if there is none, count, look at the number
afterwards. Commands cannot depend on one another's answers, so a rule that must read before it
decides needs a script, or WATCH. Sent one by one they leave a gap between any two, and whoever
dies in it leaves half of what was meant.
"""

from collections.abc import Sequence
from typing import Any

from harness import (
    ABORTED,
    Claim,
    CommandsForm,
    Conditions,
    Reply,
    Request,
    Rule,
    Scenario,
    ScriptForm,
    Session,
    Strategy,
)

_FORMS = {
    "expire-later": "expire-later",
    "expire-each": "expire-each",
    "expire-locked": "expire-later",
    "look-first": "look-first",
}
"""Of variants that are other commands for the same rule."""

_ENDS = "is a counter whose end is set apart"

PATIENCE = 400
"""Tries for a lock before giving up: with pauses of up to 16 ms, longer than a dead holder's lease."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Multi(Strategy):
    """The rule as commands that EXEC runs together."""

    name = "multi"
    family = "one operation of the store"
    form = "multi"
    meets = "one step of the server"
    summary = "MULTI, a few commands, EXEC: nothing is read before"
    stops_helping = "whatever must read before it decides; sent one by one, a crash in between"
    variants = {
        "no-multi": "the same commands one by one",
        "look-first": "what is there is counted first, and what is to be done about it is sent afterwards",
        "expire-later": "INCR; where it answers 1, EXPIRE in a command of its own",
        "expire-locked": "as `expire-later`, with a lock around both: it keeps nobody from dying",
        "expire-each": "INCR, then EXPIRE NX apart at every hit: it heals, one window late (Redis 7.0)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; some variants are other commands for the same rule."""
        if variant in _FORMS:
            self.form = _FORMS[variant]
        if variant == "expire-each":
            self.needs = {"redis": "7.0"}
        super().__init__(scenario, variant)

    def claim(self, conditions: Conditions) -> Claim:
        """Nobody needs to write down that there is no such counter."""
        if self.variant in _FORMS and self.form not in self.scenario.forms:
            what = "is counted before anything is added" if self.variant == "look-first" else _ENDS
            return Claim("not-applicable", f"nothing here {what}")
        return super().claim(conditions)

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; in between two commands somebody may die, or a key vanish."""
        if self.variant == "look-first":
            return Claim("breaks", "others add theirs after it was counted")
        faults = {
            "no-multi": ("pause",),
            "expire-later": ("crash", "lost-reply"),
            "expire-locked": ("crash", "lost-reply"),
            "expire-each": ("crash", "lost-reply"),
        }.get(self.variant, ())
        if self.variant == "no-multi" and not any(map(self._gapped, self.forms)):
            return Claim("not-applicable", "one command has no gap")
        return Claim("holds", self.variants.get(self.variant, "EXEC lets nobody in between"), breaks_under=faults)

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Send the commands; their answers are the decision."""
        if self.variant != "expire-locked":
            return await self._decide(session, request)
        lock, token = session.key(f"lock:{request.key}"), session.token()
        async for _ in session.retries(PATIENCE):
            if await session.redis("SET", lock, token, "NX", "PX", session.lock_lease_ms):
                try:
                    return await self._decide(session, request)
                finally:
                    await session.script(RELEASE, (lock,), token)
        return ABORTED

    async def _decide(self, session: Session, request: Request) -> Reply:
        form = self.native(request.operation)
        now_ms = await session.instant_ms()
        key = session.key(request.key)
        if isinstance(form, ScriptForm):  # what must look first
            told: Reply = form.reply(await session.script(form.source, (key,), *form.args(request, now_ms)), request)
            return told
        answers = await self._send(session, form.build(key, request, now_ms))
        further = form.then(key, answers, request)
        if further is not None:
            await session.redis(*further)
        reply: Reply = form.reply(answers, request)
        return reply

    async def _send(self, session: Session, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        if len(commands) == 1 or self.variant == "no-multi":
            return [await session.redis(*command) for command in commands]
        await session.redis("MULTI")
        for command in commands:
            await session.redis(*command)
        answers: Sequence[Any] = await session.redis("EXEC")
        return answers

    def _gapped(self, operation: str) -> bool:
        form = self.native(operation)
        return isinstance(form, CommandsForm) and form.several
