// Calls to the server. Each is signed with the account's key.

import { sign } from "./signer.js";

/** Seconds by which the server's clock is ahead of this phone's. */
let ahead = 0;

/** The server's time, in milliseconds. */
export const serverNow = () => Date.now() + ahead * 1000;

/** A refusal of the server. `kind` is the last part of the problem's type, or `offline` without an answer. */
export class Refused extends Error {
  constructor(kind, problem = {}) {
    super(problem.detail ?? kind);
    this.kind = kind;
    this.problem = problem;
  }
}

async function once(key, method, path, body, signal) {
  const url = new URL(path, location.origin).href;
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const now = Math.floor(Date.now() / 1000) + ahead;
  const headers = await sign(key, { method, url, body: sent, now });
  if (sent !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: sent, cache: "no-store", signal });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Refused("offline");
  }
  if (answer.status === 204) return undefined;
  const read = await answer.json().catch(() => ({}));
  if (answer.ok) return read;
  // An error of a proxy counts as offline.
  if (answer.status >= 500) throw new Refused("offline");
  throw new Refused((read.type ?? "").split(":").pop() || `status-${answer.status}`, read);
}

/** Calls the server. If the phone's clock is wrong, the call is retried once with the server's time. */
export async function call(key, method, path, body, signal) {
  try {
    return await once(key, method, path, body, signal);
  } catch (e) {
    if (!(e instanceof Refused) || e.kind !== "clock") throw e;
    ahead = e.problem.now - Math.floor(Date.now() / 1000);
    return once(key, method, path, body, signal);
  }
}
