"""Authentication, native and pam_password: API 110000 as 4.3 and later do it, 703 and 704 as before; and the password
scrambling of 701."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from sandbox.irods.agent import Agent, Reply, json_input, json_reply
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import find_user
from sandbox.irods.xml_packing import Struct, pack

PASSWORD_LENGTH = 50
WHEEL = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!\"#$%&'()*+,-./"
# what stands before and after a password while it is scrambled (iRODS obf.cpp, version 2)
MARK = ".ObfV2"
PADDING = "1gCBizHWbwIYyWLoysGzTe6SyzqFKMniZX05faZHWAwQKXf6Fs"


def authenticate(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 110000, scheme native: first a challenge, then a digest over it and the password (recording connect)."""
    content = json_input(struct)
    if content.get("scheme") == "pam_password":
        return _token(agent, content)
    if content.get("scheme") != "native":
        raise IrodsError(Code.CAT_INVALID_AUTHENTICATION)
    if content.get("next_operation") == "auth_agent_auth_request":
        agent.challenge = secrets.token_hex(32)
        return json_reply({**content, "request_result": agent.challenge})
    if content.get("next_operation") != "auth_agent_auth_response":
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
    admit(agent, str(content.get("user_name", "")), str(content.get("zone_name", "")), _digest(content))
    return json_reply(content)


def _token(agent: Agent, content: dict[str, Any]) -> Reply:
    """For a PAM password a token, with which the client logs in natively (libirods_auth_plugin-pam_password_server)."""
    name = str(content.get("user_name", ""))
    if agent.server.tls is None:
        raise IrodsError(Code.SYS_NOT_ALLOWED)
    if content.get("next_operation") != "auth_agent_auth_request":
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
    if find_user(agent.catalogue, name, agent.zone) is None or agent.server.pam.get(name) != content.get("a_pw"):
        raise IrodsError(Code.PAM_AUTH_PASSWORD_FAILED)
    token = secrets.token_hex(16)
    agent.server.pam_tokens.setdefault(name, []).append(token)
    return json_reply({**content, "request_result": token})


def _digest(content: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(content.get("digest", "")))
    except ValueError:
        raise IrodsError(Code.CAT_INVALID_AUTHENTICATION) from None


def legacy_request(agent: Agent, _struct: Struct, _stream: memoryview) -> Reply:
    """API 703: a challenge of 64 bytes."""
    agent.challenge = secrets.token_hex(32)
    return Reply(0, pack("authRequestOut_PI", {"challenge": agent.challenge.encode()}))


def legacy_response(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 704: the digest, and `user#zone`."""
    name, _, zone = str(struct["username"] or "").partition("#")
    admit(agent, name, zone or agent.zone, struct["response"] or b"")
    return Reply()


def digest_of(challenge: str, password: str) -> bytes:
    """md5 over 64 bytes of challenge and the password padded to 50; its zero bytes become ones."""
    padded = password.encode()[:PASSWORD_LENGTH].ljust(PASSWORD_LENGTH, b"\0")
    return hashlib.md5(challenge.encode()[:64] + padded).digest().replace(b"\0", b"\1")


def admit(agent: Agent, name: str, zone: str, digest: bytes) -> None:
    """Check the proxy's password, then that it may act for the client user (recording users).

    CAT_INVALID_USER for an unknown name, CAT_INVALID_AUTHENTICATION for a wrong password, CAT_INVALID_CLIENT_USER for
    an unknown client, SYS_PROXYUSER_NO_PRIV when a user who is no rodsadmin acts for another, known or not.
    """
    proxy = find_user(agent.catalogue, name, zone or agent.zone)
    if proxy is None:
        raise IrodsError(Code.CAT_INVALID_USER)
    row = agent.catalogue.one("select password from users where user_id = ?", proxy.id)
    known = [
        *agent.server.pam_tokens.get(name, []),
        *([row["password"]] if row and row["password"] is not None else []),
    ]
    if not agent.challenge or not any(hmac.compare_digest(digest, digest_of(agent.challenge, word)) for word in known):
        raise IrodsError(Code.CAT_INVALID_AUTHENTICATION)
    client = find_user(agent.catalogue, agent.startup["clientUser"], agent.startup["clientRcatZone"])
    if not proxy.admin and (client is None or client.id != proxy.id):
        raise IrodsError(Code.SYS_PROXYUSER_NO_PRIV)
    if client is None:
        raise IrodsError(Code.CAT_INVALID_CLIENT_USER)
    agent.proxy, agent.client = proxy, client


def _ring(key: str) -> bytes:
    first = hashlib.md5(key.encode()[:100].ljust(100, b"\0")).digest()
    second = hashlib.md5(first).digest()
    third = hashlib.md5(first + second).digest()
    return first + second + third + third


def _unscramble(text: str, key: str, *, chained: bool) -> str:
    ring, chain, plain = _ring(key), 0, []
    for index, char in enumerate(text):
        place = WHEEL.find(char)
        if place < 0:
            plain.append(char)
            continue
        plain.append(WHEEL[(place - ring[index % 61] - chain) % len(WHEEL)])
        if chained:
            chain = ord(char) & 0xFF
    return "".join(plain)


def _unpadded(password: str) -> str:
    """What stands before the padding: its beginning, if at least 15 characters long, is cut from the end."""
    for length in range(len(PADDING), 14, -1):
        if password.endswith(PADDING[:length]):
            return password[:-length]
    return password


def new_password(agent: Agent, scrambled: str, own_password: str) -> str:
    """The new password in arg4 of API 701, arg3 of 714 `userpw`: scrambled with one's own and the session's signature.

    CAT_PASSWORD_ENCODING_ERROR if it does not decode.
    """
    signature = agent.challenge.encode()[:16].hex()
    joined = (own_password[:90] + signature[:100]).ljust(100, "\0")
    plain = _unscramble(scrambled, hashlib.md5(joined.encode()).hexdigest(), chained=True)
    if plain[1 : 1 + len(MARK)] != MARK:
        raise IrodsError(Code.CAT_PASSWORD_ENCODING_ERROR)
    return _unpadded(plain[1 + len(MARK) :])


def password_for_new_user(scrambled: str, own_password: str) -> str:
    """The password in arg2 of API 714 `mkuser`: scrambled with that of the groupadmin who asks."""
    return _unpadded(_unscramble(scrambled, own_password, chained=False))
