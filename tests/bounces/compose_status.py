"""Delivery status notifications: every code, every host's words, every way of writing them down."""

from __future__ import annotations

from tests.bounces.compose import (
    Mails,
    Origin,
    Want,
    base64_of,
    block,
    delayed,
    group,
    hard,
    quoted,
    report,
    soft,
    unknown,
)

# Facts: reply and enhanced codes. (name, status, diagnostic, reason, bounce, suppress)
CODES = [
    ("5.1.0", "5.1.0", "smtp; 550 5.1.0 address rejected", "bad_mailbox", "hard", True),
    ("5.1.1", "5.1.1", "smtp; 550 5.1.1 user unknown", "bad_mailbox", "hard", True),
    ("4.1.1", "4.1.1", "smtp; 450 4.1.1 address lookup failed", "bad_mailbox", "soft", False),
    ("5.1.3", "5.1.3", "smtp; 553 5.1.3 bad address syntax", "bad_mailbox", "hard", True),
    ("5.1.6", "5.1.6", "smtp; 551 5.1.6 mailbox has moved", "bad_mailbox", "hard", True),
    ("5.1.2", "5.1.2", "smtp; 553 5.1.2 bad destination system", "bad_domain", "hard", True),
    ("4.1.2", "4.1.2", "smtp; 450 4.1.2 bad destination system", "bad_domain", "soft", False),
    ("5.1.10", "5.1.10", "smtp; 556 5.1.10 recipient address has null MX", "bad_domain", "hard", True),
    ("5.4.4", "5.4.4", "smtp; 550 5.4.4 unable to route", "bad_domain", "hard", True),
    ("4.4.4", "4.4.4", "smtp; 450 4.4.4 unable to route", "bad_domain", "soft", False),
    ("5.1.7", "5.1.7", "smtp; 553 5.1.7 sender address syntax", "configuration", "block", False),
    ("5.1.8", "5.1.8", "smtp; 553 5.1.8 sender domain does not exist", "configuration", "block", False),
    ("5.2.1", "5.2.1", "smtp; 550 5.2.1 mailbox disabled", "mailbox_disabled", "hard", True),
    ("5.2.2", "5.2.2", "smtp; 552 5.2.2 mailbox full", "mailbox_full", "soft", False),
    ("4.2.2", "4.2.2", "smtp; 452 4.2.2 mailbox full", "mailbox_full", "soft", False),
    ("5.2.3", "5.2.3", "smtp; 552 5.2.3 message length exceeds limit", "message_too_large", "soft", False),
    ("5.3.4", "5.3.4", "smtp; 552 5.3.4 message too big for system", "message_too_large", "soft", False),
    ("4.2.1", "4.2.1", "smtp; 450 4.2.1 mailbox busy", "rate_limited", "soft", False),
    ("4.3.2", "4.3.2", "smtp; 451 4.3.2 system not accepting messages", "network", "soft", False),
    ("4.4.1", "4.4.1", "smtp; 451 4.4.1 no answer from host", "network", "soft", False),
    ("4.4.2", "4.4.2", "smtp; 451 4.4.2 bad connection", "network", "soft", False),
    ("4.4.5", "4.4.5", "smtp; 451 4.4.5 congestion", "network", "soft", False),
    ("4.4.7", "4.4.7", "smtp; 451 4.4.7 delivery time expired", "expired", "soft", False),
    ("5.4.6", "5.4.6", "smtp; 554 5.4.6 routing loop detected", "configuration", "soft", False),
    ("5.5.4", "5.5.4", "smtp; 501 5.5.4 invalid parameters", "invalid_request", "unknown", False),
    ("5.6.1", "5.6.1", "smtp; 554 5.6.1 media not supported", "content", "block", False),
    ("5.7.0", "5.7.0", "smtp; 550 5.7.0 refused", "policy", "block", False),
    ("5.7.1", "5.7.1", "smtp; 550 5.7.1 not authorised", "policy", "block", False),
    ("5.7.20", "5.7.20", "smtp; 550 5.7.20 no passing signature", "authentication", "block", False),
    ("5.7.25", "5.7.25", "smtp; 550 5.7.25 reverse lookup failed", "authentication", "block", False),
    ("5.7.26", "5.7.26", "smtp; 550 5.7.26 multiple checks failed", "authentication", "block", False),
    ("5.7.27", "5.7.27", "smtp; 550 5.7.27 sender domain has null record", "authentication", "block", False),
    ("5.4.1", "5.4.1", "smtp; 550 5.4.1 recipient address rejected: access denied", "bad_mailbox", "hard", False),
]

