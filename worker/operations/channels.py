"""The ways to a person: a webhook and e-mail. What cannot be sent stays in the database."""

import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Any, Final, Protocol

from schemas.config import EmailSection, MailSecurity, NotifySection
from schemas.errors import TransientError
from schemas.notices import News

_TIMEOUT_SECONDS: Final = 15.0
_OK: Final = range(200, 300)


class NotSentError(TransientError):
    """Nobody took the message; it is tried again."""

    code = "notify.not_sent"

    def __init__(self, *, channel: str, found: str) -> None:
        """``found`` quotes no address: a webhook's is a secret."""
        super().__init__(
            f"The {channel} did not take the message: {found}. Notices are tried again by "
            f"themselves, a test is not. See [notify] in config.toml, and `boneage notify test`."
        )


class Channel(Protocol):
    """One way to a person."""

    name: str

    def compose(self, news: News) -> str:
        """Return the message as this channel sends it."""
        ...

    def send(self, body: str) -> None:
        """Send what ``compose`` made.

        Raises:
            NotSentError: nobody took it.
        """
        ...


def channels_of(section: NotifySection) -> tuple[Channel, ...]:
    """Return the channels that the settings name; none of them: nobody is told."""
    host = socket.gethostname()
    found: list[Channel] = []
    if section.webhook_url:
        found.append(Webhook(section.webhook_url, host=host))
    if section.email.host:
        found.append(Mail(section.email, host=host))
    return tuple(found)


class Webhook:
    """POSTs JSON; ``text`` is what Slack, Mattermost and Teams' workflows show."""

    name = "webhook"

    def __init__(self, url: str, *, host: str) -> None:
        self._url = url
        self._host = host
        self._opener = urllib.request.build_opener(_NoRedirect())

    def compose(self, news: News) -> str:
        """Return one JSON object: the words, and the same for programs."""
        troubles = {
            key: [{"key": one.key, "title": one.title, "message": one.message} for one in ones]
            for key, ones in (("begun", news.begun), ("lasting", news.lasting))
        }
        told: Mapping[str, Any] = {
            "source": "boneage-worker",
            "host": self._host,
            "at": news.at.isoformat(),
            "text": f"{subject(news, host=self._host)}\n{words(news)}",
            **troubles,
            "ended": list(news.ended),
        }
        return json.dumps(told, ensure_ascii=False)

    def send(self, body: str) -> None:
        """POST the message.

        Raises:
            NotSentError: no connection, no answer, or another status than 2xx.
        """
        request = urllib.request.Request(  # noqa: S310 - the settings allow http(s) alone
            self._url,
            data=body.encode("utf-8"),
            headers={"Content-Type": "application/json", "User-Agent": "boneage-worker"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            raise NotSentError(channel=self.name, found=f"it answered {error.code}") from None
        except (OSError, ValueError) as error:
            raise NotSentError(channel=self.name, found=_why(error)) from None
        if status not in _OK:
            raise NotSentError(channel=self.name, found=f"it answered {status}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would make a GET without the message of the POST: it is an error."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:  # noqa: ANN401 - urllib's signature
        return None


class Mail:
    """Writes plain text to the recipients."""

    name = "email"

    def __init__(self, section: EmailSection, *, host: str) -> None:
        self._section = section
        self._host = host

    def compose(self, news: News) -> str:
        """Return a whole message (RFC 5322)."""
        sender = self._section.sender or f"boneage@{self._host}"
        message = EmailMessage()
        message["From"] = sender
        message["To"] = ", ".join(self._section.recipients)
        message["Subject"] = subject(news, host=self._host)
        message["Date"] = formatdate(news.at.timestamp(), localtime=True)
        message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or self._host)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer from an absent person
        message.set_content(words(news))
        return message.as_string(policy=SMTP.clone(cte_type="7bit"))

    def send(self, body: str) -> None:
        """Hand the message to the mail server.

        Raises:
            NotSentError: no connection, no TLS where it must be, no login, or it was refused.
        """
        sender = self._section.sender or f"boneage@{self._host}"
        try:
            with self._connected() as server:
                if self._section.user:
                    server.login(self._section.user, self._section.password)
                server.sendmail(sender, list(self._section.recipients), body)
        except smtplib.SMTPResponseException as error:
            found = f"the mail server answered {error.smtp_code}"
            raise NotSentError(channel=self.name, found=found) from None
        except (OSError, smtplib.SMTPException) as error:
            raise NotSentError(channel=self.name, found=_why(error)) from None

    def _connected(self) -> smtplib.SMTP:
        section, context = self._section, ssl.create_default_context()
        if section.security is MailSecurity.TLS:
            return smtplib.SMTP_SSL(
                section.host, section.port, timeout=_TIMEOUT_SECONDS, context=context
            )
        server = smtplib.SMTP(section.host, section.port, timeout=_TIMEOUT_SECONDS)
        if section.security is MailSecurity.STARTTLS:
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


def subject(news: News, *, host: str) -> str:
    """Return the news in one line."""
    wrong = [one.title for one in (*news.begun, *news.lasting)]
    told, titles = ("Needs a person", wrong) if wrong else ("Well again", list(news.ended))
    return f"[boneage {host}] {told}: {', '.join(titles)}"[:200]


def words(news: News) -> str:
    """Return the news in full."""
    parts = [
        *(f"NEW: {one.title}\n{one.message}" for one in news.begun),
        *(f"STILL: {one.title}\n{one.message}" for one in news.lasting),
        *(f"WELL AGAIN: {title}" for title in news.ended),
    ]
    return "\n\n".join(parts) + "\n"


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)  # urllib wraps the one that says it
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, TimeoutError):
        return "it did not answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
