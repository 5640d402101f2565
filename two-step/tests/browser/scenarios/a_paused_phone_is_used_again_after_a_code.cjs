"use strict";
const { addPhone, assert, codeAfter, newBrowser, newest, openSettings, openSettingsByText, poll, scenario, script, setUp, shot, shows, signIn, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  const [first, second] = ["+447700900200", "+447700900201"];
  await setUp(await newBrowser());
  const owner = await newBrowser();
  await signInByText(owner);
  await openSettingsByText(owner);
  await addPhone(owner, "07700 900201", second);
  await owner.waitForURL((url) => url.pathname === "/settings");

  // The owner of the first phone texts STOP, so the carrier refuses the next text.
  await script(first, "sms", ["unsubscribed"]);
  const page = await newBrowser();
  await signIn(page);
  await shows(page, "This number has blocked our messages.");
  await shot(page, "opted-out");
  await page.click("a[href$='/ways']");
  const place = await newest(second, "sms");
  await page.click("button:has-text('ends in 01')");
  await type(page, await codeAfter(second, "sms", place));
  await shows(page, "Second step: sms (second)");

  // It is paused, and a received code resumes it.
  await openSettings(page);
  const proof = await newest(second, "sms");
  await page.click("form[action='/settings/proof'] button");
  await type(page, await codeAfter(second, "sms", proof));
  await page.waitForURL((url) => url.pathname === "/settings");
  await shows(page, "Paused");
  await page.click("a:has-text('ends in 00')");
  await shot(page, "method-paused");
  const again = await newest(first, "sms");
  await page.click("button:has-text('Send a code')");
  await type(page, await codeAfter(first, "sms", again));
  await page.waitForURL((url) => url.pathname === "/settings");
  await poll(async () => !(await page.textContent("main")).includes("Paused"), "the phone is usable");
  assert.equal(await page.locator("text=Paused").count(), 0);
});