# Facts: what large hosts write. (host, diagnostic, reason, bounce, suppress)
HOSTS = [
    ("gmail-unknown", "smtp; 550-5.1.1 The email account that you tried to reach does not exist. gsmtp", "bad_mailbox", "hard", True),
    ("gmail-domain", "smtp; 553 5.1.2 unable to find recipient domain gsmtp", "bad_domain", "hard", True),
    ("gmail-syntax", "smtp; 553 5.1.3 not a valid RFC 5321 address gsmtp", "bad_mailbox", "hard", True),
    ("gmail-disabled", "smtp; 550 5.2.1 The account is inactive (DisabledUser) gsmtp", "mailbox_disabled", "hard", True),
    ("gmail-quickly", "smtp; 450 4.2.1 receiving mail too quickly gsmtp", "rate_limited", "soft", False),
    ("gmail-rate", "smtp; 550 5.2.1 receiving mail at a rate that prevents delivery gsmtp", "rate_limited", "soft", False),
    ("gmail-full", "smtp; 452 4.2.2 inbox is out of storage space gsmtp", "mailbox_full", "soft", False),
    ("gmail-full-inactive", "smtp; 552 5.2.2 out of storage space and inactive gsmtp", "mailbox_full", "soft", False),
    ("gmail-reputation", "smtp; 421 4.7.0 very low reputation of the sending IP gsmtp", "reputation", "block", False),
    ("gmail-unusual-rate", "smtp; 421 4.7.28 unusual rate of mail from this netblock gsmtp", "rate_limited", "block", False),
    ("gmail-tls", "smtp; 421 4.7.29 connection without TLS gsmtp", "authentication", "block", False),
    ("gmail-dmarc", "smtp; 550 5.7.40 no DMARC record gsmtp", "authentication", "block", False),
    ("gmail-spam", "smtp; 550 5.7.1 this message is likely unsolicited mail gsmtp", "spam", "block", False),
    ("gmail-relay-limit", "smtp; 550 5.7.1 Daily SMTP relay limit exceeded gsmtp", "rate_limited", "soft", False),
    ("gmail-quota", "smtp; 550 5.4.5 daily sending quota exceeded gsmtp", "rate_limited", "soft", False),
    ("gmail-security", "smtp; 552 5.7.0 content presents a potential security issue gsmtp", "content", "block", False),
    ("outlook-rp001", "smtp; 421 RP-001 (BAY) rate exceeded", "rate_limited", "soft", False),
    ("outlook-sc001", "smtp; 550 SC-001 (BAY) refused", "spam", "block", False),
    ("outlook-sc004", "smtp; 550 SC-004 (BAY) refused", "reputation", "block", False),
    ("outlook-dy001", "smtp; 550 DY-001 (BAY) refused", "reputation", "block", False),
    ("outlook-ou001", "smtp; 550 OU-001 (BAY) refused", "reputation", "block", False),
    ("outlook-515", "smtp; 550 5.7.515 Access denied", "authentication", "block", False),
    ("outlook-s3140", "smtp; 550 5.7.1 part of the network is on our block list (S3140)", "reputation", "block", False),
    ("outlook-s2017", "smtp; 550 5.5.0 mailbox unavailable (S2017062302)", "bad_mailbox", "hard", True),
    ("m365-notfound", "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found", "bad_mailbox", "hard", True),
    ("m365-full", "smtp; 554 5.2.2 mailbox full; STOREDRV.Deliver", "mailbox_full", "soft", False),
    ("m365-banned", "smtp; 550 5.7.606 banned sending IP", "reputation", "block", False),
    ("m365-concurrency", "smtp; 432 4.3.2 STOREDRV; concurrent connection limit", "rate_limited", "soft", False),
    ("m365-outbound", "smtp; 550 5.7.705 tenant has exceeded its threshold", "rate_limited", "block", False),
    ("yahoo-tss04", "smtp; 421 4.7.0 [TSS04] deferred due to volume or complaints", "rate_limited", "soft", False),
    ("yahoo-tss09", "smtp; 421 4.7.1 [TSS09] will be permanently deferred", "reputation", "block", False),
    ("yahoo-ph01", "smtp; 554 Message not allowed - [PH01]", "content", "block", False),
    ("yahoo-579", "smtp; 554 5.7.9 not accepted for policy reasons", "authentication", "block", False),
    ("yahoo-dd", "smtp; 554 delivery error: dd doesn't have a yahoo.com account", "bad_mailbox", "hard", True),
    ("yahoo-resources", "smtp; 451 resources temporarily unavailable", "network", "soft", False),
    ("spamhaus", "smtp; 554 service unavailable; client host blocked using zen.spamhaus.org", "reputation", "block", False),
    ("greylisted", "smtp; 451 4.7.1 greylisted, come back later", "greylisted", "block", False),
]  # fmt: skip


