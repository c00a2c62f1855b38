"""Ten tickets, and never an eleventh.

race run examples/tickets.py --strategy naive --size 12
"""

from harness import Outcome, Reply, Request, Scenario


class Tickets(Scenario):
    """What is kept is the number of tickets sold."""

    initial_value = 0

    def rule(self, state, request, now_ms):
        """Sell the next ticket, while there is one."""
        sold = state[request.key]
        if sold == 10:
            return Outcome({}, Reply("sold out"))
        return Outcome({request.key: sold + 1}, Reply("sold", {"ticket": sold + 1}))

    def burst(self, rng, size):
        """Everybody wants to see the same concert."""
        return [Request("buy", ("concert",))] * size
