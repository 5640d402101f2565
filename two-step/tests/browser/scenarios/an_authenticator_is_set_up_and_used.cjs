"use strict";
const { TOTP } = require("otpauth");
const { assert, newBrowser, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, type } = require("./user.cjs");

scenario(async () => {
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.click("a[href='/settings/authenticator']");
  await shot(page, "authenticator");
  const uri = await page.getAttribute("a[href^='otpauth:']", "href");
  const { URI } = require("otpauth");
  const app = URI.parse(uri);
  assert.ok(app instanceof TOTP && app.digits === 6 && app.period === 30 && app.algorithm === "SHA1");
  assert.equal(app.issuer, "Shop");
  await type(page, "000000" === app.generate() ? "111111" : "000000");
  await shows(page, "That is not the code.");
  const first = app.generate();
  await type(page, first);
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");
  await page.click("form[action='/settings/leave'] button");

  const second = await newBrowser();
  await signIn(second);
  await shows(second, "authenticator");
  // A used code is not accepted again. The next one is within the tolerance.
  await type(second, first);
  await shows(second, "That is not the code.");
  await type(second, app.generate({ timestamp: Date.now() + 30_000 }));
  await shows(second, "Second step: totp (second)");

  // A wrong clock of the phone is reported.
  const third = await newBrowser();
  await signIn(third);
  await type(third, app.generate({ timestamp: Date.now() - 4 * 60_000 }));
  await shows(third, "clock is");
});