def add_to(mails: Mails) -> None:
    _codes(mails)
    _actions(mails)
    _disagreeing(mails)
    _writings(mails)
    _containers(mails)
    _several(mails)
    _origins(mails)


def _codes(mails: Mails) -> None:
    for name, status, diagnostic, reason, bounce, suppress in CODES:
        o = Origin(f"user.{name.replace('.', '-')}@example.net", 1)
        raw = report(o.path, group(o.recipient, "failed", status, diagnostic), returned=o.headers())
        mails.add(f"code-{name}", "status", raw, [Want("failed", o.recipient, reason, bounce, suppress)], o.ours)
    for name, diagnostic, reason, bounce, suppress in HOSTS:
        o = Origin(f"{name}@example.org", 2)
        temporary = diagnostic[6] == "4"
        raw = report(
            o.path,
            group(
                o.recipient,
                "failed",
                "4.0.0" if temporary else "5.0.0",
                diagnostic,
                extra="Remote-MTA: dns; mx1.example.org",
            ),
            returned=o.headers(),
            returned_type="text/rfc822-headers",
        )
        mails.add(f"host-{name}", "status", raw, [Want("failed", o.recipient, reason, bounce, suppress)], o.ours)


def _actions(mails: Mails) -> None:
    def one(name: str, action: str, status: str, diagnostic: str, want: Want, subject: str = "Delivery report") -> None:
        o = Origin(want.recipient, 3)
        raw = report(o.path, group(o.recipient, action, status, diagnostic), returned=o.headers(), subject=subject)
        mails.add(f"action-{name}", "status", raw, [want], o.ours)

    one("delayed", "delayed", "4.4.1", "smtp; 451 4.4.1 no answer", delayed("d1@example.net", "network"))
    one(
        "delayed-case",
        "Delayed",
        "4.0.0",
        "x-postfix; connection timed out",
        delayed("d2@example.net", "network"),
        "Delayed Mail",
    )
    one("delayed-full", "DELAYED", "4.2.2", "smtp; 452 4.2.2 mailbox full", delayed("d3@example.net", "mailbox_full"))
    one("delayed-grey", "delayed", "4.7.1", "smtp; 450 greylisting in action", delayed("d4@example.net", "greylisted"))
    one("delayed-silent", "delayed", "4.0.0", "", delayed("d5@example.net", "unknown"))
    one("delivered", "delivered", "2.0.0", "", Want("delivered", "ok1@example.net"), "Successful Mail Delivery Report")
    one("delivered-case", "Delivered", "2.1.5", "smtp; 250 2.1.5 ok", Want("delivered", "ok2@example.net"))
    one("relayed", "relayed", "2.0.0", "", Want("relayed", "relay1@example.net"))
    one("relayed-comment", "relayed (to mailer)", "2.0.0", "", Want("relayed", "relay2@example.net"))
    one("expanded", "expanded", "2.0.0", "", Want("expanded", "list@example.net"))
    one("expired", "expired", "4.4.7", "", soft("late@example.net", "expired"))
    one("expired-5", "expired", "5.0.0", "", soft("late5@example.net", "expired"))
    one("deliverable", "deliverable", "2.0.0", "", Want("relayed", "probe@example.net"))
    one("missing-5", "", "5.1.1", "smtp; 550 5.1.1 unknown", hard("noaction@example.net"))
    one("missing-4", "", "4.4.1", "", delayed("noaction4@example.net", "network"))
    one("missing-2", "", "2.1.5", "", Want("delivered", "noaction2@example.net"))
    one("unknown-word", "vaporised", "", "", Want("unknown", "vapor@example.net"))
    one("failed-4.4.7", "failed", "4.4.7", "", soft("f447@example.net", "expired"))
    one("failed-4.0.0", "failed", "4.0.0", "", soft("f400@example.net", "expired"))
    one(
        "failed-4.4.1",
        "failed",
        "4.4.1",
        "x-postfix; connect: connection timed out",
        soft("f441@example.net", "network"),
    )
    one("failed-4.2.2", "failed", "4.2.2", "smtp; 452 4.2.2 over quota", soft("f422@example.net", "mailbox_full"))
    one("failed-4.1.1", "failed", "4.1.1", "", soft("f411@example.net", "bad_mailbox"))
    one("failed-silent", "failed", "5.0.0", "", unknown("silent@example.net"))
    one("failed-no-status", "failed", "", "smtp; 550 no such user here", hard("nostatus@example.net"))


