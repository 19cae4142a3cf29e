"""Bounces in words only, by the software that writes them and in the languages that hosts speak."""

from __future__ import annotations

from tests.bounces.compose import Mails, Origin, Want, block, delayed, hard, soft, unknown, words

QMAIL = (
    "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid it did not work out for these addresses:\n"
    "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
)
BELOW = "\n--- Below this line is a copy of the message.\n\n"
EXIM = (
    "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to"
    " one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n"
)
EXIM_COPY = "\n------ This is a copy of the message, including all the headers. ------\n\n"


def add_to(mails: Mails) -> None:
    _qmail(mails)
    _exim(mails)
    _gmail(mails)
    _sendmail(mails)
    _exchange(mails)
    _others(mails)
    _languages(mails)
    _unclear(mails)


def _qmail(mails: Mails) -> None:
    def one(name: str, said: str, want: Want) -> None:
        o = Origin(want.recipient)
        body = f"{QMAIL}<{o.recipient}>:\n{said}\n{BELOW}Return-Path: <{o.path}>\n{o.headers()}\nour text"
        raw = words(o.path, body, sender="MAILER-DAEMON@mx.example.net")
        mails.add(f"qmail-{name}", "notice", raw, [want], o.ours)

    one("no-mailbox", "Sorry, no mailbox here by that name. (#5.1.1)", hard("q1@example.net"))
    one(
        "remote",
        "192.0.2.9 does not like recipient.\nRemote host said: 550 5.1.1 User unknown\nGiving up on 192.0.2.9.",
        hard("q2@example.net"),
    )
    one(
        "no-host",
        "Sorry, I couldn't find any host named nowhere.example. (#5.1.2)",
        hard("q3@nowhere.example", "bad_domain"),
    )
    one("full", "The user has exceeded his quota: mailbox full (#5.2.2)", soft("q4@example.net", "mailbox_full"))
    one(
        "queue",
        "I'm not going to try again; this message has been in the queue too long.",
        soft("q5@example.net", "expired"),
    )
    one("spam", "Remote host said: 554 5.7.1 message rejected as spam", block("q6@example.net", "spam"))
    one("list", "Remote host said: 550 blocked using bl.example.org", block("q7@example.net", "reputation"))
    one(
        "yahoo",
        "554: delivery error: dd This user doesn't have a yahoo.com account (q8@yahoo.com) [0] - mta.example",
        hard("q8@yahoo.com"),
    )


def _exim(mails: Mails) -> None:
    def one(name: str, said: str, want: Want, header: bool = True) -> None:
        o = Origin(want.recipient, 2)
        body = f"{EXIM}  {o.recipient}\n    {said}\n{EXIM_COPY}Return-path: <{o.path}>\n{o.headers()}\nour text"
        headers = "Auto-Submitted: auto-replied\n" + (f"X-Failed-Recipients: {o.recipient}\n" if header else "")
        raw = words(
            o.path,
            body,
            headers=headers,
            sender="Mail Delivery System <Mailer-Daemon@mx.example.net>",
            subject="Mail delivery failed: returning message to sender",
        )
        mails.add(f"exim-{name}", "notice", raw, [want], o.ours)

    remote = "SMTP error from remote mail server after RCPT TO:<{0}>:\n    host mx.example.net [192.0.2.7]: "
    one("unknown", remote.format("x1@example.net") + "550 5.1.1 User unknown", hard("x1@example.net"))
    one(
        "unknown-no-header",
        remote.format("x2@example.net") + "550 5.1.1 User unknown",
        hard("x2@example.net"),
        header=False,
    )
    one("full", remote.format("x3@example.net") + "552 5.2.2 over quota", soft("x3@example.net", "mailbox_full"))
    one("retry", "retry timeout exceeded", soft("x4@example.net", "expired"))
    one("unrouteable", 'Unrouteable mail domain "nowhere.example"', hard("x5@nowhere.example", "bad_domain"))
    one(
        "policy",
        "SMTP error from remote mail server after end of data:\n    host mx.example.net [192.0.2.7]: 550 5.7.1 refused by policy",
        block("x6@example.net", "policy"),
    )
    one(
        "vague",
        "SMTP error from remote mail server after RCPT TO:<x7@example.net>:\n    host mx.example.net [192.0.2.7]: 550 nope",
        unknown("x7@example.net"),
    )
    two = Origin("x8@example.net", 2)
    other = "x9@example.net"
    body = (
        f"{EXIM}  x8@example.net\n    {remote.format('x8@example.net')}550 5.1.1 User unknown\n"
        f"  {other}\n    {remote.format(other)}552 5.2.2 over quota\n{EXIM_COPY}{two.headers()}\nour text"
    )
    raw = words(
        two.path, body, headers=f"X-Failed-Recipients: x8@example.net,\n  {other}\n", subject="Mail delivery failed"
    )
    mails.add(
        "exim-two", "notice", raw, [hard("x8@example.net", suppress=False), soft(other, "mailbox_full")], two.ours
    )
    late = Origin("x10@example.net", 2)
    body = f"A message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue.\nThe message identifier is 1abc.\n\nThe address to which the message has not yet been delivered is:\n\n  {late.recipient}\n    Delay reason: 451 4.4.1 connection timed out\n\nNo action is required on your part. Delivery attempts will continue for\nsome time.\n\nThe message was\nMessage-ID: {late.header}\n"
    raw = words(
        late.path, body, headers="Auto-Submitted: auto-replied\n", subject="Warning: message 1abc delayed 24 hours"
    )
    mails.add("exim-delayed", "notice", raw, [delayed("x10@example.net", "network")], late.ours)


