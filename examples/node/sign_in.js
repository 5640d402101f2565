// Signs somebody in with a code by text or by call: all that an auth service says to otpost and hears from it.

import { randomBytes, randomInt, randomUUID, timingSafeEqual } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { xchacha20poly1305 } from "@noble/ciphers/chacha"; // npm install @noble/ciphers
import amqp from "amqplib"; // npm install amqplib

const AMQP = process.env.OTPOST_AMQP_URL;
if (!AMQP) throw new Error("OTPOST_AMQP_URL is not set");
const TENANT = "default";

/** Says things to otpost. What was published is with the broker: confirmed, routed, and on disk. */
class Producer {
  async connect() {
    const connection = await amqp.connect(AMQP);
    this.channel = await connection.createConfirmChannel();
    this.returned = new Set();
    // A message that no queue took comes back before it is confirmed.
    this.channel.on("return", (message) => this.returned.add(message.properties.messageId));
    // Without these, a connection that breaks ends the program.
    connection.on("error", () => {});
    this.channel.on("error", () => {});
    connection.on("close", () => (this.channel = undefined));
  }

  async publish(routingKey, body) {
    const messageId = randomUUID();
    const options = {
      messageId,
      persistent: true,
      mandatory: true,
      contentType: "application/json",
      userId: decodeURIComponent(new URL(AMQP).username), // RabbitMQ checks it, so that otpost can trust it
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
        // Whether the broker has it is not known. Publish the very same again: one id is one dispatch.
        this.channel = undefined;
        if (pause === undefined) throw error;
        await sleep(pause);
      }
    }
    if (this.returned.delete(messageId)) throw new Error("no queue took it: is otpost set up in this vhost?");
  }
}

/** A secret that can be read in the broker until otpost has taken the job in. */
function plain(number, code) {
  return { to: number, code };
}

/** A secret that only otpost can read, bound to this one job. */
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

/** Hears of every change of state, each at least once; what came while nobody listened waits in the queue. */
async function listen(hear, listening) {
  // Of your own, one for each service. Its processes share it: whoever hears must find the session in what they share.
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
          hear(event);
        }
        channel.ack(message);
      });
      listening();
      await closed;
    } catch (problem) {
      console.error("not listening:", problem.message);
    }
    await sleep(1000);
  }
}

/** One person who signs in: one code, however often and by whatever way it is sent. */
class SignIn {
  constructor(number, producer) {
    this.number = number;
    this.producer = producer;
    this.key = randomUUID();
    this.code = String(randomInt(10 ** 6)).padStart(6, "0");
    this.expiresAt = new Date(Date.now() + 5 * 60_000);
    this.over = false; // the newest dispatch has ended, well or not
  }

  /** Sends the code; whatever of this sign-in was not sent yet is not sent any more. */
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

  /** What became of the newest dispatch; `sent` may be followed by anything, all else is its end. */
  hear({ data }) {
    if (data.id !== this.id) return;
    this.over = data.state !== "sent";
    console.log(`otpost: ${data.state}`, data.channel ?? "", data.reason ?? "", data.retry_after_s ?? "");
  }

  /** "Call me instead": the next step of the plan now, or where the plan has ended, a call of its own. */
  async call() {
    if (this.over) await this.send(["voice"]);
    else await this.producer.publish("next", { tenant: TENANT, id: this.id, step: 1 });
  }

  /** Tells otpost whether the code came back right; after a right one nothing more is sent. */
  async check(typed) {
    const [given, code] = [Buffer.from(typed), Buffer.from(this.code)];
    const right = given.length === code.length && timingSafeEqual(given, code);
    await this.producer.publish("feedback", { tenant: TENANT, id: this.id, verified: right });
    return right;
  }
}

const signIn = new SignIn(process.argv[2], new Producer());
// Before the queue is there, nothing is kept in it.
await new Promise((listening) => listen((event) => signIn.hear(event), listening));
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
