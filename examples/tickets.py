"""Ten tickets, and never an eleventh: race run examples/tickets.py --strategy naive --size 12."""

from harness import Outcome, Reply, Request, Scenario


class Tickets(Scenario):
    initial_value = 0  # tickets sold

    def rule(self, state, request, now_ms):
        sold = state[request.key]
        if sold == 10:
            return Outcome({}, Reply("sold out"))
        return Outcome({request.key: sold + 1}, Reply("sold", {"ticket": sold + 1}))

    def burst(self, rng, size):
        return [Request("buy", ("concert",))] * size
