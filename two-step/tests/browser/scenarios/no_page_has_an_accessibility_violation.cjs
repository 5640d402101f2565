"use strict";
const { readFileSync } = require("node:fs");
const {
  addPhone, addToApp, askForCode, assert, newBrowser, noticeLink, openApp, openSettings, openSettingsByText, saveRecoveryCodes,
  scenario, setUp, shows, signIn, signInByText, stack, type, wrong,
} = require("./user.cjs");

const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

async function check(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    // Without motion, because colours during a transition would be reported wrongly.
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [320, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name}: scrolls sideways at ${width}`);
    }
    // The Content-Security-Policy blocks foreign scripts, so Playwright evaluates it outside the page.
    const findings = await page.evaluate(`${axe}; axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes[0].html))`);
    assert.deepEqual(findings, [], `${name} in ${colorScheme}`);
  }
}

const NUMBER = "+447700900200";
const to = (page, path) => page.goto(new URL(path, page.url()).href);

async function setUpPages() {
  // Alan leaves after adding a phone. In the next visit it is listed as not confirmed.
  const first = await newBrowser();
  await signIn(first, "alan", "turing");
  await openSettings(first);
  await check(first, "choose");
  for (const path of ["/settings/phone", "/settings/authenticator", "/settings/email"]) {
    await to(first, path);
    await check(first, path);
  }
  await addPhone(first, "07700 900203", "+447700900203");
  await check(first, "backup");
  const second = await newBrowser();
  await signIn(second, "alan", "turing");
  await openSettings(second);
  await check(second, "on again");
  await addPhone(second, "07700 900204", "+447700900204");
  await saveRecoveryCodes(second);
  await shows(second, "Not confirmed in this visit");
  await check(second, "turn on, with unconfirmed methods");
}

async function signInPages(recoveryCode) {
  const page = await newBrowser({ locale: "de-DE" });
  await askForCode(page);
  await check(page, "code");
  await to(page, `${page.url()}/ways`);
  await check(page, "ways");
  const lost = await newBrowser();
  await askForCode(lost);
  await lost.click("a[href$='/ways']");
  await lost.click("button:has-text('Recovery code')");
  await check(lost, "recovery code");
  await type(lost, recoveryCode);
  await shows(lost, "Have you lost this phone?");
  await check(lost, "lost phone");
}

async function settingsPages() {
  const page = await newBrowser();
  await signInByText(page, { trust: true });
  await openSettings(page);
  await check(page, "proof");
  await to(page, stack.demo + "shop");
  await openSettingsByText(page);
  for (const path of ["/settings", "/settings/devices", "/settings/history", "/settings/off", "/settings/recovery-codes", "/settings/email", "/settings/app", "/app?product=shop"]) {
    await to(page, path);
    await check(page, path);
  }
  await page.click("text=Add an account");
  await check(page, "a set-up code in the app");
  await to(page, "/settings/email");
  await page.fill("input[name=address]", "ada.lovelace@a-rather-long-name-of-a-host.example");
  await page.click("main form button.primary");
  await check(page, "the code of a mail");
  await addPhone(page, "07700 900211", "+447700900211");
  await page.waitForURL((url) => url.pathname === "/settings");
  await page.click("a[href^='/settings/methods/']:has-text('ends in 11')");
  await check(page, "a method");
  await page.click("a[href$='/remove']");
  await check(page, "remove");
  await to(page, "/settings/recovery-codes");
  await page.click("form[action='/settings/recovery-codes'] button");
  await check(page, "new recovery codes");
}

async function appPages() {
  const phone = await openApp();
  const page = await newBrowser();
  await signIn(page, "alan", "turing");
  await openSettings(page);
  await to(page, "/settings/app");
  await addToApp(page, phone);
  await check(phone, "the app's accounts");
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");
  const browser = await newBrowser();
  await signIn(browser, "alan", "turing");
  await shows(phone, "Are you signing in to Shop?");
  await check(browser, "a sign-in that asks the app");
  await check(phone, "what the app asks");
  await phone.click("text=Show a code");
  await check(phone, "the app's code");
  await phone.click("text=It was not me");
  await shows(phone, "Nothing was approved.");
  await check(phone, "denied in the app");
}

async function endedPages() {
  const page = await newBrowser();
  for (const path of ["/nothing", "/c/unknown", "/stop/unknown"]) {
    await page.goto(stack.pages + path);
    await check(page, path);
  }
  const cancelled = await newBrowser();
  await askForCode(cancelled);
  const challenge = cancelled.url();
  await cancelled.click("form[action$='/cancel'] button");
  await cancelled.goto(challenge);
  await check(cancelled, "cancelled");
  const locked = await newBrowser();
  const code = await askForCode(locked);
  for (let n = 0; n < 5; n += 1) {
    await type(locked, wrong(code));
    await locked.waitForLoadState();
  }
  await shows(locked, "Too many wrong codes");
  await check(locked, "locked");
  const paused = await newBrowser();
  await signIn(paused);
  await shows(paused, "Sign in again in");
  await check(paused, "paused");
  const stop = await newBrowser();
  await stop.goto(await noticeLink(NUMBER, "turned on"));
  await check(stop, "stop");
  await stop.click("main form button");
  await check(stop, "stopped");
  await paused.reload();
  await shows(paused, "Sign-in stopped");
  await check(paused, "denied");
}

scenario(async () => {
  await setUpPages();
  const [recoveryCode] = await setUp(await newBrowser());
  await signInPages(recoveryCode);
  await settingsPages();
  await appPages();
  await endedPages();
});