def _gmail(mails: Mails) -> None:
    def one(
        name: str, reply: str, want: Want, said: str = "Delivery to the following recipient failed permanently:"
    ) -> None:
        o = Origin(want.recipient)
        body = (
            f"{said}\n\n     {o.recipient}\n\nTechnical details of permanent failure:\nThe recipient's server refused it."
            f"\n\nThe error that the other server returned was:\n{reply}\n\n----- Original message -----\n\n{o.headers()}\nour text"
        )
        raw = words(
            o.path,
            body,
            sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
            subject="Delivery Status Notification (Failure)",
            headers=f"X-Failed-Recipients: {o.recipient}\nAuto-Submitted: auto-replied\n",
        )
        mails.add(f"gmail-{name}", "notice", raw, [want], o.ours)

    one(
        "unknown",
        "550-5.1.1 The email account that you tried to reach does not exist.\n550 5.1.1 Please check it.",
        hard("gm1@example.org"),
    )
    one("full", "452 4.2.2 The recipient's inbox is out of storage space.", soft("gm2@example.org", "mailbox_full"))
    one(
        "auth",
        "550-5.7.26 This mail has been blocked because the sender is unauthenticated.",
        block("gm3@example.org", "authentication"),
    )
    one("vague", "550 no thank you", unknown("gm4@example.org"))


def _sendmail(mails: Mails) -> None:
    def one(name: str, said: str, want: Want, head: str = "permanent fatal", headers: str = "") -> None:
        o = Origin(want.recipient, 3)
        body = (
            f"The original message was received at {'Thu, 1 Jan 2026 00:00:00 GMT'}\nfrom localhost [127.0.0.1]\n\n"
            f"   ----- The following addresses had {head} errors -----\n<{o.recipient}>\n{said}\n\n"
            f"   ----- Original message follows -----\n\nReturn-Path: <{o.path}>\n{o.headers()}"
        )
        raw = words(
            o.path,
            body,
            subject="Returned mail: see transcript for details",
            headers=headers + "Auto-Submitted: auto-generated (failure)\n",
            sender="Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>",
        )
        mails.add(f"sendmail-{name}", "notice", raw, [want], o.ours)

    transcript = "\n   ----- Transcript of session follows -----\n... while talking to mx.example.net.:\n>>> RCPT To:<{0}>\n<<< {1}\n"
    one("reason", "    (reason: 550 5.1.1 <s1@example.net>... User unknown)", hard("s1@example.net"))
    one(
        "transcript",
        transcript.format("s2@example.net", "550 5.1.1 <s2@example.net>: User unknown"),
        hard("s2@example.net"),
    )
    one("full", transcript.format("s3@example.net", "552 5.2.2 Over quota"), soft("s3@example.net", "mailbox_full"))
    one(
        "host",
        "\n   ----- Transcript of session follows -----\n550 5.1.2 <s4@nowhere.example>... Host unknown (Name server: host not found)",
        hard("s4@nowhere.example", "bad_domain"),
    )
    one(
        "transient",
        "    (reason: 451 4.4.1 connection timed out)\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old",
        delayed("s5@example.net", "network"),
        "transient non-fatal",
    )


