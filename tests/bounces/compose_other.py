"""Feedback reports, and all that lands in a bounce mailbox without being a bounce."""

from __future__ import annotations

from tests.bounces.compose import DATE, Mails, Origin, Want, feedback, report, words

FIELDS = "Feedback-Type: {0}\nUser-Agent: SomeGenerator/1.0\nVersion: 1\n"


def add_to(mails: Mails) -> None:
    _feedback(mails)
    _replies(mails)
    _people(mails)
    _machines(mails)


def _feedback(mails: Mails) -> None:
    def one(name: str, fields: str, want: Want, returned: str | None = None, **options: str) -> None:
        o = Origin(want.recipient, 2)
        raw = feedback("fbl@example.com", fields, o.headers() if returned is None else returned, **options)
        mails.add(f"feedback-{name}", "feedback", raw, [want], o.ours)

    def complaint(address: str) -> Want:
        return Want("complaint", address, "complaint", "", True)

    rcpt = "Original-Rcpt-To: <{0}>\n"
    one("abuse", FIELDS.format("abuse") + rcpt.format("a1@example.net"), complaint("a1@example.net"))
    one(
        "abuse-typed",
        FIELDS.format("abuse") + "Original-Rcpt-To: rfc822; a2@example.net\n",
        complaint("a2@example.net"),
    )
    one(
        "abuse-upper",
        FIELDS.format("Abuse") + "Source-IP: 192.0.2.1\nIncidents: 3\n" + rcpt.format("a3@example.net"),
        complaint("a3@example.net"),
    )
    one("abuse-no-recipient", FIELDS.format("abuse"), complaint("a4@example.net"))
    one(
        "abuse-headers-only",
        FIELDS.format("abuse") + "Arrival-Date: " + DATE + "\n",
        complaint("a5@example.net"),
        type_="text/rfc822-headers",
    )
    one(
        "yahoo",
        FIELDS.format("abuse")
        + "Original-Mail-From: <"
        + Origin("a6@example.net", 2).path
        + ">\n"
        + rcpt.format("a6@example.net"),
        complaint("a6@example.net"),
        sender="feedback@arf.mail.yahoo.com",
    )
    o = Origin("a7@example.net", 2)
    redacted = f"Return-Path: <{o.path}>\nFrom: news@shop.example.com\nTo: redacted\nMessage-ID: <x@y.example>\n"
    raw = feedback("fbl@example.com", FIELDS.format("abuse") + "Original-Rcpt-To: redacted\n", redacted)
    mails.add("feedback-redacted", "feedback", raw, [complaint("")], o.ours)
    one(
        "opt-out",
        FIELDS.format("opt-out") + rcpt.format("a8@example.net"),
        Want("unsubscribe", "a8@example.net", "unsubscribe", "", True),
    )
    one(
        "opt-out-list",
        FIELDS.format("opt-out-list") + "Removal-Recipient: a9@example.net\n",
        Want("unsubscribe", "a9@example.net", "unsubscribe", "", True),
    )
    one("not-spam", FIELDS.format("not-spam") + rcpt.format("a10@example.net"), Want("not_spam", "a10@example.net"))
    one("fraud", FIELDS.format("fraud") + rcpt.format("a11@example.net"), Want("report", "a11@example.net"))
    one("virus", FIELDS.format("virus") + rcpt.format("a12@example.net"), Want("report", "a12@example.net"))
    one("other", FIELDS.format("other") + rcpt.format("a13@example.net"), Want("report", "a13@example.net"))
    one(
        "auth-failure",
        FIELDS.format("auth-failure") + "Auth-Failure: dmarc\n" + rcpt.format("a14@example.net"),
        Want("report", "a14@example.net"),
    )
    one("new-type", FIELDS.format("displeasure") + rcpt.format("a15@example.net"), Want("unknown", "a15@example.net"))
    raw = feedback(
        "fbl@example.com",
        FIELDS.format("abuse") + rcpt.format("a16@example.net"),
        "From: x@y.example\nTo: a16@example.net\n",
    )
    mails.add("feedback-not-ours", "feedback", raw, [complaint("a16@example.net")], None)


