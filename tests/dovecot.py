"""A real IMAP and SMTP server: Dovecot as a child of the tests, with TLS and random ports.

Mailboxes are known to one test only. Mail that is submitted goes on to another server, as with any provider's relay.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from imapclient import IMAPClient

from streams.sandbox.smtp_tls import certificate as certificate_of

PASSWORD = "a-password-of-tests"
_START_S = 15.0
_STOP_S = 10.0


@dataclass(frozen=True)
class Relay:
    """Where submitted mail goes: an SMTP server with TLS from the start."""

    port: int
    user: str
    password: str


@dataclass(frozen=True)
class Dovecot:
    """Where it listens. Any user name may log in with ``PASSWORD``. Without a relay the last two ports are closed."""

    imaps_port: int
    imap_port: int
    ca_file: str
    submissions_port: int
    """TLS from the start."""
    submission_port: int
    """STARTTLS."""

    def client(self, user: str) -> IMAPClient:
        """A second client beside the one that is tested."""
        context = ssl.create_default_context(cafile=self.ca_file)
        client = IMAPClient("localhost", self.imaps_port, ssl=True, ssl_context=context, timeout=10)
        client.login(user, PASSWORD)
        return client


def executable(protocol: str = "imap") -> str | None:
    """Dovecot's, if it is installed with this protocol (imap or submission)."""
    found = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    there = any(Path(place, f"{protocol}-login").exists() for place in ("/usr/lib/dovecot", "/usr/libexec/dovecot"))
    return found if there else None


def new_user() -> str:
    return f"user-{uuid4().hex[:10]}"


@contextmanager
def running(program: str, maildir: Path | None = None, relay: Relay | None = None) -> Iterator[Dovecot]:
    """Started and stopped. With a ``maildir`` that is everybody's only mailbox; with a ``relay`` it takes mail."""
    place = Path(tempfile.mkdtemp(prefix="imap-"))
    try:
        place.chmod(0o755)  # its processes give up root's rights
        child, server = _start(program, place, maildir, relay)
        try:
            yield server
        finally:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _start(
    program: str, place: Path, maildir: Path | None, relay: Relay | None
) -> tuple[subprocess.Popen[bytes], Dovecot]:
    certificate, _ = certificate_of(place, "localhost")
    key = certificate.with_name("smtp-key.pem")
    imaps, imap, submissions, submission = (_free_port() for _ in range(4))
    config = place / "dovecot.conf"
    text = _config(place, certificate, key, imaps, imap, maildir)
    if relay is not None:
        text += _submission(relay, submissions, submission)
    config.write_text(text)
    with (place / "said").open("wb") as said:
        child = subprocess.Popen([program, "-F", "-c", str(config)], stdout=said, stderr=said)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", imaps), 1).close()
            return child, Dovecot(imaps, imap, str(certificate), submissions, submission)
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()
                child.wait()
                told = "".join(file.read_text() for file in (place / "said", place / "log") if file.exists())
                raise RuntimeError(f"Dovecot does not start: {told}") from None
            time.sleep(0.05)


def _config(place: Path, certificate: Path, key: Path, imaps: int, imap: int, maildir: Path | None) -> str:
    me = pwd.getpwuid(os.getuid())
    mail = place / "mail"
    mail.mkdir()
    owner, users = me, ""
    if me.pw_uid == 0:  # root may not own mailboxes; the package has made users for the rest
        owner = pwd.getpwnam("nobody")
        os.chown(mail, owner.pw_uid, owner.pw_gid)
    else:
        group = grp.getgrgid(me.pw_gid).gr_name
        users = (
            f"default_internal_user = {me.pw_name}\ndefault_login_user = {me.pw_name}\n"
            f"default_internal_group = {group}\n"
        )
    return f"""
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
{users}first_valid_uid = 1
mail_location = maildir:{maildir or f"{mail}/%u"}
mailbox_list_index = no
auth_failure_delay = 0
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={owner.pw_uid} gid={owner.pw_gid} home={mail}/%u
}}
"""


def _submission(relay: Relay, submissions: int, submission: int) -> str:
    return f"""
protocols = imap submission
hostname = localhost
submission_relay_host = 127.0.0.1
submission_relay_port = {relay.port}
submission_relay_ssl = smtps
submission_relay_ssl_verify = no
submission_relay_user = {relay.user}
submission_relay_password = {relay.password}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = {submissions}
    ssl = yes
  }}
}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
