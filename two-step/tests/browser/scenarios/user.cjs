// A user: a browser, a phone and a mailbox.
"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const stack = JSON.parse(process.env.STACK);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const ARRIVAL_MS = 15_000;

let browser;

/** Runs a scenario, and always closes the browser. */
async function scenario(walk) {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  try {
    await walk();
  } catch (problem) {
    console.error(problem);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

/** Opens a browser without cookies. */
async function newBrowser(options = {}) {
  const context = await browser.newContext({ viewport: { width: 390, height: 780 }, ...options });
  context.setDefaultTimeout(10_000);
  return context.newPage();
}

async function signIn(page, user = "ada", password = "lovelace") {
  await page.goto(`${stack.demo}shop`);
  await page.fill("input[name=user]", user);
  await page.fill("input[name=password]", password);
  await page.click("form[action='/shop/sign-in'] button");
}

const openSettings = (page) => page.click("form[action='/shop/settings'] button");

/** Polls a function until it returns a value. */
async function poll(ask, wanted, limit_ms = ARRIVAL_MS) {
  for (const until = Date.now() + limit_ms; Date.now() < until; ) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${wanted}: not in time`);
}

/** Sets the outcomes of the next texts or calls to a number, instead of the ones from its last digits. */
async function script(number, channel, outcomes) {
  const body = JSON.stringify({ to: number, channel, outcomes });
  const answer = await fetch(`${stack.gateway}/api/script`, { method: "POST", body, headers: { "content-type": "application/json" } });
  assert.equal(answer.status, 200, "the outcomes were set");
}

/** Calls the API as a back end. Returns the status and the body. */
async function api(method, path, body, key = stack.key) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const answer = await fetch(`${stack.api}${path}`, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, body: await answer.json().catch(() => undefined) };
}

/** Calls the API as the product's support. */
const support = (method, path, body) => api(method, path, body, stack.support_key);

/** The mails to an address, newest first. */
async function letters(address) {
  const mail = await (await fetch(`${stack.demo}mail`)).json();
  return mail.letters.filter((letter) => letter.to === address);
}

/** The code of the first mail after this many. */
async function mailedCode(address, before) {
  const all = await poll(async () => ((all) => all.length > before && all)(await letters(address)), "a mail");
  return all[0].subject.match(/^\d{6}/)[0];
}

/** The stop link in the first notice to a number that contains a text. */
const noticeLink = (number, says) =>
  poll(async () => {
    const { phones } = await (await fetch(`${stack.demo}phones`)).json();
    const bodies = (phones.find((phone) => phone.number === number)?.messages ?? []).map((m) => m.body ?? "");
    return bodies.find((body) => body.includes(says))?.match(/http\S+\/stop\/\S+/)?.[0];
  }, `a notice that says ${says}`);

/** The messages to a number by a channel, newest first. */
async function arrived(number, channel) {
  const { phones } = await (await fetch(`${stack.demo}phones`)).json();
  const messages = phones.find((phone) => phone.number === number)?.messages ?? [];
  return messages.filter((m) => m.channel === channel && !(m.body ?? "").includes("/stop/")).sort((a, b) => b.seq - a.seq);
}

const newest = async (number, channel) => (await arrived(number, channel))[0]?.seq ?? 0;

/** The code of the first message after a position. */
async function codeAfter(number, channel, place) {
  return poll(async () => {
    const message = (await arrived(number, channel))[0];
    if (!message || message.seq <= place) return undefined;
    const text = message.body?.split(" #").at(-1) ?? message.transcript.replace(/\([^)]*\)/g, "");
    return text.replace(/\D/g, "").slice(0, 6);
  }, `${channel} to ${number}`);
}

const wrong = (code) => (code === "000000" ? "111111" : "000000");

/** Types a code on the page and submits it. */
async function type(page, code) {
  await page.fill("input[name=code]", code);
  await page.click("form:has(input[name=code]) button.primary");
}

/** Adds a phone by text, on any settings page. */
async function addPhone(page, typed, number) {
  await page.goto(new URL("/settings/phone", page.url()).href);
  const place = await newest(number, "sms");
  await page.fill("input[name=number]", typed);
  await page.click("button[value=sms]");
  await type(page, await codeAfter(number, "sms", place));
}

/** The number on the sign-in page, or in the app, without its space. */
const shownNumber = async (page) => (await page.locator(".number").innerText()).replace(/\D/g, "");

/** The shop's app on a phone. */
async function openApp() {
  const phone = await newBrowser();
  await phone.goto(`${stack.pages}/app?product=shop`);
  return phone;
}

/** Sets up the app of a phone from the settings page with the set-up code. */
async function addToApp(page, phone) {
  const code = await page.locator("#set-up-code").innerText();
  await phone.click("text=Add an account");
  await phone.fill("#code", code);
  await phone.click("text=Continue");
  await shows(phone, "Type this on the settings page");
  await type(page, await shownNumber(phone));
  await shows(phone, "Your accounts");
}

/** Types the number of a sign-in page into the app. */
async function approve(phone, page) {
  await phone.fill("#number", await shownNumber(page));
  await phone.click("text=Approve");
}

/** Creates recovery codes and confirms that they are saved. */
async function saveRecoveryCodes(page) {
  await page.goto(new URL("/settings/recovery-codes", page.url()).href);
  await page.click("form[action='/settings/recovery-codes'] button");
  const text = await page.textContent("main");
  await page.check("input[name=saved]");
  await page.click("form[action='/settings/recovery-codes/saved'] button");
  return text.match(/[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}/g);
}

/** Turns two-step verification on with a phone and recovery codes. */
async function setUp(page, { typed = "07700 900200", number = "+447700900200", trust = false, user, password } = {}) {
  await signIn(page, user, password);
  await openSettings(page);
  await addPhone(page, typed, number);
  const codes = await saveRecoveryCodes(page);
  assert.equal(new URL(page.url()).pathname, "/settings/on");
  if (trust) await page.check("input[name=trust]");
  await page.click("form[action='/settings/on'] button");
  await page.click("form[action='/settings/leave'] button");
  return codes;
}

/** Signs in up to the code field. Waits for the text, so that no later sign-in uses it. */
async function askForCode(page, number = "+447700900200") {
  const place = await newest(number, "sms");
  await signIn(page);
  assert.match(page.url(), /\/challenge\//, "a code is needed");
  return codeAfter(number, "sms", place);
}

/** Opens the settings of an account that is on, with a fresh proof by text. */
async function openSettingsByText(page, number = "+447700900200") {
  await openSettings(page);
  const place = await newest(number, "sms");
  await page.click("form[action='/settings/proof'] button");
  await type(page, await codeAfter(number, "sms", place));
  await page.waitForURL((url) => url.pathname === "/settings");
}

/** Signs in on a browser, and types the code of the text. */
async function signInByText(page, { number = "+447700900200", trust = false } = {}) {
  const code = await askForCode(page, number);
  if (trust) await page.check("input[name=trust]");
  await type(page, code);
  await page.waitForSelector("text=You are signed in");
}

const shows = (page, text) => page.waitForSelector(`text=${text}`);

/** Takes screenshots of a page at the widths of a phone and a desktop, in light and dark mode. */
async function shot(page, name) {
  const before = page.viewportSize();
  for (const [device, width, height] of [["phone", 390, 780], ["desktop", 1280, 800]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: path.join(process.env.SHOTS, `${name}-${device}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  await page.setViewportSize(before);
}

module.exports = {
  addPhone, addToApp, api, approve, arrived, askForCode, assert, codeAfter, letters, mailedCode, newBrowser, newest, noticeLink,
  openApp, openSettings, openSettingsByText, poll, saveRecoveryCodes, scenario, script, setUp, shot, shownNumber, shows, signIn,
  signInByText, stack, support, type, wrong,
};
