"""Bursts started, watched and spread over machines with Locust: its users ask for them, race makes and judges them.

Locust patches sockets and threads when it is imported. So it lives in `swarm`, in a process of its own that this
package starts (`host`), and nothing else imports it. The two talk in lines of JSON over a socket pair (`link`).
Requests are made by the load engine's own processes (`loading`), with its rendezvous: a Locust user waits until as
many as meet in a burst have come, and gets the answer that its request got. What Locust's workers find goes to
its master as history (`wire`), and is judged there (`judging`).
"""

from harness.ui.host import Host, Role, Wanted, missing

__all__ = ["Host", "Role", "Wanted", "missing"]
