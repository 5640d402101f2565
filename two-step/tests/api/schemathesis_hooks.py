"""Replaces some generated values by valid ones: a user who is on, and the current time."""

import datetime
import secrets

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(body, dict):
        return
    if case.operation.label == "POST /v1/challenges":
        if secrets.randbelow(2):
            body["user"] = "u1"
        if secrets.randbelow(2):
            body.pop("return_url", None)
    if "password_at" in body:
        body["password_at"] = datetime.datetime.now(datetime.timezone.utc).isoformat()
    if "return_url" in body and secrets.randbelow(2):
        body["return_url"] = "https://shop.example/2fa"