def _exchange(mails: Mails) -> None:
    def one(
        name: str,
        body: str,
        want: Want,
        type_: str = "text/plain; charset=utf-8",
        subject: str = "Undeliverable: Your order",
        tail: bool = True,
    ) -> None:
        o = Origin(want.recipient)
        raw = words(
            o.path,
            body + (f"\n\nOriginal message headers:\n\n{o.headers()}" if tail else ""),
            sender="Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example>",
            subject=subject,
            type_=type_,
        )
        mails.add(f"exchange-{name}", "notice", raw, [want], o.ours)

    html = "text/html; charset=utf-8"
    one(
        "classic",
        "Your message did not reach some or all of the intended recipients.\n\n      Subject:  Your order\n      Sent:     1/1/2026 0:00 AM\n\nThe following recipient(s) could not be reached:\n\n      e1@corp.example on 1/1/2026 0:00 AM\n            The e-mail account does not exist at the organization this message was sent to.\n            <mx.corp.example #5.1.1>",
        hard("e1@corp.example"),
    )
    one(
        "quoted",
        "Your message did not reach some or all of the intended recipients.\n\nThe following recipient(s) could not be reached:\n\n      'e2@corp.example' on 1/1/2026 0:00 AM\n            The recipient's mailbox is full.\n            <mx.corp.example #5.2.2 smtp;552 5.2.2 mailbox full>",
        soft("e2@corp.example", "mailbox_full"),
    )
    one(
        "html",
        "<html><head><style>p {color: red}</style></head><body><p><b>Delivery has failed to these recipients or groups:</b></p><p><a href=\"mailto:e3@corp.example\">e3@corp.example</a><br>The address you entered couldn't be found.</p><p>Diagnostic information for administrators:</p><p>Generating server: mx.corp.example</p><p>e3@corp.example<br>Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found'</p></body></html>",
        hard("e3@corp.example"),
        html,
    )
    one(
        "html-m365",
        "<html><body><p>Your message to <b>e4@corp.example</b> couldn't be delivered.</p><p>e4 wasn't found at corp.example.</p><p>Remote server returned '550 5.4.1 Recipient address rejected: Access denied.'</p></body></html>",
        hard("e4@corp.example", suppress=False),
        html,
    )
    one(
        "html-full",
        "<html><body><p>Your message to e5@corp.example couldn't be delivered.</p><p>The mailbox is full.</p><p>Remote Server returned '554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException'</p></body></html>",
        soft("e5@corp.example", "mailbox_full"),
        html,
    )
    one(
        "spam",
        "Delivery to the following recipients failed.\n\n       e6@corp.example\n\nmx.corp.example said: 550 5.7.1 Message rejected as spam by Content Filtering.",
        block("e6@corp.example", "spam"),
        subject="Delivery Status Notification (Failure)",
    )


