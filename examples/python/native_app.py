"""A product's own app, in Python. Each request is signed with HTTP Message Signatures (RFC 9421).

    export TWO_STEP_URL=https://verify.shop.example
    python native_app.py register 7K2M-9QX0      the set-up code of the settings page; the answer has the digits for it
    python native_app.py account
    python native_app.py listen                  prints each approval request
    python native_app.py approve 481516          the number that the sign-in page shows
    python native_app.py deny | code             "It was not me"; a code to type on the page
    python native_app.py push https://...        the endpoint for pushes; without one, no pushes
    python native_app.py rekey | unregister

Needs: requests, http-message-signatures, cryptography. The key is stored in app.pem.
"""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import secrets
import sys

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

URL = os.environ.get("TWO_STEP_URL", "http://127.0.0.1:8090")
KEY_FILE = pathlib.Path(os.environ.get("APP_KEY", "app.pem"))
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """The app's key. A real app stores it in Keychain or Keystore."""

    def __init__(self, private):
        self.private = private
        numbers = private.public_key().public_numbers()
        x, y = (base64url(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        # RFC 7638: SHA-256 over the required members, in the order of their names, without spaces.
        self.id = base64url(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":")).encode()).digest())

    @classmethod
    def new(cls):
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls):
        if not KEY_FILE.exists():
            cls.new().save()
        return cls(serialization.load_pem_private_key(KEY_FILE.read_bytes(), None))

    def save(self):
        plain = serialization.NoEncryption()
        pem = self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        KEY_FILE.touch(0o600)
        KEY_FILE.write_bytes(pem)

    def sign(self, text):
        """Returns the signature: 64 bytes, in base64url."""
        r, s = decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class Signer(HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_private_key(self, key_id):
        return self.key.private


def send(key, method, path, body=None, ahead_s=0, stream=False):
    data = b"" if body is None else json.dumps(body).encode()
    request = requests.Request(method, URL + path, data=data, headers={"Content-Type": "application/json"}).prepare()
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ECDSA_P256_SHA256, key_resolver=Signer(key))
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=ahead_s)
    nonce = secrets.token_urlsafe(18)
    signer.sign(request, key_id=key.id, nonce=nonce, created=now, label="app", covered_component_ids=COMPONENTS, body=data)
    return requests.Session().send(request, timeout=40, stream=stream)


def call(key, method, path, body=None):
    """Returns status and answer. After the problem `clock` it signs again with the server's time."""
    answer = send(key, method, path, body)
    read = answer.json() if answer.content else None
    if answer.status_code == 401 and read["type"].endswith(":clock"):
        ahead_s = read["now"] - datetime.datetime.now().timestamp()
        answer = send(key, method, path, body, ahead_s)
        read = answer.json() if answer.content else None
    return answer.status_code, read


def answer_request(key, action, body=None):
    """Waits for an approval request, and answers it."""
    status, answer = call(key, "GET", "/app/v1/requests?wait=20")
    if status != 200 or not answer["requests"]:
        return status, answer
    return call(key, "POST", f"/app/v1/requests/{answer['requests'][0]['id']}/{action}", body)


def listen(key):
    answer = send(key, "GET", "/app/v1/stream", stream=True)
    if answer.status_code == 200:
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("data:"):
                print(line.removeprefix("data:").strip(), flush=True)
    return answer.status_code, None if answer.status_code == 200 else answer.json()


def rekey(key):
    new = Key.new()
    body = {"public_key": new.jwk, "proof": new.sign(f"rekey:{key.id}:{new.id}")}
    status, answer = call(key, "PUT", "/app/v1/key", body)
    # Keep both keys until the answer arrives, because the server may already use the new one.
    if status == 204:
        new.save()
    return status, answer


COMMANDS = {
    "register": lambda key, code: call(
        key, "POST", "/app/v1/register", {"code": code, "public_key": key.jwk, "name": "Python"}
    ),
    "account": lambda key: call(key, "GET", "/app/v1/account"),
    "listen": listen,
    "approve": lambda key, digits: answer_request(key, "approve", {"digits": digits}),
    "deny": lambda key: answer_request(key, "deny"),
    "code": lambda key: answer_request(key, "code"),
    "push": lambda key, endpoint=None: call(key, "PUT", "/app/v1/push", {"endpoint": endpoint}),
    "rekey": rekey,
    "unregister": lambda key: call(key, "DELETE", "/app/v1/account"),
}


def main(arguments):
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        sys.exit(__doc__)
    status, answer = command(Key.load(), *arguments[1:])
    print(json.dumps({"status": status, "answer": answer}))


if __name__ == "__main__":
    main(sys.argv[1:])
