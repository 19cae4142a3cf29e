"""What SES refuses in addresses, tags, headers, attachments and sizes. Pure; a refusal is an ApiError."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import Final

from streams.sandbox.ses_model import ApiError, Attachment, Header, Tag

MAX_RECIPIENTS: Final = 50
_MAX_MESSAGE: Final = 40 * 1024 * 1024
_ADDRESS: Final = re.compile(r'[!-?A-~]+@(?:[^\s@<>(),;:"\[\]\\.]+\.)+[^\s@<>(),;:"\[\]\\.]+', re.ASCII)
_NAMED: Final = re.compile(r"[^<>]*<\s*([^<>\s]+)\s*>")
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_HEADER_NAME: Final = re.compile(r"[!-9;-@A-~]{1,126}")
_HEADER_VALUE: Final = re.compile(r"[ -~]{1,995}")
EICAR: Final = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE"


def bare_address(address: str) -> str:
    """The address without its name. Raises ApiError."""
    text = address.strip()
    if text.endswith(">") and (named := _NAMED.fullmatch(text)):
        text = named[1]
    if not text.rpartition("@")[0].isascii():
        raise ApiError("BadRequestException", "Local part of the address contains non-ASCII characters.")
    if not text.isascii():
        raise ApiError("BadRequestException", "Domain contains non-ASCII characters: use its punycode form.")
    if _ADDRESS.fullmatch(text) is None:
        raise ApiError("BadRequestException", f"Illegal address: {address!r}")
    return text


def recipients_of(addresses: list[str]) -> list[str]:
    """Bare recipients, each once in any case. Raises ApiError."""
    if not addresses:
        raise ApiError("BadRequestException", "Destination must have at least one recipient.")
    if len(addresses) > MAX_RECIPIENTS:
        raise ApiError("BadRequestException", "Recipient count exceeds 50.")
    bare = [bare_address(address) for address in addresses]
    return list({address.lower(): address for address in reversed(bare)}.values())[::-1]


def tags_of(tags: list[Tag] | None) -> dict[str, str]:
    """Tags by name. Raises ApiError."""
    for tag in tags or ():
        if not _TAG.fullmatch(tag.name) or not _TAG.fullmatch(tag.value):
            raise ApiError(
                "BadRequestException", f"Message tag {tag.name!r} is not valid: use A-Z a-z 0-9 _ - (max 256)."
            )
    return {tag.name: tag.value for tag in tags or ()}


def header_tags(text: str) -> dict[str, str]:
    """The tags of an X-SES-MESSAGE-TAGS header. Raises ApiError."""
    pairs = [piece.strip().partition("=") for piece in text.replace("\n", "").split(",") if piece.strip()]
    return tags_of([Tag(name.strip(), value.strip()) for name, _, value in pairs])


def check_headers(headers: list[Header] | None) -> None:
    """Raises ApiError for a header that SES does not take."""
    if headers and len(headers) > 15:
        raise ApiError("BadRequestException", "At most 15 headers are allowed.")
    for header in headers or ():
        if not _HEADER_NAME.fullmatch(header.name) or not _HEADER_VALUE.fullmatch(header.value):
            raise ApiError("BadRequestException", f"Header {header.name!r} is not valid.")


def attachments_size(attachments: list[Attachment] | None) -> tuple[int, bool]:
    """(bytes as encoded, whether the test virus is among them)."""
    size, infected = 0, False
    for attachment in attachments or ():
        size += len(attachment.raw_content)
        try:
            infected = infected or EICAR.encode() in b64decode(attachment.raw_content)
        except (binascii.Error, ValueError) as error:
            raise ApiError("BadRequestException", "Attachment.RawContent is not valid base64.") from error
    return size, infected


def message_size(*texts: str) -> int:
    """Bytes of the texts. Raises ApiError when a message is too large."""
    size = sum(len(text.encode()) for text in texts)
    if size > _MAX_MESSAGE:
        raise ApiError("BadRequestException", "Message length is more than 41943040 bytes long.")
    return size
