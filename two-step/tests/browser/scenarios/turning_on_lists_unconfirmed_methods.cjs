"use strict";
const { URI } = require("otpauth");
const { addPhone, assert, codeAfter, newBrowser, newest, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, type } =
  require("./user.cjs");

scenario(async () => {
  const old = "+447700900222";
  // A first visit adds an authenticator and a phone, and leaves.
  const first = await newBrowser();
  await signIn(first);
  await openSettings(first);
  await first.click("a[href='/settings/authenticator']");
  const app = URI.parse(await first.getAttribute("a[href^='otpauth:']", "href"));
  await type(first, app.generate());
  await addPhone(first, "07700 900222", old);
  await first.goto(new URL("/settings", first.url()).href);
  await first.click("form[action='/settings/leave'] button");

  // A second visit adds a phone and recovery codes. The other methods are listed, and are removed unless they are
  // confirmed.
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await shows(page, "These phone numbers are saved");
  await addPhone(page, "07700 900200", "+447700900200");
  await saveRecoveryCodes(page);
  const ready = async () => (await page.textContent("main > ul")).replace(/\s+/g, " ");
  assert.match(await ready(), /ends in 00.*Recovery codes/);
  const section = page.locator("section:has(#unconfirmed)");
  assert.match(await section.textContent(), /ends in 22/);
  assert.match(await section.textContent(), /Authenticator app/);
  await shot(page, "turn-on-unconfirmed");

  // One code confirms the phone, which is then kept.
  const place = await newest(old, "sms");
  await section.locator("button[value=sms]").click();
  await type(page, await codeAfter(old, "sms", place));
  await page.waitForURL("**/settings/on");
  assert.match(await ready(), /ends in 22/);
  assert.doesNotMatch(await section.textContent(), /ends in 22/);
  await page.click("form[action='/settings/on'] button");
  await shows(page, "Two-step verification is on");
  await page.click("a[href='/settings']");
  assert.equal(await page.locator("a[href^='/settings/methods/']:has-text('ends in')").count(), 2);
  assert.equal(await page.locator("a[href^='/settings/methods/']:has-text('Authenticator')").count(), 0, "it was removed");
});
