"""For testing programs that use a pool: a network, its servers, and a sweep of cancellations.

Nothing here is used by the pool itself, and nothing here reaches into it: the network is plugged in
where any resolver and socket factory would be.

On a clock that jumps, what the pool does in threads takes no time: to read the files of an upload,
to read the trust store, to ask the system for a name. The pool keeps the clock from jumping until
the thread is back. It can't do that for threads that your own code starts: keep the clock from it
there with ``clock.autojump_threshold = math.inf``.
"""

from .._naming import name_classes as _name_classes
from ._http_proxy import HTTPProxy, http_proxy
from ._http_server import HTTPServer, Reply, http_server
from ._kernel import NetworkEvent
from ._network import Network
from ._request import Request
from ._script import (
    Close,
    Conversation,
    KeepOpen,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reset,
    Script,
    Send,
    Wait,
    WaitFor,
    in_turn,
    script,
)
from ._socket import NetworkSocket
from ._socks_dialogue import SOCKSRequest
from ._socks_proxy import SOCKSProxy, socks_proxy
from ._stream import Handler
from ._sweep import Happening, Scenario, Sweep, SweepPoint, VictimResult, cancel_sweep
from ._tunnel import Tunnel

__all__ = [
    "Close",
    "Conversation",
    "HTTPProxy",
    "HTTPServer",
    "Handler",
    "Happening",
    "KeepOpen",
    "Network",
    "NetworkEvent",
    "NetworkSocket",
    "Receive",
    "ReceiveBytes",
    "ReceiveRequest",
    "Reply",
    "Request",
    "Reset",
    "SOCKSProxy",
    "SOCKSRequest",
    "Scenario",
    "Script",
    "Send",
    "Sweep",
    "SweepPoint",
    "Tunnel",
    "VictimResult",
    "Wait",
    "WaitFor",
    "cancel_sweep",
    "http_proxy",
    "http_server",
    "in_turn",
    "script",
    "socks_proxy",
]


_name_classes(globals(), __name__)
