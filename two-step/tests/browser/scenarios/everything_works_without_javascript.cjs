"use strict";
const { codeAfter, newBrowser, newest, openSettingsByText, poll, scenario, setUp, shows, signIn, signInByText, type } =
  require("./user.cjs");

const plain = { javaScriptEnabled: false, viewport: { width: 320, height: 640 } };

scenario(async () => {
  const number = "+447700900200";
  const codes = await setUp(await newBrowser({ javaScriptEnabled: false }));
  const page = await newBrowser(plain);
  await signInByText(page, { trust: true });
  await shows(page, "Second step: sms (second)");

  // "Check again" shows the delivery state of the text. A call is possible after the gap.
  const caller = await newBrowser(plain);
  let [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  await signIn(caller);
  await codeAfter(number, "sms", texts);
  const delivered = async () => (await caller.click("text=Check again"), await caller.textContent("main")).includes("Delivered");
  await poll(delivered, "the status");
  const mayCall = async () => (await caller.reload(), await caller.locator("button[value=voice]:not([disabled])").count()) === 1;
  await poll(mayCall, "the button");
  await caller.click("button[value=voice]");
  await type(caller, await codeAfter(number, "voice", calls));
  await shows(caller, "Second step: voice (second)");

  // Another method, and a wrong code before the right one.
  const other = await newBrowser(plain);
  await signIn(other);
  await other.click("a[href$='/ways']");
  await other.click("button:has-text('Recovery code')");
  await type(other, "0000-0000-0000-0000");
  await shows(other, "4 tries left");
  await type(other, codes[0]);
  await shows(other, "Have you lost this phone?");
  await other.click("button[value=keep]");
  await shows(other, "Second step: recovery (recovery)");

  // The settings: changing a name, and turning off.
  await openSettingsByText(page);
  await page.click("a[href^='/settings/methods/']");
  await page.fill("input[name=label]", "Work phone");
  await page.click("button[value=rename]");
  await page.goto(new URL("/settings", page.url()).href);
  await shows(page, "Work phone");
  await page.click("a[href='/settings/off']");
  await page.check("input[value=keep]");
  await page.click("form[action='/settings/off'] button");
  const off = await newBrowser(plain);
  await signIn(off);
  await shows(off, "The password alone signed you in");
});
