"use strict";
const { askForCode, assert, newBrowser, openSettings, scenario, setUp, shows, signIn, signInByText } = require("./user.cjs");

scenario(async () => {
  const page = await newBrowser();
  await setUp(page);
  await page.click("text=Sign out");
  await signInByText(page, { trust: true });
  await page.click("text=Close the browser and come back");
  await signIn(page);
  await shows(page, "Second step: trust (trusted)");

  // The browser is not trusted for another account, and another browser is not trusted for any account.
  const stranger = await newBrowser();
  await askForCode(stranger);

  // Without the cookie a code is required.
  const cookies = (await page.context().cookies()).filter((c) => c.name !== "ts_device" && c.name !== "demo_shop");
  const device = (await page.context().cookies()).find((c) => c.name === "ts_device");
  assert.ok(device.httpOnly && device.sameSite === "Lax");
  await page.context().clearCookies();
  await page.context().addCookies(cookies);
  await askForCode(page);

  // Sign-out ends the trust.
  const third = await newBrowser();
  await signInByText(third, { trust: true });
  await third.click("text=Sign out");
  await askForCode(third);

  // The settings require a code also on a trusted device.
  const fourth = await newBrowser();
  await signInByText(fourth, { trust: true });
  await openSettings(fourth);
  await shows(fourth, "Confirm that it is you");
});
