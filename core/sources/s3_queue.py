"""A queue of SQS that a bucket writes its notifications to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from core.errors import FileError, UsageError
from core.settings import S3Settings
from core.sources.s3_errors import told
from core.sources.s3_service import client_of

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_AT_A_TIME = 10


class Message(NamedTuple):
    """A message that is ours until the queue's visibility timeout; `receipt` is what it is deleted by."""

    number: str
    receipt: str
    body: str


class Queue:
    """A queue by its URL, with the credentials of the section s3. The service is where the URL says."""

    def __init__(self, url: str, settings: S3Settings) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path in ("", "/"):
            raise UsageError(f"{url} is no URL of a queue", "write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
        self._url = url
        # sqs.eu-central-1.amazonaws.com: requests are signed for a region
        words = (parts.hostname or "").split(".")
        region = words[1] if words[0] == "sqs" and "amazonaws" in words else None
        self._client: SQSClient = client_of(
            "sqs", settings, endpoint_url=f"{parts.scheme}://{parts.netloc}", region=region
        )

    def check(self) -> None:
        """Raises UsageError when the queue is missing or may not be asked."""
        try:
            with told(self._url):
                self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        except FileError as error:
            raise UsageError(
                error.message, "let it be read (sqs:ReceiveMessage, DeleteMessage, GetQueueAttributes)"
            ) from error

    def receive(self, wait_seconds: int) -> list[Message]:
        """Up to ten messages; the first is waited for. Raises FileError."""
        with told(self._url):
            answer = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=_AT_A_TIME, WaitTimeSeconds=wait_seconds
            )
        return [Message(one["MessageId"], one["ReceiptHandle"], one["Body"]) for one in answer.get("Messages", ())]

    def delete(self, receipts: list[str]) -> None:
        """Take messages off the queue; one for which that fails comes again. Raises FileError."""
        for first in range(0, len(receipts), _AT_A_TIME):
            some = receipts[first : first + _AT_A_TIME]
            with told(self._url):
                self._client.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(some)],
                )

    def close(self) -> None:
        """Close the connections."""
        with suppress(Exception):
            self._client.close()
