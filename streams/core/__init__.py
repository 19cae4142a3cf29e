"""The pure core: what a message is, what can happen to it, and who decides.

Nothing here knows Kafka, HTTP, a clock or a random generator; everything is a frozen value or a pure function of its
arguments, and only the standard library is imported.

Read in this order:

    ids             message ids, recipient keys, partitions: who meets whom where
    message         a message for one recipient, its shared content, where the content lies
    outcome         what a provider answered when we handed a batch over
    receipt         one fact about one message, from dispatch or from a provider
    event           what the world reads: the types and reasons of ``delivery-events``
    lifecycle       the state machine that turns receipts into events
    ledger          the states of a send attempt, written ahead of every call
    command         what may be asked of dispatch
    classification  reply codes and provider words, sorted into kinds
    clock           what time it is, where machines disagree
    retry, breaker, routing, limits   the policies dispatch follows
"""
