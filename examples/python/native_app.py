"""A product's own app, in Python: registers, and answers what it is asked. Each request is signed with HTTP Message Signatures
(RFC 9421).

    TWO_STEP_URL=https://verify.shop.example python native_app.py register 7K2M-9QX0
    TWO_STEP_URL=https://verify.shop.example python native_app.py approve 481516

Needs: requests, http-message-signatures, cryptography. The key is kept in app.pem.
"""

import base64
import hashlib
import json
import os
import pathlib
import secrets
import sys

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

URL = os.environ["TWO_STEP_URL"]
KEY_FILE = pathlib.Path(os.environ.get("APP_KEY", "app.pem"))
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def load_key():
    """The app's key. A phone keeps it where nothing can read it: Keychain, Keystore."""
    if not KEY_FILE.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        encryption = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        KEY_FILE.touch(0o600)
        KEY_FILE.write_bytes(pem)
    return serialization.load_pem_private_key(KEY_FILE.read_bytes(), None)


KEY = load_key()
NUMBERS = KEY.public_key().public_numbers()
JWK = {
    "crv": "P-256",
    "kty": "EC",
    "x": base64url(NUMBERS.x.to_bytes(32, "big")),
    "y": base64url(NUMBERS.y.to_bytes(32, "big")),
}
# RFC 7638: SHA-256 over the required members, in the order of their names, without spaces.
KEY_ID = base64url(hashlib.sha256(json.dumps(JWK, separators=(",", ":")).encode()).digest())


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return KEY


def call(method, path, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    request = requests.Request(method, URL + path, data=data, headers={"Content-Type": "application/json"}).prepare()
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ECDSA_P256_SHA256, key_resolver=Keys())
    nonce = secrets.token_urlsafe(18)
    signer.sign(request, key_id=KEY_ID, nonce=nonce, label="app", covered_component_ids=COMPONENTS, body=data)
    answer = requests.Session().send(request, timeout=40)
    return answer.status_code, answer.json() if answer.content else None


def main(command, value=""):
    if command == "register":
        body = {"code": value, "public_key": JWK, "name": "Python"}
        return call("POST", "/app/v1/register", body)
    if command == "approve":
        status, answer = call("GET", "/app/v1/requests?wait=20")
        if status != 200 or not answer["requests"]:
            return status, answer
        return call("POST", f"/app/v1/requests/{answer['requests'][0]['id']}/approve", {"digits": value})
    if command == "deny":
        _, answer = call("GET", "/app/v1/requests?wait=20")
        return call("POST", f"/app/v1/requests/{answer['requests'][0]['id']}/deny")
    return call(*{"account": ("GET", "/app/v1/account"), "unregister": ("DELETE", "/app/v1/account")}[command])


if __name__ == "__main__":
    status, answer = main(*sys.argv[1:])
    print(json.dumps({"status": status, "answer": answer}))
