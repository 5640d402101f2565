"""Signs somebody in with a code by text or by call: all that an auth service says to otpost and hears from it."""

import base64
import datetime
import json
import os
import secrets
import struct
import sys
import threading
import time
import uuid

import nacl.utils  # pip install pynacl
import pika  # pip install pika
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

AMQP = pika.URLParameters(os.environ["OTPOST_AMQP_URL"])
TENANT = "default"


class Producer:
    """Says things to otpost, from one thread. What was published is with the broker: confirmed, routed, and on disk."""

    def __init__(self):
        self.connection = None

    def publish(self, routing_key, body):
        properties = pika.BasicProperties(
            delivery_mode=2,
            content_type="application/json",
            user_id=AMQP.credentials.username,  # RabbitMQ checks it, so that otpost can trust it
        )
        for pause in (0.1, 1, 3, None):
            try:
                if self.connection is None or self.connection.is_closed:
                    self.connection = pika.BlockingConnection(AMQP)
                    self.channel = self.connection.channel()
                    self.channel.confirm_delivery()
                self.channel.basic_publish("otpost", routing_key, json.dumps(body), properties, mandatory=True)
                return
            except pika.exceptions.AMQPConnectionError:
                # Whether the broker has it is not known. Publish the very same again: one id is one dispatch.
                self.connection = None
                if pause is None:
                    raise
                time.sleep(pause)


def plain(number, code, dispatch_id, expires_at):
    """A secret that can be read in the broker until otpost has taken the job in."""
    return {"to": number, "code": code}


def sealed(number, code, dispatch_id, expires_at):
    """A secret that only otpost can read, bound to this one job."""
    kid, key = os.environ["OTPOST_TENANT_KEY"].split(".")  # otpost keys tenant
    milliseconds = round(expires_at.timestamp() * 1000)
    context = struct.pack(">I", len(TENANT)) + TENANT.encode() + dispatch_id.bytes + struct.pack(">Q", milliseconds)
    secret = json.dumps({"to": number, "code": code}).encode()
    nonce = nacl.utils.random(24)
    box = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(secret, context, nonce, bytes.fromhex(key))
    return {"sealed": f"v1.{kid}." + base64.urlsafe_b64encode(box).decode().rstrip("=")}


secret_of = sealed if "OTPOST_TENANT_KEY" in os.environ else plain


class Events(threading.Thread):
    """Hears of every change of state, each at least once; what came while nobody listened waits in the queue."""

    # Of your own, one for each service. Its processes share it: whoever hears must find the session in what they share.
    QUEUE = "sign-in.events"

    def __init__(self, hear):
        super().__init__(daemon=True)
        self.hear, self.listening = hear, threading.Event()
        self.seen = set()  # a real service keeps the newest sequence of each dispatch with its session

    def run(self):
        while True:
            try:
                self.listen()
            except pika.exceptions.AMQPError as problem:
                print("not listening:", repr(problem), file=sys.stderr, flush=True)
                time.sleep(1)

    def listen(self):
        channel = pika.BlockingConnection(AMQP).channel()
        channel.queue_declare(self.QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(self.QUEUE, "otpost.events", "dispatch.#")
        channel.basic_qos(prefetch_count=100)
        self.listening.set()
        for delivery, _, body in channel.consume(self.QUEUE):
            event = json.loads(body)
            if event["id"] not in self.seen:
                self.seen.add(event["id"])
                self.hear(event)
            channel.basic_ack(delivery.delivery_tag)


class SignIn:
    """One person who signs in: one code, however often and by whatever way it is sent."""

    def __init__(self, number, producer):
        self.number, self.producer = number, producer
        self.key = str(uuid.uuid4())
        self.code = f"{secrets.randbelow(10**6):06d}"
        now = datetime.datetime.now(datetime.timezone.utc)
        self.expires_at = now.replace(microsecond=0) + datetime.timedelta(minutes=5)
        self.over = False  # the newest dispatch has ended, well or not

    def send(self, channels=("sms", "voice")):
        """Sends the code; whatever of this sign-in was not sent yet is not sent any more."""
        self.dispatch_id, self.over = uuid.uuid4(), False
        self.producer.publish(
            "dispatch",
            {
                "id": str(self.dispatch_id),
                "tenant": TENANT,
                "expires_at": self.expires_at.isoformat(),
                "channels": list(channels),
                "supersedes": self.key,
                "issued_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
                "tags": {"sign-in": self.key},
                **secret_of(self.number, self.code, self.dispatch_id, self.expires_at),
            },
        )

    def hear(self, event):
        """What became of the newest dispatch; `sent` may be followed by anything, all else is its end."""
        data = event["data"]
        if data["id"] == str(self.dispatch_id):
            self.over = data["state"] != "sent"
            print(f"otpost: {data['state']}", data.get("channel", ""), data.get("reason", ""), data.get("retry_after_s", ""), flush=True)

    def call(self):
        """"Call me instead": the next step of the plan now, or where the plan has ended, a call of its own."""
        if self.over:
            self.send(["voice"])
        else:
            self.producer.publish("next", {"tenant": TENANT, "id": str(self.dispatch_id), "step": 1})

    def check(self, typed):
        """Tells otpost whether the code came back right; after a right one nothing more is sent."""
        right = secrets.compare_digest(typed.encode(), self.code.encode())
        feedback = {"tenant": TENANT, "id": str(self.dispatch_id), "verified": right}
        self.producer.publish("feedback", feedback)
        return right


def main():
    sign_in = SignIn(sys.argv[1], Producer())
    events = Events(sign_in.hear)
    events.start()
    events.listening.wait()  # before the queue is there, nothing is kept in it
    sign_in.send()
    print("Type the code, or: again, call", flush=True)
    for line in sys.stdin:
        match line.strip():
            case "again":
                sign_in.send()
            case "call":
                sign_in.call()
            case typed if sign_in.check(typed):
                print("Signed in", flush=True)
                return
            case _:
                print("That is not the code", flush=True)


main()