def _others(mails: Mails) -> None:
    def one(
        name: str, body: str, want: Want, sender: str = "postmaster@example.net", subject: str = "Undeliverable mail"
    ) -> None:
        o = Origin(want.recipient, 4)
        mails.add(f"software-{name}", "notice", words(o.path, body, sender=sender, subject=subject), [want], o.ours)

    one(
        "domino",
        "Your message\n\n  Subject: Your order\n\nwas not delivered to:\n\n  o1@corp.example\n\nbecause:\n\n  User o1 (o1@corp.example) not listed in Domino Directory\n",
        hard("o1@corp.example"),
        subject="DELIVERY FAILURE: User o1 not listed in Domino Directory",
    )
    one(
        "domino-full",
        "Your message\n\n  Subject: Your order\n\nwas not delivered to:\n\n  o2@corp.example\n\nbecause:\n\n  552 5.2.2 mailbox is over its quota\n",
        soft("o2@corp.example", "mailbox_full"),
        subject="DELIVERY FAILURE",
    )
    one(
        "groupwise",
        "The message that you sent was undeliverable to the following:\n\to3@corp.example (550 5.1.1 User unknown)\n\nPossibly truncated original message follows:\n",
        hard("o3@corp.example"),
        subject="Message status - undeliverable",
    )
    one(
        "groupwise-attached",
        "The attached file had the following undeliverable recipient(s):\n\to4@corp.example\n\nTranscript of session follows:\n552 5.2.2 Mailbox full\n",
        soft("o4@corp.example", "mailbox_full"),
    )
    one(
        "postfix-words",
        "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients. It's attached below.\n\n<o5@example.net>: host mx2.example.net[192.0.2.5] said: 550 5.1.1 <o5@example.net>:\n    Recipient address rejected: User unknown (in reply to RCPT TO command)\n",
        hard("o5@example.net"),
    )
    one(
        "postfix-alias",
        "I'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients.\n\n<o6@example.net> (expanded from <all@example.net>): host mx2.example.net[192.0.2.5]\n    said: 452 4.2.2 mailbox full (in reply to RCPT TO command)\n",
        soft("o6@example.net", "mailbox_full"),
    )
    one(
        "courier",
        "This is a delivery status notification from mx.example.net.\n\nYour message to the following recipients cannot be delivered:\n\n<o7@example.net>:\n    mx2.example.net [192.0.2.6]:\n<<< 550 5.1.1 no such user\n",
        hard("o7@example.net"),
        subject="NOTICE: mail delivery status.",
    )
    one(
        "hmail",
        "Your message did not reach some or all of the intended recipients.\n\n   Sent: Thu, 1 Jan 2026 00:00:00 +0000\n   Subject: Your order\n\nThe following recipient(s) could not be reached:\n\no8@example.net\n   Error Type: SMTP\n   Remote server (192.0.2.8) issued an error.\n   hMailServer sent: RCPT TO:<o8@example.net>\n   Remote server replied: 550 5.1.1 User unknown\n",
        hard("o8@example.net"),
        subject="Message undeliverable: Your order",
    )
    one(
        "mdaemon",
        "The following data may contain sections which represent BASE64 encoded file attachments.\nA message could not be delivered to the following recipient:\n\n  o9@example.net\n\n  ----- Transcript of session follows -----\n  <<< 550 5.1.1 Recipient unknown\n",
        hard("o9@example.net"),
        sender="MDaemon@mail.example.net",
        subject="Permanent Delivery Failure",
    )
    one(
        "surgemail",
        "Your message was not delivered to: o10@example.net\n\nThis is a permanent failure, server response: 554 5.7.1 relay access denied\n",
        block("o10@example.net", "policy"),
    )
    one(
        "gateway",
        "Unable to deliver your message to o11@example.net.\nThe remote mail system said: 550 5.2.1 Mailbox disabled for this recipient\n",
        hard("o11@example.net", "mailbox_disabled"),
    )
    one(
        "big",
        "Your message could not be delivered to <o12@example.net>\nReason: 552 5.3.4 Message size exceeds fixed limit\n",
        soft("o12@example.net", "message_too_large"),
        subject="Mail delivery failed",
    )


