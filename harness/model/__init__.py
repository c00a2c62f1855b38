"""The words of race as small frozen types. Imports nothing of ours."""

from harness.model.blame import OWN, SCRIPT, blamed, described, no_outcome, no_reply, says, where
from harness.model.errors import (
    DENIED,
    RETRYABLE,
    CommandRefused,
    ConnectionLost,
    GaveUp,
    RaceError,
    StatementRefused,
    StoreFault,
    StoreUnavailable,
    UsageError,
)
from harness.model.history import Effect, Evidence, Operation, Status, Step
from harness.model.spec import Spec
from harness.model.verdict import Breach, Claim, Conditions, Invariant, Verdict, worst
from harness.model.words import ABORTED, DONE, NOTHING, Attempt, Outcome, Reply, Request, Rule, Signature, State

__all__ = [
    "ABORTED",
    "DENIED",
    "DONE",
    "NOTHING",
    "OWN",
    "RETRYABLE",
    "SCRIPT",
    "Attempt",
    "Breach",
    "Claim",
    "CommandRefused",
    "Conditions",
    "ConnectionLost",
    "Effect",
    "Evidence",
    "GaveUp",
    "Invariant",
    "Operation",
    "Outcome",
    "RaceError",
    "Reply",
    "Request",
    "Rule",
    "Signature",
    "Spec",
    "State",
    "StatementRefused",
    "Status",
    "Step",
    "StoreFault",
    "StoreUnavailable",
    "UsageError",
    "Verdict",
    "blamed",
    "described",
    "no_outcome",
    "no_reply",
    "says",
    "where",
    "worst",
]
