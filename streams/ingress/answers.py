"""Which statuses are answered. Those that differ between providers are their adapters' own
(:class:`streams.providers.base.WebhookAnswers`).
"""

from __future__ import annotations

NOT_NOW = 503
"""With ``Retry-After``: the sender keeps what it has and comes again."""
