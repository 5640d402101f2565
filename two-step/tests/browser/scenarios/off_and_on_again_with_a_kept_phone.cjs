"use strict";
const { assert, codeAfter, newBrowser, newest, openSettings, saveRecoveryCodes, scenario, setUp, shot, shows, signIn, signInByText, type, wrong } =
  require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  const page = await newBrowser();
  await setUp(page);
  await page.click("text=Sign out");
  await signInByText(page);
  await openSettings(page);
  // A fresh proof comes first, and a wrong code is refused.
  let place = await newest(number, "sms");
  await page.click("form[action='/settings/proof'] button");
  const code = await codeAfter(number, "sms", place);
  await type(page, wrong(code));
  await page.goto(new URL("/settings/off", page.url()).href);
  assert.equal(await page.locator("form[action='/settings/off']").count(), 0, "a wrong code does not turn it off");
  await page.goto(new URL("/settings", page.url()).href);
  await page.click("form[action='/settings/proof'] button");
  await type(page, code);
  await shot(page, "settings");
  await page.click("a[href='/settings/off']");
  await page.check("input[value=keep]");
  await page.click("form[action='/settings/off'] button");
  await shot(page, "off");

  const again = await newBrowser();
  await signIn(again);
  await shows(again, "The password alone signed you in");
  await openSettings(again);
  place = await newest(number, "sms");
  await again.click("button[value=sms]");
  await type(again, await codeAfter(number, "sms", place));
  await saveRecoveryCodes(again);
  await again.click("form[action='/settings/on'] button");
  await shows(again, "Two-step verification is on");
});
