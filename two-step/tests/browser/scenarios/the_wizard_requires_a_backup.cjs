"use strict";
const { TOTP, URI } = require("otpauth");
const { addPhone, api, assert, newBrowser, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, type } =
  require("./user.cjs");

scenario(async () => {
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  const to = (path) => page.goto(new URL(path, page.url()).href);
  const cannotTurnOn = async (why) => {
    await to("/settings/on");
    assert.equal(new URL(page.url()).pathname, "/settings", why);
    assert.equal((await api("GET", "/v1/users/ada")).body.state, "off");
  };
  await cannotTurnOn("there is no method");

  // Recovery codes are only a backup.
  await saveRecoveryCodes(page);
  await cannotTurnOn("recovery codes alone do not do");

  // With a phone the set-up is complete. New codes are a backup only after they are saved, and stay on the page until
  // then.
  await to("/settings/recovery-codes");
  await page.click("form[action='/settings/recovery-codes'] button");
  await page.click("form[action='/settings/recovery-codes/saved'] button");
  await page.waitForSelector("input[name=saved]:invalid");
  await page.waitForSelector("ol.codes");
  await addPhone(page, "07700 900200", "+447700900200");
  await shows(page, "Add a backup");
  await shot(page, "backup");
  await cannotTurnOn("the new codes were not saved");

  // An authenticator is a backup too. The last method and the last backup cannot be removed while it is on.
  await page.click("a[href='/settings/authenticator']");
  const app = URI.parse(await page.getAttribute("a[href^='otpauth:']", "href"));
  assert.ok(app instanceof TOTP);
  await type(page, app.generate());
  await page.waitForURL("**/settings/on");
  await shot(page, "turn-on");
  await page.click("form[action='/settings/on'] button");
  await shows(page, "Two-step verification is on");
  await page.click("a[href='/settings']");
  for (const method of ["Phone", "Authenticator"]) {
    await page.click(`a[href^='/settings/methods/']:has-text('${method}')`);
    await shows(page, "You need a method and a backup.");
    assert.equal(await page.locator("a[href$='/remove']").count(), 0);
    await page.click("text=Back to the settings");
  }
});
