"""Looks for the mistakes that are made when a deployment is set up, and says what to do about each.

``kafka`` looks at the cluster and its topics, ``providers`` asks the providers, ``machine`` looks at ports and disk,
``diagnosis`` runs them all.
"""

from __future__ import annotations

from streams.doctor.diagnosis import as_lines, diagnose, diagnose_file, run_doctor
from streams.doctor.finding import Finding

__all__ = ["Finding", "as_lines", "diagnose", "diagnose_file", "run_doctor"]
