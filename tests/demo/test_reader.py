"""The reader of the demo finds in a mail what a person could click."""

from __future__ import annotations

from email.message import EmailMessage

from streams.demo.config import TRACKING_URL
from streams.demo.reader import pages_of


def test_pixel_link_and_one_click_are_found_and_others_are_not() -> None:
    mail = EmailMessage()
    mail["List-Unsubscribe"] = f"<{TRACKING_URL}/t/u/abc>"
    mail.set_content("Hello")
    mail.add_alternative(
        f'<a href="https://elsewhere.example/t/c/x">no</a><a href="{TRACKING_URL}/t/c/d.e">Grüße</a>'
        f'<img src="{TRACKING_URL}/t/o/fgh" alt="">',
        subtype="html",
    )
    assert pages_of(mail.as_string()) == {"pixel": "/t/o/fgh", "link": "/t/c/d.e", "one-click": "/t/u/abc"}


def test_a_mail_without_links_of_ours_has_none() -> None:
    mail = EmailMessage()
    mail.set_content("Hello")
    assert pages_of(mail.as_string()) == {}
