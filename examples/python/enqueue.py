"""Enqueues one code: persistent, confirmed, and mandatory, so that no job is lost silently."""

import datetime
import json
import os
import sys
import time
import uuid

import pika  # pip install pika

number, code = sys.argv[1], sys.argv[2]
connection = pika.BlockingConnection(pika.URLParameters(os.environ["OTPOST_AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()  # from here on, basic_publish raises an error unless the broker confirms the job

job = {
    "id": str(uuid.uuid4()),  # the same id is never sent twice: use it again when you publish again
    "to": number,
    "code": code,
    "expires_at": (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)).isoformat(),
    "channels": ["sms", "voice"],
    "tags": {"flow": "login"},
}
channel.basic_publish(
    exchange="otpost",
    routing_key="dispatch",
    body=json.dumps(job),
    properties=pika.BasicProperties(delivery_mode=2, content_type="application/json", timestamp=int(time.time())),
    mandatory=True,  # without a queue, pika raises UnroutableError
)
connection.close()
print(job["id"])
