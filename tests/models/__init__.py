"""Models: every order of events that small worlds allow, tried one by one, with the product's own code deciding.

``explorer`` walks through all states of a world. ``ledger_world`` is a message, its workers, Kafka, a provider and
track, with the real dispatch agent; ``breaker_world`` a provider's circuit breaker, with the real agent and views.
See ``docs/models.md``.
"""
