"""Signs a user in with a code by text or call: shows every message between an auth service and otpost."""

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
    """Publishes to otpost, from one thread. When `publish` returns, the broker has routed the message and written it to disk."""

    def __init__(self):
        self.connection = None

    def publish(self, routing_key, body):
        properties = pika.BasicProperties(
            delivery_mode=2,
            content_type="application/json",
            timestamp=int(time.time()),  # otpost measures how long jobs wait
            user_id=AMQP.credentials.username,  # RabbitMQ checks it, so otpost can trust it
        )
        for pause in (0.1, 1, 3, None):
            try:
                if self.connection is None or self.connection.is_closed:
                    self.connection = pika.BlockingConnection(AMQP)
                    self.channel = self.connection.channel()
                    self.channel.confirm_delivery()
                self.channel.basic_publish("otpost", routing_key, json.dumps(body), properties, mandatory=True)
                return
            except (pika.exceptions.AMQPConnectionError, pika.exceptions.NackError):
                # The broker refused the message, or it is unknown whether it has it. Publish the same message again, on a new
                # connection: one id is one dispatch.
                self.close()
                if pause is None:
                    raise
                time.sleep(pause)

    def close(self):
        try:
            if self.connection is not None:
                self.connection.close()
        except pika.exceptions.AMQPError:
            pass  # it is closed already
        self.connection = None


def plain(number, code, dispatch_id, expires_at):
    """Returns the fields in plain text. They are readable in the broker until otpost has admitted the job."""
    return {"to": number, "code": code}


def sealed(number, code, dispatch_id, expires_at):
    """Returns the fields sealed, so that only otpost can read them. The seal is bound to this job."""
    kid, key = os.environ["OTPOST_TENANT_KEY"].split(".")  # otpost keys tenant
    milliseconds = round(expires_at.timestamp() * 1000)
    context = struct.pack(">I", len(TENANT)) + TENANT.encode() + dispatch_id.bytes + struct.pack(">Q", milliseconds)
    secret = json.dumps({"to": number, "code": code}).encode()
    nonce = nacl.utils.random(24)
    box = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(secret, context, nonce, bytes.fromhex(key))
    return {"sealed": f"v1.{kid}." + base64.urlsafe_b64encode(box).decode().rstrip("=")}


secret_of = sealed if "OTPOST_TENANT_KEY" in os.environ else plain


class Events(threading.Thread):
    """Receives each `sent` and each final state at least once. The queue keeps events while no consumer is connected."""

    # One queue for each service, shared by its processes. Any process may receive an event: keep sessions in shared storage.
    QUEUE = "sign-in.events"

    def __init__(self, on_event):
        super().__init__(daemon=True)
        self.on_event, self.listening = on_event, threading.Event()
        self.seen = set()  # a real service keeps the newest sequence of each dispatch with its session

    def run(self):
        while True:
            try:
                self.listen()
            except pika.exceptions.AMQPError as problem:
                print("the connection for events failed:", repr(problem), file=sys.stderr, flush=True)
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
                self.on_event(event)
            channel.basic_ack(delivery.delivery_tag)


class SignIn:
    """One sign-in of a user. It has one code, which may be sent several times and over several channels."""

    def __init__(self, number, producer):
        self.number, self.producer = number, producer
        self.key = str(uuid.uuid4())
        self.code = f"{secrets.randbelow(10**6):06d}"
        now = datetime.datetime.now(datetime.timezone.utc)
        self.expires_at = now.replace(microsecond=0) + datetime.timedelta(minutes=5)
        self.over = False  # the newest dispatch has a final state

    def send(self, channels=("sms", "voice")):
        """Sends the code. Earlier dispatches of this sign-in that were not sent yet are superseded."""
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

    def on_event(self, event):
        """Handles an event of the newest dispatch. Every state but `sent` is final."""
        data = event["data"]
        if data["id"] == str(self.dispatch_id):
            self.over = data["state"] != "sent"
            print(f"otpost: {data['state']}", data.get("channel", ""), data.get("reason", ""), data.get("retry_after_s", ""), flush=True)

    def call(self):
        """"Call me instead": begins the next step, or sends a new dispatch with a call if the plan has ended."""
        if self.over:
            self.send(["voice"])
        else:
            self.producer.publish("next", {"tenant": TENANT, "id": str(self.dispatch_id), "step": 1})

    def check(self, typed):
        """Reports to otpost whether the entered code was right. After a right code otpost sends nothing more."""
        right = secrets.compare_digest(typed.encode(), self.code.encode())
        feedback = {"tenant": TENANT, "id": str(self.dispatch_id), "verified": right}
        self.producer.publish("feedback", feedback)
        return right


def main():
    sign_in = SignIn(sys.argv[1], Producer())
    events = Events(sign_in.on_event)
    events.start()
    events.listening.wait()  # events that are published before the queue exists are lost
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
