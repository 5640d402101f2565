// A lean worker in Node: for each job one insert, one request to the carrier, one update, one confirmed event, and one
// acknowledgement. It has no quota, no groups and no fenced results. Started by `benches run drain`.
"use strict";

const { randomUUID } = require("node:crypto");
const amqp = require("amqplib");
const pg = require("pg");
const { Pool } = require("undici");

const PREFETCH = 512;
const DATABASE_CONNECTIONS = 16;
const CARRIER_CONNECTIONS = 256;

const [jobs, amqpUrl, databaseUrl, schema, carrier] = process.argv.slice(2);

async function main() {
  const database = new pg.Pool({
    connectionString: databaseUrl,
    options: `-c search_path=${schema}`,
    max: DATABASE_CONNECTIONS,
  });
  const http = new Pool(carrier, { connections: CARRIER_CONNECTIONS });
  const connection = await amqp.connect(amqpUrl, { noDelay: true });
  const consuming = await connection.createChannel();
  const publishing = await connection.createConfirmChannel();
  await consuming.prefetch(PREFETCH);
  const authorization = `Basic ${Buffer.from("AC0:token").toString("base64")}`;
  const path = "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json";
  let left = Number(jobs);

  async function handle(message) {
    const job = JSON.parse(message.content.toString());
    const inserted = await database.query({
      name: "claim",
      text: `insert into node_job values ($1, $2, $3, 'sending', null, clock_timestamp()) on conflict do nothing`,
      values: [job.id, job.to, job.expires_at],
    });
    if (inserted.rowCount === 1) {
      const form = new URLSearchParams({
        To: job.to,
        From: "+15005550006",
        Body: `${job.code} is your Example code.`,
        StatusCallback: `http://127.0.0.1:8081/receipts/${job.id}`,
      });
      const { statusCode, body } = await http.request({
        path,
        method: "POST",
        headers: { authorization, "content-type": "application/x-www-form-urlencoded" },
        body: form.toString(),
      });
      const answer = await body.json();
      if (statusCode !== 201) throw new Error(`the carrier answered ${statusCode}`);
      const updated = await database.query({
        name: "finish",
        text: `update node_job set state = 'sent', reference = $2, sent_at = clock_timestamp() where id = $1 and state = 'sending'`,
        values: [job.id, answer.sid],
      });
      if (updated.rowCount !== 1) throw new Error("a job was not written as sent");
      await confirmed(job.id);
    }
    consuming.ack(message);
    left -= 1;
    // The connection stays open: RabbitMQ drops acknowledgements of a closed channel that it has not applied yet.
    if (left === 0) console.log("done");
  }

  function confirmed(id) {
    const event = {
      specversion: "1.0",
      id: randomUUID(),
      source: "/node",
      type: "io.otpost.dispatch.sent",
      time: new Date().toISOString(),
      datacontenttype: "application/json",
      data: { id, state: "sent", channel: "sms" },
    };
    const options = { persistent: true, contentType: "application/cloudevents+json", messageId: event.id };
    return new Promise((resolve, reject) => {
      const body = Buffer.from(JSON.stringify(event));
      publishing.publish("otpost.events", "dispatch.sent", body, options, (error) => (error ? reject(error) : resolve()));
    });
  }

  await consuming.consume("otpost.dispatch", (message) => {
    handle(message).catch(fail);
  });
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

main().catch(fail);
