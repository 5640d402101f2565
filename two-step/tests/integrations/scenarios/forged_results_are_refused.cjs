"use strict";
const { assert, newBrowser, password, refused, scenario, shows, signIn, turnOn } = require("./visitor.cjs");
const proxy = require("./forging_proxy.cjs");

const DECEIVED = process.env.DECEIVED;
const claims = (change) => ({ claims: change });
const header = (change) => ({ header: change });
const aMinuteAgo = () => Math.floor(Date.now() / 1000) - 60;

/** The forgeries. Each result has one thing wrong. */
const WRONG = {
  "changed after it was signed": { tampered: true },
  "signed by nobody": header((h) => ({ ...h, alg: "none" })),
  "signed with the public key as a secret": header((h) => ({ ...h, alg: "HS256" })),
  "signed by another key": { key: "another" },
  "signed by a key that is not published": { key: "another", ...header((h) => ({ ...h, kid: "another" })) },
  "another type of token": header((h) => ({ ...h, typ: "JWT" })),
  "without a type": header(({ typ, ...h }) => h),
  "another issuer's": claims((c) => ({ ...c, iss: "https://other.example" })),
  "another product's": claims((c) => ({ ...c, aud: "other" })),
  "for no product": claims(({ aud, ...c }) => c),
  "another user's": claims((c) => ({ ...c, sub: "u-1" })),
  "another sign-in's": claims((c) => ({ ...c, nonce: "other" })),
  "for no sign-in": claims(({ nonce, ...c }) => c),
  "over": claims((c) => ({ ...c, exp: aMinuteAgo() })),
  "without an end": claims(({ exp, ...c }) => c),
  "without an id": claims(({ jti, ...c }) => c),
  "no token": { text: "nonsense" },
};

async function run() {
  // The shop's policy allows forms only to the proxy, but its challenges have two-step's own URL.
  const page = await newBrowser({ bypassCSP: true });
  await password(page, { name: "alan" });
  await turnOn(page, "alan");
  await page.click("text=Sign out");
  // Alan's browser is trusted, so that later sign-ins need no code.
  await signIn(page, { name: "alan", trust: true });
  const signInAgain = () => password(page, { shop: DECEIVED, name: "alan" });
  const signedIn = async () => {
    proxy.next({});
    await signInAgain();
    await shows(page, "Second step: trust");
    await page.context().clearCookies({ name: "shop" });
  };

  // A result that only has the proxy's signature is accepted, so each later one is refused for its own defect.
  await signedIn();
  await signedIn();
  assert.equal(proxy.asked.keys, 1, "the keys are cached");
  // The shop fetches a new key with its first result.
  proxy.changeKey();
  await signedIn();
  assert.equal(proxy.asked.keys, 2);
  await signedIn();
  assert.equal(proxy.asked.keys, 2, "and cached");

  for (const [what, wrong] of Object.entries(WRONG)) {
    proxy.next(wrong);
    await signInAgain();
    await refused(page, /You were not signed in/).catch((problem) => {
      throw new Error(`a result that is ${what}`, { cause: problem });
    });
  }
  await signedIn();
  const taken = proxy.told.at(-1).jti;
  proxy.next(claims((c) => ({ ...c, jti: taken })));
  await signInAgain();
  await refused(page, /You were not signed in/);

  // With errors of two-step nobody signs in, and the page shows what to do.
  for (const [status, says] of [[500, /not possible now/], [503, /not possible now/], [429, /Try again in 2 min/], [410, /not signed in/]]) {
    proxy.next({ status });
    await signInAgain();
    await refused(page, says);
  }
  for (const path of ["/v1/challenges", "/v1/tickets/redeem"]) {
    proxy.next({ silent: path });
    await signInAgain();
    await refused(page, /not possible now/);
  }

  // The settings need a recent password entry.
  proxy.next({});
  await signInAgain();
  proxy.next({ passwordAt: new Date(Date.now() - 11 * 60_000).toISOString() });
  await page.click("text=Two-step verification");
  await refused(page, /typed your password more than 10 minutes ago/);
}

scenario(async () => {
  const stop = await proxy.start();
  await run().finally(stop);
});
