"""Intake turns requests into messages: see :mod:`.agent` for the order of the steps, each of which is a module."""

from streams.agents.intake.agent import Intake
from streams.agents.intake.config import Door, IntakeConfig

__all__ = ["Door", "Intake", "IntakeConfig"]
