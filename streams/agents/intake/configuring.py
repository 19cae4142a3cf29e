"""The second step: every request gets its tenant and template.

Rule 15 of the design: read to the end before saying that something is missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.agents.intake.items import Item, in_languages
from streams.agents.intake.run import Run
from streams.core.event import ReasonKind
from streams.core.fanout import content_of, share
from streams.serde.internal import pack


async def configure(run: Run, items: list[Item]) -> list[Item]:
    """The items that can be served, one for each language; the others are refused."""
    intake = run.intake
    missing = _look_up(run, items)
    if missing:
        if any(item.template is None and item.request.template_id for item in missing):
            await intake.templates.caught_up()
        if any(item.request.sender is None for item in missing):
            await intake.tenants.caught_up()
        _look_up(run, missing)
    return [one for item in items if _is_served(run, item) for one in in_languages(item, intake.templates)]


def _look_up(run: Run, items: Iterable[Item]) -> list[Item]:
    """The items of which something is still missing."""
    missing = []
    for item in items:
        request = item.request
        item.tenant = run.intake.tenants.get(request.tenant)
        if request.template_id:
            item.template = run.intake.templates.get(request.template_id)
            if item.template is None:
                missing.append(item)
                continue
        if request.sender is None and (item.tenant is None or item.tenant.sender is None):
            missing.append(item)
    return missing


def _is_served(run: Run, item: Item) -> bool:
    """Give the item its content; False if it was refused."""
    request, tenant = item.request, item.tenant
    if tenant is not None and not tenant.enabled:
        run.cannot(item, ReasonKind.CONFIGURATION, "tenant", f"tenant {request.tenant} is switched off")
        return False
    if request.template_id and item.template is None:
        run.cannot(item, ReasonKind.TEMPLATE, "template_id", f"there is no template {request.template_id}")
        return False
    content = content_of(request, item.template, tenant)
    if content is None:
        detail = f"from is missing, and tenant {request.tenant} has no default sender"
        run.cannot(item, ReasonKind.INVALID_REQUEST, "from", detail)
        return False
    item.shared = share(content, pack)
    return True
