"""Tracking in what dispatch composes: batches stay batches, the provider's own is off, and off means nothing at all."""

from __future__ import annotations

import json
import re
from email import message_from_bytes
from email.policy import default as default_policy
from typing import Any
from urllib.parse import parse_qs

from streams.agents.dispatch.compose import Composer
from streams.agents.dispatch.flight import Flight
from streams.content.mime import build_mime
from streams.content.render import Renderer
from streams.core.event import ReasonKind
from streams.core.message import Content, Mailbox, Message, RecordRef, Stream, Template
from streams.providers import mailgun, ses
from streams.providers.base import Batch, Entry, Slot, fill
from streams.tracking.mail import Tracker, TrackingConfig
from streams.tracking.tokens import Origin, Purpose, binder_of, open_click, open_origin
from tests.agents.dispatch_desk import FunctionProvider
from tests.tracking.origins import NOW_MS, ring

BASE = "https://t.example.com"
SENDER = Mailbox("news@shop.example.com", "Shop")
LINK = "https://shop.example.com/sale"
HTML = f'<body><a href="{LINK}">Sale</a></body>'
TEMPLATE = Template(
    "news", "1", "Hi {{ name }}", "Leave: {{ unsubscribe_url }}",
    f'<a href="{LINK}?u={{{{ id }}}}">{{{{ name }}}}</a><a href="{{{{ unsubscribe_url }}}}">leave</a>',
)  # fmt: skip
PEOPLE = [{"name": "Ann", "id": 1}, {"name": "<Bob>", "id": 2}]


def tracker(**config: Any) -> Tracker:
    return Tracker(TrackingConfig(BASE, **config), ring(), lambda: NOW_MS)


def flights(content: Content, *people: dict[str, Any]) -> list[Flight]:
    from streams.core.ids import message_id, recipient_key

    made = []
    for number, data in enumerate(people or ({},)):
        email = f"u{number}@example.net"
        message = Message(
            message_id("shop", "k", recipient_key("shop", email)), "shop", Stream.BULK, "k", Mailbox(email), "the hash",
            "f", NOW_MS, NOW_MS, content=content, data=data,
        )  # fmt: skip
        made.append(Flight(message, 0, RecordRef("outbound", 0, number), None))
    return made


async def compose(content: Content, *people: dict[str, Any], provider: str = "mailgun", **config: Any) -> Batch:
    composer = Composer(None, Renderer(), {provider: FunctionProvider(provider)}, tracker(**config))  # type: ignore[arg-type, dict-item]
    composed = await composer.compose(provider, flights(content, *people))
    assert composed.batch is not None, composed
    return composed.batch


def body(batch: Batch, index: int = 0) -> str:
    return fill(batch.html, batch.entries[index].variables)


def clicked(html: str) -> list[tuple[str, str]]:
    """Message id and URL of every link of ours in a finished body."""
    found = [open_click(ring(), token) for token in re.findall(rf'{BASE}/t/c/([^"\s]+)', html)]
    return [(f[0].message_id, f[1]) for f in found if f is not None]


async def test_what_a_request_says_goes_over_the_settings() -> None:
    for said, setting, wanted in [(None, False, False), (None, True, True), (False, True, False), (True, False, True)]:
        batch = await compose(
            Content(SENDER, "Hi", html=HTML, track_opens=said, track_clicks=said), opens=setting, clicks=setting
        )
        assert (f"{BASE}/t/o/" in body(batch)) is wanted
        assert (f"{BASE}/t/c/" in body(batch)) is wanted


async def test_an_account_of_a_tenant_is_tracked_as_its_provider_is() -> None:
    content = Content(SENDER, "Hi", html=HTML)
    batch = await compose(content, provider="mailgun/@acme", opens=True, providers=frozenset({"mailgun"}))
    token = body(batch).partition(f"{BASE}/t/o/")[2].partition('"')[0]
    origin = open_origin(ring(), Purpose.OPEN, token)
    assert origin is not None
    assert origin.provider == "mailgun"


