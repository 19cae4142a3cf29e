"""What the project takes from others: an audit of the locked packages, and their bill of materials.

`python -m tests.supply audit` looks at what can be judged from the files (hashes, origins, licences, that both locks
agree, that the image installs nothing else), at what the package index says today (yanked, quarantined, gone), and at
the public lists of known holes. `python -m tests.supply sbom` writes the bill of materials. What cannot be asked is said
and never taken for an answer. The rules are in `policy.toml`.
"""