def _disagreeing(mails: Mails) -> None:
    """Diagnostic-Code is normally more exact than Status."""

    def one(name: str, status: str, diagnostic: str, want: Want) -> None:
        o = Origin(want.recipient)
        raw = report(o.path, group(o.recipient, "failed", status, diagnostic), returned=o.headers())
        mails.add(f"disagree-{name}", "status", raw, [want], o.ours)

    one("generic-511", "5.0.0", "smtp; 550 5.1.1 <g1@example.net>: user unknown", hard("g1@example.net"))
    one("511-but-full", "5.1.1", "smtp; 552 5.2.2 over quota", soft("g2@example.net", "mailbox_full"))
    one("571-but-unknown", "5.7.1", "smtp; 550 5.1.1 no such user", hard("g3@example.net"))
    one("421-5.7.32", "5.7.32", "smtp; 421 5.7.32 alignment", block("g4@example.net", "authentication"))
    one("552-recipients", "5.5.3", "smtp; 552 too many recipients", soft("g5@example.net", "rate_limited"))
    one("500-words", "5.0.0", "smtp; 554 no such mailbox", hard("g6@example.net"))
    one("local", "5.3.0", "x-unix; mail delivery terminated", soft("g7@example.net", "network"))
    one("no-remote", "5.1.1", 'x-local; unknown user: "g8"', hard("g8@example.net"))