def _languages(mails: Mails) -> None:
    def one(language: str, subject: str, body: str, want: Want) -> None:
        o = Origin(want.recipient)
        raw = words(o.path, body, subject=subject, sender="Mail Delivery System <mailer-daemon@example.net>")
        mails.add(f"language-{language}", "notice", raw, [want], o.ours)

    one(
        "de",
        "Unzustellbare Nachricht",
        "Ihre Nachricht konnte nicht zugestellt werden.\n\n<l1@example.net>:\nDie Empfängeradresse existiert nicht.\n",
        hard("l1@example.net"),
    )
    one(
        "de-full",
        "Mail delivery failed",
        "Ihre E-Mail konnte nicht zugestellt werden.\n\n<l2@example.net>:\nDas Postfach des Empfängers ist voll.\n",
        soft("l2@example.net", "mailbox_full"),
    )
    one(
        "de-code",
        "Nicht zugestellt",
        "Die folgende Adresse konnte nicht erreicht werden:\n\n  l3@example.net\n\nSMTP-Antwort: 550 5.1.1 Benutzer unbekannt\n",
        hard("l3@example.net"),
    )
    one(
        "fr",
        "Échec de la remise",
        "Votre message n'a pas pu être remis.\n\n<l4@example.net>:\nCe destinataire inconnu a été refusé.\n",
        hard("l4@example.net"),
    )
    one(
        "fr-full",
        "Message non remis",
        "Votre message n’a pas pu être délivré.\n\n<l5@example.net>:\nLa boîte aux lettres est pleine.\n",
        soft("l5@example.net", "mailbox_full"),
    )
    one(
        "es",
        "Mensaje no entregado",
        "No se ha podido entregar su mensaje.\n\n<l6@example.net>:\nDestinatario desconocido\n",
        hard("l6@example.net"),
    )
    one(
        "it",
        "Mancata consegna",
        "Non è stato possibile consegnare il messaggio.\n\n<l7@example.net>:\nIndirizzo inesistente\n",
        hard("l7@example.net"),
    )
    one(
        "pt",
        "Mensagem não entregue",
        "A mensagem não pôde ser entregue.\n\n<l8@example.net>:\nUsuário inexistente\n",
        hard("l8@example.net"),
    )
    one(
        "nl",
        "Onbestelbaar bericht",
        "Uw bericht kon niet worden afgeleverd.\n\n<l9@example.net>:\nHet adres bestaat niet.\n",
        hard("l9@example.net"),
    )
    one(
        "pl",
        "Wiadomość niedostarczona",
        "Wiadomość nie może być dostarczona.\n\n<l10@example.net>:\nPodany adres nie istnieje.\n",
        hard("l10@example.net"),
    )
    one(
        "ru",
        "Недоставленное сообщение",
        "Ваше письмо не удалось доставить.\n\n<l11@example.net>:\nТакой адрес не существует.\n",
        hard("l11@example.net"),
    )
    one(
        "zh",
        "系统退信",
        "抱歉,您的邮件无法投递。\n\n<l12@example.net>:\n退信原因:收件人邮箱不存在\n",
        hard("l12@example.net"),
    )
    one(
        "zh-full",
        "退信通知",
        "您的邮件未能送达。退信原因如下\n\n<l13@example.net>:\n收件人邮箱已满\n",
        soft("l13@example.net", "mailbox_full"),
    )
    one(
        "ja",
        "配信不能のお知らせ",
        "メールを配信できませんでした。送信できませんでした。\n\n<l14@example.net>:\n宛先のアドレスが存在しません。\n",
        hard("l14@example.net"),
    )
    one(
        "cs",
        "Undelivered Mail",
        "Zprávu se nepodařilo doručit.\n\n<l15@example.net>:\nPříjemce odmítl zprávu.\n",
        unknown("l15@example.net"),
    )


def _unclear(mails: Mails) -> None:
    """Certainly bounces, for reasons that nobody can tell: only the recipient is taken."""
    o = Origin("u1@example.net")
    body = "We could not do what you asked. Sorry.\n\nThe copy of your mail:\n\n" + o.headers()
    mails.add("unclear-daemon", "notice", words(o.path, body, subject="Delivery failure"), [unknown("")], o.ours)
    o = Origin("u2@example.net")
    mails.add(
        "unclear-header",
        "notice",
        words(o.path, "It went wrong.", headers="X-Failed-Recipients: u2@example.net\n", subject="Sorry"),
        [unknown("u2@example.net")],
        o.ours,
    )
    o = Origin("u3@example.net")
    mails.add(
        "unclear-qmail",
        "notice",
        words(o.path, f"{QMAIL}<u3@example.net>:\nSomething odd.\n"),
        [unknown("u3@example.net")],
        o.ours,
    )
    body = f"{QMAIL}<u4@example.net>:\nSorry, no mailbox here by that name. (#5.1.1)\n"
    mails.add("unclear-origin", "notice", words("bounces@example.com", body), [hard("u4@example.net")], None)
