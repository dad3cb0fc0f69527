"""All experiments, in the order in which they are made."""

from __future__ import annotations

from .cost import COST, SECURE
from .crowd import CROWD
from .latency import LATENCY
from .proxies import PROXIES
from .scale import IDLE, ORIGINS, WAITING
from .transfer import TRANSFER

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (LATENCY, COST, SECURE, CROWD, IDLE, ORIGINS, WAITING, TRANSFER, PROXIES)
}