def _writings(mails: Mails) -> None:
    """The same fact as different software writes it down."""

    def one(name: str, groups: str, want: Want, o: Origin | None = None, **options: str) -> None:
        o = o or Origin(want.recipient)
        mails.add(f"writing-{name}", "status", report(o.path, groups, returned=o.headers(), **options), [want], o.ours)

    one("no-space", "Final-Recipient: rfc822;w1@example.net\nAction: failed\nStatus: 5.1.1\n", hard("w1@example.net"))
    one("upper", "FINAL-RECIPIENT: RFC822; w2@example.net\nACTION: FAILED\nSTATUS: 5.1.1\n", hard("w2@example.net"))
    one("no-type", "Final-Recipient: w3@example.net\nAction: failed\nStatus: 5.1.1\n", hard("w3@example.net"))
    one(
        "brackets", "Final-Recipient: rfc822; <w4@example.net>\nAction: failed\nStatus: 5.1.1\n", hard("w4@example.net")
    )
    one(
        "status-comment",
        "Final-Recipient: rfc822; w5@example.net\nAction: failed\nStatus: 5.1.1 (bad destination mailbox address)\n",
        hard("w5@example.net"),
    )
    one(
        "status-comment-tells",
        "Final-Recipient: rfc822; w5b@example.net\nAction: failed\nStatus: 5.0.0 (recipient reached disk quota)\n",
        soft("w5b@example.net", "mailbox_full"),
    )
    one(
        "folded",
        "Final-Recipient: rfc822;\n\tw6@example.net\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp;\n 550-5.1.1 user\n 550 5.1.1 unknown\n",
        hard("w6@example.net"),
    )
    one("zeros", "Final-Recipient: rfc822; w7@example.net\nAction: failed\nStatus: 5.01.001\n", hard("w7@example.net"))
    one("odd-order", "Status: 5.1.1\nAction: failed\nFinal-Recipient: rfc822; w8@example.net\n", hard("w8@example.net"))
    one(
        "hash-code",
        "Final-Recipient: rfc822; w9@example.net\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 #5.1.1 unknown\n",
        hard("w9@example.net"),
    )
    one(
        "bracket-code",
        "Final-Recipient: rfc822; w10@example.net\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 [5.1.1] unknown\n",
        hard("w10@example.net"),
    )
    one(
        "eai",
        "Final-Recipient: utf-8; jörg@bücher.example\nAction: failed\nStatus: 5.1.1\n",
        hard("jörg@bücher.example"),
        status_type="message/global-delivery-status",
    )
    one(
        "eai-escaped",
        "Final-Recipient: utf-8;j\\x{F6}rg@example.net\nAction: failed\nStatus: 5.1.1\n",
        hard("jörg@example.net"),
    )
    one(
        "crlf-gap",
        "Final-Recipient: rfc822; w13@example.net\nAction: failed\nStatus: 5.1.1\nLast-Attempt-Date: Thu, 01 Jan 2026 01:02:03 +0100\n",
        hard("w13@example.net"),
    )
    one(
        "many-fields",
        group(
            "w14@example.net",
            "failed",
            "5.1.1",
            extra="X-Actual-Recipient: rfc822; real@inside.example\nFinal-Log-ID: 77",
        ),
        hard("w14@example.net"),
    )
    alias = Origin("alias@example.net", 4)
    one(
        "original",
        group("mailbox7@internal.example", "failed", "5.1.1", original="alias@example.net"),
        hard("alias@example.net"),
        alias,
    )
    one(
        "original-brackets",
        "Original-Recipient: rfc822;<alias2@example.net>\nFinal-Recipient: rfc822;inner@internal.example\nAction: failed\nStatus: 5.1.1\n",
        hard("alias2@example.net"),
    )
    one(
        "original-empty",
        "Original-Recipient:\nFinal-Recipient: rfc822; w17@example.net\nAction: failed\nStatus: 5.1.1\n",
        hard("w17@example.net"),
    )
    one(
        "no-address",
        "Final-Recipient: x400; /c=xx/admd= /prmd=corp/s=unknown\nAction: failed\nStatus: 5.1.1\n",
        hard("w18@example.net"),
    )
    one(
        "domino",
        group(
            "w19@example.net", "failed", "5.1.1", "X-Notes; User w19 (w19@example.net) not listed in Domino Directory"
        ),
        hard("w19@example.net"),
        sender="Postmaster@corp.example",
        subject="DELIVERY FAILURE: User w19 not listed",
    )
    one(
        "groupwise",
        group("w20@example.net", "failed", "5.0.0", "smtp; 550 5.1.1 User unknown"),
        hard("w20@example.net"),
        sender="Mailer-Daemon@gw.example",
        subject="Message status - undeliverable",
    )
    one(
        "exchange",
        group("w21@example.net", "failed", "5.1.1", "smtp;550 5.1.1 RESOLVER.ADR.RecipNotFound; not found"),
        hard("w21@example.net"),
        sender="<postmaster@corp.example>",
        subject="Undeliverable: Your order",
    )
    one(
        "gmail",
        group(
            "w22@example.net",
            "failed",
            "5.1.1",
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist",
        ),
        hard("w22@example.net"),
        headers="X-Failed-Recipients: w22@example.net\nAuto-Submitted: auto-replied\n",
        sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        subject="Delivery Status Notification (Failure)",
    )
    one(
        "sendmail",
        group("w23@example.net", "failed", "5.1.1", "SMTP; 550 5.1.1 <w23@example.net>... User unknown"),
        hard("w23@example.net"),
        headers="Auto-Submitted: auto-generated (failure)\n",
        subject="Returned mail: see transcript for details",
    )
    one(
        "exim",
        group(
            "w24@example.net",
            "failed",
            "5.0.0",
            "smtp; 550 5.1.1 User unknown",
            extra="Remote-MTA: dns; mx.example.net",
        ),
        hard("w24@example.net"),
        headers="X-Failed-Recipients: w24@example.net\nAuto-Submitted: auto-replied\n",
        subject="Mail delivery failed: returning message to sender",
    )


