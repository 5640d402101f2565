"use strict";
const {
  askForCode, assert, cookie, heldReturn, newBrowser, password, PASSWORDS, refused, scenario, SHOP, shows, signIn, turnOn, type, wrong,
} = require("./visitor.cjs");

/** The password alone signs in while two-step verification is off. */
async function whileItIsOff(page) {
  await password(page, { typed: "wrong" });
  await refused(page, /do not match/);
  await password(page, { name: "nobody", typed: "lovelace" });
  await refused(page, /do not match/);
  await password(page);
  await shows(page, "Second step: none");
}

/** A planted session is invalid after sign-in. */
async function plantedSession() {
  const attacker = await newBrowser();
  await password(attacker, { name: "alan" });
  const planted = await cookie(attacker, "shop");
  assert.ok(planted.httpOnly && planted.sameSite === "Lax", "the cookie's flags");
  const victim = await newBrowser();
  await victim.context().addCookies([planted]);
  const form = { name: "ada", password: PASSWORDS.ada };
  const answer = await victim.request.post(`${SHOP}/sign-in`, { form, headers: { origin: SHOP }, maxRedirects: 0 });
  assert.equal(answer.status(), 303);
  assert.notEqual((await cookie(victim, "shop")).value, planted.value);
  await attacker.goto(SHOP);
  assert.equal(await attacker.locator("text=signed in as ada").count(), 0);
}

/** Forms of other sites are refused, including the sign-in form. */
async function formsOfOtherSites(page) {
  for (const path of ["sign-in", "settings", "sign-out", "password"]) {
    for (const headers of [{ origin: "https://other.example" }, {}]) {
      const form = { name: "ada", password: PASSWORDS.ada, old: PASSWORDS.ada, new: "another one" };
      const answer = await page.request.post(`${SHOP}/${path}`, { form, headers, maxRedirects: 0 });
      assert.equal(answer.status(), 403, path);
    }
  }
  await page.goto(SHOP);
  await shows(page, "You are signed in as ada");
}

/** A return URL works once, and only in the browser that started the sign-in. */
async function returns() {
  const page = await newBrowser();
  const code = await askForCode(page);
  const url = await heldReturn(page, code);
  const before = await page.context().cookies();
  const stranger = await newBrowser();
  await stranger.goto(url);
  await refused(stranger, /begun in another browser/);
  await askForCode(stranger);
  await stranger.goto(url);
  await refused(stranger, /begun in another browser/);
  const otherState = new URL(url);
  otherState.searchParams.set("state", "another");
  await page.goto(otherState.href);
  await refused(page, /begun in another browser/);
  await page.goto(url);
  await shows(page, "Second step: sms");
  assert.equal(page.url(), `${SHOP}/`, "no ticket stays in the address bar");
  // The same URL a second time, also with the earlier cookies.
  await page.goto(url);
  assert.match(await page.textContent("[role=alert]"), /sign-in is over/);
  await page.context().clearCookies();
  await page.context().addCookies(before);
  await page.goto(url);
  await refused(page, /(sign-in is over|not signed in)/);

  const guesser = await newBrowser();
  const guessed = await heldReturn(guesser, await askForCode(guesser));
  const forged = new URL(guessed);
  forged.searchParams.set("ticket", "A".repeat(forged.searchParams.get("ticket").length));
  await guesser.goto(forged.href);
  await refused(guesser, /You were not signed in/);
}

async function cancelled() {
  const page = await newBrowser();
  await askForCode(page);
  await page.click("text=Cancel sign-in");
  await refused(page, /You cancelled/);
}

/** A trusted browser needs no code until sign-out. */
async function trusted() {
  const page = await newBrowser();
  await signIn(page, { trust: true });
  await page.context().clearCookies({ name: "shop" });
  await password(page);
  await shows(page, "Second step: trust");
  await page.click("text=Sign out");
  await shows(page, "Sign in");
  await askForCode(page);
}

/** A new password ends other sessions, open sign-ins and trusts. */
async function newPassword() {
  const [page, other, underWay] = [await newBrowser(), await newBrowser(), await newBrowser()];
  await signIn(page, { trust: true });
  await signIn(other, { trust: true });
  const url = await heldReturn(underWay, await askForCode(underWay));
  for (const [old, next] of [["wrong", "a longer one"], [PASSWORDS.ada, "short"]]) {
    await changePassword(page, old, next);
    assert.match(await page.textContent("[role=alert]"), /Nothing was changed/);
  }
  await changePassword(page, PASSWORDS.ada, "a longer one");
  await shows(page, "You are signed in as ada");
  assert.equal(await page.locator("[role=alert]").count(), 0);
  await other.goto(SHOP);
  await shows(other, "Sign in");
  await underWay.goto(url);
  await refused(underWay, /not signed in/);
  await password(other);
  await refused(other, /do not match/);
  PASSWORDS.ada = "a longer one";
  await askForCode(other);
}

async function changePassword(page, old, next) {
  await page.evaluate(() => document.querySelector("input[name=new]").removeAttribute("minlength"));
  await page.fill("input[name=old]", old);
  await page.fill("input[name=new]", next);
  await page.click("text=Change password");
}

/** Five wrong codes end a sign-in. Opening its URL again redirects to the shop, which shows the reason. */
async function locked() {
  const page = await newBrowser();
  let url;
  page.on("request", (request) => (url = /\/c\//.test(request.url()) ? request.url() : url));
  const code = await askForCode(page);
  for (let n = 0; n < 5; n += 1) await type(page, wrong(code));
  await page.goto(url);
  await refused(page, /Too many wrong codes/);
}

scenario(async () => {
  const page = await newBrowser();
  await whileItIsOff(page);
  await plantedSession();
  await formsOfOtherSites(page);
  await turnOn(page);
  await signIn(await newBrowser());
  await returns();
  await cancelled();
  await trusted();
  await newPassword();
  await locked();
});