async def test_the_providers_own_is_off_where_ours_is_on_and_untouched_elsewhere() -> None:
    batch = await compose(Content(SENDER, "Hi", html=HTML, track_opens=True))
    assert (batch.track_opens, batch.track_clicks) == (False, None)
    batch = await compose(Content(SENDER, "Hi", html=HTML, track_clicks=True), opens=True)
    assert (batch.track_opens, batch.track_clicks) == (False, False)
    batch = await compose(Content(SENDER, "Hi", html=HTML, track_opens=True), providers=frozenset({"ses"}))
    assert batch.track_opens is True
    assert body(batch) == HTML


async def test_tokens_name_message_attempt_provider_and_moment() -> None:
    batch = await compose(Content(SENDER, "Hi", html=HTML), opens=True)
    token = re.findall(rf'{BASE}/t/o/([^"]+)"', body(batch))[0]
    entry = batch.entries[0]
    expected = Origin(entry.message_id, entry.attempt, NOW_MS, "mailgun", "", binder_of("the hash"))
    assert open_origin(ring(), Purpose.OPEN, token) == expected


async def test_a_campaign_is_one_body_and_each_recipient_has_tokens_of_their_own() -> None:
    batch = await compose(Content(SENDER, "Hi", html=HTML, list_id="news"), {}, {}, opens=True, clicks=True)
    assert len(batch.entries) == 2
    for index, entry in enumerate(batch.entries):
        assert clicked(body(batch, index)) == [(entry.message_id, LINK)]
    assert batch.personal_headers == (("List-Unsubscribe", (f"<{BASE}/t/u/", Slot("k_u"), ">")),)
    assert batch.headers == (("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),)


async def test_a_template_stays_one_body_and_personal_links_are_sealed_for_each() -> None:
    batch = await compose(Content(SENDER, template=TEMPLATE), *PEOPLE, clicks=True)
    assert len(batch.entries) == 2
    for index, entry in enumerate(batch.entries):
        html = body(batch, index)
        assert clicked(html) == [(entry.message_id, f"{LINK}?u={index + 1}")]
        (token,) = re.findall(rf'href="{BASE}/t/u/([^"]+)"', html)
        found = open_origin(ring(), Purpose.UNSUBSCRIBE, token)
        assert found is not None
        assert found.message_id == entry.message_id
        assert fill(batch.text, entry.variables) == f"Leave: {BASE}/t/u/{token}"
    assert "&lt;Bob&gt;</a>" in body(batch, 1)


async def test_a_template_with_branches_is_rendered_first_and_rewritten_then() -> None:
    html = f'{{% if id %}}<a href="{LINK}?u={{{{ id }}}}&amp;x=1">x</a><a href="{{{{ unsubscribe_url }}}}">y</a>{{% endif %}}'
    template = Template("b", "1", "Hi", "", html)
    batch = await compose(Content(SENDER, template=template, list_id="news"), {"id": 7}, opens=True, clicks=True)
    entry = batch.entries[0]
    assert clicked(body(batch)) == [(entry.message_id, f"{LINK}?u=7&x=1")]
    assert body(batch).count(f"{BASE}/t/u/") == 1
    assert body(batch).count(f"{BASE}/t/o/") == 1
    assert batch.personal_headers == ()


async def test_a_senders_own_unsubscribe_url_wins_and_is_left_alone() -> None:
    own = "https://shop.example.com/leave?u=1&v=2"
    branching = Template("b", "1", "Hi", "", '{% if 1 %}<a href="{{ unsubscribe_url }}">x</a>{% endif %}')
    for template in (TEMPLATE, branching):
        data = {"name": "A", "id": 1, "unsubscribe_url": own}
        html = body(await compose(Content(SENDER, template=template), data, clicks=True))
        assert 'href="https://shop.example.com/leave?u=1&amp;v=2"' in html
        html = body(await compose(Content(SENDER, template=template, data=data), {}, clicks=True))
        assert 'href="https://shop.example.com/leave?u=1&amp;v=2"' in html


async def test_without_unsubscription_a_template_that_wants_its_url_is_refused_with_the_reason() -> None:
    composer = Composer(
        None, Renderer(), {"mailgun": FunctionProvider("mailgun")}, tracker(unsubscribe=False)  # type: ignore[arg-type, dict-item]
    )  # fmt: skip
    composed = await composer.compose("mailgun", flights(Content(SENDER, template=TEMPLATE), *PEOPLE))
    assert {reason.kind for _, reason in composed.refused} == {ReasonKind.RENDERING}
    assert "unsubscribe_url" in composed.refused[0][1].detail


async def test_a_list_of_a_single_message_gives_exactly_one_header_of_each() -> None:
    batch = await compose(Content(SENDER, "Hi", text="x", list_id="news", headers=(("X-A", "1"),)))
    names = [name for name, _ in batch.headers]
    assert names == ["X-A", "List-Unsubscribe", "List-Unsubscribe-Post"]
    value = dict(batch.headers)["List-Unsubscribe"]
    match = re.fullmatch(rf"<{BASE}/t/u/([A-Za-z0-9_-]+)>", value)
    assert match
    found = open_origin(ring(), Purpose.UNSUBSCRIBE, match[1])
    assert found is not None
    assert found.list_id == "news"
    assert len(value) < 998


async def test_the_longest_list_still_fits_a_header_line() -> None:
    batch = await compose(Content(SENDER, "Hi", text="x", list_id="n" * 255))
    mail = build_mime(batch, batch.entries[0])
    assert max(map(len, mail.split(b"\r\n"))) < 998
    parsed = message_from_bytes(mail, policy=default_policy)
    assert len(parsed.get_all("List-Unsubscribe")) == 1
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


async def test_a_senders_own_list_unsubscribe_wins_and_its_link_is_left_alone() -> None:
    own = ("List-Unsubscribe", "<mailto:leave@shop.example.com>, <https://shop.example.com/leave?a=1&b=2>")
    html = f'<a href="https://shop.example.com/leave?a=1&amp;b=2">leave</a><a href="{LINK}">x</a>'
    batch = await compose(Content(SENDER, "Hi", html=html, list_id="news", headers=(own,)), clicks=True)
    assert batch.headers == (own,)
    assert [url for _, url in clicked(body(batch))] == [LINK]


async def test_one_click_is_promised_over_https_alone() -> None:
    composer = Composer(
        None, Renderer(), {"m": FunctionProvider("m")}, Tracker(TrackingConfig("http://localhost:8080"), ring(), lambda: 0)  # type: ignore[arg-type, dict-item]
    )  # fmt: skip
    composed = await composer.compose("m", flights(Content(SENDER, "Hi", text="x", list_id="news")))
    assert composed.batch is not None
    assert [name for name, _ in composed.batch.headers] == ["List-Unsubscribe"]


async def test_a_finished_message_is_sent_as_it_is() -> None:
    content = Content(SENDER, mime=b"From: a@b.c\r\n\r\n" + HTML.encode(), track_opens=True)
    batch = await compose(content, opens=True, clicks=True)
    assert (batch.mime, batch.track_opens, batch.headers) == (content.mime, True, ())


async def test_text_is_left_alone_unless_wanted() -> None:
    content = Content(SENDER, "Hi", text=f"See {LINK}.", html=HTML)
    assert fill((await compose(content, clicks=True)).text, {}) == f"See {LINK}."
    batch = await compose(content, clicks=True, text=True)
    text = fill(batch.text, batch.entries[0].variables)
    assert clicked(text[:-1]) == [(batch.entries[0].message_id, LINK)]


async def test_where_nothing_is_wanted_the_batch_is_the_same_as_without_a_tracker() -> None:
    content = Content(SENDER, "Hi", text="x", html=HTML)
    plain = Composer(None, Renderer(), {"mailgun": FunctionProvider("mailgun")})  # type: ignore[arg-type, dict-item]
    without = (await plain.compose("mailgun", flights(content))).batch
    assert await compose(content) == without
    assert without is not None
    assert without.entries[0].variables == {}


def test_a_content_is_planned_once() -> None:
    tracking = tracker(clicks=True)
    content = Content(SENDER, "Hi", html=HTML)
    first = tracking.plan("mailgun", content, "hash", ((), (HTML,)))
    assert first is tracking.plan("mailgun", content, "hash", ((), (HTML,)))
    for number in range(300):
        tracking.plan("mailgun", content, f"hash {number}", ((), (HTML,)))
    assert first is not tracking.plan("mailgun", content, "hash", ((), (HTML,)))


def test_plans_of_giant_bodies_do_not_pile_up() -> None:
    tracking = tracker(opens=True)
    content = Content(SENDER, "Hi", html=HTML)
    for number in range(20):
        tracking.plan("mailgun", content, f"hash {number}", ((), ("x" * 10_000_000,)))
    assert len(tracking._plans) == 4  # of five the pixels are too much
    assert tracking._chars == sum(len(str(part)) for plan in tracking._plans.values() if plan for part in plan.html
                                  if isinstance(part, str))  # fmt: skip


# ------------------------------------------------------------------------------------------ adapters


class TestAdapters:
    async def batch(self) -> Batch:
        return await compose(Content(SENDER, "Hi", html=HTML, list_id="news"), {}, {}, opens=True, clicks=True)

    async def test_mailgun_puts_tokens_into_body_and_header_by_recipient_variables(self) -> None:
        batch = await self.batch()
        adapter = mailgun.create("mailgun", mailgun.Config("mg.example.com", "key"))
        assert adapter.fits(batch) == ""
        fields = parse_qs(adapter.build_request(batch, NOW_MS).body.decode(), strict_parsing=True)
        variables = json.loads(fields["recipient-variables"][0])
        assert fields["o:tracking"] == ["no"]
        assert fields["h:List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
        for entry in batch.entries:
            mine = variables[entry.recipient.email]
            html, header = fields["html"][0], fields["h:List-Unsubscribe"][0]
            for name, value in mine.items():
                html = html.replace(f"%recipient.{name}%", value)
                header = header.replace(f"%recipient.{name}%", value)
            assert clicked(html) == [(entry.message_id, LINK)]
            found = open_origin(ring(), Purpose.UNSUBSCRIBE, header.removeprefix(f"<{BASE}/t/u/").removesuffix(">"))
            assert found is not None
            assert (found.message_id, found.list_id) == (entry.message_id, "news")

    async def test_ses_puts_tokens_into_template_data_and_replacement_headers(self) -> None:
        batch = await self.batch()
        config = ses.Config(region="us-east-1", access_key_id="AKIA", secret_access_key="s")  # type: ignore[call-arg]
        adapter = ses.create("ses", config)
        assert adapter.fits(batch) == ""
        call = json.loads(adapter.build_request(batch, NOW_MS).body)
        template = call["DefaultContent"]["Template"]
        assert template["Headers"] == [{"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"}]
        assert call["ConfigurationOverrides"]["Tracking"] == {
            "OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"
        }  # fmt: skip
        for entry, sent in zip(batch.entries, call["BulkEmailEntries"], strict=True):
            html = template["TemplateContent"]["Html"]
            data = json.loads(sent["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
            for name, value in data.items():
                html = html.replace(f"{{{{{name}}}}}", value)
            assert clicked(html) == [(entry.message_id, LINK)]
            (header,) = sent["ReplacementHeaders"]
            assert header["Name"] == "List-Unsubscribe"
            found = open_origin(ring(), Purpose.UNSUBSCRIBE, header["Value"].removeprefix(f"<{BASE}/t/u/")[:-1])
            assert found is not None
            assert found.message_id == entry.message_id

    def test_a_header_too_many_does_not_fit_ses(self) -> None:
        entries = tuple(Entry("m", 1, Mailbox(f"u{n}@example.net"), {"k_u": "T"}) for n in range(2))
        config = ses.Config(region="us-east-1", access_key_id="AKIA", secret_access_key="s")  # type: ignore[call-arg]
        headers = tuple((f"X-{n}", "v") for n in range(15))
        personal = (("List-Unsubscribe", ("<https://t.example.com/", Slot("k_u"), ">")),)
        batch = Batch(SENDER, entries, ("Hi",), ("x",), headers=headers, personal_headers=personal)
        assert "headers" in ses.create("ses", config).fits(batch)
