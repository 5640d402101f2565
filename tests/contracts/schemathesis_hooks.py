"""Gives valid jobs of schemathesis a future expiry and an existing number, and gives half of them a new id."""

import datetime
import secrets
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if case.operation.label != "POST /v1/dispatches" or not isinstance(body, dict) or "code" not in body:
        return
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
    body["expires_at"] = ends.isoformat()
    body["to"] = f"+447700{900000 + secrets.randbelow(1000)}"
    if secrets.randbelow(2):
        body["id"] = str(uuid.uuid4())
    body.pop("template", None)  # `code` is the only template
    body.pop("tenant", None)
