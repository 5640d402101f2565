"use strict";
const { askForCode, assert, newBrowser, openSettingsByText, scenario, setUp, shot, shows, signIn, signInByText, stack } = require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const comeBack = async (page) => {
    await page.goto(page.url());
    await page.click("text=Close the browser and come back");
    await signIn(page);
  };
  const trusted = [];
  for (const userAgent of ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", undefined, undefined]) {
    const page = await newBrowser(userAgent ? { userAgent } : {});
    await signInByText(page, { trust: true });
    trusted.push(page);
  }
  const [firefox, second, third] = trusted;
  await comeBack(second);
  await shows(second, "Second step: trust (trusted)");
  await openSettingsByText(second);
  await second.click("a[href='/settings/devices']");
  assert.equal(await second.locator("button[name=device]").count(), 3);
  assert.equal(await second.locator("text=This device").count(), 1);
  await shot(second, "devices");

  // After one revocation that browser needs a code, and the others do not.
  await second.click("li:has-text('Firefox') button[name=device]");
  await shows(second, "That device is no longer trusted.");
  assert.equal(await second.locator("button[name=device]").count(), 2);
  await firefox.click("text=Close the browser and come back");
  await askForCode(firefox);
  await comeBack(third);
  await shows(third, "Second step: trust (trusted)");

  // All devices, including this one.
  await second.click("button[name=all]");
  await shows(second, "No device is trusted any more.");
  await shot(second, "devices-none");
  for (const page of [second, third]) {
    await page.goto(`${stack.demo}shop`);
    await page.click("text=Close the browser and come back");
    await askForCode(page);
  }
});
