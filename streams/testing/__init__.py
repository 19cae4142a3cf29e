"""For the tests of programs that send: a whole deployment on this machine, and the mails it sent.

With pytest nothing has to be imported: the fixtures of :mod:`streams.pytest_plugin` are there when this package is
installed with its extras ``embedded`` and ``sandbox``. Without pytest:

    with Deployment(Path("somewhere")) as deployment:
        with deployment.client() as client:
            client.send("order-1", to="ann@example.net", subject="Hi", text="Hello").wait_for("message.delivered")
        (mail,) = deployment.sandbox.mails()

``deployment``  broker, provider sandbox, ingress and worker as real processes on free ports
``mails``       what the sandbox providers took, as objects
"""

from __future__ import annotations

from streams.testing.deployment import Deployment, DeploymentFailed
from streams.testing.mails import MailFile, Sandbox, SentMail

__all__ = ["Deployment", "DeploymentFailed", "MailFile", "Sandbox", "SentMail"]
