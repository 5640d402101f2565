// A shop that checks passwords itself and asks two-step for the second step, in Express.

import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

import express from "express"; // npm install express
import session from "express-session"; // npm install express-session
import { createRemoteJWKSet, errors, jwtVerify } from "jose"; // npm install jose

function env(name) {
  if (!process.env[name]) throw new Error(`${name} is not set`);
  return process.env[name];
}

const SHOP_URL = env("SHOP_URL"); // https://shop.example
const TWO_STEP_API = env("TWO_STEP_API"); // where two-step's API listens
const TWO_STEP_URL = env("TWO_STEP_URL"); // its public_url: browsers open it, and it is the issuer of results
const TWO_STEP_KEY = env("TWO_STEP_KEY"); // two-step keys create
const PRODUCT = "shop"; // [products.shop]: the audience of results

const shop = express();
const https = SHOP_URL.startsWith("https:");
if (https) shop.set("trust proxy", 1); // the proxy reports the scheme in X-Forwarded-Proto
shop.use(
  session({
    name: https ? "__Host-shop" : "shop",
    secret: env("SHOP_SECRET"),
    // With strict, browsers would not send it when they return from two-step.
    cookie: { httpOnly: true, sameSite: "lax", secure: https },
    resave: false,
    saveUninitialized: false, // set `store` to replace the in-memory store
  }),
);

const token = () => randomBytes(32).toString("base64url");

async function hash(password, salt = randomBytes(16)) {
  return { salt, hash: await promisify(scrypt)(password, salt, 32) };
}

// Two users of a demo. two-step knows them by `id`, which never changes. Each password change increments `epoch`.
const USERS = new Map([
  ["ada", { id: "u-1", password: await hash("lovelace"), epoch: 0 }],
  ["alan", { id: "u-2", password: await hash("turing-1936"), epoch: 0 }],
]);
const DUMMY_HASH = await hash(token());

/** Checks a password, in the same time whether or not there is such a user. */
async function passwordFits(name, password) {
  const kept = USERS.get(name)?.password ?? DUMMY_HASH;
  return timingSafeEqual((await hash(String(password), kept.salt)).hash, kept.hash) && USERS.has(name);
}

/** Ends a request with a page. */
class Stop extends Error {
  constructor(status, message, retryAfterS) {
    super(message);
    Object.assign(this, { status, retryAfterS });
  }
}

const UNAVAILABLE = "Signing in is not possible now. Please try again in a minute.";

/** Returns the name of the user, or undefined. A new password ends the sessions that began with the old one. */
function signedIn(req) {
  const { name, epoch } = req.session;
  return USERS.get(name)?.epoch === epoch ? name : undefined;
}

/** Returns the name of the user, who must be signed in. */
function user(req) {
  const name = signedIn(req);
  if (!name) throw new Stop(401, "Please sign in first.");
  return name;
}

/** Begins a new session. The old session's content and id are deleted. */
async function newSession(req, content = {}) {
  await promisify(req.session.regenerate.bind(req.session))();
  Object.assign(req.session, content);
}

async function signedOut(req, message) {
  await newSession(req);
  throw new Stop(401, message);
}

/** Calls two-step. If a status is neither a success nor in `known`, the user gets an error page and is not signed in. */
async function twoStep(method, path, body, { known = [], message = UNAVAILABLE } = {}) {
  const headers = { authorization: `Bearer ${TWO_STEP_KEY}`, "content-type": "application/json" };
  const request = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(5000) };
  const answer = await fetch(TWO_STEP_API + path, request).catch(() => {
    throw new Stop(503, message, 60);
  });
  if (answer.status === 429) {
    const waitS = Number(answer.headers.get("retry-after") ?? 60);
    throw new Stop(429, `Too many attempts. Try again in ${Math.ceil(waitS / 60)} min.`, waitS);
  }
  if (!answer.ok && !known.includes(answer.status)) {
    console.error("two-step answered %d: %s", answer.status, await answer.text()); // the text contains no value of the request
    throw new Stop(503, message, 60);
  }
  return { ok: answer.ok, status: answer.status, body: answer.status === 204 ? undefined : await answer.json() };
}

