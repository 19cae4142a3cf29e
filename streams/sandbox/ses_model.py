"""The SES v2 request bodies that the sandbox reads, by their public names, and the error of a refused call."""

from __future__ import annotations

from typing import Any

import msgspec


class ApiError(Exception):
    """The call is answered with this AWS error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class _Model(msgspec.Struct, rename="pascal", gc=False):
    """Base of the bodies: names in PascalCase, unknown fields ignored."""


class Part(_Model):
    """Text with its charset."""

    data: str
    charset: str | None = None


class Body(_Model):
    """The two bodies of a simple message."""

    text: Part | None = None
    html: Part | None = None


class Header(_Model):
    """One extra header."""

    name: str
    value: str


class Attachment(_Model):
    """One attachment; the content is base64."""

    raw_content: str
    file_name: str
    content_type: str | None = None


class Simple(_Model):
    """A message in parts."""

    subject: Part
    body: Body
    headers: list[Header] | None = None
    attachments: list[Attachment] | None = None


class Raw(_Model):
    """A whole MIME message, base64."""

    data: str


class TemplateContent(_Model):
    """A template given with the call (or stored by name)."""

    subject: str | None = None
    text: str | None = None
    html: str | None = None


class Template(_Model):
    """Which template, with which data (a JSON object in a string)."""

    template_name: str | None = None
    template_arn: str | None = None
    template_content: TemplateContent | None = None
    template_data: str | None = None
    headers: list[Header] | None = None
    attachments: list[Attachment] | None = None


class Content(_Model):
    """Exactly one of three."""

    simple: Simple | None = None
    raw: Raw | None = None
    template: Template | None = None


class Destination(_Model):
    """The envelope recipients."""

    to_addresses: list[str] | None = None
    cc_addresses: list[str] | None = None
    bcc_addresses: list[str] | None = None

    def addresses(self) -> list[str]:
        """All of them."""
        return [*(self.to_addresses or ()), *(self.cc_addresses or ()), *(self.bcc_addresses or ())]


class Tag(_Model):
    """One message tag."""

    name: str
    value: str


class SendEmail(_Model):
    """POST /v2/email/outbound-emails."""

    content: Content
    from_email_address: str | None = None
    destination: Destination | None = None
    email_tags: list[Tag] | None = None
    configuration_set_name: str | None = None


class ReplacementTemplate(_Model):
    """An entry's template data."""

    replacement_template_data: str | None = None


class ReplacementContent(_Model):
    """An entry's content."""

    replacement_template: ReplacementTemplate | None = None


class BulkEntry(_Model):
    """One message of a bulk call."""

    destination: Destination
    replacement_tags: list[Tag] | None = None
    replacement_email_content: ReplacementContent | None = None
    replacement_headers: list[Header] | None = None


class BulkContent(_Model):
    """The template of a bulk call."""

    template: Template


class SendBulkEmail(_Model):
    """POST /v2/email/outbound-bulk-emails."""

    default_content: BulkContent
    bulk_email_entries: list[BulkEntry]
    from_email_address: str | None = None
    default_email_tags: list[Tag] | None = None
    configuration_set_name: str | None = None


class PutSuppressedDestination(_Model):
    """PUT /v2/email/suppression/addresses."""

    email_address: str
    reason: str


class CreateEmailTemplate(_Model):
    """POST /v2/email/templates."""

    template_name: str
    template_content: TemplateContent


def decode(body: bytes, kind: type[Any]) -> Any:
    """The body as `kind`. Raises ApiError for anything else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError("BadRequestException", f"1 validation error detected: {error}") from error
