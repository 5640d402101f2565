// Forwards a shop's calls to two-step, but signs the results itself. A scenario chooses one thing that is wrong.
"use strict";

const { createHmac, createPublicKey, generateKeyPairSync, randomUUID, sign } = require("node:crypto");
const http = require("node:http");

const { api } = JSON.parse(process.env.STACK);
const PROXY = process.env.PROXY;

const newKey = () => ({ kid: randomUUID(), ...generateKeyPairSync("ec", { namedCurve: "P-256" }) });
const another = newKey();
let key = newKey();
let wrong = {};
const state = { asked: { keys: 0 }, told: [] };

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function signature(alg, text, by) {
  if (alg === "none") return "";
  if (alg === "HS256") {
    const secret = createPublicKey(by.privateKey).export({ type: "spki", format: "pem" });
    return createHmac("sha256", secret).update(text).digest("base64url");
  }
  return sign("sha256", Buffer.from(text), { key: by.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
}

/** A result of two-step, signed with the proxy's key. */
function forged(result) {
  if (wrong.text) return wrong.text;
  const [header, claims] = result.split(".", 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));
  const told = (wrong.claims ?? ((c) => c))({ ...claims, iss: PROXY });
  const head = (wrong.header ?? ((h) => h))({ ...header, kid: key.kid });
  state.told.push(told);
  const text = `${encode(head)}.${encode(told)}`;
  const signed = signature(head.alg, text, wrong.key === "another" ? another : key);
  return wrong.tampered ? `${encode(head)}.${encode({ ...told, acr: "second" })}.${signed}` : `${text}.${signed}`;
}

async function passOn(request, response) {
  const { url, method } = request;
  if (url === "/.well-known/jwks.json") {
    state.asked.keys += 1;
    const jwk = { ...key.publicKey.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: key.kid };
    return response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: [jwk] }));
  }
  const parts = [];
  for await (const part of request) parts.push(part);
  let body = Buffer.concat(parts).toString();
  if (wrong.silent === url) return undefined;
  const isRedeem = url === "/v1/tickets/redeem";
  if (isRedeem && wrong.status) {
    response.writeHead(wrong.status, { "content-type": "application/problem+json", "retry-after": "90" });
    return response.end(JSON.stringify({ status: wrong.status }));
  }
  if (url === "/v1/sessions" && wrong.passwordAt) body = JSON.stringify({ ...JSON.parse(body), password_at: wrong.passwordAt });
  const headers = { authorization: request.headers.authorization, "content-type": "application/json" };
  const answer = await fetch(api + url, { method, headers, body: body || undefined });
  let text = await answer.text();
  if (isRedeem && answer.ok) text = JSON.stringify({ result: forged(JSON.parse(text).result) });
  response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain" });
  return response.end(text);
}

/** Starts to listen. Returns a function that stops it. */
async function start() {
  const server = http.createServer((request, response) => {
    passOn(request, response).catch((problem) => response.writeHead(502).end(String(problem)));
  });
  await new Promise((resolve) => server.listen(new URL(PROXY).port, "127.0.0.1", resolve));
  return async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
}

Object.assign(state, {
  start,
  /** Chooses what is wrong with the next answers: one thing, or nothing. */
  next: (what) => (wrong = what),
  changeKey: () => (key = newKey()),
});
module.exports = state;
