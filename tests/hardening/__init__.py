"""The examples of `docs/hardening.md`: units, containers, and the processes run as confined as those ask for."""
