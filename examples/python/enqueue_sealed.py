"""Enqueues one code so that neither the number nor the code can be read in the broker."""

import base64
import datetime
import json
import os
import struct
import sys
import time
import uuid

import nacl.utils  # pip install pynacl
import pika  # pip install pika
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

number, code = sys.argv[1], sys.argv[2]
tenant = "default"
kid, key = os.environ["OTPOST_TENANT_KEY"].split(".")  # otpost keys tenant

dispatch_id = uuid.uuid4()
expires_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
expires_at = expires_at.replace(microsecond=expires_at.microsecond // 1000 * 1000)  # whole milliseconds
milliseconds = round(expires_at.timestamp() * 1000)

# Additional authenticated data. It binds the secret to this job: tenant (length-prefixed), id, expiry.
context = struct.pack(">I", len(tenant)) + tenant.encode() + dispatch_id.bytes + struct.pack(">Q", milliseconds)
secret = json.dumps({"to": number, "code": code}).encode()
nonce = nacl.utils.random(24)
sealed = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(secret, context, nonce, bytes.fromhex(key))

job = {
    "id": str(dispatch_id),
    "tenant": tenant,
    "expires_at": expires_at.isoformat(),
    "sealed": f"v1.{kid}." + base64.urlsafe_b64encode(sealed).decode().rstrip("="),
}
connection = pika.BlockingConnection(pika.URLParameters(os.environ["OTPOST_AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish(
    exchange="otpost",
    routing_key="dispatch",
    body=json.dumps(job),
    properties=pika.BasicProperties(delivery_mode=2, content_type="application/json", timestamp=int(time.time())),
    mandatory=True,
)
connection.close()
print(dispatch_id)
