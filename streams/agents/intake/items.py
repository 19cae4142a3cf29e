"""A valid request on its way through intake, and its languages: one item, or one per template variant in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streams.agents.configuration import Configured
from streams.agents.ports import RecordPort
from streams.core.fanout import Part, Shared, content_of, share
from streams.core.locale import locale_of, variant_ids
from streams.core.message import RecordRef, Template
from streams.core.request import Recipient, SendRequest
from streams.core.tenant import Tenant
from streams.serde.internal import pack


@dataclass(slots=True, eq=False)
class Item:
    """What is known of a request so far."""

    record: RecordPort
    request: SendRequest
    requested_ms: int
    tenant: Tenant | None = None
    template: Template | None = None
    shared: Shared | None = None
    ref: RecordRef | None = None
    languages: Mapping[str, str] | None = None
    """Of a template with variants: the one that each locale gets."""
    first: bool = True
    """Whether this item speaks for the request: counts, and tells of refused recipients."""
    parts: list[Part] = field(default_factory=list)
    """Of the whole request, once somebody has worked them out: its languages share the list."""

    def is_for(self, part: Part) -> bool:
        """Whether a part of the request (see ``core.fanout.Part``) reads this item's language."""
        if self.languages is None or self.template is None:
            return True
        recipients = self.request.recipients
        data = part[4] if len(recipients) > 1 else recipients[0].data
        return self.languages[locale_of(data) or locale_of(self.request.data)] == self.template.template_id


def in_languages(item: Item, templates: Configured[Template]) -> tuple[Item, ...]:
    """The item, or one for each variant of its template that its recipients read."""
    request, template = item.request, item.template
    if template is None:
        return (item,)
    locales = _locales(request.recipients, locale_of(request.data))
    if locales == {""}:
        return (item,)
    variants = {locale: _variant(template, locale, templates) for locale in sorted(locales)}
    used = {variant.template_id: variant for variant in variants.values()}
    if used.keys() == {template.template_id}:
        return (item,)
    languages = {locale: variant.template_id for locale, variant in variants.items()}
    items: list[Item] = []
    for variant in used.values():
        content = content_of(request, variant, item.tenant)
        assert content is not None
        shared = share(content, pack)
        items.append(replace(item, template=variant, shared=shared, languages=languages, first=not items))
    return tuple(items)


def _locales(recipients: tuple[Recipient, ...], fallback: str) -> set[str]:
    return {(locale_of(recipient.data) if recipient.data else "") or fallback for recipient in recipients}


def _variant(template: Template, locale: str, templates: Configured[Template]) -> Template:
    for template_id in variant_ids(template.template_id, locale):
        if (found := templates.get(template_id)) is not None:
            return replace(found, template_id=template_id)
    return template
