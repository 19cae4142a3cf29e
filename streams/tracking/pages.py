"""What a person sees who wants to unsubscribe: small pages that load nothing, run nothing, and can be in no frame.

Rules:

1. A page is complete in itself: no script, no image, no font; its one style is allowed by its hash.
2. All that varies is escaped. Nothing of the visitor's request comes back in a page.
3. The page of a GET only asks (RFC 8058: scanners follow links); its button posts to the page's own address.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.5rem}button{font:inherit;padding:.6rem 1.4rem;border:2px solid #1a1a1a;"
    "border-radius:.4rem;background:#1a1a1a;color:#fff;cursor:pointer}button:focus-visible{outline:3px solid #0a58ca;"
    "outline-offset:2px}@media(prefers-color-scheme:dark){body{color:#eee;background:#111}button{background:#eee;"
    "color:#111;border-color:#eee}}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode("ascii")

PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language. ``{list}`` in ``ask_list`` and ``done_list`` is the list's name."""

    title: str
    ask: str
    ask_list: str
    button: str
    done: str
    done_list: str
    later: str
    unknown: str


WORDS = {
    "en": Words(
        "Unsubscribe",
        "Do you want to stop receiving these mailings?",
        "Do you want to stop receiving the mailings of {list}?",
        "Unsubscribe",
        "You have been unsubscribed.",
        "You have been unsubscribed from {list}.",
        "This did not work just now. Please try again in a few minutes.",
        "This link is not valid, or not any more.",
    ),
    "de": Words(
        "Abmelden",
        "Möchten Sie diese E-Mails nicht mehr erhalten?",
        "Möchten Sie die E-Mails von {list} nicht mehr erhalten?",
        "Abmelden",
        "Sie sind abgemeldet.",
        "Sie sind von {list} abgemeldet.",
        "Das hat gerade nicht geklappt. Bitte versuchen Sie es in einigen Minuten noch einmal.",
        "Dieser Link gilt nicht oder nicht mehr.",
    ),
    "fr": Words(
        "Se désabonner",
        "Souhaitez-vous ne plus recevoir ces messages ?",
        "Souhaitez-vous ne plus recevoir les messages de {list} ?",
        "Se désabonner",
        "Vous êtes désabonné.",
        "Vous êtes désabonné de {list}.",
        "Cela n’a pas fonctionné. Veuillez réessayer dans quelques minutes.",
        "Ce lien n’est pas valable ou ne l’est plus.",
    ),
    "es": Words(
        "Darse de baja",
        "¿Desea dejar de recibir estos correos?",
        "¿Desea dejar de recibir los correos de {list}?",
        "Darse de baja",
        "Se ha dado de baja.",
        "Se ha dado de baja de {list}.",
        "No ha funcionado en este momento. Vuelva a intentarlo dentro de unos minutos.",
        "Este enlace no es válido o ya no lo es.",
    ),
}


def language_of(accept: str) -> str:
    """The first language of an ``Accept-Language`` header that we speak; its weights are in order of writing."""
    for entry in accept[:200].split(","):
        language = entry.partition(";")[0].strip().partition("-")[0].lower()
        if language in WORDS:
            return language
    return "en"


def ask_page(language: str, list_id: str) -> str:
    """The question, with the one button that unsubscribes."""
    words = WORDS[language]
    button = f'<form method="post"><p><button type="submit" name="confirm" value="1">{words.button}</button></p></form>'
    return _page(language, _about(words.ask, words.ask_list, list_id), button)


def done_page(language: str, list_id: str) -> str:
    """It is done."""
    words = WORDS[language]
    return _page(language, _about(words.done, words.done_list, list_id), status=True)


def later_page(language: str) -> str:
    """It could not be stored: the visitor must come again."""
    return _page(language, WORDS[language].later, status=True)


def unknown_page(language: str) -> str:
    """The token is none of ours, or of a key that was taken out."""
    return _page(language, WORDS[language].unknown, status=True)


def _about(plain: str, with_list: str, list_id: str) -> str:
    return with_list.replace("{list}", f"<strong>{escape(list_id)}</strong>") if list_id else plain


def _page(language: str, sentence: str, below: str = "", *, status: bool = False) -> str:
    title = WORDS[language].title
    role = ' role="status"' if status else ""
    return (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1><p{role}>{sentence}</p>{below}</main></body></html>"
    )