def _containers(mails: Mails) -> None:
    """The parts in every wrapping that was seen."""
    plain = "multipart/report; report-type=delivery-status"

    def dsn(o: Origin, **options: str) -> str:
        return report(
            o.path, group(o.recipient, "failed", "5.1.1", "smtp; 550 5.1.1 no"), returned=o.headers(), **options
        )

    def one(name: str, raw: bytes | str, o: Origin) -> None:
        mails.add(f"container-{name}", "status", raw, [hard(o.recipient)], o.ours)

    o = [Origin(f"c{n}@example.net", n) for n in range(1, 19)]
    one("no-report-type", dsn(o[0], top="multipart/report"), o[0])
    one("mixed", dsn(o[1], top="multipart/mixed"), o[1])
    one("alternative", dsn(o[2], top="multipart/alternative"), o[2])
    inner = dsn(o[3])
    one(
        "nested",
        f"From: x@y.example\nTo: {o[3].path}\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n"
        + inner.partition("MIME-Version: 1.0\n")[2]
        + "\n--outer\nContent-Type: text/plain\n\nfooter of a gateway\n--outer--\n",
        o[3],
    )
    forwarded = dsn(o[4])
    one(
        "forwarded",
        f"From: helpdesk@shop.example.com\nTo: bounces@shop.example.com\nSubject: Fwd: bounce\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\n\nplease look\n--outer\nContent-Type: message/rfc822\n\n{forwarded}\n--outer--\n",
        o[4],
    )
    status = "Reporting-MTA: dns; mx.example.net\n\n" + group(o[5].recipient, "failed", "5.1.1")
    one(
        "base64",
        report(
            o[5].path,
            base64_of(status),
            returned=o[5].headers(),
            per_message="",
            status_headers="Content-Transfer-Encoding: base64\n",
        ).replace("base64\n\n\n", "base64\n\n"),
        o[5],
    )
    status = "Reporting-MTA: dns; mx.example.net\n\n" + group(
        o[6].recipient, "failed", "5.1.1", "smtp; 550 5.1.1 unknown="
    )
    one(
        "quoted-printable",
        report(
            o[6].path,
            quoted(status),
            returned=o[6].headers(),
            per_message="",
            status_headers="Content-Transfer-Encoding: quoted-printable\n",
        ).replace("printable\n\n\n", "printable\n\n"),
        o[6],
    )
    one("crlf", dsn(o[7]).replace("\n", "\r\n"), o[7])
    one("headers-only", dsn(o[8], returned_type="text/rfc822-headers"), o[8])
    one("no-returned", report(o[9].path, group(o[9].recipient, "failed", "5.1.1")), o[9])
    one("cut", dsn(o[10]).rpartition("The body of our mail.")[0], o[10])
    one("boundary-spaces", dsn(o[11]).replace("--=_part_0001\n", "--=_part_0001  \n"), o[11])
    one("unquoted-boundary", dsn(o[12], boundary="simple").replace('"simple"', "simple"), o[12])
    one("mbox-line", "From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n" + dsn(o[13]), o[13])
    one("latin1-text", dsn(o[14], text="Die Mail an Jürgen kam zurück").encode("latin-1"), o[14])
    one(
        "upper-types",
        dsn(o[15])
        .replace("multipart/report", "MULTIPART/REPORT")
        .replace("message/delivery-status", "Message/Delivery-Status"),
        o[15],
    )
    one("no-blank-line-at-end", dsn(o[16]).rstrip("\n-").rstrip(), o[16])
    one("global-headers", dsn(o[17], returned_type="message/global-headers"), o[17])
    assert plain in dsn(o[0], top=plain)


