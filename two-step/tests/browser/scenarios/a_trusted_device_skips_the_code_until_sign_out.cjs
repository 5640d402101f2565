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

  // Another user of the same browser is not trusted for this account, and another browser not at all.
  const stranger = await newBrowser();
  await askForCode(stranger);

  // Without the cookie the code is asked for.
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

  // The settings ask for a code, whether the device is trusted or not.
  const fourth = await newBrowser();
  await signInByText(fourth, { trust: true });
  await openSettings(fourth);
  await shows(fourth, "Confirm that it is you");
});