// Cached for 5 minutes, and fetched again for an unknown kid. No cooldown is needed: results come only from twoStep().
const KEYS = createRemoteJWKSet(new URL("/.well-known/jwks.json", TWO_STEP_URL), { cacheMaxAge: 300_000, cooldownDuration: 0 });
const used = new Map(); // jti: exp. Several processes need a shared table, with jti as its primary key.

/** Returns the claims of a result; undefined if it is forged, expired, for another sign-in, or already used. */
async function check(result, pending) {
  const expected = {
    algorithms: ["ES256"], typ: "two-step+jwt", issuer: TWO_STEP_URL, audience: PRODUCT, subject: USERS.get(pending.name).id,
    requiredClaims: ["exp", "jti"], clockTolerance: 30, // seconds that two clocks may differ
  };
  let claims;
  try {
    claims = (await jwtVerify(result, KEYS, expected)).payload;
  } catch (problem) {
    if (problem instanceof errors.JOSEError) return undefined;
    throw new Stop(503, UNAVAILABLE, 60); // the keys cannot be fetched
  }
  const now = Date.now() / 1000;
  for (const [jti, exp] of used) if (exp < now - 60) used.delete(jti);
  if (claims.nonce !== pending.nonce || used.has(claims.jti)) return undefined;
  used.set(claims.jti, claims.exp);
  return claims;
}

shop.use((req, res, next) => {
  res.set({
    // Chrome also checks the redirects of a form: sign-in and settings redirect to two-step's pages.
    "content-security-policy": `default-src 'none'; form-action 'self' ${TWO_STEP_URL}; frame-ancestors 'none'; base-uri 'none'`,
    "cache-control": "no-store",
    "referrer-policy": "same-origin", // with no-referrer, the shop's own forms have Origin: null
  });
  // Browsers send the origin of a form.
  if (req.method === "POST" && req.get("origin") !== SHOP_URL) throw new Stop(403, "This form is not the shop's.");
  next();
});
shop.use(express.urlencoded({ extended: false }));

shop.post("/sign-in", async (req, res) => {
  const { name, password } = req.body ?? {};
  if (!(await passwordFits(name, password))) await signedOut(req, "Name and password do not match.");
  const { id, epoch } = USERS.get(name);
  const pending = { name, epoch, passwordAt: new Date().toISOString(), state: token(), nonce: token() };
  await newSession(req, { pending });
  const { state, nonce } = pending;
  const wanted = { user: id, return_url: `${SHOP_URL}/2fa`, state, nonce };
  const challenge = (await twoStep("POST", "/v1/challenges", wanted)).body;
  // This user has not turned two-step verification on.
  if (challenge.status === "not_required") return beginSession(req, res, pending, {});
  res.redirect(303, challenge.url);
});

async function beginSession(req, res, { name, epoch, passwordAt }, { method, device }) {
  await newSession(req, { name, epoch, passwordAt, method, device });
  res.redirect(303, "/");
}

const ENDED = {
  cancelled: "You cancelled. Nobody was signed in.",
  locked: "Too many wrong codes. Wait a few minutes, then sign in again.",
  denied: "This sign-in was refused. If it was not you, change your password.",
  expired: "That took too long. Please sign in again.",
};

shop.get("/2fa", async (req, res) => {
  const { pending } = req.session;
  const { state, status, ticket } = req.query;
  if (!pending || state !== pending.state) {
    throw new Stop(403, "This sign-in is over, or was begun in another browser. Please sign in again.");
  }
  if (!ticket) await signedOut(req, Object.hasOwn(ENDED, status) ? ENDED[status] : ENDED.expired);
  const answer = await twoStep("POST", "/v1/tickets/redeem", { ticket }, { known: [410] });
  const claims = answer.ok ? await check(answer.body.result, pending) : undefined;
  if (!claims || pending.epoch !== USERS.get(pending.name).epoch) {
    await signedOut(req, "You were not signed in. Please sign in again.");
  }
  await beginSession(req, res, pending, claims);
});