def _several(mails: Mails) -> None:
    o = Origin("team@example.net", 1)
    groups = "\n".join(
        (
            group("m1@example.net", "failed", "5.1.1"),
            group("m2@example.net", "delayed", "4.4.1"),
            group("m3@example.net", "delivered", "2.0.0"),
        )
    )
    mails.add(
        "several-members",
        "status",
        report(o.path, groups, returned=o.headers()),
        [
            hard("m1@example.net", suppress=False),
            delayed("m2@example.net", "network"),
            Want("delivered", "m3@example.net"),
        ],
        o.ours,
    )
    groups = "\n".join((group("n1@example.net", "failed", "5.1.1"), group("n2@example.net", "failed", "5.2.2")))
    mails.add(
        "several-failed",
        "status",
        report(o.path, groups, returned=o.headers()),
        [hard("n1@example.net", suppress=False), soft("n2@example.net", "mailbox_full")],
        o.ours,
    )
    twice = Origin("twice@example.net", 1)
    one = group("twice@example.net", "failed", "5.1.1")
    mails.add(
        "several-same-twice",
        "status",
        report(twice.path, f"{one}\n{one}", returned=twice.headers()),
        [hard("twice@example.net")],
        twice.ours,
    )
    wide = report(o.path, f"{one}\n\n\n\n{group('far@example.net', 'failed', '5.2.2')}", returned=o.headers())
    mails.add(
        "several-wide-gaps",
        "status",
        wide,
        [hard("twice@example.net", suppress=False), soft("far@example.net", "mailbox_full")],
        o.ours,
    )


def _origins(mails: Mails) -> None:
    """Our id in every place where it may survive."""
    status = group("who@example.net", "failed", "5.1.1")
    want = [hard("who@example.net")]
    o = Origin("who@example.net", 5)
    elsewhere = "bounces@example.com"
    local = o.path.partition("@")[0]

    def one(name: str, raw: str, ours: tuple[str, int] | None = o.ours) -> None:
        mails.add(f"origin-{name}", "status", raw, want, ours)

    one("verp", report(o.path, status))
    one("verp-upper", report(o.path.upper(), status))
    one("srs", report(f"SRS0=abc=de=bounces.example.com={local}@forwarder.example", status))
    one("batv", report(f"prvs=0123456789={o.path}", status))
    one("delivered-to", report(elsewhere, status, headers=f"Delivered-To: {o.path}\n"))
    one("message-id", report(elsewhere, status, returned=o.headers()))
    one("in-reply-to", report(elsewhere, status, headers=f"In-Reply-To: {o.header}\n"))
    one("references", report(elsewhere, status, headers=f"References: <first@example.com>\n {o.header}\n"))
    one("x-header", report(elsewhere, status, returned=f"X-Streams-Message-Id: {o.id}.5\n" + o.headers(with_id=False)))
    one("returned-path", report(elsewhere, status, returned=f"Return-Path: <{o.path}>\n" + o.headers(with_id=False)))
    one(
        "mailgun-variables",
        report(
            elsewhere,
            status,
            returned=f'X-Mailgun-Variables: {{"message_id": "{o.id}", "attempt": "5"}}\n' + o.headers(with_id=False),
        ),
    )
    one(
        "ses-tags",
        report(
            elsewhere, status, returned=f"X-SES-MESSAGE-TAGS: message_id={o.id}, attempt=5\n" + o.headers(with_id=False)
        ),
    )
    one(
        "envelope-id",
        report(
            elsewhere,
            status,
            per_message=f"Reporting-MTA: dns; mx.example.net\nOriginal-Envelope-Id: {local}@bounces.example.com\n",
        ),
    )
    one("none", report(elsewhere, status, returned=o.headers(with_id=False)), None)
