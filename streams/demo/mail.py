"""The requests and templates of the demo, as plain JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.core.ids import message_id, recipient_key
from streams.demo.fates import Route

TENANT: Final = "demo"
TEMPLATE_ID: Final = "demo/newsletter"
LIST_ID: Final = "digest"
SMTP_TAG: Final = "digest"
DIRECTMAIL_DOMAIN: Final = "mail.example.cn"
_MONTH: Final = "October"
_SUBJECTS: Final = {
    "en": "{{ month }} news for {{ first_name }}",
    "de": "Grüße an {{ first_name }}: Neues im {{ month }}",
    "pt-BR": "Olá {{ first_name }}, são as notícias de {{ month }}",
}
LANGUAGES: Final = tuple(_SUBJECTS)
_WORDS: Final = {
    "en": ("Hello", "your code is", "All offers"),
    "de": ("Schönen Tag", "Ihr Code lautet", "Alle Angebote"),
    "pt-BR": ("Olá", "seu código é", "Todas as ofertas"),
}
_SENDER: Final = {"email": "news@mg.example.com", "name": "Example Shop"}


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request as plain JSON, and the ids of the messages it makes."""

    body: dict[str, Any]
    message_ids: tuple[str, ...]

    @property
    def bulk(self) -> bool:
        """Which door it takes."""
        return bool(self.body["stream"] == "bulk")

    @property
    def routing_key(self) -> str:
        """The Kafka key: the first recipient."""
        return str(self.body["recipients"][0]["email"])


def templates() -> list[dict[str, Any]]:
    """The newsletter, and its variants in other languages."""
    return [_template(language) for language in LANGUAGES]


def subject(language: str, number: int) -> str:
    """What a recipient of a newsletter finds in the subject."""
    return _SUBJECTS[language].replace("{{ month }}", _MONTH).replace("{{ first_name }}", _reader(number))


def language_of(number: int) -> str:
    """Which language the reader with this number reads."""
    return LANGUAGES[number % len(LANGUAGES)]


def newsletter(key: str, addresses: Sequence[str]) -> PlannedRequest:
    """One request to many recipients of three languages."""
    people = [
        {
            "email": address,
            "name": _reader(number),
            "data": {"first_name": _reader(number), "code": f"C{number:04d}", "locale": language_of(number)},
        }
        for number, address in enumerate(addresses)
    ]
    body = {
        "idempotency_key": key,
        "tenant": TENANT,
        "stream": "bulk",
        "from": _SENDER,
        "recipients": people,
        "template_id": TEMPLATE_ID,
        "data": {"month": _MONTH},
        "tags": ["demo", "newsletter"],
        "metadata": {},
        "on_uncertain": "resend",
    }
    return PlannedRequest(body, tuple(_identity(key, address) for address in addresses))


def single(
    key: str, address: str, label: str, route: Route = Route.BOTH, stream: str = "transactional"
) -> PlannedRequest:
    """A request to one recipient; its tag or its recipient's domain chooses the way."""
    page = f"https://shop.example.com/orders/{key}"
    body: dict[str, Any] = {
        "idempotency_key": key,
        "tenant": TENANT,
        "stream": stream,
        "from": _SENDER,
        "recipients": [{"email": address, "name": "", "data": {}}],
        "subject": f"Your order {key}",
        "text": f"Thank you for order {key}. Track it at {page}\n",
        "html": f'<html><body><p>Thank you for order {key}. <a href="{page}">Track it</a></p></body></html>',
        "tags": ["demo", label],
        "metadata": {"order": key},
        "on_uncertain": "resend",  # a 503 proves nothing: ask the provider, then send again
    }
    if route is Route.SMTP:
        body |= {"tags": [SMTP_TAG, "demo", label], "list_id": LIST_ID}
    return PlannedRequest(body, (_identity(key, address),))


def address_for(route: Route, fate: str, name: str) -> str:
    """An address of that fate, at a domain that takes the way."""
    domain = DIRECTMAIL_DOMAIN if route is Route.DIRECTMAIL else "mail.example.net"
    return f"{fate}+{name}@{domain}"


def _template(language: str) -> dict[str, Any]:
    hello, code, offers = _WORDS[language]
    url = "https://shop.example.com/{{ month }}"
    return {
        "template_id": TEMPLATE_ID if language == "en" else f"{TEMPLATE_ID}#{language.lower()}",
        "version": "1",
        "subject": _SUBJECTS[language],
        "text": f"{hello} {{{{ first_name }}}},\n\n{code} {{{{ code }}}}. {offers}: {url}\n",
        "html": f"<p>{hello} {{{{ first_name }}}},</p><p>{code} <b>{{{{ code }}}}</b>.</p>"
        f'<p><a href="{url}">{offers}</a></p>',
        "description": "Sent by the demo to many recipients at once.",
    }


def _reader(number: int) -> str:
    return f"Reader {number}"


def _identity(key: str, address: str) -> str:
    return message_id(TENANT, key, recipient_key(TENANT, address))