def _replies(mails: Mails) -> None:
    """Vacation notes: they go to the envelope sender, so they carry our return path."""

    def one(
        name: str,
        subject: str,
        headers: str = "",
        body: str = "I am back next week. For urgent mail: boss@example.net",
        form: str = "auto_reply",
    ) -> None:
        o = Origin(f"{name}@example.net")
        raw = words(o.path, body, sender=f"{name}@example.net", subject=subject, headers=headers)
        mails.add(f"reply-{name}", form, raw, [], o.ours)

    one("auto-replied", "Re: Your order", "Auto-Submitted: auto-replied\nPrecedence: bulk\n")
    one("auto-replied-comment", "Re: Your order", "Auto-Submitted: auto-replied (vacation)\n")
    one("auto-generated", "Ticket 77 opened", "Auto-Submitted: auto-generated\n")
    one("x-autoreply", "Re: Your order", "X-Autoreply: yes\n")
    one("x-autorespond", "Re: Your order", "X-Autorespond: Your order\n")
    one("precedence", "Re: Your order", "Precedence: auto_reply\n")
    one("outlook", "Automatic reply: Your order", "X-Auto-Response-Suppress: All\n")
    one("subject-only", "Out of Office: Your order")
    one("german", "Abwesenheitsnotiz: Ihre Bestellung", body="Ich bin bis Montag nicht im Büro.")
    one("french", "Réponse automatique : Votre commande", body="Je suis absent.")
    one("spanish", "Respuesta automática: Su pedido", body="Estoy fuera.")
    one("chinese", "自动回复: 您的订单", body="我不在。")
    one(
        "quoting",
        "Automatic reply: Your order",
        "Auto-Submitted: auto-replied\n",
        "My mailbox is full of mail, user unknown to no one.\nAway until Monday.",
    )
    one(
        "challenge",
        "Please confirm your message",
        body="To reach me, confirm that you are a person: https://c.example/1",
        form="challenge",
    )
    one("challenge-auto", "Re: Your order [challenge-response]", "Auto-Submitted: auto-replied\n", form="challenge")
    one(
        "moderation",
        "Your message to team awaits moderator approval",
        "List-Id: <team.example.net>\nPrecedence: bulk\n",
        "Your mail is being held until the list moderator can review it.",
        form="moderation",
    )


def _people(mails: Mails) -> None:
    """Ordinary mail that somebody sent to the return path."""

    def one(name: str, subject: str, body: str, headers: str = "") -> None:
        o = Origin(f"{name}@example.net")
        raw = words(o.path, body, sender=f"{name}@example.net", subject=subject, headers=headers).replace(
            "Return-Path: <>\n", ""
        )
        mails.add(f"mail-{name}", "other", raw, [], o.ours)

    one("question", "Re: Your order", "When does it come?\n\n> Your order is on its way.")
    one("angry", "Re: Your order", "Take me off your list, my old mailbox is full and I never asked for it.")
    one(
        "quoting-a-bounce",
        "Re: Undelivered Mail",
        "What is this?\n\n> The following address(es) failed:\n>\n>   ann@example.net\n>     550 5.1.1 User unknown\n",
    )
    one("unrelated", "Lunch", "Today at noon?", "In-Reply-To: <x@y.example>\n")
    one("advert", "Deliver more mail", "We deliver mail to every user. Buy now.")


def _machines(mails: Mails) -> None:
    o = Origin("reader@example.net")
    fields = "Reporting-UA: mail.example.net; Reader\n\nFinal-Recipient: rfc822; reader@example.net\nDisposition: manual-action/MDN-sent-manually; displayed\n"
    receipt = report(
        o.path,
        fields,
        top="multipart/report; report-type=disposition-notification",
        status_type="message/disposition-notification",
        per_message="",
        subject="Read: Your order",
        headers="",
        sender="reader@example.net",
    )
    mails.add("receipt-displayed", "disposition", receipt, [], o.ours)
    deleted = receipt.replace("displayed", "deleted").replace(
        "manual-action/MDN-sent-manually", "automatic-action/MDN-sent-automatically"
    )
    mails.add("receipt-deleted", "disposition", deleted, [], o.ours)
    empty = report(
        o.path,
        "",
        per_message="Reporting-MTA: dns; mx.example.net\n",
        subject="Report",
        text="Nothing to see.",
        headers="",
        sender="system@example.net",
    )
    mails.add("status-without-recipients", "other", empty, [], o.ours)
    mails.add("empty", "other", b"", [], None)
    mails.add("no-headers", "other", b"\n\njust words\n", [], None)
