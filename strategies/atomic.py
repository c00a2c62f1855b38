"""One command that checks and writes: SET NX PX, INCR; a compare-and-delete gives back.

Redis runs one command at a time, so nobody comes between its check and its write. The
answer of the command is the decision: whoever does not look at it has decided nothing.
It is the cheapest there is, one round trip, but it can say only what a command can say:
one key, and no rule that needs the old value.
"""

from typing import Any

from harness import (
    Claim,
    CommandForm,
    Conditions,
    Reply,
    Request,
    Rule,
    Scenario,
    ScriptForm,
    Session,
    Strategy,
)


class Atomic(Strategy):
    """The rule as one command."""

    name = "atomic"
    family = "one operation of the store"
    form = "command"
    meets = "one step of the server"
    summary = "one command: SET NX PX, INCR"
    stops_helping = "a rule that one command cannot say; more than one key"
    variants = {
        "no-nx": "SET without NX: it always succeeds",
        "ignore-reply": "SET NX, whose answer is taken for OK",
        "get-first": "GET, then SET NX whose answer decides (safe)",
        "nx-get": "SET NX GET, which answers with what is there (safe; Redis 7.0)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; one variant needs a newer server."""
        super().__init__(scenario, variant)
        if variant == "nx-get":
            self.needs = {"redis": "7.0"}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not without NX or without a look at its answer."""
        if self.variant and not self._has_nx():
            return Claim("not-applicable", "no command of this rule has an NX to change")
        if self.variant in {"no-nx", "ignore-reply"}:
            return Claim("breaks", "NX and its answer are the check, and half of it is missing")
        return Claim("holds", "the server runs one command at a time")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Send the command; its answer is the decision."""
        form = self.native(request.operation)
        now_ms = await session.instant_ms()
        if isinstance(form, ScriptForm):
            keys = tuple(map(session.key, request.keys))
            answer = await session.script(form.source, keys, *form.args(request, now_ms))
        else:
            command = form.build(session.key(request.key), request, now_ms)
            if self.variant and "NX" in command:
                answer = await self._changed(session, command)
            else:
                answer = await session.redis(*command)
        reply: Reply = form.reply(answer, request)
        return reply

    async def _changed(self, session: Session, command: tuple[Any, ...]) -> Any:
        """What a variant takes for the answer of SET NX."""
        ok = b"OK"
        if self.variant == "no-nx":
            return await session.redis(*(part for part in command if part != "NX"))
        if self.variant == "nx-get":
            return ok if await session.redis(*command, "GET") is None else None
        if self.variant == "get-first" and await session.redis("GET", command[1]) is not None:
            return None
        answer = await session.redis(*command)
        return ok if self.variant == "ignore-reply" else answer

    def _has_nx(self) -> bool:
        """Whether there is anything for a variant to change."""
        forms: Any = self.scenario.forms["command"]
        built = (
            form.build("key", Request(operation, ("key",)), 0)
            for operation, form in forms.items()
            if isinstance(form, CommandForm)
        )
        return any("NX" in command for command in built)
