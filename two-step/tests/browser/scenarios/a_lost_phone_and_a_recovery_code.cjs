"use strict";
const { assert, newBrowser, openSettings, scenario, setUp, shot, shows, signIn, type } = require("./user.cjs");

scenario(async () => {
  const [code] = await setUp(await newBrowser());
  const page = await newBrowser();
  await signIn(page);
  await page.click("a[href$='/ways']");
  await page.click("button:has-text('Recovery code')");
  await type(page, code.toLowerCase().replaceAll("-", " "));
  await shows(page, "Have you lost this phone?");
  await shot(page, "lost-phone");
  const fresh = (await page.textContent("main")).match(/[0-9A-Z]{4}(-[0-9A-Z]{4}){3}/)[0];
  assert.notEqual(fresh, code);
  await page.click("button[value=remove]");
  await shows(page, "Second step: recovery (recovery)");

  // The used code is void, the new one is valid, and the phone is removed.
  const second = await newBrowser();
  await signIn(second);
  assert.doesNotMatch(await second.textContent("main"), /ends in 00/);
  if (await second.locator("button:has-text('Recovery code')").count()) await second.click("button:has-text('Recovery code')");
  await type(second, code);
  await shows(second, "That is not the code.");
  await type(second, fresh);
  await second.click("main form button.primary");
  await shows(second, "Second step: recovery (recovery)");
  await openSettings(second);
});
