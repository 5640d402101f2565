"""Checks results with PyJWT as a product does: a valid one, and forgeries that an attacker can derive from it."""

import base64
import hashlib
import hmac
import json
import sys

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def encode(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


asked = json.load(sys.stdin)
keys = jwt.PyJWKSet.from_dict(asked["jwks"])


def outcome(token):
    header = jwt.get_unverified_header(token)
    key = next((key for key in keys.keys if key.key_id == header["kid"]), None)
    if key is None:
        return "no such key"
    try:
        claims = jwt.decode(
            token, key, algorithms=["ES256"], audience=asked["product"], issuer=asked["issuer"], subject=asked["user"],
            options={"require": ["iss", "aud", "sub", "iat", "exp", "jti", "nonce"]},
        )
    except jwt.InvalidTokenError as problem:
        return type(problem).__name__
    return f"taken: {claims['method']}, {claims['nonce']}"


tokens = {name: token for name, token in asked.items() if isinstance(token, str) and token.count(".") == 2}
tokens = {name: token for name, token in tokens.items() if token.startswith("ey")}
good = tokens["good"]
header, claims, signature = good.split(".")
head = jwt.get_unverified_header(good)
body = jwt.decode(good, options={"verify_signature": False})
public = next(key for key in keys.keys if key.key_id == head["kid"]).key

tokens["other claims"] = f"{header}.{encode({**body, 'sub': 'u-2'})}.{signature}"
flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
flipped[0] ^= 1
tokens["other signature"] = f"{header}.{claims}.{encode(bytes(flipped))}"
tokens["signature of another result"] = f"{header}.{claims}.{tokens['expired'].split('.')[2]}"
tokens["without signature"] = f"{header}.{claims}."
tokens["alg none"] = f"{encode({**head, 'alg': 'none'})}.{claims}."
secrets = {
    "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "JWK": json.dumps(next(key for key in asked["jwks"]["keys"] if key["kid"] == head["kid"])).encode(),
}
for name, secret in secrets.items():
    text = f"{encode({**head, 'alg': 'HS256'})}.{claims}"
    tag = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    tokens[f"HS256 with the public key ({name})"] = f"{text}.{encode(tag)}"

json.dump({name: outcome(token) for name, token in tokens.items()}, sys.stdout)
