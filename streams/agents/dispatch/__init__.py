"""Dispatch hands messages to providers: see :mod:`.agent` for the desk, :mod:`.calls` for one provider call."""

from streams.agents.dispatch.agent import Dispatch
from streams.agents.dispatch.config import DispatchConfig, LaneConfig

__all__ = ["Dispatch", "DispatchConfig", "LaneConfig"]
