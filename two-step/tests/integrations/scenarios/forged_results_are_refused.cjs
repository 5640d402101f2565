"use strict";
const { assert, newBrowser, password, refused, scenario, shows, signIn, turnOn } = require("./visitor.cjs");
const stranger = require("./stranger.cjs");

const DECEIVED = process.env.DECEIVED;
const claims = (change) => ({ claims: change });
const header = (change) => ({ header: change });
const aMinuteAgo = () => Math.floor(Date.now() / 1000) - 60;

/** What each result has wrong, one thing at a time. */
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

async function walk() {
  // The shop's policy lets forms lead to the stranger alone; its challenges have two-step's own URL.
  const page = await newBrowser({ bypassCSP: true });
  await password(page, { name: "alan" });
  await turnOn(page, "alan");
  await page.click("text=Sign out");
  // From now on alan's browser is trusted, so that no code is needed.
  await signIn(page, { name: "alan", trust: true });
  const signInAgain = () => password(page, { shop: DECEIVED, name: "alan" });
  const signedIn = async () => {
    stranger.next({});
    await signInAgain();
    await shows(page, "Second step: trust");
    await page.context().clearCookies({ name: "shop" });
  };

  // What the stranger passes on unchanged but for the signature is taken: what follows is refused for its own reason.
  await signedIn();
  await signedIn();
  assert.equal(stranger.asked.keys, 1, "the keys are kept");
  // A new key is fetched at once when its first result comes.
  stranger.changeKey();
  await signedIn();
  assert.equal(stranger.asked.keys, 2);
  await signedIn();
  assert.equal(stranger.asked.keys, 2, "and kept");

  for (const [what, wrong] of Object.entries(WRONG)) {
    stranger.next(wrong);
    await signInAgain();
    await refused(page, /You were not signed in/).catch((problem) => {
      throw new Error(`a result that is ${what}`, { cause: problem });
    });
  }
  await signedIn();
  const taken = stranger.told.at(-1).jti;
  stranger.next(claims((c) => ({ ...c, jti: taken })));
  await signInAgain();
  await refused(page, /You were not signed in/);

  // Errors of two-step let nobody in, and the page says what to do.
  for (const [status, says] of [[500, /not possible now/], [503, /not possible now/], [429, /Try again in 2 min/], [410, /not signed in/]]) {
    stranger.next({ status });
    await signInAgain();
    await refused(page, says);
  }
  for (const path of ["/v1/challenges", "/v1/tickets/redeem"]) {
    stranger.next({ silent: path });
    await signInAgain();
    await refused(page, /not possible now/);
  }

  // An old password opens no settings.
  stranger.next({});
  await signInAgain();
  stranger.next({ passwordAt: new Date(Date.now() - 11 * 60_000).toISOString() });
  await page.click("text=Two-step verification");
  await refused(page, /typed your password more than 10 minutes ago/);
}

scenario(async () => {
  const stop = await stranger.start();
  await walk().finally(stop);
});
