// Calls to the server. Each is signed with the account's key.

import { sign } from "./signer.js";

/** Seconds that the server's clock is ahead of this phone's. */
let ahead = 0;

/** The server's time, in milliseconds. */
export const serverNow = () => Date.now() + ahead * 1000;

/** What the server refused. `kind` is the end of the problem's type; `offline` where nobody answered. */
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
  // A server that is down, or a proxy that speaks for it, is as good as none.
  if (answer.status >= 500) throw new Refused("offline");
  throw new Refused((read.type ?? "").split(":").pop() || `status-${answer.status}`, read);
}

/** A call. A phone whose clock is off takes the server's time, and tries once more. */
export async function call(key, method, path, body, signal) {
  try {
    return await once(key, method, path, body, signal);
  } catch (e) {
    if (!(e instanceof Refused) || e.kind !== "clock") throw e;
    ahead = e.problem.now - Math.floor(Date.now() / 1000);
    return once(key, method, path, body, signal);
  }
}
