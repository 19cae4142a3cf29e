"""Pollers: fetch what providers put into queues and mailboxes, store it in Kafka, and only then take it away there.

    source    what a poller fetches from: the protocol
    loop      receive, store, done; forever or once
    build     the sources of a deployment, by the kinds below
    sqs       Amazon SQS, filled by SNS or by EventBridge

A kind of source is a module here that exports ``sources(settings, adapters, env)``; ``build`` names it.
"""
