"""``streams demo``: the whole system at work on this machine, and a check of every count.

plan      which requests are sent, and the end that each message must reach (pure, seeded)
oracle    compares the plan, the sandbox's ledger and the delivery events as sets (pure)
system    the processes: broker, sandbox, ingress, worker, in a directory of their own
watch     reads events and breakers while they come, and counts
show      the live table
run       the order of events, from start to verdict
"""
