"""What S3 answers, in our words: whose fault it is, and whether trying again may help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto
from urllib3.exceptions import HTTPError

from core.errors import Changed, FileError, Outage, Overload, Permanent, Transient, Vanished

_GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
_ELSEWHERE = "set s3.region to the bucket's region; check s3.endpoint_url, also whether it is http or https"
# nothing is said of one object: the whole service is no use with this bucket, these credentials or this clock
_AWAY = {
    "NoSuchBucket": "check the bucket's name in the job's source",
    "InvalidBucketName": "check the bucket's name in the job's source",
    "PermanentRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "307": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": "set s3.region to the bucket's region",
    "IllegalLocationConstraintException": "set s3.region to the bucket's region",
    "ExpiredToken": "renew the credentials",
    "ExpiredTokenException": "renew the credentials",
    "TokenRefreshRequired": "renew the credentials",
    "InvalidToken": "check the session token",
    "InvalidAccessKeyId": "check s3.key_pair_file or the pod's credentials",
    "InvalidClientTokenId": "check s3.key_pair_file or the pod's credentials",
    "SignatureDoesNotMatch": "check the secret key in s3.key_pair_file or the pod's credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AccountProblem": "ask who pays for the bucket",
    "AllAccessDisabled": "ask the bucket's owner",
}
_OVERLOAD = {"SlowDown", "503", "429", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests"}
_OVERLOAD |= {"RequestLimitExceeded", "RequestThrottled", "BandwidthLimitExceeded", "PriorRequestNotComplete"}
_OVERLOAD |= {"KMS.ThrottlingException", "XMinioServerBusy"}
_ARCHIVED = "restore it from its archive storage class, then `ingest retry`"
_READABLE = "let the loader's credentials read it (s3:GetObject), then `ingest retry`"
LISTABLE = "let the credentials list the bucket (s3:ListBucket)"
"""What to do where a listing is refused."""
_ANSWERS = "does the S3 service answer?"


@contextmanager
def told(what: str, allow: str = _READABLE) -> Iterator[None]:
    """Tell of what botocore raises in our own words; `allow` says what to do where the service refuses."""
    try:
        yield
    except boto.ClientError as error:
        raise of_answer(error, what, allow) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
        raise Outage("no_credentials", f"{what}: {error}", "set s3.key_pair_file, or give the pod a role") from error
    except (boto.ParamValidationError, boto.UnknownEndpointError, boto.InvalidRegionError) as error:
        raise Outage(type(error).__name__, f"{what}: {error}", "check the section s3 of config.yml") from error
    except boto.FlexibleChecksumError as error:
        raise Transient("checksum_mismatch", f"{what}: {error}") from error
    except boto.SSLError as error:
        raise Outage("SSLError", f"{what}: {error}", "check s3.ca_file and the service's certificate") from error
    except boto.ProxyConnectionError as error:
        raise Outage("ProxyConnectionError", f"{what}: {error}", "check s3.proxy_url") from error
    except (boto.BotoCoreError, HTTPError) as error:
        # no connection, no answer in time, an answer that breaks off
        raise Outage(type(error).__name__, f"{what}: {error}", _ANSWERS) from error


def of_answer(error: boto.ClientError, what: str, allow: str = _READABLE) -> FileError:
    """What an answer of the service means for the one thing that was asked for."""
    code, status = code_of(error), status_of(error)
    said = str(error.response.get("Error", {}).get("Message") or "")
    message = f"{what}: {code}: {said}" if said else f"{what}: {code}"
    if code in _GONE:
        return Vanished(code, message)
    if code in _AWAY:
        return Outage(code, message, _AWAY[code])
    if code in _OVERLOAD or status in (429, 503):
        return Overload(code, message)
    if code in ("PreconditionFailed", "InvalidRange") or status in (412, 416):
        return Changed(code, message)
    if code == "InvalidObjectState":
        return Permanent(code, message, _ARCHIVED)
    if status >= 500 or code in ("RequestTimeout", "InternalError"):
        return Outage(code, message, _ANSWERS)
    if code in ("AccessDenied", "403", "Forbidden"):
        return Permanent("AccessDenied", message, allow)
    return Permanent(code, message)


def code_of(error: boto.ClientError) -> str:
    """The service's own word, or the HTTP status where an answer has no body."""
    return str(error.response.get("Error", {}).get("Code") or "unknown")


def status_of(error: boto.ClientError) -> int:
    """The HTTP status."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
