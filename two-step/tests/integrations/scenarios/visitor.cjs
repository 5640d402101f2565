// A visitor of an external shop: a browser and a phone.
"use strict";

const user = require("../../browser/scenarios/user.cjs");
const { addPhone, assert, codeAfter, newest, saveRecoveryCodes, shows, type } = user;

const SHOP = process.env.SHOP;
const PHONES = { ada: ["07700 900200", "+447700900200"], alan: ["07700 900210", "+447700900210"] };
const PASSWORDS = { ada: "lovelace", alan: "turing-1936" };

/** Types name and password at a shop. */
async function password(page, { shop = SHOP, name = "ada", typed = PASSWORDS[name] } = {}) {
  await page.goto(shop);
  await page.fill("input[name=name]", name);
  await page.fill("input[name=password]", typed);
  await page.click("form[action='/sign-in'] button");
}

/** Turns two-step verification on, from the shop's page. */
async function turnOn(page, name = "ada") {
  await page.click("text=Two-step verification");
  await addPhone(page, ...PHONES[name]);
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");
  await page.click("form[action='/settings/leave'] button");
  await shows(page, `You are signed in as ${name}`);
}

/** Types the password, and returns the code of the text. */
async function askForCode(page, { name = "ada", ...rest } = {}) {
  const number = PHONES[name][1];
  const place = await newest(number, "sms");
  await password(page, { name, ...rest });
  assert.match(page.url(), /\/challenge\//, "a code is needed");
  return codeAfter(number, "sms", place);
}

/** Signs in with a code by text. */
async function signIn(page, { trust = false, ...rest } = {}) {
  const code = await askForCode(page, rest);
  if (trust) await page.check("input[name=trust]");
  await type(page, code);
  await shows(page, "Second step: sms");
}

const cookie = async (page, name) => (await page.context().cookies()).find((c) => c.name === name);

/** Checks that nobody is signed in, and that the page shows the reason. */
async function refused(page, why) {
  assert.match(await page.textContent("[role=alert]"), why);
  await page.goto(new URL("/", page.url()).href);
  await shows(page, "Sign in");
  assert.equal(await page.locator("text=You are signed in").count(), 0);
}

/** Submits the code, and returns the redirect URL without opening it. */
async function heldReturn(page, code) {
  const form = page.locator("form:has(input[name=code])");
  const { action, fields } = await form.evaluate((f) => ({ action: f.action, fields: Object.fromEntries(new FormData(f)) }));
  const headers = { origin: new URL(action).origin };
  const answer = await page.request.post(action, { form: { ...fields, code }, headers, maxRedirects: 0 });
  assert.equal(answer.status(), 303);
  return answer.headers().location;
}

module.exports = { ...user, askForCode, cookie, heldReturn, password, PASSWORDS, refused, SHOP, signIn, turnOn };
