// Publishes valid jobs with every property that amqplib can set, and unreadable bodies.
//
// Prints a line for each message: the number and a name if a text must arrive, and only a name if it must be
// dead-lettered.

import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";

import amqp from "amqplib";

const prefix = process.argv[2]; // of the numbers
const connection = await amqp.connect(process.env.OTPOST_AMQP_URL);
const channel = await connection.createConfirmChannel();
const expires_at = new Date(Date.now() + 5 * 60_000).toISOString();
let serial = 200;

function job() {
  const to = prefix + String(serial++).padStart(4, "0");
  return [to, JSON.stringify({ id: randomUUID(), to, code: "481516", expires_at })];
}

function good(name, options) {
  const [to, body] = job();
  channel.publish("otpost", "dispatch", Buffer.from(body), { mandatory: true, ...options });
  console.log(to, name);
}

function bad(name, body, options) {
  channel.publish("otpost", "dispatch", body, { mandatory: true, ...options });
  console.log(name);
}

good("nothing set", {});
good("not persistent", { persistent: false });
good("another content type", { contentType: "text/html", contentEncoding: "deflate" });
good("everything set", {
  persistent: true, priority: 255, correlationId: "c".repeat(255), replyTo: "nobody", expiration: 3_600_000,
  messageId: "m".repeat(255), timestamp: 1, type: "t".repeat(255), appId: "a".repeat(255),
});
good("every type of header", {
  headers: {
    nothing: null, missing: undefined, yes: true, less: -(2 ** 40), part: 0.5, bytes: Buffer.from([0, 255]),
    when: { "!": "timestamp", value: 1 }, exact: { "!": "decimal", value: { digits: 15, places: 1 } },
    many: [1, "two", [3], { four: 5 }], deep: { a: { b: { c: {} } } }, "Schlüssel 🔑": "Wert 🔑", long: "x".repeat(60_000),
  },
});
good("a delivery count of its own", { headers: { "x-delivery-count": 99 } });
good("a delivery count that is none", { headers: { "x-delivery-count": { many: true } } });
good("a trace that is none", { headers: { traceparent: ["00"] } });
good("more routing keys", { CC: ["next"], BCC: ["nowhere"] });
const [spaced, text] = job();
channel.publish("otpost", "dispatch", Buffer.from(`\r\n\t ${text} \n`), { mandatory: true });
console.log(spaced, "white space around it");

const [marked, json] = job();
channel.publish("otpost", "dispatch", Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(json)]), { mandatory: true });
console.log(marked, "a byte order mark");
bad("UTF-16", Buffer.from(job()[1], "utf16le"));
bad("compressed", gzipSync(job()[1]), { contentEncoding: "gzip" });
bad("nothing", Buffer.alloc(0));
await channel.waitForConfirms();
await connection.close();