shop.post("/settings", async (req, res) => {
  const name = user(req);
  const wanted = { user: USERS.get(name).id, purpose: "settings", password_at: req.session.passwordAt };
  req.session.settingsState = token();
  Object.assign(wanted, { return_url: `${SHOP_URL}/settings-done`, state: req.session.settingsState, display_name: name });
  const { ok, body } = await twoStep("POST", "/v1/sessions", wanted, { known: [422] });
  if (!ok && body.field === "password_at") {
    await signedOut(req, "You typed your password more than 10 minutes ago. Please sign in again.");
  }
  if (!ok) {
    console.error("two-step answered 422: %s", body.detail); // such as a return_url that is not in its list
    throw new Stop(503, UNAVAILABLE, 60);
  }
  res.redirect(303, body.url);
});

shop.get("/settings-done", (req, res) => {
  const { state, device } = req.query;
  // The settings may have trusted this browser. Sign-out ends that trust.
  if (device && state && state === req.session.settingsState) req.session.device = String(device);
  res.redirect(303, "/");
});

shop.post("/sign-out", async (req, res) => {
  const { id } = USERS.get(user(req));
  const { device } = req.session;
  await newSession(req); // first: two-step may be unreachable
  const message = "You are signed out. This browser is still trusted: sign in later and remove it in the settings.";
  const path = `/v1/users/${encodeURIComponent(id)}/devices/${device}`;
  if (device) await twoStep("DELETE", path, undefined, { known: [404], message });
  res.redirect(303, "/");
});

shop.post("/password", async (req, res) => {
  const kept = USERS.get(user(req));
  const next = String(req.body.new);
  if (next.length < 8 || !(await passwordFits(req.session.name, req.body.old))) {
    throw new Stop(403, "Nothing was changed: the old password is wrong, or the new one has fewer than 8 characters.");
  }
  kept.password = await hash(next);
  kept.epoch += 1;
  Object.assign(req.session, { epoch: kept.epoch, device: undefined });
  const message = "Your password is changed, but browsers that you trusted still are. Please change it once more in a minute.";
  const path = `/v1/users/${encodeURIComponent(kept.id)}/end`;
  await twoStep("POST", path, { forget_devices: true }, { known: [404], message });
  res.redirect(303, "/");
});

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function page(req, message) {
  const name = signedIn(req);
  const alert = message ? `<p role="alert">${escape(message)}</p>` : "";
  const shown = name
    ? `<h1>You are signed in as ${escape(name)}</h1><p>Second step: ${escape(req.session.method ?? "none")}</p>
<form method="post" action="/settings"><button>Two-step verification</button></form>
<form method="post" action="/password"><label>Old password <input name="old" type="password"></label>
<label>New password <input name="new" type="password" minlength="8"></label><button>Change password</button></form>
<form method="post" action="/sign-out"><button>Sign out</button></form>`
    : `<h1>Sign in</h1><form method="post" action="/sign-in"><label>Name <input name="name"></label>
<label>Password <input name="password" type="password"></label><button>Sign in</button></form>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title>${alert}${shown}</html>`;
}

shop.get("/", (req, res) => res.send(page(req)));

// An error handler: Express recognises it by its four parameters.
shop.use((problem, req, res, next) => {
  const status = problem.status ?? 500;
  if (status === 500) console.error(problem);
  if (problem.retryAfterS) res.set("retry-after", String(problem.retryAfterS));
  res.status(status).send(page(req, problem instanceof Stop ? problem.message : "That did not work."));
});

shop.listen(process.env.PORT ?? new URL(SHOP_URL).port, "127.0.0.1"); // behind a proxy that terminates TLS
