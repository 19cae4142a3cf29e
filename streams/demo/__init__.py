"""``streams demo``: the whole system at work on this machine, and a check of every count.

fates     ways out, and what each provider reports about a message of each fate (pure)
mail      requests and templates (pure)
plan      which requests are sent, and the end that each message must reach (pure, seeded)
ledger    the sandbox's ledger in the oracle's terms (pure)
oracle    compares the plan, the ledger and the delivery events as sets (pure)
latency   request to acceptance, alone and beside a campaign (pure)
ways      which ways in the reports took (pure)
config    the configuration of the processes
system    the processes: broker, sandbox, ingress, worker, in a directory of their own
whole     all four providers, every way in, and the poller
reader    opens, clicks and leaves, by the links in the delivered copies
watch     reads events and breakers while they come, and counts
show      the live table
run       the order of events, from start to verdict
"""
