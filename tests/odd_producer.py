"""Publishes valid jobs with every property that pika can set, and unreadable bodies.

Prints a line for each message: the number and a name if a text must arrive, and only a name if it must be dead-lettered.
"""

import datetime
import decimal
import gzip
import json
import os
import sys
import uuid

import pika

prefix = sys.argv[1]  # of the numbers
connection = pika.BlockingConnection(pika.URLParameters(os.environ["OTPOST_AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()
expires_at = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)).isoformat()
serial = iter(range(200, 300))


def job():
    to = f"{prefix}{next(serial):04d}"
    return to, json.dumps({"id": str(uuid.uuid4()), "to": to, "code": "481516", "expires_at": expires_at})


def publish(name, body, **properties):
    channel.basic_publish("otpost", "dispatch", body, pika.BasicProperties(**properties), mandatory=True)
    return name


def good(name, **properties):
    to, body = job()
    print(to, publish(name, body, **properties))


def bad(name, body, **properties):
    print(publish(name, body, **properties))


good("nothing set")
good("not persistent", delivery_mode=1)
good("another content type", content_type="text/html; charset=latin-1", content_encoding="gzip")
good("everything set", delivery_mode=2, priority=255, correlation_id="c" * 255, reply_to="amq.rabbitmq.reply-to.x",
     expiration="3600000", message_id="m" * 255, timestamp=2**62, type="t" * 255, app_id="a" * 255)
good("nothing in them", message_id="", correlation_id="", type="", app_id="", content_type="", headers={})
good("every type of header", headers={
    "nothing": None, "yes": True, "less": -(2**62), "much": 2**62, "exact": decimal.Decimal("1.5"),
    "when": datetime.datetime(2026, 1, 1), "bytes": b"\x00\xff", "many": [1, "two", [3], {"four": 5}],
    "deep": {"a": {"b": {"c": {}}}}, "": "no name", "Schlüssel 🔑": "Wert 🔑", "long": "x" * 60_000,
})
good("a header of 100 kB", headers={"x-large": "x" * 100_000})
good("a delivery count of its own", headers={"x-delivery-count": 99})
good("a delivery count that is none", headers={"x-delivery-count": "many"})
good("a history of its own", headers={"x-death": [{"queue": "otpost.dispatch", "reason": "rejected", "count": 9}],
                                      "x-first-death-queue": "otpost.dispatch", "x-otpost-reason": "mine"})
good("a trace that is none", headers={"traceparent": "00-nonsense", "tracestate": "x=y"})
good("a trace that is no text", headers={"traceparent": 7})
good("more routing keys", headers={"CC": ["feedback", "nowhere"], "BCC": ["cancel"]})

to, body = job()
print(to, publish("a byte order mark", b"\xef\xbb\xbf" + body.encode()))
bad("UTF-16", job()[1].encode("utf-16"))
bad("compressed", gzip.compress(job()[1].encode()), content_encoding="gzip", content_type="application/json")
bad("nothing", b"")
bad("Latin-1", job()[1].replace("481516", "48151ä").encode("latin-1"))
connection.close()
