"""The words by which a bounce without a status part is known, in the languages that hosts write.

Short fragments that a kind of software always writes; matched regardless of case. Adding one is adding a line here and
a mail to the tests' payloads.
"""

from __future__ import annotations

import re

from streams.core.classification import Classification
from streams.core.event import BounceType, ReasonKind


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


MARKS = _words(
    r"this is the qmail-send program",
    r"the following address(es|\(es\))? failed",
    r"following addresses had (permanent|transient)",
    r"transcript of session follows",
    r"did not reach (some or all of the|the following) (intended )?recipient",
    r"following recipient\(?s?\)? could(n't| not) be reached",
    r"delivery to the following recipients? (has |have )?(been )?(failed|delayed)",
    r"was(n't| not) delivered to:?",
    r"has not yet been delivered",
    r"undeliverable to the following",
    r"had the following undeliverable recipient",
    r"message to (the following|<?\S{1,80}@\S{1,80}?>?) (recipients? )?(cannot|couldn'?t|could not) be delivered",
    r"(wasn't|was not|could ?n[o']t|cannot) be? ?delivered to (one or more|the following|<?\S{1,80}@)",
    r"address(es)? (could ?n[o']t|couldn't) be (found|reached)",
    r"unable to deliver (your|the|this) (e-?mail|message) to",
    r"i'?m sorry to have to inform you that your message could not",
    r"(konnte|konnten) nicht (zugestellt|erreicht|ausgeliefert)",
    r"n'a pas pu [êe]tre (remis|d[ée]livr[ée]|distribu[ée]|achemin[ée])",
    r"no (se )?(ha podido|pudo|se pudo)( ser)? (entregar|entregado)",
    r"non [èe] stato possibile (consegnare|recapitare)",
    r"n[ãa]o p[ôo]de ser entregue",
    r"kon niet worden (afgeleverd|bezorgd)",
    r"nie mo(że|gła) (być|zostać) (dostarczon|dor[ęe]czon)",
    r"не (удалось доставить|может быть доставлено|было доставлено)",
    r"(無法|无法)(送達|送达|投递|投遞|递送)|退信原因|收件人.{0,10}不存在",
    r"配信(できません|不能)|送信できませんでした|届けられません",
    r"배달(되지|할 수) (않|없)",
)
SUBJECTS = _words(
    r"undeliver|delivery (status )?(notification|failure|failed|problem|error)|failure notice|returned (e-?)?mail",
    r"mail delivery (failed|system|subsystem)|could not be delivered|non-?deliver|message not delivered|bounce",
    r"unzustellbar|nicht zugestellt|non remis|[ée]chec|no entregado|mancata consegna|n[ãa]o entregue|onbestelbaar",
    r"niedostarczon|не доставлено|недоставлен|退信|配信不能|エラー|배달 실패",
)
SENDERS = _words(
    r"\bmailer-?daemon\b", r"\bpostmaster@", r"mail delivery (sub)?system", r"microsoftexchange", r"\bmdaemon@"
)
DELAYED = _words(
    r"\bdelayed\b.{0,60}\b(hours?|days?|minutes?)\b",
    r"could not send message for past",
    r"transient non-fatal errors",
    r"will (be retried|keep trying|continue to (try|attempt))",
    r"this is a warning message only",
    r"delivery attempts will continue",
    r"wird weiterhin versucht",
)
DELAYED_SUBJECT = _words(
    r"\bwarning\b.{0,40}(delay|not yet)", r"^(delivery )?delayed", r"\(delay\)", r"delayed \d+ hours"
)
EXPIRED = _words(
    r"not going to try again; this message has been in the queue too long",
    r"has been in the queue too long",
    r"(gave|giving) up",
    r"retry (timeout|time limit) exceeded",
    r"could not be delivered (for|within|after) \d+ (days|hours)",
)

_NO_MAILBOX = Classification(ReasonKind.BAD_MAILBOX, BounceType.HARD, suppress=True)
_NO_DOMAIN = Classification(ReasonKind.BAD_DOMAIN, BounceType.HARD, suppress=True)
_FULL = Classification(ReasonKind.MAILBOX_FULL, BounceType.SOFT)

REASONS: tuple[tuple[re.Pattern[str], Classification], ...] = (
    (
        _words(
            r"not listed in (the )?(domino|public|name)",
            r"no mailbox here by that name",
            r"e-?mail account does not exist",
            r"empf[äa]nger(adresse)? (ist )?(unbekannt|existiert nicht)",
            r"adresse existiert nicht",
            r"(destinataire|adresse) (inconnue?|n'existe pas)",
            r"(destinatario|direcci[óo]n|usuario) (desconocid[oa]|no existe)",
            r"(utente|destinatario|indirizzo) (sconosciut[oa]|inesistente)",
            r"(usu[áa]rio|destinat[áa]rio) (desconhecido|inexistente)",
            r"(gebruiker|adres) (onbekend|bestaat niet)",
            r"(adres|odbiorca|u[żz]ytkownik) nie istnieje",
            r"(адрес|пользователь|ящик).{0,20}не (существует|найден)",
            r"不存在|查无此人",
            r"宛先.{0,10}(不明|見つかりません|存在しません)",
            r"존재하지 않",
        ),
        _NO_MAILBOX,
    ),
    (
        _words(
            r"postfach.{0,20}voll",
            r"bo[îi]te.{0,30}pleine",
            r"buz[óo]n.{0,20}lleno",
            r"casella.{0,20}piena",
            r"caixa.{0,20}cheia",
            r"mailbox vol\b",
            r"ящик.{0,20}переполнен",
            r"邮箱.{0,6}已?满|郵箱.{0,6}已?滿|容量.{0,10}超",
        ),
        _FULL,
    ),
    (_words(r"couldn't find any host named", r"domain (existiert nicht|inconnu|inexistente)"), _NO_DOMAIN),
)
"""Why, in words that the general classification does not know."""
