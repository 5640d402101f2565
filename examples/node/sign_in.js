// Signs a user in with a code by text or call: shows every message between an auth service and otpost.

import { randomBytes, randomInt, randomUUID, timingSafeEqual } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { xchacha20poly1305 } from "@noble/ciphers/chacha"; // npm install @noble/ciphers
import amqp from "amqplib"; // npm install amqplib

const AMQP = process.env.OTPOST_AMQP_URL;
if (!AMQP) throw new Error("OTPOST_AMQP_URL is not set");
const TENANT = "default";

/** Publishes to otpost. When `publish` returns, the broker has routed the message and written it to disk. */
class Producer {
  async connect() {
    const connection = await amqp.connect(AMQP);
    this.channel = await connection.createConfirmChannel();
    this.returned = new Set();
    // The broker returns a message that reached no queue before it confirms it.
    this.channel.on("return", (message) => this.returned.add(message.properties.messageId));
    // Without these handlers, a broken connection ends the program.
    connection.on("error", () => {});
    this.channel.on("error", () => {});
    connection.on("close", () => {
      if (this.connection === connection) this.channel = undefined;
    });
    this.connection = connection;
  }

  async publish(routingKey, body) {
    const messageId = randomUUID();
    const options = {
      messageId,
      persistent: true,
      mandatory: true,
      contentType: "application/json",
      timestamp: Math.floor(Date.now() / 1000), // otpost measures how long jobs wait
      userId: decodeURIComponent(new URL(AMQP).username), // RabbitMQ checks it, so otpost can trust it
    };
    for (const pause of [100, 1000, 3000, undefined]) {
      try {
        if (!this.channel) await this.connect();
        await new Promise((resolve, reject) => {
          const confirmed = (error) => (error ? reject(error) : resolve());
          this.channel.publish("otpost", routingKey, Buffer.from(JSON.stringify(body)), options, confirmed);
        });
        break;
      } catch (error) {
        // The broker refused the message, or it is unknown whether it has it. Publish the same message again, on a new
        // connection: one id is one dispatch.
        this.connection?.close().catch(() => {});
        this.connection = this.channel = undefined;
        if (pause === undefined) throw error;
        await sleep(pause);
      }
    }
    if (this.returned.delete(messageId)) throw new Error("no queue accepts the message: run `otpost migrate` for this vhost");
  }
}

/** Returns the fields in plain text. They are readable in the broker until otpost has admitted the job. */
function plain(number, code) {
  return { to: number, code };
}

/** Returns the fields sealed, so that only otpost can read them. The seal is bound to this job. */
function sealed(number, code, id, expiresAt) {
  const [kid, key] = process.env.OTPOST_TENANT_KEY.split("."); // otpost keys tenant
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(TENANT));
  const milliseconds = Buffer.alloc(8);
  milliseconds.writeBigUInt64BE(BigInt(expiresAt.getTime()));
  const context = Buffer.concat([length, Buffer.from(TENANT), Buffer.from(id.replaceAll("-", ""), "hex"), milliseconds]);
  const secret = Buffer.from(JSON.stringify({ to: number, code }));
  const nonce = randomBytes(24);
  const box = Buffer.concat([nonce, xchacha20poly1305(Buffer.from(key, "hex"), nonce, context).encrypt(secret)]);
  return { sealed: `v1.${kid}.${box.toString("base64url")}` };
}

const secretOf = process.env.OTPOST_TENANT_KEY ? sealed : plain;

/** Receives each `sent` and each final state at least once. The queue keeps events while no consumer is connected. */
async function listen(onEvent, listening) {
  // One queue for each service, shared by its processes. Any process may receive an event: keep sessions in shared storage.
  const queue = "sign-in.events";
  const seen = new Set(); // a real service keeps the newest sequence of each dispatch with its session
  for (;;) {
    try {
      const connection = await amqp.connect(AMQP);
      connection.on("error", () => {});
      const closed = new Promise((resolve) => connection.on("close", resolve));
      const channel = await connection.createChannel();
      channel.on("error", () => {});
      await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
      await channel.bindQueue(queue, "otpost.events", "dispatch.#");
      await channel.prefetch(100);
      await channel.consume(queue, (message) => {
        if (message === null) return connection.close(); // the queue was deleted
        const event = JSON.parse(message.content);
        if (!seen.has(event.id)) {
          seen.add(event.id);
          onEvent(event);
        }
        channel.ack(message);
      });
      listening();
      await closed;
    } catch (problem) {
      console.error("the connection for events failed:", problem.message);
    }
    await sleep(1000);
  }
}

/** One sign-in of a user. It has one code, which may be sent several times and over several channels. */
class SignIn {
  constructor(number, producer) {
    this.number = number;
    this.producer = producer;
    this.key = randomUUID();
    this.code = String(randomInt(10 ** 6)).padStart(6, "0");
    this.expiresAt = new Date(Date.now() + 5 * 60_000);
    this.over = false; // the newest dispatch has a final state
  }

  /** Sends the code. Earlier dispatches of this sign-in that were not sent yet are superseded. */
  async send(channels = ["sms", "voice"]) {
    this.id = randomUUID();
    this.over = false;
    await this.producer.publish("dispatch", {
      id: this.id,
      tenant: TENANT,
      expires_at: this.expiresAt.toISOString(),
      channels,
      supersedes: this.key,
      issued_at: new Date().toISOString(),
      tags: { "sign-in": this.key },
      ...secretOf(this.number, this.code, this.id, this.expiresAt),
    });
  }

  /** Handles an event of the newest dispatch. Every state but `sent` is final. */
  onEvent({ data }) {
    if (data.id !== this.id) return;
    this.over = data.state !== "sent";
    console.log(`otpost: ${data.state}`, data.channel ?? "", data.reason ?? "", data.retry_after_s ?? "");
  }

  /** "Call me instead": begins the next step, or sends a new dispatch with a call if the plan has ended. */
  async call() {
    if (this.over) await this.send(["voice"]);
    else await this.producer.publish("next", { tenant: TENANT, id: this.id, step: 1 });
  }

  /** Reports to otpost whether the entered code was right. After a right code otpost sends nothing more. */
  async check(typed) {
    const [given, code] = [Buffer.from(typed), Buffer.from(this.code)];
    const right = given.length === code.length && timingSafeEqual(given, code);
    await this.producer.publish("feedback", { tenant: TENANT, id: this.id, verified: right });
    return right;
  }
}

const signIn = new SignIn(process.argv[2], new Producer());
// Events that are published before the queue exists are lost.
await new Promise((listening) => listen((event) => signIn.onEvent(event), listening));
await signIn.send();
console.log("Type the code, or: again, call");
for await (const line of createInterface({ input: process.stdin })) {
  const typed = line.trim();
  if (typed === "again") await signIn.send();
  else if (typed === "call") await signIn.call();
  else if (await signIn.check(typed)) {
    console.log("Signed in");
    process.exit(0);
  } else console.log("That is not the code");
}
process.exit(1);
