"""The fault bench: real processes, a fault, and the providers' ledger against the events, row by row.

`make faults` runs every row in full size, `make faults ARGS="kills outage"` some, `make faults ARGS=--list` names them.
A short selection, the same code with fewer messages, is part of `make test-kafka`.

* rows.py: the rows
* figures.py: what is measured against what must hold
* proxy.py: the network's faults
* network.py: four providers, each behind a proxy of its own
* beside.py: what runs beside a test, and fails it
* load.py, reporter.py: requests at a pace, webhooks at a pace with their answers
* observed.py: flow, memory, readiness and ends of processes while a fault lasts
* deployments.py: replicated topics, Kafka behind a proxy, a queue for events
* conftest.py: sizes, figures and brokers for the tests
* sampling.py: memory, descriptors and whatever else over time, as slopes and as a picture
* releases.py: later releases of the product, made from this one
* report.py: the summary, and the page docs/faults.md
* __main__.py: runs rows and keeps their results
"""
