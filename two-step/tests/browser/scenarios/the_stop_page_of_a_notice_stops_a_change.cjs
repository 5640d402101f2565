"use strict";
const { addPhone, assert, newBrowser, noticeLink, openSettingsByText, scenario, setUp, shot, shows, signIn, signInByText, stack } = require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const trusted = await newBrowser();
  await signInByText(trusted, { trust: true });
  // The notice "turned on" came by text, and its link leads to the stop page.
  const link = await noticeLink("+447700900200", "turned on");
  const page = await newBrowser();
  await page.goto(link);
  await shot(page, "stop");
  // Opening the page stops nothing.
  await trusted.click("text=Close the browser and come back");
  await signIn(trusted);
  await shows(trusted, "Second step: trust (trusted)");
  await page.click("main form button.primary, main form button");
  await shot(page, "stopped");
  await trusted.click("text=Close the browser and come back");
  await signIn(trusted);
  assert.match(trusted.url(), /\/challenge\//, "the trust has ended");
  const again = await page.goto(link);
  assert.equal(again.status(), 200);
  assert.equal(await page.locator("main form[action*='/stop/']").count(), 0, "it was already stopped");
  assert.equal((await page.goto(`${stack.pages}/stop/unknown`)).status(), 410);
});
